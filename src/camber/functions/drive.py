"""Driving a body: a coroutine is run to its end, at once, on this thread.

What a query or mutation awaits is there already (`ctx` methods never suspend on a local engine),
so one `send` runs a body from its first line to its last. While it runs, asyncio sees a loop of
our own: tasks, groups, locks and queues work in it and take turns in a fixed order; time, network
and threads it does not have, and asking for them is refused with the call and the line.
"""

import asyncio
import sys
from asyncio.events import _get_running_loop, _set_running_loop
from asyncio.tasks import _enter_task, _leave_task
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import FrameType
from typing import Any, Final, Never, TypeVar

from camber.errors import UserError
from camber.functions.execution import Environment, current, current_log
from camber.functions.frames import calls_bodies, refusal

T = TypeVar("T")

NEVER_TEXT: Final = (
    "This function waits for something that can never happen: "
    "nothing that it started is left to run."
)
# How often tasks that refuse to be cancelled are asked, when the body is over.
CANCEL_ROUNDS_MAX: Final = 100


@calls_bodies
def drive(coroutine: Coroutine[Any, Any, T], /) -> T:
    """Run `coroutine` to its end on this thread and return its result.

    Tasks it leaves unfinished are cancelled. Drives may nest, also inside a task of a real loop;
    the outer loop is the running one again afterwards.

    Raises:
        DeterminismError: it asked asyncio for time, network, a thread or a process.
        UserError: it waits for something that can never happen.
        Exception: what the coroutine raised, or a task of its that nobody awaited.
    """
    outer = _get_running_loop()
    loop = _spare_loops.pop() if _spare_loops else BodyLoop()
    try:
        _set_running_loop(loop)  # type: ignore[arg-type]  # asyncio asks for no class
        try:
            awaited = coroutine.send(None)
        except StopIteration as end:
            result: T = end.value
            if not loop.ready:
                # By far the most bodies end here: nothing was scheduled, so the loop is as new.
                _spare_loops.append(loop)
                return result
        else:
            result = loop.run(coroutine, awaited)
        failure = loop.close()
        if failure is not None:
            raise failure
        return result
    except BaseException:
        if loop.turned or loop.ready:
            loop.close()
        else:
            _spare_loops.append(loop)
        raise
    finally:
        _set_running_loop(outer)


class BodyTask:
    """What `asyncio.current_task` returns in a body: enough of a task for groups and timeouts.

    It stands for the body itself, which is not a task: `drive` resumes it.
    """

    def __init__(self, loop: "BodyLoop") -> None:
        self._loop = loop
        self._name = "body"
        self._cancel_requests = 0
        # What the body waits for while the loop turns.
        self.awaited: asyncio.Future[Any] | None = None
        # A cancellation that came while the body waited for nothing: due when it waits next.
        self.cancel_due = False

    def cancel(self, msg: object = None) -> bool:
        self._cancel_requests += 1
        if self.awaited is not None and self.awaited.cancel(msg):
            return True
        self.cancel_due = True
        # Marks the loop as used.
        self._loop.call_soon(lambda: None)
        return True

    def cancelling(self) -> int:
        return self._cancel_requests

    def uncancel(self) -> int:
        self._cancel_requests = max(0, self._cancel_requests - 1)
        if self._cancel_requests == 0:
            self.cancel_due = False
        return self._cancel_requests

    def done(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def get_loop(self) -> "BodyLoop":
        return self._loop

    def get_name(self) -> str:
        return self._name

    def set_name(self, value: object) -> None:
        """Ignored: the next body may be given the same stand-in."""


def _name_of(task: "asyncio.Task[Any]") -> str:
    """What a task runs: the name of its coroutine function."""
    return str(getattr(task.get_coro(), "__name__", "task"))


class BodyLoop:
    """The event loop that a body sees: a queue of what is ready, first in, first out.

    It is no `AbstractEventLoop`: every method that loop has and this one lacks is refused.
    """

    def __init__(self) -> None:
        self.ready: deque[tuple[Context, Callable[..., object], tuple[Any, ...]]] = deque()
        # False until `run`: while it is, and nothing is ready, the loop can serve another body.
        self.turned = False
        self._tasks: list[asyncio.Task[Any]] = []
        self._failure: BaseException | None = None
        self._woken = False
        self._closed = False
        self._body = BodyTask(self)
        # The body is the current task of this loop, but for the moments when another one is.
        _enter_task(self, self._body)  # type: ignore[arg-type]

    @calls_bodies
    def run(self, coroutine: Coroutine[Any, Any, T], awaited: Any) -> T:
        """Turn the loop until `coroutine`, which now waits for `awaited`, has ended."""
        self.turned = True
        while True:
            error = self._wait(awaited)
            try:
                awaited = coroutine.send(None) if error is None else coroutine.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result

    def close(self) -> BaseException | None:
        """Cancel the tasks that are left. Returns the first failure that nobody looked at."""
        if self._closed:
            return None
        self._closed = True
        _leave_task(self, self._body)  # type: ignore[arg-type]
        failure = self._failure
        for task in self._tasks:
            if failure is None and task.done() and task._log_traceback:
                failure = task.exception()
        self._warn_of_unawaited()
        self._cancel_tasks()
        for task in self._tasks:
            if task.done():
                task._log_traceback = False
            else:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks.clear()
        self.ready.clear()
        return failure

    def _warn_of_unawaited(self) -> None:
        """Work that the body began and did not wait for is not done: say so in its log."""
        log = current_log()
        names = [_name_of(task) for task in self._tasks if not task.done()]
        if log is not None and names:
            plural = "" if len(names) == 1 else "s"
            log.add(
                "WARN",
                f"{len(names)} unawaited operation{plural}: [{', '.join(names)}]. "
                "Async operations should be awaited or they might not run.",
            )

    def _cancel_tasks(self) -> None:
        for _ in range(CANCEL_ROUNDS_MAX):
            unfinished = [task for task in self._tasks if not task.done()]
            if not unfinished:
                return
            for task in unfinished:
                task.cancel()
            for _ in range(len(self.ready)):
                self._turn()

    def _wait(self, awaited: Any) -> BaseException | None:
        """Turn until `awaited` is done. Returns what is to be raised in the body instead."""
        body = self._body
        self._woken = False
        if awaited is None:
            # A bare `yield`, as in `asyncio.sleep(0)`: everything else that is ready goes first.
            self.call_soon(self._wake)
        elif getattr(awaited, "_asyncio_future_blocking", None) and awaited.get_loop() is self:
            awaited._asyncio_future_blocking = False
            awaited.add_done_callback(self._wake)
            body.awaited = awaited
            if body.cancel_due and awaited.cancel():
                body.cancel_due = False
        else:
            return UserError(NEVER_TEXT)
        _leave_task(self, body)  # type: ignore[arg-type]
        try:
            while self.ready and not self._woken:
                self._turn()
        finally:
            _enter_task(self, body)  # type: ignore[arg-type]
            body.awaited = None
        if not self._woken:
            awaited.remove_done_callback(self._wake)
            return UserError(NEVER_TEXT)
        if body.cancel_due:
            body.cancel_due = False
            return asyncio.CancelledError()
        return None

    def _wake(self, _future: object = None) -> None:
        self._woken = True

    def _turn(self) -> None:
        context, callback, args = self.ready.popleft()
        try:
            context.run(callback, *args)
        except BaseException as error:
            if self._failure is None:
                self._failure = error

    # What asyncio's tasks, futures, locks and queues ask of their loop.

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> "BodyHandle":
        handle = BodyHandle(callback)
        own = context if context is not None else copy_context()
        self.ready.append((own, handle, args))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)  # type: ignore[arg-type]

    def create_task(
        self, coro: Generator[Any, None, T] | Coroutine[Any, Any, T], **options: Any
    ) -> "asyncio.Task[T]":
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, **options)  # type: ignore[arg-type]
        self._tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Ignored: it is called when garbage is collected, so at no time that can be named."""

    def time(self) -> float:
        """Seconds, and always the same: the clock stands still while a body runs."""
        execution = current()
        return 0.0 if execution is None else execution.read_clock() / 1e9

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._closed

    def __getattr__(self, name: str) -> Callable[..., Never]:
        if not hasattr(asyncio.AbstractEventLoop, name):
            raise AttributeError(name)

        def refuse(*_args: object, **_options: object) -> Never:
            raise refusal(_called(name), Environment.DETERMINISTIC.phrase)

        return refuse


class BodyHandle:
    """A scheduled callback, which may be cancelled until it runs."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[..., object]) -> None:
        self._callback: Callable[..., object] | None = callback

    @calls_bodies
    def __call__(self, *args: Any) -> None:
        if self._callback is not None:
            self._callback(*args)

    def cancel(self) -> None:
        self._callback = None

    def cancelled(self) -> bool:
        return self._callback is None


def _called(method: str) -> str:
    """What the app called that asked for the loop's `method`: `asyncio.sleep()`, mostly."""
    call = f"loop.{method}()"
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("asyncio."):
        name = frame.f_code.co_qualname.split(".")[0]
        call = "asyncio.timeout()" if name == "Timeout" else f"asyncio.{name}()"
        frame = frame.f_back
    return call


# Loops that served a body without being touched. A nested drive takes another one.
_spare_loops: Final[list[BodyLoop]] = []
