"""The threads on which bodies run that are too slow for the event loop.

A body that does not end, whatever the watchdog does, is left to itself: who waits for it is
answered, another thread takes its thread's place, and what it read from stays open until it ends
after all, for it may read on at any moment. Of such threads there may be a few.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar

from camber.errors import OverloadedError, OverrunError

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 4
LEFT_MAX: Final = 8
"""How many threads may be left to themselves. With so many, nothing more is begun."""

PATIENCE_SECONDS: Final = 1.6
"""How long work may take in all: the limit of a body, and time to stop it."""

# Bound at import, before an app could see another function under this name.
_now = time.perf_counter


class _Job:
    """Work that was asked for. All but `began` is touched on the loop's thread only."""

    __slots__ = ("began", "ended", "future", "is_left", "work")

    def __init__(
        self, work: Callable[[], Any], ended: Callable[[], None], future: "asyncio.Future[Any]"
    ) -> None:
        self.work = work
        self.ended = ended
        self.future = future
        # When a thread took it up; None until then.
        self.began: float | None = None
        # Whether its thread was left to itself.
        self.is_left = False


class SideThreads:
    """A few threads beside the event loop's.

    Args:
        patience_seconds: how long work may take until its thread is left to itself.
    """

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # Jobs that were asked for and have not ended, without those that were left to themselves.
        self._busy = 0
        # Threads that take up jobs, and those that were left to themselves.
        self._threads = 0
        self._left = 0
        self._closed = False

    async def run(
        self, ended: Callable[[], None], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do `work` on a thread, as soon as one is free.

        Args:
            ended: called on this thread once the other is done with it: also after whoever waits
                here was cancelled, for the thread goes on to its end.
            work: what to do; its arguments follow.

        Raises:
            OverrunError: it cannot be stopped, and was left to itself.
            OverloadedError: too many were left to themselves.
        """
        if self._left >= LEFT_MAX:
            ended()
            raise OverloadedError(
                f"{LEFT_MAX} functions that cannot be stopped hold all threads for slow functions. "
                "Restart the server."
            )
        loop = asyncio.get_running_loop()
        job = _Job(partial(work, *args, **kwargs), ended, loop.create_future())
        self._busy += 1
        if self._busy > self._threads and self._threads < THREADS:
            self._start_thread()
        self._jobs.put(job)
        timer = loop.call_later(self._patience_seconds, self._leave_if_late, job)
        job.future.add_done_callback(lambda _: timer.cancel())
        result: T = await asyncio.shield(job.future)
        return result

    def close(self) -> None:
        """Begin nothing more. What runs goes on to its end."""
        self._closed = True
        with contextlib.suppress(Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    job.future.cancel()
                    job.ended()
        for _ in range(self._threads):
            self._jobs.put(None)

    def _start_thread(self) -> None:
        self._threads += 1
        # A daemon: one that never ends must not keep the process from ending.
        name = f"camber-side-{self._threads + self._left}"
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        """What each thread does: one job after the other."""
        while (job := self._jobs.get()) is not None:
            job.began = _now()
            result: Any = None
            failure: BaseException | None = None
            try:
                result = job.work()
            except BaseException as error:  # the edge of the thread: told to whoever waits
                failure = error
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits.
                job.future.get_loop().call_soon_threadsafe(self._finish, job, result, failure)
            del job, result, failure

    def _finish(self, job: _Job, result: Any, failure: BaseException | None) -> None:
        job.ended()
        if job.is_left:
            # It ended after all. Its thread was replaced, so there is one too many.
            self._left -= 1
            self._jobs.put(None)
            return
        self._busy -= 1
        if job.future.done():
            return
        if failure is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(failure)
            job.future.exception()  # Whoever waited may have been cancelled.

    def _leave_if_late(self, job: _Job) -> None:
        """Answer whoever waits for a job that does not end, and go on without its thread."""
        if job.future.done() or self._closed:
            return
        taken = 0.0 if job.began is None else _now() - job.began
        if taken < self._patience_seconds:
            again = self._patience_seconds - taken
            timer = job.future.get_loop().call_later(again, self._leave_if_late, job)
            job.future.add_done_callback(lambda _: timer.cancel())
            return
        job.is_left = True
        self._left += 1
        self._busy -= 1
        self._threads -= 1
        if self._left < LEFT_MAX:
            self._start_thread()
        error = OverrunError(
            f"Function execution timed out, and could not be stopped for {taken:.1f} s. "
            "It was left to itself."
        )
        error.is_stubborn = True
        job.future.set_exception(error)
        job.future.exception()
