"""A listening port: connections in, exchanges for an application out.

Its one timer, the sweep, looks at every connection's deadlines, so that no request pays for a
timer of its own.
"""

import asyncio
import errno
import socket
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from camber.errors import ConfigError
from camber.server.connection import Connection
from camber.server.exchange import Application
from camber.server.failure import log_failure
from camber.server.limits import Limits
from camber.server.pulse import Pulse
from camber.server.request_head import REMEMBERED_BYTES
from camber.server.socket_websocket import SocketWebSocket
from camber.server.websocket import WebSocketLimits

__all__ = ["Limits", "Listener", "ListenerStatistics", "listen"]

_BACKLOG: Final = 2048
# The code that WebSockets are closed with.
_GOING_AWAY: Final = 1001


@dataclass(frozen=True, slots=True)
class ListenerStatistics:
    """What a listener can say of itself. Counts since it opened, but for what is open now;
    WebSockets are counted among the connections, too."""

    name: str
    port: int
    connections_open: int
    websockets_open: int
    connections_accepted: int
    requests: int
    refused: int
    timeouts: int
    tasks: int


async def listen(
    application: Application,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    name: str = "api",
    limits: Limits | None = None,
) -> "Listener":
    """Open a port and serve `application` on it until the listener is closed.

    Args:
        application: answers the exchanges; several listeners may share it.
        host: the address to bind; only this machine reaches the default.
        port: 0 lets the system choose; see `Listener.number`.
        name: what `Exchange.port_name` says.
        limits: None means the defaults.

    Raises:
        ConfigError: the port is taken, or the address cannot be bound.
    """
    listener = Listener(application, name=name, limits=limits or Limits())
    await listener.open(host, port)
    return listener


class Listener:
    """One listening port. Made by `listen`."""

    def __init__(self, application: Application, *, name: str, limits: Limits) -> None:
        self.application = application
        self.limits = limits
        self.name = name
        self.host = ""
        # The port's number, once open.
        self.number = 0
        self.date_line = b""
        self.small_head_bytes = min(REMEMBERED_BYTES, limits.target_bytes, limits.header_bytes)
        self._set_deadlines(0.0)
        self.requests = 0
        self.refused = 0
        self.timeouts = 0
        self._accepted = 0
        self._server: asyncio.Server | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._connections: set[Connection] = set()
        self._websockets: set[SocketWebSocket] = set()
        self._pulses: dict[WebSocketLimits, Pulse] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Set whenever the last connection, WebSocket or task is gone.
        self._is_quiet = asyncio.Event()
        self._is_quiet.set()

    async def open(self, host: str, port: int) -> None:
        """Bind and listen. Raises ConfigError as `listen`."""
        loop = asyncio.get_running_loop()
        try:
            bound = await _bind(host, port)
        except OSError as error:
            raise _explain(error, host, port) from error
        self._server = await loop.create_server(
            lambda: Connection(self, loop), sock=bound, backlog=_BACKLOG
        )
        self._sweep(loop)
        self.host, self.number = self._server.sockets[0].getsockname()[:2]

    def stop_accepting(self) -> None:
        """Close the port. Open connections live on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self, *, grace_seconds: float = 5.0) -> None:
        """Stop accepting, let requests under way finish, close WebSockets with 1001, and cut
        what is left after `grace_seconds`. Safe to call twice."""
        self.stop_accepting()
        for connection in list(self._connections):
            connection.close_soon()
        for websocket in list(self._websockets):
            websocket.close(_GOING_AWAY)
        await self._wait_quiet(grace_seconds)
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._connections):
            connection.cut()
        for websocket in list(self._websockets):
            websocket.cut()
        await self._wait_quiet(1.0)
        self._stop_sweeping()

    def statistics(self) -> ListenerStatistics:
        return ListenerStatistics(
            name=self.name,
            port=self.number,
            connections_open=len(self._connections) + len(self._websockets),
            websockets_open=len(self._websockets),
            connections_accepted=self._accepted,
            requests=self.requests,
            refused=self.refused,
            timeouts=self.timeouts,
            tasks=len(self._tasks),
        )

    # ---- what connections ask for (connection.Port) ----

    def opened(self, connection: Connection) -> bool:
        self._accepted += 1
        self._connections.add(connection)
        self._is_quiet.clear()
        return len(self._connections) + len(self._websockets) <= self.limits.connections

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._note_quiet()

    def socket_opened(self, socket: SocketWebSocket) -> None:
        self._websockets.add(socket)

    def socket_closed(self, socket: SocketWebSocket) -> None:
        self._websockets.discard(socket)
        self._note_quiet()

    def pulse(self, limits: WebSocketLimits) -> Pulse:
        pulse = self._pulses.get(limits)
        if pulse is None:
            pulse = self._pulses[limits] = Pulse(limits)
        return pulse

    def own(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        self._is_quiet.clear()
        task.add_done_callback(self._disown)

    def _disown(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._note_quiet()

    def _note_quiet(self) -> None:
        if not self._connections and not self._websockets and not self._tasks:
            self._is_quiet.set()

    async def _wait_quiet(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._is_quiet.wait(), seconds)
        except TimeoutError:
            pass

    # ---- the sweep ----

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._set_deadlines(now)
        self._tell_date()
        for connection in list(self._connections):
            try:
                connection.look_at_deadlines(now)
            except Exception as error:
                log_failure("a connection's deadline", error)
                connection.cut()
        self._sweep_timer = loop.call_later(self.limits.sweep_seconds, self._sweep, loop)

    def _set_deadlines(self, now: float) -> None:
        # They are used until the next sweep; adding its interval keeps them from being early.
        limits = self.limits
        now += limits.sweep_seconds
        self.header_deadline = now + limits.header_seconds
        self.body_deadline = now + limits.body_seconds
        self.idle_deadline = now + limits.idle_seconds
        self.write_deadline = now + limits.write_seconds
        self.linger_deadline = now + limits.linger_seconds

    def _stop_sweeping(self) -> None:
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None

    def _tell_date(self) -> None:
        self.date_line = b"date: " + formatdate(usegmt=True).encode("ascii") + b"\r\n"


async def _bind(host: str, port: int) -> socket.socket:
    """A socket bound to the first address of `host`."""
    # Event loops differ in what they leave behind when binding fails, so it is done for them.
    if not 0 <= port <= 65535:
        raise ConfigError(f"{port} is not a port. Choose one from 0 to 65535.")
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    bound.setblocking(False)
    return bound


def _explain(error: OSError, host: str, port: int) -> ConfigError:
    if error.errno == errno.EADDRINUSE:
        text = (
            f"Port {port} on {host} is already in use. Stop the program that uses it, "
            "or choose another port with --port or --site-port."
        )
    elif error.errno == errno.EACCES:
        text = f"Port {port} needs more rights than this program has. Choose one above 1023."
    elif isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        text = f"{host} is not an address of this machine. Choose another, such as 127.0.0.1."
    else:
        text = f"Port {port} on {host} cannot be opened: {error}."
    return ConfigError(text)
