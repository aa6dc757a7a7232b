"""One HTTP request and the answer to it: where a transport and an application meet.

The transport has checked the request's head before the application sees it: framing, `Host`,
names and sizes are sound. The application answers in one of two ways:

* whole: `exchange.respond(200, [("content-type", "text/plain")], b"hello")`, or
* piece by piece: `await exchange.start(...)`, `await exchange.send(chunk)` any number of times,
  `await exchange.finish()`.

An application is called once the head is complete. If it answers before it returns, it returns
None and no task is made. Otherwise it returns an awaitable, which the transport runs and owns:

* a `RequestError` that escapes is answered with its status and `{"code", "message"}`;
* anything else that escapes is logged and answered with 500, revealing nothing;
* whatever escapes after the answer's head was sent cuts the connection;
* ending without an answer is a mistake of ours: logged, and answered with 500.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeAlias

from camber.server.websocket import Receiver, WebSocketLimits

HeaderList: TypeAlias = Sequence[tuple[str, str]]
"""Names and values in order. Duplicates are kept."""


class Exchange(ABC):
    """One request and the answer to it."""

    __slots__ = (
        "body_limit",
        "cancel_on_disconnect",
        "content_length",
        "has_body",
        "headers",
        "host",
        "is_gone",
        "method",
        "path",
        "query",
        "target",
    )

    # ---- the request ----

    method: str
    """The method as sent: GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS. Others never arrive."""

    target: str
    """`path?query` as sent. An absolute target (`GET http://host/path`) is shortened to this."""

    path: str
    """The path as sent, still percent-encoded. Starts with `/`, or is `*` (OPTIONS only)."""

    query: str
    """What follows the `?`, as sent; empty when there is none."""

    headers: HeaderList
    """Names in lower case, values decoded as latin-1, in order, duplicates kept. Not to be
    changed: requests with equal heads share it."""

    host: str
    """The `Host` header or, when the target is absolute, its host. May carry a port."""

    content_length: int | None
    """The announced length of the body in bytes; None when there is no body, or it is chunked."""

    has_body: bool
    """Whether bytes may follow the head. False also for `Content-Length: 0`."""

    # ---- what the application may set ----

    body_limit: int | None
    """The most bytes of body that `read` and `stream` accept; None is no limit. Starts as the
    transport's own limit (20 MiB by default); to be set before the first read."""

    cancel_on_disconnect: bool
    """Whether the application's task is cancelled when the client goes away. True at first."""

    # ---- the connection ----

    is_gone: bool
    """Whether the client went away before its answer was complete."""

    @property
    @abstractmethod
    def scheme(self) -> str:
        """How the client reached this transport: `http`, or what the ASGI server says."""

    @property
    @abstractmethod
    def http_version(self) -> str:
        """`1.1` or `1.0`; behind an ASGI server perhaps `2`."""

    @property
    @abstractmethod
    def client(self) -> tuple[str, int] | None:
        """The peer's address and port, when known."""

    @property
    @abstractmethod
    def local_port(self) -> int | None:
        """The port the request arrived at, when known."""

    @property
    @abstractmethod
    def port_name(self) -> str:
        """The label the listener was given, such as `api` or `site`."""

    @property
    @abstractmethod
    def disconnected(self) -> asyncio.Future[None]:
        """Done once the client went away before its answer was complete. Made when asked for."""

    @property
    @abstractmethod
    def is_answered(self) -> bool:
        """Whether `respond` or `start` was called: from then on no other answer is possible."""

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Whether the answer is complete, or was given up."""

    # ---- reading ----

    def header(self, name: str) -> str | None:
        """The first value of the header `name` (in lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @abstractmethod
    def read_nowait(self) -> bytes | None:
        """The whole body if all of it has arrived, else None. For answers without a task.

        Raises:
            RequestError: as `read`.
        """

    @abstractmethod
    async def read(self) -> bytes:
        """The whole body. Does not suspend when all of it has arrived. May be called again.

        Raises:
            RequestError: 413 `RequestTooLarge` past `body_limit`: at once when the announced
                length is greater, else with the first byte too many; 408 when the body comes too
                slowly; 400 when it is malformed or cut short.
        """

    @abstractmethod
    def stream(self) -> AsyncIterator[bytes]:
        """The body in pieces, as they arrive; reading slowly makes the client send slowly.

        Raises:
            RequestError: as `read`.
        """

    # ---- answering ----

    @abstractmethod
    def respond(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Answer in one write. Does nothing when the client is gone.

        `content-length` and `date` are added; connection headers (`connection`, `keep-alive`,
        `transfer-encoding`, `upgrade`, `content-length`) are the transport's and dropped from
        `headers`. The body is dropped for HEAD, 204, 205 and 304; for HEAD its length is told.

        Raises:
            InvalidArgumentError: a status outside 200-599, a header name that is no token, a
                value with CR, LF, NUL or beyond latin-1, or a second answer.
        """

    @abstractmethod
    async def start(self, status: int, headers: HeaderList, *, length: int | None = None) -> None:
        """Send the head of an answer in pieces. `length` in bytes, when known beforehand.

        Raises:
            InvalidArgumentError: as `respond`.
        """

    @abstractmethod
    async def send(self, chunk: bytes) -> None:
        """Send a piece of the body. Waits while the client reads more slowly than we write.

        Raises:
            ConnectionResetError: the client is gone.
            InvalidArgumentError: not between `start` and `finish`, or more than `length` bytes.
        """

    @abstractmethod
    async def finish(self) -> None:
        """End an answer in pieces. Fewer bytes than `length` cut the connection.

        Raises:
            InvalidArgumentError: not started, or finished already.
        """

    @abstractmethod
    def abort(self) -> None:
        """Cut the connection, so that the client cannot take half an answer for a whole one."""

    # ---- leaving HTTP ----

    @abstractmethod
    def open_websocket(
        self, receiver: Receiver, limits: WebSocketLimits | None = None
    ) -> Awaitable[None] | None:
        """Leave HTTP: answer the handshake, after which `receiver` is told all there is to tell.

        Returns what an application returns: None, or an awaitable that runs to the WebSocket's
        end (ASGI).

        Raises:
            RequestError: 400, the request is not a sound handshake; 501, the ASGI server cannot
                do it.
            InvalidArgumentError: the request was answered already.
            ConnectionResetError: the client is gone.
        """


Application: TypeAlias = Callable[[Exchange], Awaitable[None] | None]
"""Answers exchanges. None: answered already. An awaitable: will have answered when it is done."""
