"""How app code is interrupted: the exception, and two ways into a thread that lets nothing by.

Into the main thread an interrupt is raised by a signal's handler, into others by
`PyThreadState_SetAsyncExc`. Either way code may eat it. From then on lines are traced in the app's
frames, so that the next line of the very `except` or `finally` block that ate it is interrupted
too, and so on until the body has ended.
"""

import ctypes
import sys
from types import FrameType
from typing import Any, Final

from camber.functions.frames import app_frame

PATIENCE: Final = 3
"""After so many interrupts, all that a run does is interrupted, its `except` and `finally` too."""

# Bound at import, before an app could see other functions under these names.
_settrace = sys.settrace
_getframe = sys._getframe


class OverrunInterrupt(BaseException):
    """Raised inside app code that is over its limit. Not an `Exception`: it is not to be caught."""

    def __str__(self) -> str:
        return "it held the event loop for too long"


class LastInterrupt(OverrunInterrupt):
    """Sent to another thread than the main one when it eats interrupts. Python makes the instance
    in that thread, before any handler of the app's runs, and to be made is to trace its lines."""

    def __init__(self) -> None:
        trace_lines(app_frame(_getframe(1)))


def trace_lines(app: FrameType | None) -> None:
    """Interrupt the next line that this thread runs in `app`, or in what of the app called it.

    On the main thread nothing of ours may be called past this: where lines are traced, a call that
    waits for the interpreter lock at its first line waits for ever.
    """
    frame = app
    while frame is not None and app_frame(frame) is frame:
        frame.f_trace = _interrupt_line
        frame = frame.f_back
    _settrace(_ignore_call)


def trace_no_lines() -> None:
    """Undo `trace_lines` on this thread."""
    _settrace(None)


def _interrupt_line(_frame: FrameType, event: str, _argument: object) -> Any:
    if event == "line":
        raise OverrunInterrupt  # Which ends the tracing, too.
    return _interrupt_line


def _ignore_call(_frame: FrameType, _event: str, _argument: object) -> None:
    return None


def set_async_exception(thread: int, exception: type[BaseException] | None) -> None:
    """Raise `exception` in `thread` at its next check; None takes back what is not yet raised."""
    argument = None if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument)
