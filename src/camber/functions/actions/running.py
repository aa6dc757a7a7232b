"""One run of an action, inside its process: its log, its questions to the server, its end."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import ContextVar
from itertools import count
from typing import Any, Final, Protocol, TypeVar

from camber.errors import InvalidArgumentError
from camber.functions.actions.host import Answer
from camber.functions.actions.messages import Call, Said
from camber.functions.actions.output import StreamedLog
from camber.functions.capture import LogLine

T = TypeVar("T")


class Line(Protocol):
    """The connection to the server, as a run needs it."""

    def ask(self, run: int, operation: str, text: str, body: bytes | None, /) -> "Future[Answer]":
        """Ask the server; the future holds its answer, or the error to raise."""

    def say(self, message: Said, /) -> None:
        """Send a log line."""


class Run:
    """One run, from its begin to its end. In an `async def` it lives on the event loop, in a
    `def` on a thread of its own."""

    def __init__(self, call: Call, line: Line) -> None:
        self.id = call.id
        self.call = call
        self.log = StreamedLog(self._say)
        self._line = line
        # What was begun with `ctx` and is not finished: by number, its name and its coroutine.
        self._operations: dict[int, tuple[str, Coroutine[Any, Any, Any]]] = {}
        self._numbers = count()
        # Tasks that the body of an `async def` has created, and that still run.
        self.tasks: set[asyncio.Task[Any]] = set()
        # The task of an `async def`; the thread of a `def`.
        self.task: asyncio.Task[Any] | None = None
        self.thread: int | None = None
        # Guards `over`, so that no thread is interrupted after its run.
        self.ending = threading.Lock()
        self.over = False
        self._asked: set[Future[Answer]] = set()

    def _say(self, line: LogLine) -> None:
        if not self.over:
            self._line.say(Said(self.id, line.level, line.text, line.timestamp_ms, line.truncated))

    # Questions to the server

    def operation(
        self, name: str, work: Callable[..., Coroutine[Any, Any, T]], *args: Any
    ) -> Coroutine[Any, Any, T]:
        """`work(*args)`, to be awaited by the body; if it never is, `unawaited` tells."""
        number = next(self._numbers)

        async def tracked() -> T:
            try:
                return await work(*args)
            finally:
                self._operations.pop(number, None)

        coroutine = tracked()
        self._operations[number] = (name, coroutine)
        return coroutine

    async def ask(self, operation: str, text: str, body: bytes | None = None) -> Answer:
        """Ask the server, and await its answer.

        Raises:
            Exception: what the server raised.
        """
        return await asyncio.wrap_future(self._ask(operation, text, body))

    def ask_blocking(self, operation: str, text: str, body: bytes | None = None) -> Answer:
        """Ask the server, and hold this thread until it has answered."""
        return self._ask(operation, text, body).result()

    def _ask(self, operation: str, text: str, body: bytes | None) -> "Future[Answer]":
        if self.over:
            raise InvalidArgumentError(
                f"ctx.{operation}() was called after its action had returned."
            )
        answer = self._line.ask(self.id, operation, text, body)
        self._asked.add(answer)
        answer.add_done_callback(self._asked.discard)
        return answer

    def abandon_questions(self, error: BaseException) -> None:
        """Raise `error` wherever the body waits for an answer."""
        for answer in list(self._asked):
            if answer.set_running_or_notify_cancel():
                answer.set_exception(error)

    # The end

    def unawaited(self) -> list[str]:
        """The names of what was begun and is not finished."""
        return [name for name, _ in self._operations.values()]

    def drop_work(self) -> None:
        """Cancel what the body has left behind."""
        for task in list(self.tasks):
            task.cancel()
        for _, coroutine in list(self._operations.values()):
            # Those that never began; the others belong to a task.
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()


current_run: Final[ContextVar[Run | None]] = ContextVar("current_run", default=None)
"""The run that this code belongs to; tasks inherit it."""


def current_log() -> StreamedLog | None:
    """Where log lines go now."""
    run = current_run.get()
    return None if run is None or run.over else run.log
