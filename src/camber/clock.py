"""Time as an argument: the system's clock, and one that is turned by hand.

Whatever needs to know the time is given a `Clock`; nothing below the functions layer asks the
operating system. So a test turns time itself, and a simulation costs nothing.
"""

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now_ns(self) -> int:
        """Wall-clock time, in nanoseconds since the Unix epoch. May jump either way."""

    def monotonic(self) -> float:
        """Seconds since some fixed point. Never goes back: what timeouts are measured with."""


class SystemClock:
    """The clock of the operating system."""

    # Bound once: application code may see other functions under these names (see
    # `functions/determinism.py`), the platform never does.
    now_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic)


class ManualClock:
    """A clock that stands still until it is turned."""

    def __init__(self, start_ns: int = 1_760_000_000_000_000_000) -> None:
        self._now_ns = start_ns
        self._monotonic = 0.0

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self._now_ns += round(seconds * 1e9)
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or NTP would."""
        self._now_ns += round(seconds * 1e9)
