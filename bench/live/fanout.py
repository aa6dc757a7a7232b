"""One write reaches 1,000 subscribers of one query; a FastAPI broadcast does the same.

Camber and the peer insert a message durably, read the newest ten, and send the same bytes to
everybody. A write is sent when everybody has the one before. The sides take turns, a block of
writes each, and the medians of the blocks are compared.
"""

from collections.abc import Callable
from itertools import count
from time import perf_counter
from typing import Final, TypeAlias

from bench.live import messages
from bench.live.frames import TEXT, client_frame
from bench.live.order import CpuClock, Order, Target, is_over
from bench.live.outcome import Figure, Latencies, Outcome, Row
from bench.live.pool import LoadError, Meter, Pool, WebSocketClient
from bench.live.writer import ready_writer

SUBSCRIBERS: Final = 1_000
AUTHOR: Final = "fanout"
NEWEST: Final = 10
PEER_RATIO_MAX: Final = 2.0

_BLOCK: Final = 10
_PAUSE_S: Final = 0.02
_REACH_MAX: Final = 20.0
# Handshakes under way at a time, so that no backlog overflows.
_OPENING_MAX: Final = 100
# How far the messages of two sides may differ in length: times are not all of one length.
_SIZE_TOLERANCE: Final = 0.03

Send: TypeAlias = Callable[[str], None]
"""Sends a write of this body."""


class Audience:
    """The subscribers of one server: counts who has got what was written."""

    def __init__(self, pool: Pool, port: int, path: str, greeting: bytes, size: int) -> None:
        """Connect them all, and wait for what each gets first."""
        self.size = size
        self.reached = 0
        self.message_bytes = 0
        # Found in whatever comes first.
        self._marker = b""
        self._sent_at = 0.0
        self._latencies: list[float] = []
        for opened in range(size):
            WebSocketClient(pool, port, path, greeting, self._receive)
            self._wait_ready(pool, opened + 1 - _OPENING_MAX)
        self._wait_ready(pool, size)

    def _wait_ready(self, pool: Pool, number: int) -> None:
        pool.run(lambda: self.reached >= number, seconds=_REACH_MAX, what="subscriptions")

    def expect(self, marker: str, latencies: list[float]) -> None:
        """Count from now on who gets `marker`, and how long after now."""
        self.reached = 0
        self._marker = marker.encode()
        self._latencies = latencies
        self._sent_at = perf_counter()

    def _receive(self, message: bytes, now: float) -> None:
        if self._marker in message:
            self.reached += 1
            self._latencies.append(now - self._sent_at)
            self.message_bytes = len(message)


class Side:
    """One way to reach an audience, and what it took."""

    def __init__(self, target: Target, audience: Audience, send: Send) -> None:
        self.audience = audience
        self.latencies = Latencies()
        self.meter = Meter()
        self._target = target
        self._send = send
        self._cpu = CpuClock()

    def play_block(self, pool: Pool, numbers: "count[int]") -> None:
        block = self.latencies.begin_block()
        with self._cpu.watching(self._target):
            for _ in range(_BLOCK):
                pool.rest(_PAUSE_S)
                self.write(pool, next(numbers), block)

    def write(self, pool: Pool, number: int, latencies: list[float]) -> None:
        """Write, and wait until everybody has it."""
        marker, audience = f"#{number:08d}#", self.audience
        self.meter.start()
        audience.expect(marker, latencies)
        self._send(f"{marker} and something more to read, sixty bytes in all")
        pool.run(
            lambda: audience.reached == audience.size,
            seconds=_REACH_MAX,
            what=f"{marker} at {audience.size} subscribers",
        )
        self.meter.stop()

    def row(self) -> Row:
        return {
            "p50 ms": self.latencies.quantile_ms(0.5),
            "p99 ms": self.latencies.quantile_ms(0.99),
            "max ms": self.latencies.max_ms,
            "cpu µs/receipt": self._cpu.seconds / len(self.latencies) * 1e6,
            "writes": len(self.latencies) / self.audience.size,
            "bytes": self.audience.message_bytes,
            "load busy %": self.meter.busy * 100,
        }


def play(order: Order) -> Outcome:
    pool = Pool()
    size = order.clients(SUBSCRIBERS)
    camber = _camber(pool, order, size)
    sides = {"camber": camber, **_others(pool, order, size, camber.audience)}
    numbers = count()
    for side in sides.values():
        # Until every message has its full length.
        for _ in range(NEWEST):
            side.write(pool, next(numbers), [])
    begin = perf_counter()
    while not is_over(begin, order.seconds * len(sides)):
        for side in sides.values():
            side.play_block(pool, numbers)
    pool.close()
    _check_sizes(sides)
    return _outcome(size, {name: side.row() for name, side in sides.items()})


def _camber(pool: Pool, order: Order, size: int) -> Side:
    greeting = messages.connect() + messages.subscribe("live:newest", author=AUTHOR, count=NEWEST)
    port = order.camber.port
    audience = Audience(pool, port, messages.SYNC_PATH, greeting, size)
    writer = ready_writer(pool, port)

    def send(body: str) -> None:
        pool.run(lambda: not writer.is_waiting, seconds=_REACH_MAX, what="the write before")
        writer.mutate("sendMessage", author=AUTHOR, body=body)

    return Side(order.camber, audience, send)


def _others(pool: Pool, order: Order, size: int, full: Audience) -> dict[str, Side]:
    """The peer, writing and only broadcasting, and a broadcast by bare sockets."""
    peer = order.targets["peer"]
    audience = Audience(pool, peer.port, "/live", b"", size)
    writer = WebSocketClient(pool, peer.port, "/write", b"", _ignore)
    floor = order.targets["floor"]
    floor_audience = Audience(pool, floor.port, "/live", b"", size)
    floor_writer = WebSocketClient(pool, floor.port, "/write", b"", _ignore)

    def write(body: str) -> None:
        writer.send(client_frame(TEXT, f"write {body}".encode()))

    def broadcast(body: str) -> None:
        writer.send(client_frame(TEXT, f"broadcast {body}".encode()))

    def send_bare(body: str) -> None:
        # As long as Camber's messages are.
        floor_writer.send(client_frame(TEXT, body.encode().ljust(full.message_bytes)))

    return {
        "peer: insert and broadcast": Side(peer, audience, write),
        "peer: broadcast only": Side(peer, audience, broadcast),
        "floor: bare sockets, broadcast only": Side(floor, floor_audience, send_bare),
    }


def _ignore(_message: bytes, _now: float) -> None:
    pass


def _check_sizes(sides: dict[str, Side]) -> None:
    sizes = {name: side.audience.message_bytes for name, side in sides.items()}
    if max(sizes.values()) > min(sizes.values()) * (1 + _SIZE_TOLERANCE):
        raise LoadError(f"the sides send messages of different sizes: {sizes}")


def _outcome(size: int, rows: dict[str, Row]) -> Outcome:
    ours, write, broadcast, floor = (row["p99 ms"] for row in rows.values())
    return Outcome(
        title=f"fanout: one write to {size:,} subscribers of one query",
        rows=rows,
        figures=[Figure("p99 over the peer's, both inserting", ours / write, PEER_RATIO_MAX)],
        # Of the floor the load client may be the limit: it is there to show where that is.
        busy=max(row["load busy %"] for row in list(rows.values())[:-1]) / 100,
        remarks=[
            f"p99 over the peer's broadcast without an insert: {ours / broadcast:.2f}",
            f"p99 over a broadcast by bare sockets: {ours / floor:.2f}",
        ],
    )
