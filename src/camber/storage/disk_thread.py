"""A thread that waits for the disk, so that the event loop need not.

Work is done one piece after the other, in the order in which it was handed over. What comes of
it is told on the event loop, also when the task that asked has been cancelled meanwhile.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class DiskThread:
    """One daemon thread, from construction until `stop`."""

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(
        self,
        work: Callable[[], object],
        settle: Callable[[Exception | None], Exception | None],
        /,
    ) -> asyncio.Future[None]:
        """Do `work` over there, then call `settle` here, on the event loop, with its error.

        The future ends after that: well, or with the error that `settle` returns. Cancelling
        the future stops neither.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def finish(error: Exception | None) -> None:
            error = settle(error)
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        def job() -> None:
            error = None
            try:
                work()
            except Exception as raised:
                error = raised
            try:
                loop.call_soon_threadsafe(finish, error)
            except RuntimeError:
                pass  # The loop has been closed: nobody is left to be told.

        self._queue.put(job)
        return future

    def stop(self) -> None:
        """Finish what was handed over, then end. Safe to call twice."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            job()
