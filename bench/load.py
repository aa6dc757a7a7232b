"""The load generator: keep-alive connections in a closed loop, from one core.

Each connection sends a request, waits for the whole answer, and sends the next. It is a process
of its own: it reads an `Order` as JSON from standard input and writes a `Tally` to standard output.
Run with a `warmup`, whose answers count as answers but are not measured.
"""

import asyncio
import gc
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any, Final, cast

import uvloop
from bench.jobs import HOST, Requests, requests

# How long the answers still missing at the end of a round may take, in seconds.
_DRAIN_MAX: Final = 60.0
_NO_RESPONSE_YET: Final = 0


@dataclass(frozen=True, slots=True)
class Order:
    """What to send, to whom, for how long (seconds)."""

    job: str
    port: int
    core: int
    seconds: float
    warmup: float
    connections: int
    seed: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What came back. `answered` and `failed` count the whole run, the rest what was measured."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    measured: int
    answered: int
    failed: int
    first_failure: str
    bytes: int
    busy: float
    """The share of its core that the load generator used, 0 to 1: near 1 it was the limit."""


@dataclass(slots=True)
class Round:
    """One run of an order, as it goes. Written by its connections, on one thread."""

    requests: Requests
    begin: float
    end: float
    latencies: list[float] = field(default_factory=list)
    # Of the latencies, those of answers that came after `end`.
    late: int = 0
    answered: int = 0
    failed: int = 0
    first_failure: str = ""
    bytes: int = 0

    def fail(self, what: str) -> None:
        self.failed += 1
        self.first_failure = self.first_failure or what


def response_length(received: bytes) -> int:
    """The length of the response that `received` starts with; 0 while it is incomplete.

    Understands a content length and chunks, which is what servers answer these jobs with.

    Raises:
        ValueError: it is not such a response.
    """
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return _NO_RESPONSE_YET
    head = received[: head_end + 2].lower()
    start = head.find(b"\r\ncontent-length:")
    if start >= 0:
        start += 17
        length = head_end + 4 + int(head[start : head.find(b"\r\n", start)])
        return length if len(received) >= length else _NO_RESPONSE_YET
    if b"\r\ntransfer-encoding: chunked\r\n" not in head:
        raise ValueError(f"a response without a length: {head!r}")
    return _chunked_length(received, head_end + 4)


def _chunked_length(received: bytes, at: int) -> int:
    while (line_end := received.find(b"\r\n", at)) >= 0:
        size = int(received[at:line_end].split(b";")[0], 16)
        at = line_end + 2 + size + 2
        if size == 0:
            return at if len(received) >= at else _NO_RESPONSE_YET
    return _NO_RESPONSE_YET


class Connection(asyncio.Protocol):
    """One client: at most one request under way."""

    def __init__(self, round_: Round) -> None:
        self._round = round_
        self._next_request = round_.requests.__next__
        self._received = b""
        self._sent_at = 0.0
        self._waiting = False
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not an assert: uvloop's transports are not instances of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        self._write = self._transport.write
        self._send()

    def _send(self) -> None:
        self._waiting = True
        self._sent_at = perf_counter()
        self._write(self._next_request())

    def data_received(self, received: bytes) -> None:
        if self._received:
            received = self._received + received
        length = response_length(received)
        if length == _NO_RESPONSE_YET:
            self._received = received
            return
        self._received = b""
        self._waiting = False
        round_ = self._round
        if length != len(received):
            raise ValueError(f"bytes after a response: {received[length:]!r}")
        if received[9:12] == b"200":
            round_.answered += 1
        else:
            round_.fail(received.decode("latin-1"))
        now = perf_counter()
        if now >= round_.begin:
            round_.latencies.append(now - self._sent_at)
            round_.bytes += length
        if now < round_.end:
            self._send()
        else:
            round_.late += 1
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting:
            self._round.fail(f"connection lost: {error}")
        self.closed.set_result(None)


async def _stay_connected(round_: Round, port: int) -> None:
    loop = asyncio.get_running_loop()
    # A server may close a connection; the client comes again, as real ones do.
    while perf_counter() < round_.end:
        _, connection = await loop.create_connection(lambda: Connection(round_), HOST, port)
        await connection.closed


async def generate(order: Order) -> Tally:
    """Carry out `order`.

    Raises:
        TimeoutError: answers are missing long after the end.
        OSError: nobody listens.
    """
    begin = perf_counter() + order.warmup
    round_ = Round(requests(order.job, order.seed), begin, begin + order.seconds)
    cpu_start, wall_start = time.process_time(), perf_counter()
    async with asyncio.timeout(order.warmup + order.seconds + _DRAIN_MAX), asyncio.TaskGroup() as g:
        for _ in range(order.connections):
            g.create_task(_stay_connected(round_, order.port))
    busy = (time.process_time() - cpu_start) / (perf_counter() - wall_start)
    return _tally(round_, order.seconds, busy)


def _tally(round_: Round, seconds: float, busy: float) -> Tally:
    latencies = sorted(round_.latencies)
    if not latencies:
        raise ValueError(f"no answer in {seconds} s; first failure: {round_.first_failure!r}")

    def quantile_ms(share: float) -> float:
        return latencies[min(int(share * len(latencies)), len(latencies) - 1)] * 1e3

    return Tally(
        requests_per_second=(len(latencies) - round_.late) / seconds,
        p50_ms=quantile_ms(0.50),
        p99_ms=quantile_ms(0.99),
        max_ms=latencies[-1] * 1e3,
        measured=len(latencies),
        answered=round_.answered,
        failed=round_.failed,
        first_failure=round_.first_failure,
        bytes=round_.bytes,
        busy=busy,
    )


def _stop(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """End the process: an answer that we do not understand makes every figure worthless."""
    loop.default_exception_handler(context)
    os._exit(1)


async def _main(order: Order) -> Tally:
    asyncio.get_running_loop().set_exception_handler(_stop)
    return await generate(order)


def main() -> None:
    order = Order(**json.load(sys.stdin))
    os.sched_setaffinity(0, {order.core})
    gc.disable()
    tally = uvloop.run(_main(order))
    json.dump(asdict(tally), sys.stdout)


if __name__ == "__main__":
    main()
