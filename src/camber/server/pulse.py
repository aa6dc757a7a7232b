"""The pulse of a listener's WebSockets: one timer for the pings and the deadlines of all of them.

Sockets take turns: in each `ping_seconds` every one of them beats once, some of them at each tick,
so that ten thousand do not write a ping in one instant. The few that cannot wait that long (full,
or closing) are looked at with every tick.
"""

import asyncio
import math
from typing import Final, Protocol

from camber.server.failure import log_failure
from camber.server.websocket import WebSocketLimits

_TICK_SECONDS_MAX: Final = 0.1


class Beating(Protocol):
    """What a pulse needs of a socket."""

    def beat(self, now: float) -> None:
        """Its turn has come, once in `ping_seconds`. `now` is monotonic, in seconds."""

    def look_at_deadlines(self, now: float) -> None:
        """Called with every tick while it is hurried."""

    def cut(self) -> None: ...


class Pulse:
    """One timer for all sockets with the same limits. It runs while there are any."""

    def __init__(self, limits: WebSocketLimits) -> None:
        shortest = min(
            limits.ping_seconds, limits.silence_seconds, limits.write_seconds, limits.close_seconds
        )
        self.tick_seconds = min(_TICK_SECONDS_MAX, shortest / 4)
        turns = math.ceil(limits.ping_seconds / self.tick_seconds)
        self._turns: list[set[Beating]] = [set() for _ in range(turns)]
        self._turn = 0
        # Where the next newcomer goes.
        self._newest = 0
        self._hurried: set[Beating] = set()
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def join(self, socket: Beating) -> int:
        """Let `socket` beat. Returns the number of its turn, for `leave`."""
        self._newest = (self._newest + 1) % len(self._turns)
        self._turns[self._newest].add(socket)
        self._count += 1
        if self._timer is None:
            self._wait(asyncio.get_running_loop())
        return self._newest

    def leave(self, socket: Beating, turn: int) -> None:
        self._turns[turn].remove(socket)
        self._hurried.discard(socket)
        self._count -= 1
        if not self._count and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hurry(self, socket: Beating) -> None:
        """Look at its deadlines with every tick, until `relax`."""
        self._hurried.add(socket)

    def relax(self, socket: Beating) -> None:
        self._hurried.discard(socket)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self.tick_seconds, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wait(loop)
        now = loop.time()
        self._turn = (self._turn + 1) % len(self._turns)
        for socket in list(self._turns[self._turn]):
            try:
                socket.beat(now)
            except Exception as error:
                log_failure("a WebSocket's turn", error)
                socket.cut()
        for socket in list(self._hurried):
            try:
                socket.look_at_deadlines(now)
            except Exception as error:
                log_failure("a WebSocket's deadline", error)
                socket.cut()
