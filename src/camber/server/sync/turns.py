"""Whose turn it is to be told of changes: sessions wait in line, and the event loop is never held
for long.

A commit may concern ten thousand sessions. Each is in line once, however many commits concern it
meanwhile, so what waits is bounded, and a session that is reached late gets the newest state.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

SLICE_SECONDS: Final = 0.005
"""How long sessions are served before sockets and commits have their turn again."""


class Waiting(Protocol):
    """One that can stand in line."""

    # Whether it stands in line. Kept by the line.
    in_line: bool

    def take_turn(self) -> None:
        """Do what is due. Must not wait and must not raise."""


class Turns:
    """The line: first come, first served, in slices of time.

    Args:
        monotonic: the time in seconds, as `Clock.monotonic`.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._line: deque[Waiting] = deque()
        self._is_called = False

    def __len__(self) -> int:
        return len(self._line)

    def join(self, one: Waiting) -> None:
        """Stand in line, if not there already."""
        if one.in_line:
            return
        one.in_line = True
        self._line.append(one)
        self._call()

    def _call(self) -> None:
        if not self._is_called:
            self._is_called = True
            # Not at once: what else this step of the loop brings is dealt with in one turn.
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        self._is_called = False
        monotonic, line = self._monotonic, self._line
        deadline = monotonic() + SLICE_SECONDS
        # Not those who join meanwhile: they come after sockets and commits.
        for _ in range(len(line)):
            one = line.popleft()
            one.in_line = False
            one.take_turn()
            if monotonic() > deadline:
                break
        if line:
            self._call()
