"""Fetches a small document from the web, from servers that may be anybody's.

One request, one answer: no redirect is followed, no compression taken, no more read than
`SIZE_MAX`, and no more time spent than `SECONDS`, whatever the other side does. A name is resolved
once, and the connection goes to an address of that answer, so that no second answer can lead
elsewhere.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeAlias

import httptools

from camber.services.auth.address import ForbiddenAddressError, Target, check_address, target_of

SIZE_MAX: Final = 512 * 1024
"""Bytes of a document; and, once more, of everything around it."""
SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 3.0
"""For one address, where there are several to try."""

_CHUNK: Final = 1 << 14

Stream: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host, for a port."""
Dial: TypeAlias = Callable[[str, Target], Awaitable[Stream]]
"""Connects to an address, to ask the target's host there."""


class WebError(Exception):
    """There is no document; the message says why."""


def one_line(text: str) -> str:
    """What a stranger wrote, as it may stand in a log line."""
    return "".join(c if c.isprintable() else " " for c in text)


class Answer(NamedTuple):
    """What a server answered, whatever the status."""

    status: int
    content_type: str
    body: bytes


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system knows them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


async def dial(address: str, target: Target) -> Stream:
    """Connect to `address`; over TLS, its certificate must be of the target's host."""
    if not target.is_secure:
        return await asyncio.open_connection(address, target.port)
    # Reads the certificates of the authorities from disk.
    context = await asyncio.to_thread(ssl.create_default_context)
    return await asyncio.open_connection(
        address, target.port, ssl=context, server_hostname=target.host
    )


class Web:
    """Fetches documents.

    Args:
        development: the machine itself may be asked, also by `http`.
        seconds: for one document, from the first step to the last byte.
    """

    def __init__(
        self,
        *,
        development: bool,
        resolve: Resolve = resolve,
        dial: Dial = dial,
        seconds: float = SECONDS,
    ) -> None:
        self._development = development
        self._resolve = resolve
        self._dial = dial
        self._seconds = seconds

    async def get(self, url: str) -> Answer:
        """Fetch what is at `url`.

        Raises:
            WebError: it is not to be fetched, or there was no whole answer.
        """
        try:
            target = target_of(url, development=self._development)
            async with asyncio.timeout(self._seconds):
                reader, writer = await self._connect(target)
                try:
                    return await _ask(reader, writer, target)
                finally:
                    # At once: what the other side still wants to say is not waited for.
                    writer.transport.abort()
        except ForbiddenAddressError as error:
            raise WebError(str(error)) from None
        except TimeoutError:
            raise WebError(f"no complete answer within {self._seconds:g} seconds") from None
        except (OSError, UnicodeError) as error:
            raise WebError(f"no connection: {error}") from None

    async def _connect(self, target: Target) -> Stream:
        addresses = await self._addresses(target)
        for address in addresses[:-1]:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await self._dial(address, target)
            except OSError:  # of which TimeoutError is one
                continue
        return await self._dial(addresses[-1], target)

    async def _addresses(self, target: Target) -> list[str]:
        """Where the target may be reached. All addresses of its host must be allowed: a name
        that stands for public and private ones alike means no good."""
        if target.host.endswith("localhost"):
            # Only let through in development, and then not for a name server to decide.
            return ["127.0.0.1", "::1"]
        addresses = list(dict.fromkeys(await self._resolve(target.host, target.port)))
        if not addresses:
            raise WebError(f"{target.host} has no address")
        for address in addresses:
            check_address(address, target)
        return addresses


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target
) -> Answer:
    lines = (
        f"GET {target.path} HTTP/1.1",
        f"Host: {target.authority}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "User-Agent: camber",
        "Connection: close",
    )
    writer.write("\r\n".join([*lines, "", ""]).encode("ascii"))
    await writer.drain()
    reading = _Reading()
    received = 0
    while not reading.is_complete:
        chunk = await reader.read(_CHUNK)
        if not chunk and reading.ends_with_connection:
            break
        if not chunk:
            raise WebError("the connection ended within the answer")
        reading.feed(chunk)
        received += len(chunk)
        if received > 2 * SIZE_MAX:
            raise _too_large()
    return Answer(reading.status, reading.header(b"content-type"), bytes(reading.body))


def _too_large() -> WebError:
    return WebError(f"the answer is larger than {SIZE_MAX >> 10} KiB")


class _Reading:
    """The answer as far as it has come. What its `on_` methods are told by the parser is judged
    when the parser is done with a piece."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()
        self.is_complete = False

    def feed(self, piece: bytes) -> None:
        """Read on.

        Raises:
            WebError: it is not HTTP, or not an answer that is taken.
        """
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserError:
            if not self.is_complete:
                raise WebError("the answer is not valid HTTP") from None
        if self.header(b"content-encoding") not in ("", "identity"):
            raise WebError("the answer is compressed, which was not asked for")
        length = self.header(b"content-length")
        if len(self.body) > SIZE_MAX or (length.isdigit() and int(length[:20]) > SIZE_MAX):
            raise _too_large()

    def header(self, name: bytes) -> str:
        """A header's value in lower case; empty without it."""
        values = [value for key, value in self.headers if key.lower() == name]
        return values[-1].decode("latin-1").strip().lower() if values else ""

    @property
    def ends_with_connection(self) -> bool:
        """Whether the body goes on until the connection ends: nothing else tells."""
        framed = self.header(b"content-length") or self.header(b"transfer-encoding")
        return self.status >= 200 and not framed

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.is_complete:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if not self.is_complete:
            self.status = self._parser.get_status_code()

    def on_body(self, content: bytes) -> None:
        if not self.is_complete:
            self.body += content

    def on_message_complete(self) -> None:
        if self.status >= 200:
            self.is_complete = True
        elif not self.is_complete:
            # An interim answer; the real one follows.
            self.headers.clear()
