"""10,000 sockets, each with a live query: how they come, what they weigh, how a write reaches all.

In one job all have the same query; in the other each has one of its own, which a write of the one
document that all read makes run 10,000 times. The clients come from eight addresses.
"""

from time import perf_counter
from typing import Final

from bench.live import messages
from bench.live.order import CpuClock, Order
from bench.live.outcome import Figure, Latencies, Outcome
from bench.live.pool import LoadError, Meter, Pool, WebSocketClient
from bench.live.writer import ready_writer

SOCKETS: Final = 10_000
SOURCES: Final = tuple(f"127.0.0.{last}" for last in range(2, 10))
STORM_MAX_S: Final = 20.0
RESIDENT_MAX_KB: Final = 60.0
REACH_MAX_MS: Final = 2_000.0

# Handshakes under way at a time.
_OPENING_MAX: Final = 1_000
_COUNTER: Final = "crowd"
_SETTLE_S: Final = 1.0
_WAIT_MAX: Final = 60.0
_WRITES_MIN: Final = 3


class Crowd:
    """All sockets, and which of them has seen what."""

    def __init__(self, pool: Pool, port: int) -> None:
        self.size = 0
        self.reached = 0
        self.latencies: list[float] = []
        self.sent_at = 0.0
        self._pool = pool
        self._port = port

    def open(self, size: int, *, alike: bool) -> None:
        for number in range(self.size, self.size + size):
            salt = 0 if alike else number
            query = messages.subscribe("live:counter", name=_COUNTER, salt=salt)
            WebSocketClient(
                self._pool,
                self._port,
                messages.SYNC_PATH,
                messages.connect() + query,
                self._receive,
                source=SOURCES[number % len(SOURCES)],
            )
            self._wait(number + 1 - _OPENING_MAX)
        self.size += size
        self._wait(self.size)

    def _wait(self, number: int) -> None:
        self._pool.run(
            lambda: self.reached + len(self._pool.failures) >= number,
            seconds=_WAIT_MAX,
            what=f"{number} sockets with a result",
        )

    def expect(self, latencies: list[float]) -> None:
        """Count from now on who is told of a change, and how long after now."""
        self.reached = 0
        self.latencies = latencies
        self.sent_at = perf_counter()

    def wait_reached(self) -> None:
        self._wait(self.size)

    def _receive(self, message: bytes, now: float) -> None:
        if messages.UPDATED in message:
            self.reached += 1
            self.latencies.append(now - self.sent_at)
        elif messages.FAILED in message:
            raise LoadError(f"a query failed: {message[:500]!r}")


def play_alike(order: Order) -> Outcome:
    return _play(order, alike=True)


def play_distinct(order: Order) -> Outcome:
    return _play(order, alike=False)


def _play(order: Order, *, alike: bool) -> Outcome:
    pool, target = Pool(), order.camber
    size = order.clients(SOCKETS)
    target.mutate("counters:increment", name=_COUNTER)
    writer = ready_writer(pool, target.port)
    crowd = Crowd(pool, target.port)
    # What the first connection makes the server load is not a socket's weight.
    crowd.open(size=2, alike=alike)
    before = target.resident_bytes()
    storm = CpuClock()
    begin = perf_counter()
    with storm.watching(target):
        crowd.open(size, alike=alike)
    storm_seconds = perf_counter() - begin
    settle_s = min(_SETTLE_S, order.seconds)
    pool.rest(settle_s)
    resident_kb = (target.resident_bytes() - before) / size / 1000
    latencies, meter, cpu = Latencies(), Meter(), CpuClock()
    begin = perf_counter()
    writes = 0
    with cpu.watching(target):
        while writes < _WRITES_MIN or perf_counter() - begin < order.seconds:
            pool.run(lambda: not writer.is_waiting, seconds=_WAIT_MAX, what="the write before")
            meter.start()
            crowd.expect(latencies.begin_block())
            writer.mutate("counters:increment", name=_COUNTER)
            crowd.wait_reached()
            meter.stop()
            writes += 1
            pool.rest(settle_s / 4)
    errors = len(pool.failures)
    pool.close()
    return Outcome(
        title=f"{order.job}: {size:,} sockets with "
        + ("the same query" if alike else "a query of its own each"),
        rows={
            "camber": {
                "storm s": storm_seconds,
                "cpu µs/socket": storm.seconds / size * 1e6,
                "kB/socket": resident_kb,
                "reach p50 ms": latencies.quantile_ms(0.5),
                "reach p99 ms": latencies.quantile_ms(0.99),
                "max ms": latencies.max_ms,
                "cpu µs/receipt": cpu.seconds / max(len(latencies), 1) * 1e6,
                "writes": writes,
                "errors": errors,
                "load busy %": meter.busy * 100,
            }
        },
        figures=[
            Figure("errors", errors, 0),
            Figure("until all have a first result, s", storm_seconds, STORM_MAX_S),
            Figure("server memory for each socket, kB", resident_kb, RESIDENT_MAX_KB),
            Figure("a write reaches all, p99, ms", latencies.quantile_ms(0.99), REACH_MAX_MS),
        ],
        busy=meter.busy,
        remarks=[f"first: {reason}" for reason in pool.failures[:1]],
    )
