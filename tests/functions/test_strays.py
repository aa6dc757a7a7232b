"""What app code may do on the event loop while no run is about it."""

import asyncio
import builtins
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from camber.functions.frames import ROOT_KEY
from camber.functions.interrupt import OverrunInterrupt
from camber.functions.watchdog import Watchdog

APP = """
import re

def endless():
    while True:
        pass

def eats():
    while True:
        try:
            endless()
        except BaseException:
            pass

def wild():
    re.match("(a+)+$", "a" * 60 + "b")

async def left_behind(what):
    globals()[what]()
"""


@pytest.fixture
def app() -> dict[str, Any]:
    names: dict[str, Any] = {"__builtins__": {**vars(builtins), ROOT_KEY: "/app"}}
    exec(APP, names)
    return names


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    watchdog = Watchdog()
    watchdog.start()
    yield watchdog
    watchdog.stop()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("what", ["endless", "eats", "wild"])
def test_a_task_that_keeps_the_loop_away_is_stopped(
    app: dict[str, Any],
    watchdog: Watchdog,
    what: str,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        watchdog.follow(loop)
        task = loop.create_task(app["left_behind"](what))
        with pytest.raises(OverrunInterrupt):
            await task

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_a_loop_that_nobody_follows_is_never_away() -> None:
    strays = Watchdog()._strays
    assert not strays.is_followed
    assert not strays.is_loop_away(1e9)
