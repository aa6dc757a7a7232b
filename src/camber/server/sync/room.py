"""The room of the sync protocol: `/api/sync` and `/api/<version>/sync`, and all sessions that are
open there.

Everybody may come in: who a client is, it says over the socket. Rust and Python clients use the
first path, npm the second, where the version says what the client understands.
"""

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

from camber.clock import Clock
from camber.errors import RequestError
from camber.functions.runner import Runner
from camber.server.exchange import Exchange
from camber.server.sync.socket import Authority, SyncSocket
from camber.server.sync.turns import Turns
from camber.server.sync.wire import takes_chunks
from camber.server.websocket import WebSocketLimits

LIMITS: Final = WebSocketLimits()
LOOK_SECONDS: Final = 1.0
"""How often the sessions look at the clock."""

_PATH: Final = re.compile(r"/api/(?:([^/]+)/)?sync")
_VERSION: Final = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]*)?")


@dataclass(frozen=True, slots=True)
class SyncStatistics:
    """What there is now, and `opened` since the start."""

    sessions: int
    in_line: int
    tasks: int
    opened: int


class SyncRoom:
    """The sync sessions of one deployment; among the rooms of `server.app.Server`.

    Args:
        redact: keep errors and log lines from clients, as in production.
    """

    def __init__(
        self,
        runner: Runner,
        authority: Authority,
        clock: Clock,
        *,
        redact: bool,
        limits: WebSocketLimits = LIMITS,
    ) -> None:
        self.runner = runner
        self.authority = authority
        self.clock = clock
        self.redact = redact
        self.turns = Turns(clock.monotonic)
        self._limits = limits
        self._sockets: set[SyncSocket] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        # Runs while there are sockets.
        self._timer: asyncio.TimerHandle | None = None
        self._opened = 0

    # ---- what the server asks for (app.Routes) ----

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods that `path` takes; empty when it is not one of ours."""
        return ("GET",) if _PATH.fullmatch(path) else ()

    async def serve(self, exchange: Exchange, headers: list[tuple[str, str]]) -> None:
        """Let a client in.

        Raises:
            RequestError: 400: this is no handshake of a WebSocket, or the version is none.
        """
        match = _PATH.fullmatch(exchange.path)
        assert match is not None, "the path is one of ours"
        version = match[1]
        if version is not None and not _VERSION.fullmatch(version):
            raise RequestError(
                400, "InvalidClientVersion", f"{version!r} is not a version such as 1.2.3."
            )
        socket = SyncSocket(self, takes_chunks=takes_chunks(version))
        opened = exchange.open_websocket(socket, self._limits)
        if opened is not None:
            await opened

    # ---- what sockets ask for (socket.House) ----

    def entered(self, socket: SyncSocket) -> None:
        self._opened += 1
        self._sockets.add(socket)
        if self._timer is None:
            self._look(asyncio.get_running_loop())

    def left(self, socket: SyncSocket) -> None:
        self._sockets.discard(socket)

    def own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = self.clock.monotonic()
        for socket in list(self._sockets):
            socket.look_at_clock(now)
        self._timer = loop.call_later(LOOK_SECONDS, self._look, loop) if self._sockets else None

    # ---- the whole ----

    def statistics(self) -> SyncStatistics:
        return SyncStatistics(len(self._sockets), len(self.turns), len(self._tasks), self._opened)

    async def close(self) -> None:
        """Say goodbye to everybody. What runs for them is ended; a mutation under way commits or
        does not, and its receipt knows."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for socket in list(self._sockets):
            socket.leave()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
