"""The same application behind any ASGI server, or mounted inside another ASGI application.

Deadlines, and what counts as a sound request on the wire, are then up to that server. What can be
checked again is: the method, `Host`, lengths, and the sizes and the number of headers.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias, cast
from urllib.parse import quote

from camber.errors import InvalidArgumentError, RequestError
from camber.server import answer, websocket_handshake
from camber.server.asgi_websocket import AsgiWebSocket, denying
from camber.server.exchange import Application, Exchange, HeaderList
from camber.server.failure import log_failure, settle
from camber.server.limits import Limits
from camber.server.request_body import RequestBody
from camber.server.request_head import Fields, check_method, judge_headers
from camber.server.websocket import Receiver, WebSocketLimits

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Hook: TypeAlias = Callable[[], Awaitable[None]]

# What a path may carry as it is, besides letters, digits and _.-~
_PATH_SAFE: Final = "/:@!$&'()*+,;=%"


class AsgiApplication:
    """An ASGI 3 callable around an `Application`.

    Args:
        application: answers the exchanges.
        port_name: what `Exchange.port_name` says.
        limits: sizes and counts; the times are not used.
        on_startup, on_shutdown: run at the ends of the server's lifespan.
    """

    def __init__(
        self,
        application: Application,
        *,
        port_name: str = "api",
        limits: Limits | None = None,
        on_startup: Hook | None = None,
        on_shutdown: Hook | None = None,
    ) -> None:
        self._application = application
        self._port_name = port_name
        self._limits = limits or Limits()
        self._on_startup = on_startup
        self._on_shutdown = on_shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "lifespan":
                await self._live(receive, send)
            case "websocket":
                await receive()  # That there is a handshake.
                scope = {"http_version": "1.1", **scope, "method": "GET"}
                await self._serve(scope, receive, denying(scope, send))
            case kind:
                raise InvalidArgumentError(f"Not an ASGI scope that is known here: {kind!a}")

    async def _live(self, receive: Receive, send: Send) -> None:
        hooks = {"lifespan.startup": self._on_startup, "lifespan.shutdown": self._on_shutdown}
        while True:
            event = (await receive())["type"]
            hook = hooks[event]
            try:
                if hook is not None:
                    await hook()
            except Exception as error:
                log_failure(event, error)
                await send({"type": f"{event}.failed", "message": str(error)})
                return
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            exchange = self._open(scope, receive, send)
        except RequestError as error:
            headers = answer.error_headers(error.status)
            await _send_whole(send, error.status, headers, answer.error_body(error), "GET")
            return
        try:
            await self._exchange(exchange, send)
        finally:
            exchange.stop_reading()

    async def _exchange(self, exchange: "AsgiExchange", send: Send) -> None:
        awaitable: Awaitable[None] | None = None
        try:
            awaitable = self._application(exchange)
        except Exception as error:
            settle(exchange, error)
        if awaitable is None:
            settle(exchange, None)
            await exchange.send_answer()
            return
        task = asyncio.ensure_future(_run(exchange, awaitable))
        exchange.watch(task)
        try:
            # An answer goes out when it is given, not when the application is done.
            await asyncio.wait((task, exchange.answer_given), return_when="FIRST_COMPLETED")
            await exchange.send_answer()
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            task.cancel()
            raise

    def _open(self, scope: Scope, receive: Receive, send: Send) -> "AsgiExchange":
        """The exchange of an `http` or `websocket` scope.

        Raises:
            RequestError: the request is refused.
        """
        limits = self._limits
        check_method(scope["method"])
        pairs = scope["headers"]
        size = sum(len(name) + len(value) + 4 for name, value in pairs)
        if size > limits.header_bytes or len(pairs) > limits.header_count:
            raise RequestError(431, "HeadersTooLarge", "Too many or too large headers.")
        headers = tuple(
            [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in pairs]
        )
        exchange = AsgiExchange(scope, judge_headers(headers), receive, send)
        if len(exchange.target) > limits.target_bytes:
            raise RequestError(414, "TargetTooLong", "The request target is too long.")
        exchange.body_limit = limits.body_bytes
        exchange.name = self._port_name
        return exchange


async def _run(exchange: "AsgiExchange", awaitable: Awaitable[None]) -> None:
    try:
        await awaitable
    except asyncio.CancelledError as error:
        if not exchange.is_gone:
            settle(exchange, error)
        raise
    except Exception as error:
        settle(exchange, error)
    else:
        settle(exchange, None)


class AsgiExchange(Exchange):
    """One `http` or `websocket` scope, and the answer to it."""

    __slots__ = (
        "_body",
        "_disconnected",
        "_fields",
        "_is_answered",
        "_is_done",
        "_left",
        "_may_feed",
        "_reader",
        "_receive",
        "_scope",
        "_send",
        "_task",
        "_whole",
        "answer_given",
        "name",
    )

    def __init__(self, scope: Scope, fields: Fields, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        self.method = scope["method"]
        self.path = _path(scope)
        self.query = scope["query_string"].decode("latin-1")
        self.target = f"{self.path}?{self.query}" if self.query else self.path
        self.headers = fields.headers
        self.host = fields.host or _server(scope)
        self.content_length = fields.content_length
        self.has_body = _may_have_body(scope, fields)
        self.cancel_on_disconnect = True
        self.is_gone = False
        self.name = ""
        self._fields = fields
        self._scope = scope
        self._receive = receive
        self._send = send
        self._body = RequestBody()
        self._task: asyncio.Task[None] | None = None
        self._disconnected: asyncio.Future[None] | None = None
        self._is_answered = False
        self._is_done = False
        # What of the announced length was not sent; None when none was announced.
        self._left: int | None = None
        # A whole answer that is not sent yet.
        self._whole: tuple[int, HeaderList, bytes] | None = None
        self.answer_given: asyncio.Future[None] = loop.create_future()
        # Reads on whenever the body held is not full, up to the client's disconnecting.
        self._may_feed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    # ---- the transport's side ----

    def watch(self, task: asyncio.Task[None]) -> None:
        """Let the client's going away reach `task`."""
        self._task = task
        # A client that expects to be asked for the body is asked by the first receive.
        if not self._fields.expects_continue:
            self._start_reading()

    def stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    async def send_answer(self) -> None:
        """Send the whole answer that was given, if one was."""
        if self._whole is not None:
            status, headers, body = self._whole
            self._whole = None
            await _send_whole(self._send, status, headers, body, self.method)

    def _start_reading(self) -> None:
        # What a WebSocket's client sends is for the WebSocket.
        if self._reader is None and self._scope["type"] == "http":
            self._reader = asyncio.get_running_loop().create_task(self._read_on())

    async def _read_on(self) -> None:
        body = self._body
        try:
            while True:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    self._client_left()
                    return
                if not body.is_complete:
                    body.feed(message.get("body", b""))
                    if not message.get("more_body", False):
                        body.finish()
                while body.is_full:
                    self._may_feed.clear()
                    await self._may_feed.wait()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log_failure("receiving", error)
            self._client_left()

    def _client_left(self) -> None:
        if self._is_done:
            return
        self.is_gone = True
        self._body.fail(RequestError(400, "ClientDisconnected", "The client went away."))
        if self._disconnected is not None and not self._disconnected.done():
            self._disconnected.set_result(None)
        if self._task is not None and self.cancel_on_disconnect:
            self._task.cancel()

    # ---- the connection ----

    @property
    def scheme(self) -> str:
        return str(self._scope.get("scheme", "http"))

    @property
    def http_version(self) -> str:
        return str(self._scope["http_version"])

    @property
    def client(self) -> tuple[str, int] | None:
        client = self._scope.get("client")
        return (client[0], client[1]) if client else None

    @property
    def local_port(self) -> int | None:
        server = self._scope.get("server")
        return cast("int | None", server[1]) if server else None

    @property
    def port_name(self) -> str:
        return self.name

    @property
    def disconnected(self) -> asyncio.Future[None]:
        if self._disconnected is None:
            self._disconnected = asyncio.get_running_loop().create_future()
            if self.is_gone:
                self._disconnected.set_result(None)
            else:
                self._start_reading()
        return self._disconnected

    @property
    def is_answered(self) -> bool:
        return self._is_answered

    @property
    def is_done(self) -> bool:
        return self._is_done

    # ---- reading ----

    def header(self, name: str) -> str | None:
        return self._fields.first.get(name)

    def read_nowait(self) -> bytes | None:
        if not self.has_body:
            return b""
        self._check_body()
        return self._body.whole() if self._body.is_complete else None

    async def read(self) -> bytes:
        data = self.read_nowait()
        if data is not None:
            return data
        self._body.is_wanted_whole = True
        self._may_feed.set()
        self._start_reading()
        while not self._body.is_complete:
            await self._body.wait(more_than=self._most())
            self._check_body()
        return self._body.whole()

    async def stream(self) -> AsyncIterator[bytes]:
        while self.has_body:
            self._check_body()
            piece = self._body.take()
            if not piece and self._body.is_complete:
                return
            self._may_feed.set()
            self._start_reading()
            if piece:
                yield piece
            else:
                await self._body.wait(more_than=0)

    def _most(self) -> int:
        return self.body_limit if self.body_limit is not None else 1 << 62

    def _check_body(self) -> None:
        most = self._most()
        if self._body.received > most or (self.content_length or 0) > most:
            raise RequestError(
                413, "RequestTooLarge", f"The request's body is larger than {most} bytes."
            )
        if self._body.error is not None:
            raise self._body.error

    # ---- answering ----

    def respond(self, status: int, headers: HeaderList, body: bytes) -> None:
        self._open_answer(status, headers)
        self._is_done = True
        if not self.is_gone:
            self._whole = (status, headers, body)
        if not self.answer_given.done():
            self.answer_given.set_result(None)

    async def start(self, status: int, headers: HeaderList, *, length: int | None = None) -> None:
        self._open_answer(status, headers)
        has_body = self.method != "HEAD" and status not in answer.NO_BODY
        self._left = length if has_body else -1
        if not self.is_gone:
            lengths = None if status in answer.NO_BODY else length
            await self._send(_start_message(status, headers, lengths))

    async def send(self, chunk: bytes) -> None:
        if not self._is_answered or self._is_done:
            raise InvalidArgumentError("A piece of an answer must come between start and finish.")
        if self.is_gone:
            raise ConnectionResetError("The client went away.")
        if not chunk or self._left == -1:
            return
        if self._left is not None:
            if len(chunk) > self._left:
                self.abort()
                raise InvalidArgumentError("More was sent than the length that was announced.")
            self._left -= len(chunk)
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def finish(self) -> None:
        if not self._is_answered or self._is_done:
            raise InvalidArgumentError("An answer can be finished once, after it was started.")
        if self._left is not None and self._left > 0:
            self.abort()
            return
        self._is_done = True
        if not self.is_gone:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def abort(self) -> None:
        # An application that returns in the middle of an answer is cut off by its server.
        self._is_answered = self._is_done = True
        self._whole = None

    def open_websocket(
        self, receiver: Receiver, limits: WebSocketLimits | None = None
    ) -> Awaitable[None] | None:
        if self._is_answered:
            raise InvalidArgumentError("The request was answered already.")
        if self._scope["type"] != "websocket":
            websocket_handshake.accept(self)
            # Somebody did ask for a WebSocket, and the server took it for a plain request.
            raise RequestError(501, "NotImplemented", "The ASGI server does not speak WebSocket.")
        self._is_answered = self._is_done = True
        limits = limits or WebSocketLimits()
        return AsgiWebSocket(self._receive, self._send, receiver, limits).run()

    def _open_answer(self, status: int, headers: HeaderList) -> None:
        if self._is_answered:
            raise InvalidArgumentError("The request was answered already.")
        answer.encode_head(status, headers)
        self._is_answered = True


async def _send_whole(
    send: Send, status: int, headers: HeaderList, body: bytes, method: str
) -> None:
    if status in answer.NO_BODY:
        await send(_start_message(status, headers, 0 if status == 205 else None))
        body = b""
    else:
        await send(_start_message(status, headers, len(body)))
    if method == "HEAD":
        body = b""
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _start_message(status: int, headers: HeaderList, length: int | None) -> Message:
    pairs = answer.checked(headers)
    if length is not None:
        pairs.append((b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": status, "headers": pairs}


def _path(scope: Scope) -> str:
    """The path below the point where this application is mounted, percent-encoded."""
    root = scope.get("root_path", "").rstrip("/")
    raw = (scope.get("raw_path") or b"").decode("latin-1").partition("?")[0]
    path = scope["path"]
    if not root:
        return raw or quote(path, safe=_PATH_SAFE.replace("%", "")) or "/"
    encoded_root = quote(root, safe=_PATH_SAFE)
    for known, prefix in ((raw, encoded_root), (raw, root)):
        if known == prefix or known.startswith(f"{prefix}/"):
            return known[len(prefix) :] or "/"
    if path == root or path.startswith(f"{root}/"):
        path = path[len(root) :]
    return quote(path, safe=_PATH_SAFE.replace("%", "")) or "/"


def _server(scope: Scope) -> str:
    server = scope.get("server")
    return f"{server[0]}:{server[1]}" if server else "localhost"


def _may_have_body(scope: Scope, fields: Fields) -> bool:
    if fields.is_chunked or fields.content_length:
        return True
    # From HTTP/2 on, a body needs no header to announce it.
    is_framed = scope["http_version"] not in ("1.0", "1.1") and fields.content_length is None
    return is_framed and scope["method"] not in ("GET", "HEAD", "OPTIONS")
