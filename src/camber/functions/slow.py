"""Which functions were too slow for the event loop lately. They go to a side thread at once."""

from typing import Final

from camber.clock import Clock

SLOW_SECONDS: Final = 60.0
"""For how long it is held against a function."""


class SlowFunctions:
    """What was noted, by path. Used on the event loop's thread alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def note(self, path: str) -> None:
        self._until[path] = self._clock.monotonic() + SLOW_SECONDS

    def holds(self, path: str) -> bool:
        """Whether it is held against the function now."""
        if not self._until:
            return False
        until = self._until.get(path)
        if until is None:
            return False
        if self._clock.monotonic() < until:
            return True
        del self._until[path]
        return False

    def clear(self) -> None:
        self._until.clear()
