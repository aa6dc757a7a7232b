"""A client that sends the bytes it is told to, and a server for it to send them to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from camber.server.exchange import Application, Exchange
from camber.server.listener import Limits, Listener, listen

PATIENCE_SECONDS = 8.0
"""How long a test waits for what must come, before it fails."""

TEXT = (("content-type", "text/plain"),)


@dataclass(frozen=True)
class Answer:
    """An answer as it was on the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        try:
            return await asyncio.wait_for(self.reader.read(), PATIENCE_SECONDS)
        except ConnectionError:
            return b""

    async def until(self, end: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(end), PATIENCE_SECONDS)

    async def exactly(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), PATIENCE_SECONDS)

    async def answer(self, *, has_body: bool = True) -> Answer:
        """The next answer."""
        status, headers = read_head(await self.until(b"\r\n\r\n"))
        known = dict(headers)
        if not has_body:
            return Answer(status, headers, b"")
        if known.get("transfer-encoding") == "chunked":
            return Answer(status, headers, await self._chunks())
        length = int(known.get("content-length", "0"))
        return Answer(status, headers, await self.exactly(length))

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            size = int(await self.until(b"\r\n"), 16)
            piece = await self.exactly(size + 2)
            assert piece.endswith(b"\r\n")
            if not size:
                return body
            body += piece[:-2]

    def close(self) -> None:
        self.writer.close()


def read_head(head: bytes) -> tuple[int, list[tuple[str, str]]]:
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    version, status, _ = first.split(" ", 2)
    assert version == "HTTP/1.1"
    return int(status), [(line.split(": ", 1)[0], line.split(": ", 1)[1]) for line in lines]


@asynccontextmanager
async def serving(
    application: Application, limits: Limits | None = None
) -> AsyncIterator[Listener]:
    listener = await listen(application, port=0, name="site", limits=limits)
    try:
        yield listener
    finally:
        await listener.close(grace_seconds=0.0)


@asynccontextmanager
async def connected(listener: Listener) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.number, limit=1 << 26)
    client = Client(reader, writer)
    try:
        yield client
    finally:
        client.close()


async def talk(listener: Listener, data: bytes) -> bytes:
    """Send `data`, and read up to the end of the connection."""
    async with connected(listener) as client:
        client.send(data)
        return await client.rest()


def get(path: str = "/", *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: a", *lines, "", ""]).encode("latin-1")


def post(body: bytes, *lines: str, path: str = "/") -> bytes:
    head = [f"POST {path} HTTP/1.1", "host: a", f"content-length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


def say_hello(exchange: Exchange) -> None:
    exchange.respond(200, TEXT, b"hello")


async def echo(exchange: Exchange) -> None:
    """Answer with the body, or the target when there is none."""
    body = await exchange.read()
    exchange.respond(200, TEXT, body if exchange.has_body else exchange.target.encode())
