"""A run: one stay of a thread in app code, and whether it is over its limit.

One body, or one step of an endpoint's task. The watchdog makes runs, looks at them, and decides
here which of them has to stop, and whether it is stuck in a call of C code.
"""

import dis
import time
from types import FrameType
from typing import Final

from camber.errors import OverrunError
from camber.functions.execution import Execution
from camber.functions.frames import site

TICK_SECONDS: Final = 0.05
"""How often runs are looked at, and how long after an interrupt the next one comes."""

# How soon an overdue run is tried again, after it was met in code of ours.
RETRY_SECONDS: Final = 0.002
# A run that is found in the same call for so long holds the interpreter lock, or might: C code
# that does can be stopped on the main thread only.
SAME_CALL_SECONDS: Final = 0.03

# Bound at import, before an app could see another function under this name.
_now = time.perf_counter


class Run:
    """One stay of a thread in app code. Made by the watchdog, which sets what has no default."""

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
    # Whether an interrupt may be on its way to the thread, other than by a signal.
    pending = False
    # What the process had in memory when the run was first looked at; 0 until then.
    rss_began = 0
    # How many interrupts it was sent.
    interrupts = 0
    # In which call it was found, and since when.
    call: tuple[FrameType, int] | None = None
    in_call_since = 0.0
    # Whether every line of it is interrupted by now, or will be with the next interrupt.
    traced = False
    # Whether it must not run on a side thread, as it holds the interpreter lock or eats interrupts.
    is_stubborn = False

    def error(self) -> OverrunError:
        """What to report, once `overrun` is set."""
        assert self.overrun is not None, "the run was not stopped"
        place = "" if self.place is None else f" It was stopped at {self.place}."
        error = OverrunError(f"{self.overrun}.{place}")
        error.is_stubborn = self.is_stubborn
        return error


def is_overdue(run: Run, now: float) -> bool:
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


def is_in_one_call(run: Run, frame: FrameType | None, now: float) -> bool | None:
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


def patient_until(run: Run) -> float:
    """Until when it may remain open whether an overdue `run` is in one call."""
    assert run.started is not None, "an overdue run was seen before"
    return run.started + run.limit_seconds + min(run.limit_seconds, 4 * SAME_CALL_SECONDS)


def seconds_left(run: Run, now: float) -> float:
    """How long `run` may still go on."""
    started = now if run.started is None else run.started
    return max(started + run.limit_seconds - now, RETRY_SECONDS)


def note_interrupt(run: Run, app: FrameType) -> None:
    """Remember where `run`, and all it is inside of that has to stop with it, was interrupted."""
    run.interrupts += 1
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
