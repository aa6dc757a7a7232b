"""Whose code is running: the app's, ours, or a library's.

The call stack answers it. A module of the app is executed with builtins of its own, which carry
the functions root, so every frame of it is known by its builtins; our frames are known by their
file. A library's frame belongs to whoever called it. Stacks are walked only when something is
refused or interrupted, never on the hot path.
"""

import os
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Final, TypeVar

from camber.errors import DeterminismError

ROOT_KEY: Final = "__functions_root__"
"""Where the builtins of an app module name its functions root, an absolute path."""

_OURS: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

# Functions of ours that call bodies: what they call is the app's, wherever it was defined.
_body_callers: Final[set[CodeType]] = set()

_F = TypeVar("_F", bound=Callable[..., Any])


def calls_bodies(function: _F) -> _F:
    """Decorates a function of ours whose callees are app code, even without app builtins."""
    _body_callers.add(function.__code__)
    return function


def app_frame(frame: FrameType | None) -> FrameType | None:
    """The frame of app code on whose behalf `frame` runs; None when it is ours.

    It is ours when a function of ours is nearer than any of the app's: what `ctx` methods do
    inside is our affair, although the app called them.
    """
    library: FrameType | None = None
    while frame is not None:
        if ROOT_KEY in frame.f_builtins:
            return frame
        code = frame.f_code
        if code in _body_callers:
            return library
        if code.co_filename.startswith(_OURS):
            return None
        library = frame
        frame = frame.f_back
    return None


def nearest_app_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the app, no matter whether code of ours lies between."""
    library: FrameType | None = None
    while frame is not None:
        if ROOT_KEY in frame.f_builtins:
            return frame
        if frame.f_code in _body_callers and library is not None:
            return library
        library = None if frame.f_code.co_filename.startswith(_OURS) else frame
        frame = frame.f_back
    return None


def site(frame: FrameType | None) -> str:
    """File and line as the app's author knows them: `convex/messages.py:12`."""
    if frame is None:
        return "unknown place"
    name = frame.f_code.co_filename
    root = frame.f_builtins.get(ROOT_KEY)
    if root is not None:
        name = os.path.relpath(name, os.path.dirname(root))
    else:
        name = os.path.join(os.path.basename(os.path.dirname(name)), os.path.basename(name))
    return f"{name}:{frame.f_lineno}"


def refusal(call: str, phrase: str, cure: str = "Move it to an action.") -> DeterminismError:
    """The error for app code that makes a `call` it may not make: what, where, the cure.

    Args:
        call: what was called, such as `time.sleep()`.
        phrase: where that is not available, such as `a query or mutation`.
        cure: what to do instead, a whole sentence.
    """
    place = site(nearest_app_frame(sys._getframe(1)))
    return DeterminismError(f"{call} is not available in {phrase} ({place}). {cure}")
