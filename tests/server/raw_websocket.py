"""A WebSocket client that sends the frames it is told to, and receivers for a server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from raw_http import PATIENCE_SECONDS, Client, connected, get, serving
from websockets.utils import apply_mask

from camber.server.exchange import Application, Exchange
from camber.server.limits import Limits
from camber.server.listener import Listener
from camber.server.websocket import Receiver, WebSocket, WebSocketLimits

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

MASK = b"\x37\xfa\x21\x3d"
"""Always the same, so that a failing example fails again. The official client draws its own."""

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The pair that RFC 6455 has as its example."""

UPGRADE = (
    "connection: keep-alive, Upgrade",
    "upgrade: WebSocket",
    "sec-websocket-version: 13",
    f"sec-websocket-key: {KEY}",
)


class Received(NamedTuple):
    opcode: int
    payload: bytes


class Recorder:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.codes: list[int] = []
        self.writable_count = 0
        self.has_opened = asyncio.Event()
        self.has_received = asyncio.Event()
        self.is_writable = asyncio.Event()
        self.has_closed = asyncio.Event()

    def opened(self, socket: WebSocket) -> None:
        self.socket = socket
        self.has_opened.set()

    def received(self, text: bytes) -> None:
        assert not self.codes
        self.messages.append(text)
        self.has_received.set()

    def writable(self) -> None:
        assert not self.codes
        self.writable_count += 1
        self.is_writable.set()

    def closed(self, code: int) -> None:
        self.codes.append(code)
        assert self.socket.is_closing
        self.socket.send([b"nobody reads this"])
        self.socket.close()
        self.has_closed.set()

    async def wait_code(self) -> int:
        await asyncio.wait_for(self.has_closed.wait(), PATIENCE_SECONDS)
        assert len(self.codes) == 1
        return self.codes[0]


class Echo(Recorder):
    """Sends back what it gets."""

    def received(self, text: bytes) -> None:
        super().received(text)
        self.socket.send([text])


def upgrading(
    receiver: Callable[[], Receiver], limits: WebSocketLimits | None = None
) -> Application:
    """Makes a WebSocket of every request."""

    def application(exchange: Exchange) -> None:
        exchange.open_websocket(receiver(), limits)

    return application


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True, bits: int = 0
) -> bytes:
    """A frame as a client sends it. `bits` are the reserved ones, 1 to 7."""
    head = bytes((fin << 7 | bits << 4 | opcode,))
    size, flag = len(payload), mask << 7
    if size < 126:
        head += bytes((flag | size,))
    elif size < 65536:
        head += bytes((flag | 126,)) + size.to_bytes(2, "big")
    else:
        head += bytes((flag | 127,)) + size.to_bytes(8, "big")
    if not mask:
        return head + payload
    return head + MASK + apply_mask(payload, MASK)


def closing(code: int | None = None, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def fragments(*pieces: bytes) -> Iterator[bytes]:
    """One text message, a frame for each piece."""
    for n, piece in enumerate(pieces):
        yield frame(TEXT if n == 0 else CONT, piece, fin=n == len(pieces) - 1)


class Peer:
    """The client's end of an open WebSocket."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def send(self, *frames: bytes) -> None:
        self.client.send(b"".join(frames))

    async def next(self) -> Received:
        """The next frame that is not one of the server's own pings."""
        while True:
            found = await self.next_of_all()
            if found.opcode != PING:
                return found

    async def next_of_all(self) -> Received:
        first, second = await self.client.exactly(2)
        assert first & 0xF0 == 0x80, "whole, and without reserved bits"
        assert second < 128, "not masked"
        size = second
        if size == 126:
            size = int.from_bytes(await self.client.exactly(2), "big")
            assert size >= 126
        elif size == 127:
            size = int.from_bytes(await self.client.exactly(8), "big")
            assert size >= 65536
        return Received(first & 15, await self.client.exactly(size))

    async def text(self) -> bytes:
        """The next frame, which is a text message."""
        opcode, payload = await self.next()
        assert opcode == TEXT
        return payload

    async def end(self) -> int | None:
        """The code of the close frame that comes next and last; None if it has none."""
        opcode, payload = await self.next()
        assert opcode == CLOSE
        assert await self.client.rest() == b""
        return int.from_bytes(payload[:2], "big") if payload else None


@asynccontextmanager
async def peer(listener: Listener, path: str = "/") -> AsyncIterator[Peer]:
    async with connected(listener) as client:
        client.send(get(path, *UPGRADE))
        head = await client.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield Peer(client)


@asynccontextmanager
async def talking(
    receiver: Receiver, limits: WebSocketLimits | None = None, *, port: Limits | None = None
) -> AsyncIterator[Peer]:
    """One peer that talks to `receiver`."""
    application = upgrading(lambda: receiver, limits)
    async with serving(application, port) as listener, peer(listener) as found:
        yield found
