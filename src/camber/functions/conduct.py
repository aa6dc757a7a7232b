"""Conduct: which functions held up everybody lately, and may not be called for a while.

A body that can be stopped on the main thread only, or not at all, holds the event loop for its
whole time, or ends the server. To call it again at once would do the same again. So its calls are
refused: for four times as long as it held the loop, twice that each further time in a row, at most
a minute; after it had to be ended with the server, for ten minutes. Other code in force is another
matter: then all is forgotten.
"""

from typing import Final

from camber.clock import Clock
from camber.errors import UserError
from camber.functions.path import display

REFUSED_FACTOR: Final = 4
REFUSED_SECONDS_MAX: Final = 60.0
FROZEN_REFUSED_SECONDS: Final = 600.0


class RefusedError(UserError):
    """A function is not called for a while, as it held up all others.

    Args:
        seconds: how long that will last.
    """

    code = "FunctionRefused"

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Conduct:
    """What is held against functions, by path. Used on any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Until when, why, and for how long. Kept past that moment, to double it.
        self._refused: dict[str, tuple[float, str, float]] = {}
        # Looked at before every call: whether there is anything at all.
        self.is_spotless = True

    def check(self, path: str) -> None:
        """Raise if the function is not to be called now.

        Raises:
            RefusedError: says why, where, and for how long.
        """
        noted = self._refused.get(path)
        if noted is None:
            return
        until, reason, _ = noted
        left = until - self._clock.monotonic()
        if left > 0:
            raise RefusedError(
                f"{display(path)} held up every other client: {reason} "
                f"Calls of it are refused for another {left:.0f} s, or until it is changed.",
                left,
            )

    def note_overrun(self, path: str, held_seconds: float, reason: str) -> None:
        """It held the event loop for `held_seconds` and had to be stopped. `reason` is a sentence
        that names the line."""
        before = self._refused.get(path)
        seconds = held_seconds * REFUSED_FACTOR if before is None else before[2] * 2
        self._refuse(path, min(seconds, REFUSED_SECONDS_MAX), reason)

    def note_freeze(self, path: str, place: str) -> None:
        """It froze an earlier process of this server."""
        reason = f"it froze the server at {place}, which had to be ended and started again."
        self._refuse(path, FROZEN_REFUSED_SECONDS, reason)

    def note_success(self, path: str) -> None:
        """It ended within its limit: what it did before is forgiven."""
        self._refused.pop(path, None)
        self.is_spotless = not self._refused

    def clear(self) -> None:
        """Forget everything."""
        self._refused.clear()
        self.is_spotless = True

    def _refuse(self, path: str, seconds: float, reason: str) -> None:
        self._refused[path] = (self._clock.monotonic() + seconds, reason, seconds)
        self.is_spotless = False
