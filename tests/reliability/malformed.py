"""WebSocket peers that send malformed frames, by the million, beside one that behaves.

Each connection sends a batch of frames, some of them damaged, and reads up to the end. The server
is in the same process: what matters is that each connection ends, and what the log says.
"""

import asyncio
import logging
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from camber.server.exchange import Exchange
from camber.server.listener import Listener, listen
from camber.server.websocket import WebSocket, WebSocketLimits

BATCH: Final = 50
"""Frames that one connection sends."""

_AT_ONCE: Final = 20
_END_SECONDS: Final = 20.0
_HANDSHAKE: Final = (
    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_GREETING: Final = b"\x81\x82\0\0\0\0hi"


@dataclass
class Report:
    """What came of it."""

    frames: int = 0
    log_bytes: int = 0
    # Connections by the code of their close frame; 0 without one.
    codes: Counter[int] = field(default_factory=Counter)
    # What receivers were told at the end, in number.
    closed: int = 0


class _Echo:
    def __init__(self, report: Report) -> None:
        self._report = report

    def opened(self, socket: WebSocket) -> None:
        self._socket = socket

    def received(self, text: bytes) -> None:
        text.decode()
        self._socket.send([text])

    def writable(self) -> None: ...

    def closed(self, code: int) -> None:
        self._report.closed += 1


class _Measure(logging.Handler):
    """Adds up what a log would hold."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        self._report.log_bytes += len(self.format(record)) + 1


async def flood(count: int, seed: int) -> Report:
    """Send `count` frames to a server, which is expected to end every connection."""
    report = Report()
    measure = _Measure(report)
    logging.getLogger().addHandler(measure)
    limits = WebSocketLimits(message_bytes=100_000)

    def application(exchange: Exchange) -> None:
        exchange.open_websocket(_Echo(report), limits)

    listener = await listen(application)
    dice = random.Random(seed)
    try:
        reader, writer = await _open(listener)
        while report.frames < count:
            batches = [_damaged(dice) for _ in range(_AT_ONCE)]
            async with asyncio.timeout(_END_SECONDS), asyncio.TaskGroup() as group:
                for batch in batches:
                    group.create_task(_attack(listener, batch, report))
            writer.write(_GREETING)
            while (answer := await reader.readexactly(2)) == b"\x89\x00":
                pass
            assert answer + await reader.readexactly(2) == b"\x81\x02hi"
            report.frames += BATCH * _AT_ONCE
        writer.close()
    finally:
        await listener.close()
        logging.getLogger().removeHandler(measure)
    return report


async def _open(listener: Listener) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.number)
    writer.write(_HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def _attack(listener: Listener, batch: bytes, report: Report) -> None:
    reader, writer = await _open(listener)
    writer.write(batch)
    writer.write_eof()
    report.codes[_last_code(await reader.read(-1))] += 1
    writer.close()


def _last_code(answer: bytes) -> int:
    """The code of the close frame at the end, if there is one. Looks for no other frame."""
    at = answer.rfind(b"\x88")
    is_close = at >= 0 and len(answer) - at >= 4 and answer[at + 1] == len(answer) - at - 2
    return int.from_bytes(answer[at + 2 : at + 4], "big") if is_close else 0


def _damaged(dice: random.Random) -> bytes:
    """Frames as a sound client might send them, with up to three bytes changed or left out."""
    data = bytearray()
    for _ in range(BATCH):
        first = dice.choice((0x81, 0x81, 0x01, 0x80, 0x00, 0x89, 0x8A, 0x82))
        payload = dice.randbytes(dice.choice((0, 1, 5, 125)))
        data += bytes((first, 0x80 | len(payload))) + dice.randbytes(4) + payload
    for _ in range(dice.randrange(4)):
        place = dice.randrange(min(len(data), 200))
        if dice.random() < 0.5:
            data[place] = dice.randrange(256)
        else:
            del data[place]
    return bytes(data)
