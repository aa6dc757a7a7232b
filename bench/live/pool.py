"""Thousands of client connections on one thread: raw sockets, one epoll, nothing in between.

A receipt costs some 5 µs, most of it the system call, so that the server is what is measured.
`Pool.run` turns the loop until something has happened, `Pool.rest` for a while. Pings are answered.
"""

import select
import socket
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from time import perf_counter, process_time
from typing import Final, TypeAlias

from bench.jobs import HOST
from bench.live.frames import CLOSE, PING, PONG, TEXT, client_frame, next_frame
from bench.load import response_length

# Not in the socket module of Python 3.11: the kernel chooses the port when it knows the peer.
_IP_BIND_ADDRESS_NO_PORT: Final = 24
_HEAD_END: Final = b"\r\n\r\n"
_READ: Final = select.EPOLLIN
_CONNECT: Final = select.EPOLLOUT
_PAUSE_MAX: Final = 0.25


class LoadError(Exception):
    """What was waited for did not come, or something else did."""


class Pool:
    """All connections of a load client, and its clock."""

    def __init__(self, receive_bytes: int = 1 << 14) -> None:
        self.receive_bytes = receive_bytes
        self.failures: list[str] = []
        """Why connections ended that nobody meant to end."""
        self._epoll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def run(self, is_done: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Turn the loop until `is_done`.

        Raises:
            LoadError: it is not after `seconds`.
        """
        deadline = perf_counter() + seconds
        while not is_done():
            if perf_counter() > deadline:
                reasons = f"; failures: {self.failures[:3]}" if self.failures else ""
                raise LoadError(f"{what}: not in {seconds} s{reasons}")
            self._turn(_PAUSE_MAX)

    def rest(self, seconds: float) -> None:
        """Turn the loop for `seconds`."""
        deadline = perf_counter() + seconds
        while (left := deadline - perf_counter()) > 0:
            self._turn(left)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do `action` in `seconds`, if the loop turns then."""
        heappush(self._timers, (perf_counter() + seconds, next(self._order), action))

    def close(self) -> None:
        """End all connections."""
        for client in list(self._clients.values()):
            client.close()
        self._timers.clear()

    def _turn(self, pause: float) -> None:
        if self._timers:
            pause = max(0.0, min(pause, self._timers[0][0] - perf_counter()))
        clients = self._clients
        for number, events in self._epoll.poll(pause):
            # An earlier one of the batch may have closed it.
            client = clients.get(number)
            if client is None:
                continue
            if events & _CONNECT:
                client.connected()
            else:
                client.readable()
        while self._timers and self._timers[0][0] <= perf_counter():
            heappop(self._timers)[2]()

    def add(self, client: "Client") -> None:
        self._clients[client.number] = client
        self._epoll.register(client.number, _CONNECT)

    def begin_reading(self, client: "Client") -> None:
        self._epoll.modify(client.number, _READ)

    def stop_reading(self, client: "Client") -> None:
        self._epoll.unregister(client.number)

    def remove(self, client: "Client") -> None:
        self._clients.pop(client.number, None)


class Client:
    """One connection: sends bytes, and hands over what comes by `feed`."""

    def __init__(self, pool: Pool, port: int, *, source: str = HOST, buffer: int = 0) -> None:
        """Begin to connect.

        Args:
            source: the address to come from.
            buffer: the size of the receive buffer in bytes; 0 leaves it to the kernel.
        """
        self._pool = pool
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if source != HOST:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            self._socket.bind((source, 0))
        self._receive = self._socket.recv
        self._rest = b""
        self.number = self._socket.fileno()
        self._socket.connect_ex((HOST, port))
        pool.add(self)

    def connected(self) -> None:
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.fail(f"connect: error {error}")
            return
        self._pool.begin_reading(self)
        self.begin()

    def readable(self) -> None:
        try:
            received = self._receive(self._pool.receive_bytes)
        except BlockingIOError:
            return
        except OSError as error:
            self.fail(f"receive: {error}")
            return
        if not received:
            self.fail("closed by the server")
            return
        now = perf_counter()
        self._rest = self.feed(self._rest + received if self._rest else received, now)

    def send(self, data: bytes) -> None:
        """Send a few bytes, which a connection that is read always takes.

        Raises:
            LoadError: it does not.
        """
        try:
            sent = self._socket.send(data)
        except OSError as error:
            self.fail(f"send: {error}")
            return
        if sent != len(data):
            raise LoadError(f"the server takes no more than {sent} bytes")

    def stop_reading(self) -> None:
        """Never read again, but stay connected."""
        self._pool.stop_reading(self)

    def close(self) -> None:
        self._pool.remove(self)
        self._socket.close()

    def fail(self, reason: str) -> None:
        self._pool.failures.append(reason)
        self.close()

    def begin(self) -> None:
        """It is connected."""
        raise AssertionError("a subclass says what to do first")

    def feed(self, received: bytes, now: float) -> bytes:
        """Take what is whole in `received`, and return the rest."""
        raise AssertionError("a subclass reads")


Receive: TypeAlias = Callable[[bytes, float], None]
"""Told of a message, and when it came."""


class WebSocketClient(Client):
    """A WebSocket that sends `greeting` (frames) as soon as it is open."""

    def __init__(
        self,
        pool: Pool,
        port: int,
        path: str,
        greeting: bytes,
        on_message: Receive,
        *,
        source: str = HOST,
        buffer: int = 0,
    ) -> None:
        super().__init__(pool, port, source=source, buffer=buffer)
        self._path = path
        self._greeting = greeting
        self._is_open = False
        self.on_message = on_message

    def begin(self) -> None:
        self.send(
            f"GET {self._path} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )

    def feed(self, received: bytes, now: float) -> bytes:
        at = 0
        if not self._is_open:
            head_end = received.find(_HEAD_END)
            if head_end < 0:
                return received
            if received[9:12] != b"101":
                self.fail(f"no handshake: {received[:300]!r}")
                return b""
            at = head_end + len(_HEAD_END)
            self._is_open = True
            if self._greeting:
                self.send(self._greeting)
        while (frame := next_frame(received, at)) is not None:
            opcode, begin, at = frame
            if opcode == TEXT:
                self.on_message(received[begin:at], now)
            elif opcode == PING:
                self.send(client_frame(PONG, received[begin:at]))
            elif opcode == CLOSE:
                self.fail(f"closed by the server: {received[begin:at]!r}")
                return b""
        return received[at:]


class HttpClient(Client):
    """A keep-alive HTTP connection."""

    def __init__(self, pool: Pool, port: int, on_open: Callable[[], None], on_answer: Receive):
        super().__init__(pool, port)
        self._on_open = on_open
        self._on_answer = on_answer

    def begin(self) -> None:
        self._on_open()

    def feed(self, received: bytes, now: float) -> bytes:
        length = response_length(received)
        if not length:
            return received
        if received[9:12] != b"200":
            self.fail(f"refused: {received[:300]!r}")
            return b""
        self._on_answer(received[:length], now)
        return received[length:]


class Meter:
    """What share of its core this process uses while it is on."""

    def __init__(self) -> None:
        self._cpu = self._wall = 0.0
        self._since = (0.0, 0.0)

    def start(self) -> None:
        self._since = process_time(), perf_counter()

    def stop(self) -> None:
        self._cpu += process_time() - self._since[0]
        self._wall += perf_counter() - self._since[1]

    @property
    def busy(self) -> float:
        """0 to 1."""
        return self._cpu / self._wall if self._wall else 0.0
