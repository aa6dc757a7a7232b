"""The watchdog: stops a body that runs too long, or takes too much memory, and spares the rest.

A run is one body, or one step of an endpoint's task, on one thread. To enter one is to put it in
a slot; a thread of the watchdog's looks at the slots some twenty times a second and interrupts
what is over its limit, between two bytecodes of app code, with an `OverrunInterrupt`. That is no
`Exception`, so that `except Exception` does not eat it; code that eats it anyway is interrupted
again and again.

How the interrupt gets into the thread:

* Into the main thread by a signal. Python runs the handler there between two bytecodes, and the
  handler sees the frame it interrupts: only in app code does it raise, in code of ours it lets
  the moment pass and another signal comes soon. So no transaction of ours is ever torn in the
  middle, and nothing can arrive late: with the run out of its slot, the handler does nothing.
  The same signal also comes from a timer of the system that counts used processor time, because
  C code that keeps the interpreter lock (a regular expression that runs wild) stops our thread
  too, but looks for signals itself.
* Into other threads by `PyThreadState_SetAsyncExc`, which raises wherever the thread is by then.
  The thread is looked at first, and `call` catches what comes late.

C code that neither looks for signals nor gives up the interpreter lock (`sum(range(10**12))`)
cannot be stopped from within the process.
"""

import asyncio
import atexit
import ctypes
import dis
import resource
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator
from threading import get_ident
from types import FrameType
from typing import Any, Final, TypeVar

from camber.errors import OverrunError
from camber.functions.execution import Execution
from camber.functions.frames import app_frame, calls_bodies, site

A = TypeVar("A")
T = TypeVar("T")

TICK_SECONDS: Final = 0.05
# How soon an overdue run is tried again, after it was met in code of ours.
RETRY_SECONDS: Final = 0.002
# Ticks without a run, until the thread lies down and waits to be woken.
IDLE_TICKS: Final = 40
# From so many interrupts on, whatever a run does is interrupted, its `except` and `finally` too.
PATIENCE: Final = 3
# A run that is found in the same call for so long holds the interpreter lock, or might: C code
# that does can be stopped on the main thread only.
SAME_CALL_SECONDS: Final = 0.03
# How long the event loop may be away on behalf of app code that no run is about.
AWAY_SECONDS: Final = 1.5
BEAT_SECONDS: Final = 0.2
MEMORY_BYTES: Final = 512 << 20
CEILING_BYTES: Final = 2 << 30
# Nothing else uses it; the timer of used processor time sends it.
SIGNAL: Final = signal.SIGVTALRM

_MAIN: Final = threading.main_thread().ident or 0
_PAGE_BYTES: Final = resource.getpagesize()

# Bound at import, before an app could see other functions under these names.
_now = time.perf_counter
_settrace = sys.settrace


class OverrunInterrupt(BaseException):
    """Raised inside app code that is over its limit. Not an `Exception`: it is not to be caught."""

    def __str__(self) -> str:
        return "it held the event loop for too long"


class Run:
    """One stay of a thread in app code. Made by `enter`, which sets what has no default."""

    # Defaults of the class, not set for each run: one is made for every call of a function.
    execution: Execution | None
    limit_seconds: float
    thread: int
    # The run on the same thread that this one is inside of.
    outer: "Run | None"
    # When the watchdog first saw it; None until then, as most runs are never seen.
    started: float | None = None
    # Why it has to stop, in words for the app's author; None as long as it may go on.
    overrun: str | None = None
    # File and line of the app's code that was interrupted.
    place: str | None = None
    # Not interrupted before that moment, so that what `finally` blocks do has a chance.
    again_at = 0.0
    # Whether an interrupt may be on its way to the thread (not used for the main thread).
    pending = False
    # What the process had in memory when the run was first looked at; 0 until then.
    rss_began = 0
    # How many interrupts it was sent on the main thread.
    interrupts = 0
    # In which call it was found, and since when.
    call: tuple[FrameType, int] | None = None
    in_call_since = 0.0
    # Whether every line of it is interrupted by now (on the main thread).
    traced = False
    # Whether it must not run on a side thread: it eats interrupts, or holds the interpreter lock.
    is_stubborn = False

    def error(self) -> OverrunError:
        """What to report, once `overrun` is set."""
        assert self.overrun is not None, "the run was not stopped"
        place = "" if self.place is None else f" It was stopped at {self.place}."
        error = OverrunError(f"{self.overrun}.{place}")
        error.is_stubborn = self.is_stubborn
        return error


class Watchdog:
    """Guards the runs of all threads of a process.

    Args:
        memory_bytes: how much the process may grow while one run lasts.
        tick_seconds: how often runs are looked at.
    """

    def __init__(
        self, *, memory_bytes: int = MEMORY_BYTES, tick_seconds: float = TICK_SECONDS
    ) -> None:
        self.memory_bytes = memory_bytes
        self.tick_seconds = tick_seconds
        # The innermost run of each thread, or None. Each entry is written by its thread only.
        self._runs: dict[int, Run | None] = {}
        # Set by every `enter`, cleared by every tick.
        self._entered = False
        # Whether the thread waits for `_woken`, instead of ticking.
        self._idle = True
        self._woken = threading.Event()
        self._stopping = False
        # Whether a signal was sent that its handler has not seen.
        self._signalled = False
        # Held while an interrupt is sent to another thread than the main one.
        self._sending = threading.Lock()
        # The thread that is interrupted by signals; None when no handler could be installed.
        self._main: int | None = None
        self._rss_last = _resident_bytes()
        # When the event loop was last known to be there; None where nobody tells.
        self._beat_at: float | None = None
        # How many interrupts were sent to what keeps the loop away, and when the next one may be.
        self._stray_interrupts = 0
        self._stray_again_at = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start watching. From the main thread, or its runs are interrupted less safely."""
        assert self._thread is None, "a watchdog starts once"
        if get_ident() == _MAIN:
            signal.signal(SIGNAL, _on_signal)
            # Past this, Python takes its handlers back, and the signal would end the process.
            atexit.register(signal.setitimer, signal.ITIMER_VIRTUAL, 0.0)
        self._main = _MAIN if signal.getsignal(SIGNAL) is _on_signal else None
        _watchdogs.append(self)
        self._thread = threading.Thread(target=self._watch, name="camber-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, and wait until the thread has ended."""
        if self._thread is None:
            return
        self._stopping = True
        self._woken.set()
        self._thread.join()
        self._thread = None
        _watchdogs.remove(self)
        _set_timer()

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, know whether this loop, the main thread's, gets to turn. So app code can
        be stopped that no run is about: a task that an endpoint left behind, a callback, the
        generator of a response's body."""
        if not self._stopping:
            self._beat_at = _now()
            if self._stray_interrupts:
                self._stray_interrupts = 0
                _settrace(None)
            loop.call_later(BEAT_SECONDS, self.follow, loop)

    # The hot path.

    def enter(self, execution: Execution | None, limit_seconds: float) -> Run:
        """Begin a run on this thread; a `leave` must follow, in a `finally`.

        On the main thread nothing escapes after `leave`. On others an `OverrunInterrupt` may
        come out of the `finally` itself, just before `leave`: use `call` there.
        """
        thread = get_ident()
        runs = self._runs
        run = Run()
        run.execution = execution
        run.limit_seconds = limit_seconds
        run.thread = thread
        run.outer = runs.get(thread)
        runs[thread] = run
        self._entered = True
        if self._idle:
            self._wake()
        return run

    def leave(self, run: Run) -> None:
        """End a run. Harmless when it has ended already."""
        if run.traced:
            _settrace(None)
            run.traced = False
        self._runs[run.thread] = run.outer
        if run.pending:
            self._clear(run)

    @calls_bodies
    def call(
        self,
        execution: Execution | None,
        limit_seconds: float,
        function: Callable[[A], T],
        argument: A,
    ) -> T:
        """`function(argument)` as one run, on any thread.

        Raises:
            OverrunError: it was stopped, even if it ate the interrupt.
            Exception: what the function raised.
        """
        thread = get_ident()
        runs = self._runs
        run = Run()
        run.execution = execution
        run.limit_seconds = limit_seconds
        run.thread = thread
        run.outer = runs.get(thread)
        try:
            try:
                runs[thread] = run
                self._entered = True
                if self._idle:
                    self._wake()
                result = function(argument)
            finally:
                self.leave(run)
        except BaseException as error:
            # Once more, as an interrupt may have come just before the first line of `leave`.
            self.leave(run)
            if run.overrun is None:
                raise
            raise run.error() from error
        if run.overrun is not None:
            raise run.error()
        return result

    @calls_bodies
    @types.coroutine
    def steps(
        self,
        execution: Execution | None,
        limit_seconds: float,
        coroutine: Coroutine[Any, Any, T],
    ) -> Generator[Any, Any, T]:
        """`await` a coroutine, each of whose steps, from one suspension to the next, is a run.

        Raises:
            OverrunError: a step was stopped.
            Exception: what the coroutine raised.
        """
        thread = get_ident()
        runs = self._runs
        run = Run()
        run.execution = execution
        run.limit_seconds = limit_seconds
        run.thread = thread
        resume: Callable[[Any], Any] = coroutine.send
        argument: Any = None
        while True:
            try:
                try:
                    run.outer = runs.get(thread)
                    run.started = None
                    run.rss_began = 0
                    runs[thread] = run
                    self._entered = True
                    if self._idle:
                        self._wake()
                    awaited = resume(argument)
                finally:
                    self.leave(run)
            except StopIteration as end:
                if run.overrun is not None:
                    raise run.error() from None
                result: T = end.value
                return result
            except BaseException as error:
                self.leave(run)
                if run.overrun is None:
                    raise
                raise run.error() from error
            if run.overrun is not None:
                # It ate the interrupt and waits for something now: told again, as an error.
                resume, argument = coroutine.throw, run.error()
                run.overrun = None
                continue
            try:
                argument = yield awaited
                resume = coroutine.send
            except BaseException as error:
                resume, argument = coroutine.throw, error

    def _wake(self) -> None:
        self._idle = False
        # Here and not in the thread: the run that begins may never let it have the lock.
        _set_timer()
        self._woken.set()

    def _clear(self, run: Run) -> None:
        """Take back an interrupt that may be on its way to this thread, or let it pass."""
        try:
            with self._sending:
                _set_async_exception(run.thread, None)
        except OverrunInterrupt:
            pass
        run.pending = False

    # The thread.

    def _watch(self) -> None:
        quiet_ticks = 0
        while True:
            self._woken.clear()
            if self._stopping:
                return
            if quiet_ticks >= IDLE_TICKS:
                self._wait_for_work()
            delay = self._tick()
            quiet_ticks = 0 if self._entered else quiet_ticks + 1
            self._entered = False
            self._woken.wait(delay)

    def _wait_for_work(self) -> None:
        self._idle = True
        _set_timer()
        # A run that was entered before it could see `_idle` is seen here.
        while not self._entered and not self._woken.wait(AWAY_SECONDS / 4):
            self._look_for_strays()
        self._idle = False
        _set_timer()

    def _tick(self) -> float:
        """Look at all runs once. Returns the seconds until the next look."""
        rss = _resident_bytes()
        delay = self.tick_seconds
        self._look_for_strays()
        for run in list(self._runs.values()):
            if run is None:
                continue
            self._entered = True
            # The last look was before the run began: what grew since then, grew in it.
            run.rss_began = run.rss_began or self._rss_last
            if rss - run.rss_began > self.memory_bytes and run.overrun is None:
                run.overrun = memory_text(self.memory_bytes)
            delay = min(delay, self._look_at(run))
        self._rss_last = rss
        return delay

    def _look_at(self, run: Run) -> float:
        """Interrupt `run` if it has to stop. Returns the seconds until it wants another look."""
        now = _now()
        if not _overdue(run, now):
            return _seconds_left(run, now)
        if now < run.again_at:
            return run.again_at - now
        if run.thread == self._main:
            self._signal_main()
        else:
            self._interrupt_thread(run)
        return RETRY_SECONDS

    def _interrupt_thread(self, run: Run) -> None:
        with self._sending:
            # Announced before the last look at the slot: either this sees that the run has
            # ended, or `leave` sees that an interrupt may come, and takes it back.
            run.pending = True
            if self._runs.get(run.thread) is not run:
                return
            app = app_frame(sys._current_frames().get(run.thread))
            if app is None:
                return
            _note_interrupt(run, app)
            _set_async_exception(run.thread, OverrunInterrupt)

    def _look_for_strays(self) -> None:
        if self._main is not None and self._is_loop_away():
            self._signal_main()

    def _signal_main(self) -> None:
        # One at a time: a handler that waits for the interpreter lock before its first line is
        # itself interrupted by the next signal, and so on without end.
        if self._main is not None and not self._signalled:
            self._signalled = True
            signal.pthread_kill(self._main, SIGNAL)

    def _is_loop_away(self) -> bool:
        """Whether the event loop has long not been there, and no run accounts for it."""
        beat_at = self._beat_at
        return (
            beat_at is not None
            and self._runs.get(_MAIN) is None
            and _now() - beat_at > AWAY_SECONDS
        )

    def _interrupt_main(self, frame: FrameType | None) -> None:
        """Raise if the main thread's run has to stop and `frame` is of the app."""
        self._signalled = False
        run = self._runs.get(_MAIN)
        if run is None:
            self._interrupt_stray(frame)
            return
        now = _now()
        app = app_frame(frame)
        if app is None:
            return
        is_in_call = _is_in_one_call(run, frame, now)
        if not _overdue(run, now) or now < run.again_at:
            return
        if is_in_call is None and now < _patient_until(run):
            return
        run.is_stubborn = run.is_stubborn or bool(is_in_call)
        run.interrupts += 1
        _note_interrupt(run, app)
        if run.interrupts > PATIENCE:
            run.is_stubborn = run.traced = True
            _prepare_lines(app)
            # Nothing may be called past this: where lines are traced, a call of ours that waits
            # for the interpreter lock at its first line waits for ever.
            _settrace(_ignore_call)
        raise OverrunInterrupt

    def _interrupt_stray(self, frame: FrameType | None) -> None:
        app = app_frame(frame)
        now = _now()
        if app is None or now < self._stray_again_at or not self._is_loop_away():
            return
        self._stray_again_at = now + TICK_SECONDS
        self._stray_interrupts += 1
        if self._stray_interrupts > PATIENCE:
            _prepare_lines(app)
            _settrace(_ignore_call)
        raise OverrunInterrupt


def _prepare_lines(app: FrameType) -> None:
    """Let the next line that this thread runs in `app`, or in what called it, be interrupted as
    well, once lines are traced: the first one in the `except` or `finally` block that eats the
    interrupt."""
    frame: FrameType | None = app
    while frame is not None and app_frame(frame) is frame:
        frame.f_trace = _interrupt_line
        frame = frame.f_back


def _interrupt_line(_frame: FrameType, event: str, _argument: object) -> Any:
    if event == "line":
        raise OverrunInterrupt
    return _interrupt_line


def _ignore_call(_frame: FrameType, _event: str, _argument: object) -> None:
    return None


def _overdue(run: Run, now: float) -> bool:
    """Whether this run, or one it is inside of, has to stop."""
    overdue = False
    each: Run | None = run
    while each is not None:
        if each.started is None:
            each.started = now
        elif each.overrun is None and now - each.started >= each.limit_seconds:
            each.overrun = time_text(each.limit_seconds)
        overdue = overdue or each.overrun is not None
        each = each.outer
    return overdue


# Where Python looks for signals between two steps of a loop or at a function's start.
_STEPS: Final = frozenset(
    opcode
    for name, opcode in dis.opmap.items()
    if "JUMP_BACKWARD" in name or name in ("RESUME", "ENTER_EXECUTOR")
)


def _is_in_one_call(run: Run, frame: FrameType | None, now: float) -> bool | None:
    """Whether `run`, interrupted in `frame`, has been in one and the same call of that frame's
    for long; None: it may turn out so."""
    if frame is None or frame.f_code.co_code[frame.f_lasti] in _STEPS:
        run.call = None
        return False
    call = (frame, frame.f_lasti)
    if run.call != call:
        run.call = call
        run.in_call_since = now
        return None
    return True if now - run.in_call_since >= SAME_CALL_SECONDS else None


def _patient_until(run: Run) -> float:
    """Until when it may remain open whether an overdue `run` is in one call."""
    assert run.started is not None, "an overdue run was seen before"
    return run.started + run.limit_seconds + min(run.limit_seconds, 4 * SAME_CALL_SECONDS)


def _seconds_left(run: Run, now: float) -> float:
    started = now if run.started is None else run.started
    return max(started + run.limit_seconds - now, RETRY_SECONDS)


def _note_interrupt(run: Run, app: FrameType) -> None:
    run.again_at = _now() + TICK_SECONDS
    each: Run | None = run
    while each is not None:
        if each.overrun is not None and each.place is None:
            each.place = site(app)
        each = each.outer


def time_text(limit_seconds: float) -> str:
    """What a run is told that took too long."""
    return f"Function execution timed out (maximum duration: {limit_seconds:g}s)"


def memory_text(limit_bytes: int) -> str:
    """What a run is told that took too much memory."""
    return f"Function execution ran out of memory (maximum memory usage: {limit_bytes >> 20} MB)"


# The watchdogs of this process that run. Several do so only in tests.
_watchdogs: Final[list[Watchdog]] = []


def _on_signal(_number: int, frame: FrameType | None) -> None:
    for watchdog in _watchdogs:
        watchdog._interrupt_main(frame)


def _set_timer() -> None:
    """Let the timer of used processor time tick while a watchdog is awake, or watches the loop.
    Where nothing is done, it does not tick."""
    # Without our handler the signal would end the process.
    if signal.getsignal(SIGNAL) is _on_signal:
        awake = any(not watchdog._idle or watchdog._beat_at is not None for watchdog in _watchdogs)
        seconds = TICK_SECONDS if awake else 0.0
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, seconds)


def _set_async_exception(thread: int, exception: type[BaseException] | None) -> None:
    """Raise `exception` in `thread` at its next check; None takes back what is not yet raised."""
    argument = None if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument)


def _memory_pages() -> tuple[int, int]:
    """Virtual and resident size of this process, in pages; zeros where nobody tells."""
    try:
        with open("/proc/self/statm", "rb") as file:
            virtual, resident = file.read().split()[:2]
    except OSError:
        return 0, 0
    return int(virtual), int(resident)


def _resident_bytes() -> int:
    return _memory_pages()[1] * _PAGE_BYTES


def install_memory_ceiling(growth_bytes: int = CEILING_BYTES) -> int | None:
    """Let the process's address space grow by `growth_bytes` at most; returns the ceiling.

    An allocation beyond it fails at once, with `MemoryError` in the body that asked for it. Without
    a ceiling the system grants it, and ends the whole server when the pages are touched. Address
    space is not memory: thread stacks and mapped files count in full, so leave room.

    Only the soft limit is set. Child processes inherit it: `lift_memory_ceiling` there. Returns
    None where the size of the process cannot be told.
    """
    virtual = _memory_pages()[0] * _PAGE_BYTES
    if virtual == 0:
        return None
    ceiling = virtual + growth_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, hard))
    return ceiling


def lift_memory_ceiling() -> None:
    """Undo `install_memory_ceiling` in this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
