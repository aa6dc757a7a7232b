"""The wall clock goes back and forth: timestamps and creation times only grow."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from state_app import APP

from camber.clock import ManualClock
from camber.deployment import Deployment, Settings
from camber.functions.identity import NOBODY
from camber.functions.invocation import Invocation
from camber.functions.outcome import Outcome

HOUR = 3600.0
JUMPS: Sequence[float] = (-HOUR, 0.0, HOUR, -30 * 24 * HOUR, 365 * 24 * HOUR, -HOUR, -0.001)


async def call(deployment: Deployment, path: str, **arguments: Any) -> Outcome:
    function = deployment.runner.find(path, None)
    outcome = await deployment.runner.run(Invocation(function, arguments, NOBODY))
    assert outcome.failure is None, outcome.failure
    return outcome


def test_time_only_grows_whatever_the_wall_clock_does(tmp_path: Path) -> None:
    functions = tmp_path / "convex"
    functions.mkdir()
    for name, text in APP.items():
        (functions / name).write_text(text)
    stamps: list[int] = []
    clock = ManualClock()

    async def write_and_jump() -> None:
        deployment = await Deployment.open(Settings(functions, tmp_path / "state"), clock)
        try:
            await deployment.push()
            for jump in JUMPS:
                for _ in range(3):
                    outcome = await call(deployment, "notes:add", key=f"{len(stamps):04}", text="x")
                    stamps.append(outcome.ts)
                clock.jump(jump)
                seen = (await call(deployment, "times:created")).value()
                assert len(seen) == len(stamps)
                assert all(one < next_one for one, next_one in pairwise(seen)), seen
        finally:
            await deployment.close()

    for _ in range(2):  # Again after a restart, an hour before.
        asyncio.run(write_and_jump())
        clock.jump(-HOUR)
    assert all(one < next_one for one, next_one in pairwise(stamps))
