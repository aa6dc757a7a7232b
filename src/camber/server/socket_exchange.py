"""An exchange on a socket of our own.

It decides what is written; the connection that carries it decides when, and when it is over.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Final, Protocol

from camber.errors import InvalidArgumentError, RequestError
from camber.server import answer, websocket_handshake
from camber.server.exchange import Exchange, HeaderList
from camber.server.request_body import RequestBody
from camber.server.request_head import Fields, StartLine
from camber.server.websocket import Receiver, WebSocketLimits

# How far the answer is.
OPEN: Final = 0
STARTED: Final = 1
DONE: Final = 2

# Longer bodies are handed to the socket beside their head instead of being copied behind it.
_JOIN_BYTES_MAX: Final = 64 * 1024


# In place of the bytes that are left: whatever is sent is dropped.
_NOTHING: Final = -1


class Place(Protocol):
    """Where a request arrived."""

    @property
    def name(self) -> str: ...

    @property
    def number(self) -> int: ...

    @property
    def date_line(self) -> bytes: ...


class Carrier(Protocol):
    """What an exchange needs of the connection it came by."""

    @property
    def client(self) -> tuple[str, int] | None: ...

    @property
    def port(self) -> Place: ...

    @property
    def transport(self) -> asyncio.Transport | None: ...

    @property
    def is_closing(self) -> bool: ...

    @property
    def is_write_paused(self) -> bool: ...

    async def wait_writable(self) -> None: ...

    def body_wanted(self) -> None:
        """The application waits for the body: ask for it, and read on."""

    def answered(self, keeps_alive: bool, /) -> None:
        """The answer is complete, and so is this exchange."""

    def cut(self) -> None: ...

    def become_websocket(self, answer: bytes, receiver: Receiver, limits: WebSocketLimits) -> None:
        """Give `answer`, and give up the socket."""


class SocketExchange(Exchange):
    """One request that a listener read, and the answer it writes."""

    __slots__ = (
        "_carrier",
        "_disconnected",
        "_fields",
        "_is_chunked",
        "_keeps_alive",
        "_left",
        "_minor",
        "_stage",
        "body",
    )

    def __init__(
        self,
        carrier: Carrier,
        line: StartLine,
        fields: Fields,
        host: str,
        body: bytes | RequestBody,
        body_limit: int | None,
    ) -> None:
        self.method = line.method
        self.target = line.target
        self.path = line.path
        self.query = line.query
        self.headers = fields.headers
        self.host = host
        self.content_length = fields.content_length
        self.has_body = bool(body)
        self.body_limit = body_limit
        self.cancel_on_disconnect = True
        # Bytes when the whole body arrived with the head, or there is none.
        self.body = body
        self._carrier = carrier
        self._fields = fields
        self._minor = line.minor
        self._stage = OPEN
        self.is_gone = False
        self._disconnected: asyncio.Future[None] | None = None

    # ---- the connection ----

    @property
    def scheme(self) -> str:
        return "http"

    @property
    def http_version(self) -> str:
        return "1.1" if self._minor else "1.0"

    @property
    def client(self) -> tuple[str, int] | None:
        return self._carrier.client

    @property
    def local_port(self) -> int | None:
        return self._carrier.port.number

    @property
    def port_name(self) -> str:
        return self._carrier.port.name

    @property
    def disconnected(self) -> asyncio.Future[None]:
        if self._disconnected is None:
            self._disconnected = asyncio.get_running_loop().create_future()
            if self.is_gone:
                self._disconnected.set_result(None)
        return self._disconnected

    @property
    def is_answered(self) -> bool:
        return self._stage != OPEN

    @property
    def is_done(self) -> bool:
        return self._stage == DONE

    @property
    def wants_to_stay(self) -> bool:
        """Whether the client would use the connection again."""
        fields = self._fields
        return not fields.closes and (self._minor == 1 or fields.keeps_alive)

    @property
    def expects_continue(self) -> bool:
        """Whether the client sends its body only once it is asked to."""
        return self._fields.expects_continue and self._minor == 1

    def client_left(self) -> None:
        """Called by the connection: nobody will read this answer."""
        self.is_gone = True
        if type(self.body) is RequestBody:
            self.body.fail(RequestError(400, "ClientDisconnected", "The client went away."))
        if self._disconnected is not None and not self._disconnected.done():
            self._disconnected.set_result(None)

    # ---- reading ----

    def header(self, name: str) -> str | None:
        return self._fields.first.get(name)

    def read_nowait(self) -> bytes | None:
        body = self.body
        if type(body) is bytes:
            if body and len(body) > self._most():
                raise self._too_large()
            return body
        assert type(body) is RequestBody
        self._check_body(body)
        return body.whole() if body.is_complete else None

    async def read(self) -> bytes:
        data = self.read_nowait()
        if data is not None:
            return data
        body = self.body
        assert type(body) is RequestBody
        body.is_wanted_whole = True
        self._carrier.body_wanted()
        enough = self._most()
        while not body.is_complete:
            await body.wait(more_than=enough)
            self._check_body(body)
        return body.whole()

    async def stream(self) -> AsyncIterator[bytes]:
        body = self.body
        if type(body) is bytes:
            if body:
                self.read_nowait()
                yield body
            return
        assert type(body) is RequestBody
        while True:
            self._check_body(body)
            piece = body.take()
            if not piece and body.is_complete:
                return
            self._carrier.body_wanted()
            if piece:
                yield piece
            else:
                await body.wait(more_than=0)

    def _most(self) -> int:
        return self.body_limit if self.body_limit is not None else 1 << 62

    def _check_body(self, body: RequestBody) -> None:
        most = self._most()
        if body.received > most or (self.content_length or 0) > most:
            raise self._too_large()
        if body.error is not None:
            raise body.error

    def _too_large(self) -> RequestError:
        return RequestError(
            413, "RequestTooLarge", f"The request's body is larger than {self.body_limit} bytes."
        )

    # ---- answering ----

    def respond(self, status: int, headers: HeaderList, body: bytes) -> None:
        if self._stage != OPEN:
            raise _answered_already()
        head = answer.encode_head(status, headers)
        self._stage = DONE
        carrier = self._carrier
        transport = carrier.transport
        if self.is_gone or transport is None:
            return
        stays = self._stays()
        option = b"" if stays and self._minor else self._option(stays)
        date_line = carrier.port.date_line
        if self.method == "HEAD" or status in answer.NO_BODY:
            framing = self._framing(status, len(body))
            transport.write(b"".join((head, date_line, option, framing)))
        elif len(body) <= _JOIN_BYTES_MAX:
            transport.write(answer.encode_whole(head, date_line, option, body))
        else:
            framing = answer.encode_length(len(body))
            transport.writelines((b"".join((head, date_line, option, framing)), body))
        carrier.answered(stays)

    async def start(self, status: int, headers: HeaderList, *, length: int | None = None) -> None:
        if self._stage != OPEN:
            raise _answered_already()
        head = answer.encode_head(status, headers)
        self._stage = STARTED
        has_body = self.method != "HEAD" and status not in answer.NO_BODY
        self._left = length if has_body else _NOTHING
        self._is_chunked = has_body and length is None and self._minor == 1
        # Without a length and without chunks, the end of the connection ends the body.
        has_end = self._is_chunked or length is not None or not has_body
        self._keeps_alive = has_end and self._stays()
        transport = self._carrier.transport
        if not self.is_gone and transport is not None:
            option = self._option(self._keeps_alive)
            framing = self._framing(status, length)
            transport.write(b"".join((head, self._carrier.port.date_line, option, framing)))

    async def send(self, chunk: bytes) -> None:
        if self._stage != STARTED:
            raise InvalidArgumentError("A piece of an answer must come between start and finish.")
        if self.is_gone:
            raise ConnectionResetError("The client went away.")
        transport = self._carrier.transport
        if not chunk or self._left == _NOTHING or transport is None:
            return
        if self._is_chunked:
            transport.writelines((b"%x\r\n" % len(chunk), chunk, b"\r\n"))
        else:
            self._count(chunk)
            transport.write(chunk)
        if self._carrier.is_write_paused:
            await self._carrier.wait_writable()

    async def finish(self) -> None:
        if self._stage != STARTED:
            raise InvalidArgumentError("An answer can be finished once, after it was started.")
        self._stage = DONE
        transport = self._carrier.transport
        if self.is_gone or transport is None:
            return
        if self._left is not None and self._left > 0:
            self._carrier.cut()
            return
        if self._is_chunked:
            transport.write(b"0\r\n\r\n")
        self._carrier.answered(self._keeps_alive)

    def abort(self) -> None:
        self._stage = DONE
        if not self.is_gone:
            self._carrier.cut()

    def open_websocket(
        self, receiver: Receiver, limits: WebSocketLimits | None = None
    ) -> Awaitable[None] | None:
        if self._stage != OPEN:
            raise _answered_already()
        switching = websocket_handshake.accept(self)
        self._stage = DONE
        if self.is_gone:
            raise ConnectionResetError("The client went away.")
        self._carrier.become_websocket(switching, receiver, limits or WebSocketLimits())
        return None

    def _stays(self) -> bool:
        """Whether the connection can be used again after this answer."""
        body = self.body
        if self._carrier.is_closing or (type(body) is RequestBody and not body.is_complete):
            return False
        return (self._minor == 1 and self._fields.is_plain) or self.wants_to_stay

    def _option(self, stays: bool) -> bytes:
        if not stays:
            return answer.CLOSE
        return b"" if self._minor else answer.KEEP_ALIVE

    def _framing(self, status: int, length: int | None) -> bytes:
        """The header lines that say where the body ends, and the empty line."""
        if status == 205:
            return answer.encode_length(0)
        if status in answer.NO_BODY:
            return b"\r\n"
        if length is not None:
            return answer.encode_length(length)
        if self.method != "HEAD" and self._minor:
            return b"transfer-encoding: chunked\r\n\r\n"
        return b"\r\n"

    def _count(self, chunk: bytes) -> None:
        if self._left is None:
            return
        if len(chunk) > self._left:
            self.abort()
            raise InvalidArgumentError("More was sent than the length that was announced.")
        self._left -= len(chunk)


def _answered_already() -> InvalidArgumentError:
    return InvalidArgumentError("The request was answered already.")
