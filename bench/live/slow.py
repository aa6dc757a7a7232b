"""500 clients stop reading a result of 60 kB that changes 20 times a second; 50 others work on.

The workers watch the same result and read it, and each calls a mutation ten times a second. Their
latency is measured without the slow clients and with them, in turns, from a second after the slow
ones stopped. Their own buffers are small: what they do not read is the server's to keep or to drop,
or it waits in the kernel, which is told too.
"""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Final

from bench.live import messages
from bench.live.order import CpuClock, Order, Target
from bench.live.outcome import Figure, Latencies, Outcome, Row
from bench.live.pool import Meter, Pool, WebSocketClient
from bench.live.writer import Writer, ready_writer

SLOW: Final = 500
WORKERS: Final = 50
P99_RATIO_MAX: Final = 2.0
BUFFERED_MAX_MB: Final = 8.0
"""For each slow client."""
LEFT_MAX_MB: Final = 25.0

_AUTHOR: Final = "slow"
_NEWEST: Final = 50
_BODY: Final = "x" * 950
_UPDATES_PER_S: Final = 20.0
_THINK_S: Final = 0.1
_BUFFER_BYTES: Final = 16 * 1024
_SAMPLE_S: Final = 0.05
_SETTLE_S: Final = 2.0
# Updates before anything is measured: how it is once clients have stopped, not how they stop.
_LEAD_IN_S: Final = 1.0
_WAIT_MAX: Final = 60.0
_TURNS: Final = 2


def _subscription() -> bytes:
    return messages.connect() + messages.subscribe("live:newest", author=_AUTHOR, count=_NEWEST)


class Worker:
    """Reads every update and calls mutations, with a pause after each."""

    def __init__(self, pool: Pool, port: int) -> None:
        self.updates = 0
        self.latencies: list[float] = []
        self._pool = pool
        self._is_working = False
        # What is left of an earlier turn comes to nothing.
        self._turn = 0
        WebSocketClient(pool, port, messages.SYNC_PATH, _subscription(), self._receive)
        self.writer = Writer(pool, port, self._finish)

    @property
    def is_ready(self) -> bool:
        return self.updates > 0 and self.writer.is_ready

    def begin(self, latencies: list[float], pause: float) -> None:
        """Work, beginning after `pause`, and note how long each mutation took."""
        self.latencies = latencies
        self._is_working = True
        self._mutate_after(pause)

    def stop(self) -> None:
        self._is_working = False
        self._turn += 1

    def _mutate_after(self, pause: float) -> None:
        self._pool.after(pause, partial(self._mutate, self._turn))

    def _mutate(self, turn: int) -> None:
        if turn == self._turn:
            self.writer.mutate("sendMessage", author="worker", body="a short one")

    def _finish(self, _message: bytes, now: float) -> None:
        self.latencies.append(now - self.writer.sent_at)
        if self._is_working:
            self._mutate_after(_THINK_S)

    def _receive(self, message: bytes, _now: float) -> None:
        if messages.UPDATED in message[:400]:
            self.updates += 1


class Updates:
    """The writer that changes what all watch, at a steady rate."""

    def __init__(self, pool: Pool, port: int) -> None:
        self._pool = pool
        self._writer = ready_writer(pool, port)
        self._turn = 0
        self._due_at = 0.0
        self.count = 0

    def begin(self) -> None:
        self._due_at = perf_counter()
        self._write(self._turn)

    def stop(self) -> None:
        self._turn += 1

    def _write(self, turn: int) -> None:
        if turn != self._turn:
            return
        # One that is late is left out: the rate is the most that there is.
        if not self._writer.is_waiting:
            self._writer.mutate("sendMessage", author=_AUTHOR, body=_BODY)
            self.count += 1
        self._due_at = max(self._due_at + 1 / _UPDATES_PER_S, perf_counter())
        self._pool.after(self._due_at - perf_counter(), partial(self._write, turn))


class PeakMemory:
    """The greatest that the server's memory was since this was made."""

    def __init__(self, pool: Pool, target: Target) -> None:
        self.bytes = 0
        self._pool = pool
        self._target = target
        self._is_on = True
        self._sample()

    def stop(self) -> None:
        self._is_on = False

    def _sample(self) -> None:
        if self._is_on:
            self.bytes = max(self.bytes, self._target.resident_bytes())
            self._pool.after(_SAMPLE_S, self._sample)


class Turns:
    """What was measured in the turns of one kind."""

    def __init__(self) -> None:
        self.latencies = Latencies()
        self.cpu = CpuClock()
        self.seconds = 0.0
        self.updates = 0
        # Of the server, above what it had when the turn began: at most, and once it was over.
        self.peak_bytes: list[int] = []
        self.left_bytes: list[int] = []
        # Unsent bytes that the kernel held for the server at the end.
        self.kernel_bytes = 0

    def row(self) -> Row:
        return {
            "p50 ms": self.latencies.quantile_ms(0.5),
            "p99 ms": self.latencies.quantile_ms(0.99),
            "max ms": self.latencies.max_ms,
            "mutations/s": len(self.latencies) / self.seconds,
            "updates/s": self.updates / self.seconds,
            "server cpu %": self.cpu.seconds / self.seconds * 100,
            "peak +MB": max(self.peak_bytes) / 1e6,
            "left +MB": max(self.left_bytes) / 1e6,
            "kernel MB": self.kernel_bytes / 1e6,
        }


class Stage:
    """The server with its workers."""

    def __init__(self, order: Order) -> None:
        self.pool = Pool(receive_bytes=1 << 17)
        self.meter = Meter()
        self._target = order.camber
        for _ in range(_NEWEST):
            self._target.mutate("sendMessage", author=_AUTHOR, body=_BODY)
        port = self._target.port
        self._workers = [Worker(self.pool, port) for _ in range(order.clients(WORKERS))]
        self._updates = Updates(self.pool, port)
        self._wait(lambda: all(worker.is_ready for worker in self._workers), "workers")

    def play(self, turns: Turns, *, slow: int, seconds: float) -> None:
        """One turn, with so many slow clients."""
        before = self._target.resident_bytes()
        peak = PeakMemory(self.pool, self._target)
        clients = self._open_slow(slow)
        self._work(turns, seconds)
        peak.stop()
        turns.kernel_bytes = max(turns.kernel_bytes, self._target.kernel_bytes())
        for client in clients:
            client.close()
        self.pool.rest(min(_SETTLE_S, seconds))
        turns.peak_bytes.append(peak.bytes - before)
        turns.left_bytes.append(self._target.resident_bytes() - before)

    def _work(self, turns: Turns, seconds: float) -> None:
        """Let the workers and the updates run."""
        block = turns.latencies.begin_block()
        self._updates.begin()
        self.pool.rest(min(_LEAD_IN_S, seconds))
        writes = self._updates.count
        self.meter.start()
        for number, worker in enumerate(self._workers):
            worker.begin(block, _THINK_S * number / len(self._workers))
        with turns.cpu.watching(self._target):
            self.pool.rest(seconds)
        self.meter.stop()
        turns.seconds += seconds
        turns.updates += self._updates.count - writes
        for worker in self._workers:
            worker.stop()
        self._updates.stop()
        self._wait(lambda: not any(worker.writer.is_waiting for worker in self._workers), "answers")

    def _open_slow(self, number: int) -> list[WebSocketClient]:
        """Connect clients that stop reading after their first result."""
        seen: set[int] = set()
        clients = [self._slow_client(partial(seen.add, index)) for index in range(number)]
        self._wait(lambda: len(seen) == number, "first results of slow clients")
        for client in clients:
            client.stop_reading()
        return clients

    def _slow_client(self, seen: Callable[[], None]) -> WebSocketClient:
        return WebSocketClient(
            self.pool,
            self._target.port,
            messages.SYNC_PATH,
            _subscription(),
            lambda _message, _now: seen(),
            buffer=_BUFFER_BYTES,
        )

    def _wait(self, is_done: Callable[[], bool], what: str) -> None:
        self.pool.run(is_done, seconds=_WAIT_MAX, what=what)


def play(order: Order) -> Outcome:
    stage = Stage(order)
    number = order.clients(SLOW)
    # What the server keeps of any run, such as the commit log, is not the slow clients' doing.
    stage.play(Turns(), slow=number, seconds=order.seconds / 2)
    without, with_slow = Turns(), Turns()
    for _ in range(_TURNS):
        stage.play(without, slow=0, seconds=order.seconds)
        stage.play(with_slow, slow=number, seconds=order.seconds)
    stage.pool.close()
    return _outcome(stage, number, without.row(), with_slow.row())


def _outcome(stage: Stage, number: int, without: Row, with_slow: Row) -> Outcome:
    def more(column: str) -> float:
        return with_slow[column] - without[column]

    return Outcome(
        title=f"slow: {number} clients stop reading 1 MB/s of updates each, others work",
        rows={"without slow clients": without, "with slow clients": with_slow},
        figures=[
            Figure(
                "others' p99, with over without",
                with_slow["p99 ms"] / without["p99 ms"],
                P99_RATIO_MAX,
            ),
            Figure("memory for each slow client, MB", more("peak +MB") / number, BUFFERED_MAX_MB),
            Figure("memory not returned, MB", more("left +MB"), LEFT_MAX_MB),
        ],
        busy=stage.meter.busy,
        remarks=[f"a connection ended: {reason}" for reason in stage.pool.failures[:1]],
    )
