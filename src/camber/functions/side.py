"""The threads on which bodies run that are too slow for the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 4


class SideThreads:
    """A few threads beside the event loop's."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="camber-side")

    async def run(
        self, ended: Callable[[], None], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do `work` on a thread, as soon as one is free.

        Args:
            ended: called on this thread once the other is done with it: also after whoever waits
                here was cancelled, for the thread goes on to its end.
            work: what to do; its arguments follow.
        """
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._pool, lambda: work(*args, **kwargs))

        def done(future: "asyncio.Future[T]") -> None:
            ended()
            if not future.cancelled():
                future.exception()

        running.add_done_callback(done)
        return await asyncio.shield(running)

    def close(self) -> None:
        """Begin nothing more. What runs goes on to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
