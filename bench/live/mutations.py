"""The same insert by 64 clients over WebSockets, by an HTTP endpoint, and over the function API.

Each client sends its next mutation when the one before is over: over a WebSocket at the
transition after the response, over HTTP at the answer. The three take turns in blocks.
"""

from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter
from typing import Final, Protocol, TypeAlias

from bench.jobs import post
from bench.live.order import CpuClock, Order, Target, is_over
from bench.live.outcome import Figure, Latencies, Outcome, Row
from bench.live.pool import HttpClient, Meter, Pool
from bench.live.writer import Writer

CLIENTS: Final = 64
RATIO_MIN: Final = 0.9

_BLOCK_MAX_S: Final = 1.0
_PAUSE_S: Final = 0.1
_WAIT_MAX: Final = 30.0
_AUTHOR: Final = "mutations"
_BODY: Final = "Hello from one of many clients"

Done: TypeAlias = Callable[[float], None]
"""Told when a mutation was over."""


class Sender(Protocol):
    """One client."""

    sent_at: float

    @property
    def is_ready(self) -> bool: ...

    def send(self) -> None: ...


class SocketSender:
    """A client of the sync protocol."""

    def __init__(self, pool: Pool, target: Target, done: Done) -> None:
        self.sent_at = 0.0
        self._writer = Writer(pool, target.port, lambda _message, now: done(now))

    @property
    def is_ready(self) -> bool:
        return self._writer.is_ready

    def send(self) -> None:
        self._writer.mutate("sendMessage", author=_AUTHOR, body=_BODY)
        self.sent_at = self._writer.sent_at


class HttpSender:
    """A keep-alive connection that sends one request again and again."""

    def __init__(self, pool: Pool, port: int, request: bytes, done: Done) -> None:
        self.is_ready = False
        self.sent_at = 0.0
        self._request = request
        self._client = HttpClient(pool, port, self._open, lambda _answer, now: done(now))

    def _open(self) -> None:
        self.is_ready = True

    def send(self) -> None:
        self.sent_at = perf_counter()
        self._client.send(self._request)


class Way:
    """All clients of one kind: in a closed loop while a block lasts."""

    def __init__(self, target: Target, clients: int, make: Callable[[Done], Sender]) -> None:
        self.latencies = Latencies()
        self.meter = Meter()
        self.cpu = CpuClock()
        self.rates: list[float] = []
        self._target = target
        self._block: list[float] = []
        self._ends_at = 0.0
        self._in_time = 0
        self._under_way = 0
        self._senders = [make(partial(self._finish, number)) for number in range(clients)]

    @property
    def is_ready(self) -> bool:
        return all(sender.is_ready for sender in self._senders)

    def play_block(self, pool: Pool, seconds: float) -> None:
        self._block, self._in_time = self.latencies.begin_block(), 0
        with self.cpu.watching(self._target):
            self.meter.start()
            self._ends_at = perf_counter() + seconds
            self._under_way = len(self._senders)
            for sender in self._senders:
                sender.send()
            pool.run(lambda: not self._under_way, seconds=_WAIT_MAX, what="the last answers")
            self.meter.stop()
        self.rates.append(self._in_time / seconds)

    def _finish(self, number: int, now: float) -> None:
        sender = self._senders[number]
        self._block.append(now - sender.sent_at)
        if now < self._ends_at:
            self._in_time += 1
            sender.send()
        else:
            self._under_way -= 1

    def row(self) -> Row:
        return {
            "mutations/s": median(self.rates),
            "p50 ms": self.latencies.quantile_ms(0.5),
            "p99 ms": self.latencies.quantile_ms(0.99),
            "max ms": self.latencies.max_ms,
            "cpu µs": self.cpu.seconds / len(self.latencies) * 1e6,
            "load busy %": self.meter.busy * 100,
        }


def play(order: Order) -> Outcome:
    pool = Pool()
    clients = order.clients(CLIENTS)
    ways = _ways(pool, order.camber, clients)
    pool.run(
        lambda: all(way.is_ready for way in ways.values()),
        seconds=_WAIT_MAX,
        what="all connections",
    )
    begin = perf_counter()
    while not is_over(begin, order.seconds * len(ways)):
        for way in ways.values():
            pool.rest(_PAUSE_S)
            way.play_block(pool, min(_BLOCK_MAX_S, order.seconds / 2))
    pool.close()
    return _outcome(clients, {name: way.row() for name, way in ways.items()})


def _ways(pool: Pool, target: Target, clients: int) -> dict[str, Way]:
    endpoint = post("/postMessage", {"author": _AUTHOR, "body": _BODY})
    args = {"author": _AUTHOR, "body": f"Sent via HTTP endpoint: {_BODY}"}
    call = post("/api/mutation", {"path": "sendMessage", "args": args, "format": "json"})
    return {
        "WebSocket": Way(target, clients, lambda done: SocketSender(pool, target, done)),
        "HTTP endpoint": Way(
            target, clients, lambda done: HttpSender(pool, target.site_port, endpoint, done)
        ),
        "function API": Way(
            target, clients, lambda done: HttpSender(pool, target.port, call, done)
        ),
    }


def _outcome(clients: int, rows: dict[str, Row]) -> Outcome:
    socket, endpoint, call = (row["mutations/s"] for row in rows.values())
    return Outcome(
        title=f"mutations: {clients} clients, each with one insert under way",
        rows=rows,
        figures=[Figure("rate over that of the HTTP endpoint", socket / endpoint, RATIO_MIN, True)],
        busy=max(row["load busy %"] for row in rows.values()) / 100,
        remarks=[f"rate over that of the function API: {socket / call:.2f}"],
    )
