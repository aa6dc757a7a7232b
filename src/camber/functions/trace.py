"""Where in the app an error came from: its traceback, without the frames that are not the app's.

Code of ours and of libraries is left out, so that what remains are lines an author can change.
"""

import linecache
import os
from collections.abc import Iterator
from dataclasses import dataclass
from traceback import clear_frames, walk_tb
from typing import Final

from camber.functions.frames import ROOT_KEY

FRAMES_AT_END: Final = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of the app that was running. `file` is as the author knows it, `path` as the
    machine does."""

    file: str
    line: int
    function: str
    path: str

    @property
    def source(self) -> str:
        """The text of the line, without its indentation; empty when the file is gone."""
        linecache.checkcache(self.path)
        return linecache.getline(self.path, self.line).strip()

    def __str__(self) -> str:
        """`    at send (convex/messages.py:12)`, as clients and the log show it."""
        return f"    at {self.function} ({self.file}:{self.line})"


def app_frames(error: BaseException) -> list[Frame]:
    """The frames of app code in the traceback of `error`, innermost first."""
    frames = list(_frames(error))
    frames.reverse()
    return frames


def shown_frames(error: BaseException) -> tuple[str, ...]:
    """A line for each app frame, innermost first; of a deep recursion, its two ends."""
    frames = app_frames(error)
    left_out = len(frames) - 2 * FRAMES_AT_END
    if left_out <= 0:
        return tuple(map(str, frames))
    inner, outer = frames[:FRAMES_AT_END], frames[-FRAMES_AT_END:]
    return (*map(str, inner), f"    … {left_out} more", *map(str, outer))


def _frames(error: BaseException) -> Iterator[Frame]:
    for frame, line in walk_tb(error.__traceback__):
        root = frame.f_builtins.get(ROOT_KEY)
        if root is not None:
            path = frame.f_code.co_filename
            function = frame.f_code.co_qualname.replace("<locals>.", "")
            yield Frame(shown_file(root, path), line, function, path)


def forget_locals(error: BaseException) -> None:
    """Let go of what the frames of an error's traceback hold, and of those it came from.

    An error that is kept, or part of a reference cycle, keeps every local variable of the code
    it came through: a list that grew until memory ran out, for one.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            clear_frames(one.__traceback__)
            waiting += (one.__cause__, one.__context__)


def shown_file(root: str | os.PathLike[str], path: str | os.PathLike[str]) -> str:
    """`path` as the author knows it: from the functions folder's own name on."""
    return os.path.relpath(path, os.path.dirname(os.path.abspath(root)))


def cause(error: BaseException) -> str:
    """`error` in one line, such as `NameError: name 'x' is not defined`; never raises."""
    name = type(error).__name__
    first = text_of(error).strip().partition("\n")[0]
    return f"{name}: {first}" if first else name


def text_of(error: BaseException) -> str:
    """The error's own words, also when the app's `__str__` is broken; never raises."""
    try:
        return str(error)
    except BaseException as broken:
        return f"(its message cannot be shown: {type(broken).__name__})"
