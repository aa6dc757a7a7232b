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

Two things cannot be interrupted. A side thread that waits in C code for ever is left to itself
(`functions/side.py`). C code that keeps the interpreter lock, on a side thread or without looking
for signals (`sum(range(10**12))`), keeps this thread from its turn too: then the dead-man switch
(`functions/dead_man.py`), which every tick puts off, ends the process.
"""

import asyncio
import atexit
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator
from threading import get_ident
from types import FrameType
from typing import Any, Final, Protocol, TypeVar

from camber.functions.execution import Execution
from camber.functions.frames import app_frame, calls_bodies
from camber.functions.interrupt import (
    PATIENCE,
    LastInterrupt,
    OverrunInterrupt,
    set_async_exception,
    trace_lines,
    trace_no_lines,
)
from camber.functions.memory import resident_bytes
from camber.functions.run import (
    RETRY_SECONDS,
    TICK_SECONDS,
    Run,
    is_in_one_call,
    is_overdue,
    memory_text,
    note_interrupt,
    patient_until,
    seconds_left,
)
from camber.functions.strays import AWAY_SECONDS, BEAT_SECONDS, Strays

A = TypeVar("A")
T = TypeVar("T")

# Ticks without a run, until the thread lies down and waits to be woken.
IDLE_TICKS: Final = 40
MEMORY_BYTES: Final = 512 << 20
# For how long a run that is overdue may stay on the main thread, whatever is tried.
HOPELESS_SECONDS: Final = 2.0
# Nothing else uses it; the timer of used processor time sends it.
SIGNAL: Final = signal.SIGVTALRM

_MAIN: Final = threading.main_thread().ident or 0

# Bound at import, before an app could see another function under this name.
_now = time.perf_counter


class Switch(Protocol):
    """Ends the process unless it is put off again and again (see `functions.dead_man`)."""

    def put_off(self, limit_seconds: float, /) -> None:
        """The watchdog is there. What runs now may take `limit_seconds`."""

    def press(self, thread: int, /) -> None:
        """End the process now: `thread` cannot be stopped."""


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
        self._rss_last = resident_bytes()
        # What app code does on the event loop that no run is about.
        self._strays = Strays()
        # Who ends the process when not even this thread gets a turn; None: nobody.
        self.switch: Switch | None = None
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
            is_first = not self._strays.is_followed
            self._strays.note_beat()
            if is_first:
                _set_timer()
            loop.call_later(BEAT_SECONDS, self.follow, loop)

    # The hot path.

    def leave(self, run: Run) -> None:
        """End a run. Harmless when it has ended already."""
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
                set_async_exception(run.thread, None)
        except OverrunInterrupt:
            pass
        if run.traced:
            trace_no_lines()
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
            if self.switch is not None:
                self.switch.put_off(0.0)
        self._idle = False
        _set_timer()

    def _tick(self) -> float:
        """Look at all runs once. Returns the seconds until the next look."""
        rss = resident_bytes()
        delay = self.tick_seconds
        limit_seconds = 0.0
        self._look_for_strays()
        for run in list(self._runs.values()):
            if run is None:
                continue
            self._entered = True
            limit_seconds = max(limit_seconds, run.limit_seconds)
            # The last look was before the run began: what grew since then, grew in it.
            run.rss_began = run.rss_began or self._rss_last
            if rss - run.rss_began > self.memory_bytes and run.overrun is None:
                run.overrun = memory_text(self.memory_bytes)
            delay = min(delay, self._look_at(run))
        self._rss_last = rss
        if self.switch is not None:
            self.switch.put_off(limit_seconds)
        return delay

    def _look_at(self, run: Run) -> float:
        """Interrupt `run` if it has to stop. Returns the seconds until it wants another look."""
        now = _now()
        if not is_overdue(run, now):
            return seconds_left(run, now)
        if now < run.again_at:
            return run.again_at - now
        if run.thread == self._main:
            self._signal_main()
            self._give_up_if_hopeless(run, now)
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
            note_interrupt(run, app)
            run.traced = run.interrupts > PATIENCE
            set_async_exception(run.thread, LastInterrupt if run.traced else OverrunInterrupt)

    def _give_up_if_hopeless(self, run: Run, now: float) -> None:
        """The main thread is in C code of the app's that no signal ends: nobody is served."""
        assert run.started is not None, "an overdue run was seen before"
        overdue_seconds = now - run.started - run.limit_seconds
        if self.switch is None or overdue_seconds < HOPELESS_SECONDS:
            return
        if app_frame(sys._current_frames().get(_MAIN)) is not None:
            self.switch.press(_MAIN)

    def _look_for_strays(self) -> None:
        if self._runs.get(_MAIN) is None and self._strays.is_loop_away(_now()):
            self._signal_main()

    def _signal_main(self) -> None:
        # One at a time: a handler that waits for the interpreter lock before its first line is
        # itself interrupted by the next signal, and so on without end.
        if self._main is not None and not self._signalled:
            self._signalled = True
            signal.pthread_kill(self._main, SIGNAL)

    def _interrupt_main(self, frame: FrameType | None) -> None:
        """Raise if the main thread's run has to stop and `frame` is of the app."""
        self._signalled = False
        run = self._runs.get(_MAIN)
        if run is None:
            self._strays.interrupt(frame)
            return
        now = _now()
        app = app_frame(frame)
        if app is None:
            return
        is_in_call = is_in_one_call(run, frame, now)
        if not is_overdue(run, now) or now < run.again_at:
            return
        if is_in_call is None and now < patient_until(run):
            return
        run.is_stubborn = run.is_stubborn or bool(is_in_call)
        note_interrupt(run, app)
        if run.interrupts > PATIENCE:
            run.is_stubborn = run.traced = run.pending = True
            trace_lines(app)
        raise OverrunInterrupt


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
        awake = any(not watchdog._idle or watchdog._strays.is_followed for watchdog in _watchdogs)
        seconds = TICK_SECONDS if awake else 0.0
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, seconds)
