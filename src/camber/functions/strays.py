"""Strays: app code on the event loop that no run is about.

A task that an endpoint left behind, a callback, the generator of a response's body. Nobody entered
it, so what tells of it is that the event loop does not come round.
"""

import time
from types import FrameType
from typing import Final

from camber.functions.frames import app_frame
from camber.functions.interrupt import PATIENCE, OverrunInterrupt, trace_lines, trace_no_lines
from camber.functions.run import TICK_SECONDS

AWAY_SECONDS: Final = 0.75
"""How long the event loop may be away on behalf of app code that no run is about."""

BEAT_SECONDS: Final = 0.2
"""How often the event loop says that it is there."""

# Bound at import, before an app could see another function under this name.
_now = time.perf_counter


class Strays:
    """What is known of the main thread's event loop, and what was done to bring it back."""

    def __init__(self) -> None:
        # When the event loop was last known to be there; None where nobody tells.
        self._beat_at: float | None = None
        # How many interrupts were sent to what keeps the loop away, and when the next one may be.
        self._interrupts = 0
        self._again_at = 0.0

    @property
    def is_followed(self) -> bool:
        """Whether there is a loop that says when it is there."""
        return self._beat_at is not None

    def note_beat(self) -> None:
        """The loop is there now. Called on its thread, by itself."""
        self._beat_at = _now()
        if self._interrupts:
            self._interrupts = 0
            trace_no_lines()

    def is_loop_away(self, now: float) -> bool:
        """Whether the loop has long not been there."""
        return self._beat_at is not None and now - self._beat_at > AWAY_SECONDS

    def interrupt(self, frame: FrameType | None) -> None:
        """Raise if `frame`, the main thread's, is of the app and keeps the loop away."""
        app = app_frame(frame)
        now = _now()
        if app is None or now < self._again_at or not self.is_loop_away(now):
            return
        self._again_at = now + TICK_SECONDS
        self._interrupts += 1
        if self._interrupts > PATIENCE:
            trace_lines(app)
        raise OverrunInterrupt
