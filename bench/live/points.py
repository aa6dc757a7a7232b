"""A write to one of 1,000 documents, each of which one client watches: only that one is told.

The query tells when it ran. Were it run again for a document that nobody wrote, its result would
be another one, and the client would be told: what all clients receive counts the executions.
"""

from time import perf_counter
from typing import Final

from bench.live import messages
from bench.live.order import CpuClock, Order, is_over
from bench.live.outcome import Figure, Outcome, quantile
from bench.live.pool import LoadError, Meter, Pool, WebSocketClient
from bench.live.writer import ready_writer

POINTS: Final = 1_000
MEDIAN_MAX_MS: Final = 3.0

_PAUSE_S: Final = 0.01
_ANSWER_MAX: Final = 20.0
_OPENING_MAX: Final = 100
# Coprime to the number of points: neighbours in time are not neighbours in the index.
_STRIDE: Final = 617


class Watch:
    """A client that watches one document."""

    def __init__(self, pool: Pool, port: int, name: str) -> None:
        self.name = name
        self.updates = 0
        self.messages = 0
        self.updated_at = 0.0
        query = messages.subscribe("live:counter_and_clock", name=name)
        WebSocketClient(pool, port, messages.SYNC_PATH, messages.connect() + query, self._receive)

    def _receive(self, message: bytes, now: float) -> None:
        if messages.FAILED in message:
            raise LoadError(f"a query failed: {message[:500]!r}")
        if messages.is_transition(message):
            self.messages += 1
            if messages.UPDATED in message:
                self.updates += 1
                self.updated_at = now


def play(order: Order) -> Outcome:
    pool, target = Pool(), order.camber
    size = order.clients(POINTS)
    target.mutate("live:make_counters", prefix="point", count=size)
    watches = _watch_all(pool, target.port, size)
    writer = ready_writer(pool, target.port)
    latencies: list[float] = []
    meter, cpu = Meter(), CpuClock()
    begin = perf_counter()
    with cpu.watching(target):
        meter.start()
        while not is_over(begin, order.seconds):
            watch = watches[len(latencies) * _STRIDE % size]
            pool.rest(_PAUSE_S)
            seen = watch.updates
            writer.mutate("counters:increment", name=watch.name)
            pool.run(
                lambda: watch.updates > seen and not writer.is_waiting,  # noqa: B023
                seconds=_ANSWER_MAX,
                what=f"an update of {watch.name}",
            )
            latencies.append(watch.updated_at - writer.sent_at)
        meter.stop()
    # Whoever else was told something has heard it by then.
    pool.rest(0.2)
    pool.close()
    writes = len(latencies)
    # Every client was told once what there was when it came.
    executions = sum(watch.updates - 1 for watch in watches)
    told = sum(watch.messages - 1 for watch in watches)
    return Outcome(
        title=f"points: {size:,} clients, each with a document of its own, one of which is written",
        rows={
            "camber": {
                "p50 ms": quantile(latencies, 0.5) * 1e3,
                "p99 ms": quantile(latencies, 0.99) * 1e3,
                "max ms": max(latencies) * 1e3,
                "cpu µs/write": cpu.seconds / writes * 1e6,
                "writes": writes,
                "executions": executions,
                "messages": told,
            }
        },
        figures=[
            Figure("queries run for each write", executions / writes, 1.0),
            Figure(
                "median from sent to received, ms", quantile(latencies, 0.5) * 1e3, MEDIAN_MAX_MS
            ),
        ],
        busy=meter.busy,
    )


def _watch_all(pool: Pool, port: int, size: int) -> list[Watch]:
    watches: list[Watch] = []

    def ready() -> int:
        return sum(watch.updates > 0 for watch in watches)

    for number in range(size):
        watches.append(Watch(pool, port, f"point {number}"))
        if number % _OPENING_MAX == 0:
            pool.run(lambda: ready() == len(watches), seconds=_ANSWER_MAX, what="first results")
    pool.run(lambda: ready() == size, seconds=_ANSWER_MAX, what="first results")
    return watches
