"""The process that actions run in, from inside.

The main thread runs the event loop and on it every `async def`; each `def` has a thread of its
own. One more thread reads what the server says, and ends the process when the server is gone:
also when an action holds the event loop, nothing outlives its server.
"""

import asyncio
import builtins
import contextlib
import ctypes
import faulthandler
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Mapping
from concurrent.futures import Future
from contextvars import Context
from itertools import count
from pathlib import Path
from typing import Any, Final

import uvloop

from camber.errors import (
    FunctionNotFoundError,
    InvalidArgumentError,
    InvalidValueError,
    LimitError,
    LoadError,
)
from camber.functions import capture
from camber.functions.actions.channel import ProcessEnd
from camber.functions.actions.context import ActionCtx, SyncActionCtx
from camber.functions.actions.host import Answer
from camber.functions.actions.messages import (
    Ask,
    Awake,
    Began,
    Blame,
    Call,
    Cancel,
    Done,
    Error,
    Ready,
    Reply,
    Said,
    Setup,
    Upward,
    Withdraw,
    Withdrawn,
)
from camber.functions.actions.output import RunStream, app_print
from camber.functions.actions.raised import from_message, to_message
from camber.functions.actions.running import Run, current_log, current_run
from camber.functions.definition import Kind
from camber.functions.failure import Failure, failure_of
from camber.functions.frames import ROOT_KEY
from camber.functions.loader import App, load_app
from camber.functions.memory import lift_memory_ceiling
from camber.functions.path import stored
from camber.functions.registry import AnyFunction
from camber.functions.trace import text_of
from camber.functions.variables import reading_from
from camber.values.wire import pack_value, unpack_value

RESULT_BYTES_MAX: Final = 16 << 20
# What a process may reserve on top of what it may use (libraries reserve much that they never
# touch): one allocation beyond that is a MemoryError in the action that asked for it, and disturbs
# nobody else. What is really used is watched by the server.
RESERVE_BYTES: Final = 4 << 30
# Of the thread of a `def`: half of the usual, since hundreds of them count as reserved memory.
STACK_BYTES: Final = 4 << 20

# From <sys/prctl.h>.
_PR_SET_PDEATHSIG: Final = 1

# Bound before `os._exit` is replaced.
_exit = os._exit


class _StoppedError(BaseException):
    """Raised inside a `def` action whose time is over."""


class Tables:
    """The numbers of the tables, as the server sent them with a call."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._numbers = numbers

    def number_of(self, name: str, /) -> int | None:
        return self._numbers.get(name)

    def name_of(self, number: int, /) -> str | None:
        return next((name for name, other in self._numbers.items() if other == number), None)


class Worker:
    """All runs of one process."""

    def __init__(self, channel: ProcessEnd, loop: asyncio.AbstractEventLoop) -> None:
        self._channel = channel
        self._loop = loop
        self._app: App | None = None
        # Why there is no app.
        self._problem = ""
        self._runs: dict[int, Run] = {}
        # Calls that wait for the event loop: begun by it, or withdrawn by the reading thread,
        # whichever takes it out first.
        self._due: dict[int, Call] = {}
        self._asked: dict[int, Future[Answer]] = {}
        self._numbers = count(1)

    def load(self, setup: Setup) -> None:
        """Load the app, and tell the server of it."""
        try:
            with reading_from(setup.environment):
                self._app = load_app(
                    setup.root, builtins=_unrestricted_builtins, sources=setup.sources
                )
        except LoadError as error:
            self._problem = str(error)
        self._send(Ready(self._problem or None))

    # What the server says. On the reading thread.

    def read(self) -> None:
        """Read until the server is gone, then end the process."""
        try:
            while (message := self._channel.receive()) is not None:
                match message:
                    case Reply():
                        self._settle(message)
                    case Call():
                        self._take(message)
                    case Withdraw():
                        self._withdraw(message.id)
                    case Cancel():
                        self._withdraw(message.id)
                        self._stop(message.id)
                    case _:
                        raise AssertionError(f"{message} comes once, at the beginning")
        finally:
            with contextlib.suppress(Exception):
                sys.__stdout__.flush() if sys.__stdout__ else None
            _exit(0)

    def _settle(self, reply: Reply) -> None:
        answer = self._asked.pop(reply.id, None)
        if answer is None or not answer.set_running_or_notify_cancel():
            return
        if reply.error is not None:
            answer.set_exception(from_message(reply.error))
        else:
            assert reply.text is not None, "an answer has a text or an error"
            answer.set_result(Answer(reply.text, reply.body))

    def _take(self, call: Call) -> None:
        if self._app is not None:
            function = self._app.registry.find(call.path)
            if function is not None and function.kind is Kind.ACTION and not function.is_async:
                # Not by the event loop, which an `async def` may be holding up.
                self._begin_on_thread(Run(call, self), function)
                return
        self._due[call.id] = call
        self._loop.call_soon_threadsafe(self._plan, call.id)

    def _withdraw(self, number: int) -> None:
        if self._due.pop(number, None) is not None:
            self._send(Withdrawn(number))

    def _stop(self, number: int) -> None:
        run = self._runs.get(number)
        if run is None:
            return
        if run.task is not None:
            self._loop.call_soon_threadsafe(run.task.cancel)
            return
        with run.ending:
            if run.over or run.thread is None:
                return
            # Takes effect at the next line of Python; a blocking call is not interrupted.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(run.thread), ctypes.py_object(_StoppedError)
            )
        run.abandon_questions(_StoppedError())

    # What runs say. On any thread.

    def ask(self, run: int, operation: str, text: str, body: bytes | None, /) -> "Future[Answer]":
        number = next(self._numbers)
        answer: Future[Answer] = Future()
        self._asked[number] = answer
        try:
            self._send(Ask(number, run, operation, text, body))
        except BaseException:
            del self._asked[number]
            raise
        return answer

    def _send(self, message: Upward) -> None:
        try:
            self._channel.send(message)
        except OSError:
            # The server is gone, or an action has closed what leads to it.
            _exit(1)

    def say(self, message: Said, /) -> None:
        self._send(message)

    def blame_current_run(self) -> None:
        """Tell the server which run is about to end the process."""
        run = current_run.get()
        if run is not None:
            self._send(Blame(run.id))

    # Runs

    def _plan(self, number: int) -> None:
        # A task may have to wait for others, so it is not begun before it runs.
        self._loop.create_task(self._begin(number))

    async def _begin(self, number: int) -> None:
        call = self._due.pop(number, None)
        if call is None:
            self._send(Awake())
            return
        run = Run(call, self)
        try:
            function = self._find(call.path)
        except Exception as error:
            self._runs[run.id] = run
            self._end(run, None, error)
            return
        if function.is_async:
            await self._live(run, function)
        else:
            self._begin_on_thread(run, function)

    def _begin_on_thread(self, run: Run, function: AnyFunction) -> None:
        self._runs[run.id] = run
        # A daemon, so that it does not keep the process alive; none is reused, so that a nested
        # action always finds one, and nothing is left over in its locals.
        thread = threading.Thread(
            target=Context().run, args=(self._live_on_thread, run, function), daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more threads
            self._end(run, None, error)

    def _find(self, path: str) -> AnyFunction:
        if self._app is None:
            raise LoadError(self._problem)
        function = self._app.registry.find(path)
        if function is None:
            raise FunctionNotFoundError(f"Could not find function for '{path}'.")
        if function.kind is not Kind.ACTION:
            raise InvalidArgumentError(
                f"Trying to execute {stored(function.path)} as Action, but it is defined as "
                f"{function.kind.value}."
            )
        return function

    async def _live(self, run: Run, function: AnyFunction) -> None:
        run.task = asyncio.current_task()
        self._runs[run.id] = run
        current_run.set(run)
        text, failure = None, None
        with reading_from(run.call.environment):
            try:
                self._send(Began(run.id))
                arguments, tables = _arguments(run, function)
                result = await function.body(ActionCtx(run), **arguments)
                text = _text_of_result(function, result, tables)
            except BaseException as error:  # the edge of app code: also SystemExit ends here
                failure = error
        if failure is None:
            _warn_of_unawaited(run)
        self._end(run, text, failure)

    def _live_on_thread(self, run: Run, function: AnyFunction) -> None:
        current_run.set(run)
        run.thread = threading.get_ident()
        text, failure = None, None
        with reading_from(run.call.environment):
            try:
                self._send(Began(run.id))
                arguments, tables = _arguments(run, function)
                result = function.body(SyncActionCtx(run), **arguments)
                text = _text_of_result(function, result, tables)
            except BaseException as error:  # the edge of app code: also SystemExit ends here
                failure = error
        self._end(run, text, failure)

    def _end(self, run: Run, text: str | None, error: BaseException | None) -> None:
        run.log.finish()
        with run.ending:
            run.over = True
        del self._runs[run.id]
        run.drop_work()
        if error is None:
            self._send(Done(run.id, text))
            return
        failure = _failure_of(error)
        self._send(Done(run.id, None, _travelling(error), failure.message, failure.frames))


def _arguments(run: Run, function: AnyFunction) -> tuple[Mapping[str, Any], Tables]:
    tables = Tables(run.call.tables)
    return function.signature.bind(unpack_value(run.call.arguments), tables), tables


def _text_of_result(function: AnyFunction, result: Any, tables: Tables) -> str:
    """The checked result in the stored format."""
    exported = function.signature.export(result, tables)
    try:
        text = pack_value(exported)
    except InvalidValueError as error:
        raise InvalidValueError(f"Function {function.path} return value invalid: {error}") from None
    # Characters outside of ASCII count for more than one byte; few results come near the limit.
    size = len(text) if len(text) * 4 <= RESULT_BYTES_MAX else len(text.encode())
    if size > RESULT_BYTES_MAX:
        raise LimitError(
            f"Function {function.path} return value is too large "
            f"(actual: {size / (1 << 20):.2f} MiB, limit: 16 MiB)"
        )
    return text


def _warn_of_unawaited(run: Run) -> None:
    names = run.unawaited()
    if names:
        noun = "operation" if len(names) == 1 else "operations"
        run.log.add(
            "WARN",
            f"{len(names)} unawaited {noun}: [{', '.join(names)}]. Async operations should be "
            "awaited or they might not run. See https://docs.convex.dev/functions/actions"
            "#dangling-promises for more information.",
        )


def _failure_of(error: BaseException) -> Failure:
    try:
        return failure_of(error)
    except BaseException:  # an exception of the app that resists being looked at
        return Failure(f"Uncaught {type(error).__name__}: {text_of(error)}")


def _travelling(error: BaseException) -> Error:
    try:
        return to_message(error)
    except BaseException:  # as above
        return Error("CalledFunctionError", type(error).__name__)


# What surrounds app code in this process.


def _unrestricted_builtins(root: Path) -> dict[str, Any]:
    return {**vars(builtins), ROOT_KEY: str(root), "print": app_print(current_log)}


def _capture_output() -> None:
    assert sys.stdout is not None
    assert sys.stderr is not None
    faulthandler.enable(sys.stderr.fileno())
    capture.install(current_log)
    sys.stdout = RunStream(sys.stdout, "LOG", current_log)
    sys.stderr = RunStream(sys.stderr, "ERROR", current_log)


def _die_with_parent() -> None:
    """Have the kernel end this process when the server ends, however that came about. The end of
    the channel says the same, but nobody hears it while an action holds the interpreter lock."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            _exit(1)  # It has ended already.


def _blame_who_exits(worker: Worker) -> None:
    """Let `os._exit` and `os.abort` tell the server whose doing it was."""
    abort, process = os.abort, os.getpid()

    def exit_now(status: int) -> None:
        # A forked child leaves by `os._exit` as a matter of course.
        if os.getpid() == process:
            worker.blame_current_run()
        _exit(status)

    def abort_now() -> None:
        worker.blame_current_run()
        abort()

    os._exit = exit_now  # type: ignore[assignment]  # it does not return either
    os.abort = abort_now  # type: ignore[assignment]  # likewise


def _limit_memory(limit: int) -> None:
    # Not the address space: what is only mapped, as numpy and threads do, costs nothing. So the
    # server's ceiling, which a child inherits, is not for this process.
    lift_memory_ceiling()
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit + RESERVE_BYTES, hard))


def _know_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Let every run know the tasks it creates, so that none outlives it."""

    def make_task(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
        run = current_run.get()
        if run is not None:
            run.tasks.add(task)
            task.add_done_callback(run.tasks.discard)
        return task

    loop.set_task_factory(make_task)  # type: ignore[arg-type]  # options are part of it


def main(descriptor: int) -> None:
    """Serve the server at the other end of the socket `descriptor`. Does not return."""
    sys.argv = ["camber-action"]
    _die_with_parent()
    channel = ProcessEnd(socket.socket(fileno=descriptor))
    setup = channel.receive()
    if not isinstance(setup, Setup):
        return
    _limit_memory(setup.memory_bytes)
    _capture_output()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    _know_tasks(loop)
    threading.stack_size(STACK_BYTES)
    worker = Worker(channel, loop)
    threading.Thread(target=worker.read, name="camber-reader", daemon=True).start()
    _blame_who_exits(worker)
    worker.load(setup)
    loop.run_forever()
