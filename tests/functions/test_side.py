"""Work beside the event loop, and what becomes of work that never ends."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from camber.errors import OverloadedError, OverrunError
from camber.functions.side import LEFT_MAX, THREADS, SideThreads

SOON = 0.01


def nothing() -> None:
    pass


def test_work_is_done_on_another_thread_and_its_end_is_told() -> None:
    ended: list[str] = []

    async def main() -> int:
        side = SideThreads()
        try:
            return await side.run(lambda: ended.append("ended"), threading.get_ident)
        finally:
            side.close()

    assert asyncio.run(main()) != threading.get_ident()
    assert ended == ["ended"]


def test_what_work_raises_reaches_whoever_waits() -> None:
    def fails() -> None:
        raise SystemExit("not of this program")

    async def main() -> None:
        side = SideThreads()
        with pytest.raises(SystemExit):
            await side.run(nothing, fails)
        assert await side.run(nothing, int, "3") == 3
        side.close()

    asyncio.run(main())


def test_work_whose_caller_went_away_goes_on_to_its_end() -> None:
    async def main() -> None:
        side = SideThreads()
        began, go_on, ended = threading.Event(), threading.Event(), asyncio.Event()

        def work() -> None:
            began.set()
            go_on.wait()

        waiting = asyncio.create_task(side.run(ended.set, work))
        await asyncio.to_thread(began.wait)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not ended.is_set()
        go_on.set()
        await ended.wait()
        side.close()

    asyncio.run(main())


async def _leave(side: SideThreads, until: Callable[[], object], count: int) -> None:
    for _ in range(count):
        with pytest.raises(OverrunError, match="left to itself") as caught:
            await side.run(nothing, until)
        assert caught.value.is_stubborn


def test_work_that_never_ends_is_left_to_itself_and_its_thread_replaced() -> None:
    async def main() -> None:
        side = SideThreads(patience_seconds=SOON)
        go_on = threading.Event()
        await _leave(side, go_on.wait, THREADS + 1)
        assert await side.run(nothing, int, "3") == 3
        go_on.set()
        side.close()

    asyncio.run(main())


def test_what_was_left_to_itself_is_told_of_when_it_ends_after_all() -> None:
    async def main() -> None:
        side = SideThreads(patience_seconds=SOON)
        go_on, ended = threading.Event(), asyncio.Event()
        with pytest.raises(OverrunError):
            await side.run(ended.set, go_on.wait)
        assert not ended.is_set()
        go_on.set()
        await ended.wait()
        assert await side.run(nothing, int, "3") == 3
        side.close()

    asyncio.run(main())


def test_with_too_many_left_to_themselves_nothing_more_is_begun() -> None:
    async def main() -> None:
        side = SideThreads(patience_seconds=SOON)
        go_on = threading.Event()
        await _leave(side, go_on.wait, LEFT_MAX)
        ended = asyncio.Event()
        with pytest.raises(OverloadedError, match="Restart the server"):
            await side.run(ended.set, int, "3")
        assert ended.is_set()
        go_on.set()
        side.close()

    asyncio.run(main())


def test_closing_lets_go_of_what_has_not_begun() -> None:
    async def main() -> None:
        side = SideThreads()
        go_on = threading.Event()
        begun = threading.Barrier(THREADS + 1)

        def work() -> None:
            begun.wait()
            go_on.wait()

        running = [asyncio.create_task(side.run(nothing, work)) for _ in range(THREADS)]
        ended = asyncio.Event()
        waiting = asyncio.create_task(side.run(ended.set, int, "3"))
        await asyncio.to_thread(begun.wait)
        side.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ended.is_set()
        go_on.set()
        await asyncio.gather(*running)

    asyncio.run(main())
