"""One client's connection: requests in, answers out, one after the other.

Input is taken apart as it arrives; whole requests wait in a short queue, and one exchange at a
time is with the application. Everything that could grow has a limit, and everything that could
last has a deadline, which the listener's sweep looks at.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable
from typing import Final, Protocol, cast

from camber.errors import RequestError
from camber.server import answer, socket_websocket
from camber.server.chunked import ChunkedDecoder
from camber.server.exchange import Application
from camber.server.failure import log_failure, settle
from camber.server.limits import Limits
from camber.server.request_body import RequestBody
from camber.server.request_head import (
    known_fields,
    known_line,
    read_fields,
    read_start_line,
    refuse_early,
)
from camber.server.socket_exchange import SocketExchange
from camber.server.socket_websocket import SocketWebSocket
from camber.server.websocket import Receiver, WebSocketLimits

# What the next byte of input belongs to.
HEAD: Final = 0
SIZED: Final = 1  # a body with a length
CHUNKED: Final = 2
HELD: Final = 3  # nothing yet: enough requests wait, or one may change the protocol
ENDED: Final = 4  # nothing: no further request is read
DISCARD: Final = 5  # nothing: the last answer was sent, and the client may still be sending

_HELD_BYTES_MAX: Final = 64 * 1024
_WRITE_HIGH_WATER: Final = 64 * 1024
_WRITE_LOW_WATER: Final = 16 * 1024
# A method, two spaces and a version beside the target.
_LINE_EXTRA_BYTES: Final = 48


class Port(socket_websocket.Port, Protocol):
    """What a connection needs of its listener."""

    application: Application
    limits: Limits
    name: str
    number: int
    # Deadlines for what begins now, in monotonic seconds, as of the last sweep.
    header_deadline: float
    body_deadline: float
    idle_deadline: float
    write_deadline: float
    linger_deadline: float
    # `date: ...` CR LF, as of the last sweep.
    date_line: bytes
    # Heads up to this size are within the limits on bytes, and are remembered.
    small_head_bytes: int
    requests: int
    refused: int

    def opened(self, connection: "Connection") -> bool:
        """Remember it. False: there are too many."""

    def closed(self, connection: "Connection") -> None: ...

    def own(self, task: asyncio.Task[None]) -> None:
        """Hold on to the task until it is done."""


class Connection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_application",
        "_at_eof",
        "_current",
        "_decoder",
        "_head",
        "_held",
        "_is_pumping",
        "_is_read_paused",
        "_limits",
        "_loop",
        "_mark",
        "_need",
        "_queue",
        "_read_deadline",
        "_receiving",
        "_skipped_line",
        "_state",
        "_task",
        "_writable",
        "_write_deadline",
        "_write_mark",
        "client",
        "is_closing",
        "is_write_paused",
        "port",
        "transport",
    )

    def __init__(self, port: Port, loop: asyncio.AbstractEventLoop) -> None:
        self.port = port
        self._limits = port.limits
        self._application = port.application
        self._loop = loop
        self.transport: asyncio.Transport | None = None
        self.client: tuple[str, int] | None = None

        self._state = HEAD
        # The beginning of a head whose end has not arrived.
        self._head = b""
        self._skipped_line = False
        # Input that is not looked at yet (state HELD).
        self._held = b""
        # The request whose body is arriving (SIZED, CHUNKED), and what of it is to come.
        self._receiving: SocketExchange | None = None
        self._need = 0
        self._decoder: ChunkedDecoder | None = None
        self._is_read_paused = False

        # Requests in order, with at most one refusal, which is the last; the first of them
        # goes to the application when `_current` is done.
        self._queue: deque[SocketExchange | RequestError] = deque()
        self._current: SocketExchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_pumping = False

        # True once no request after those already read will be answered.
        self.is_closing = False
        # True once the client closed its sending side while it waits for answers.
        self._at_eof = False
        self.is_write_paused = False
        self._writable: asyncio.Future[None] | None = None

        # Looked at by the sweep. The marks say how much had moved when the window began.
        self._read_deadline = math.inf
        self._mark = 0
        self._write_deadline = math.inf
        self._write_mark = 0

    # ---- what asyncio calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(_WRITE_HIGH_WATER, _WRITE_LOW_WATER)
        peer = transport.get_extra_info("peername")
        self.client = (peer[0], peer[1]) if isinstance(peer, tuple) else None
        if self.port.opened(self):
            self._read_deadline = self.port.header_deadline
        else:
            self._refuse(
                RequestError(503, "TooManyConnections", "Too many connections. Try again later.")
            )

    def data_received(self, data: bytes) -> None:
        try:
            if self._state == HEAD and self._current is None and self._receive_whole(data):
                return
            self._receive(data)
            if self._current is None and self._queue:
                self._pump()
        except Exception as error:
            log_failure("a connection", error)
            self.cut()

    def eof_received(self) -> bool:
        if self._state == DISCARD or (self._current is None and not self._queue):
            return False
        # Some simple clients close their sending side and wait for the answer. Others are gone.
        # Nobody can tell which, so they get their answer if it comes soon.
        if self._receiving is not None:
            self._fail_body(RequestError(400, "BadRequest", "The request's body ended early."))
        self._state = ENDED
        self._at_eof = self.is_closing = True
        self._read_deadline = self.port.linger_deadline
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._forget()
        exchange = self._current
        self._queue.clear()
        if self._writable is not None and not self._writable.done():
            self._writable.set_exception(ConnectionResetError("The client went away."))
        if exchange is not None:
            self._current = None
            exchange.client_left()
            if self._task is not None and exchange.cancel_on_disconnect:
                self._task.cancel()

    def pause_writing(self) -> None:
        self.is_write_paused = True
        self._watch_writing()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        self._write_deadline = math.inf
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._queue and self._current is None:
            self._loop.call_soon(self._go_on)

    # ---- input ----

    def _receive_whole(self, data: bytes) -> bool:
        """Nearly every request in one step: nothing is under way, and `data` is one plain request.

        False: it is something else, and nothing was done. This path must not accept anything that
        the long way through `_receive` would refuse.
        """
        end = data.find(b"\r\n\r\n") + 4
        if end < 5 or end > self.port.small_head_bytes or self._head or self._queue:
            return False
        line_end = data.find(b"\r\n")
        try:
            start = known_line(data[:line_end])
            fields = known_fields(data[line_end + 2 : end])
        except RequestError:
            return False
        if not fields.is_plain or not start.minor or start.host is not None:
            return False
        if len(fields.headers) > self._limits.header_count:
            return False
        if len(data) - end != (fields.content_length or 0) or self.is_write_paused:
            return False
        port = self.port
        port.requests += 1
        assert fields.host is not None
        exchange = SocketExchange(
            self, start, fields, fields.host, data[end:], self._limits.body_bytes
        )
        self._read_deadline = math.inf
        self._current = exchange
        self._dispatch(exchange)
        return True

    def _receive(self, data: bytes) -> None:
        while data:
            state = self._state
            if state == HEAD:
                data = self._receive_head(data)
            elif state == SIZED:
                data = self._receive_sized(data)
            elif state == CHUNKED:
                data = self._receive_chunked(data)
            elif state == HELD:
                self._hold(data)
                return
            else:
                if state == DISCARD:
                    self._discard(len(data))
                return

    def _receive_head(self, data: bytes) -> bytes:
        """Take one head, or the part of it that is there. What follows it."""
        searched = 0
        if self._head:
            searched = max(0, len(self._head) - 3)
            data = self._head + data
        if data.startswith(b"\r\n") and not self._skipped_line:
            self._skipped_line = True  # Some old clients send an empty line after a body.
            data, searched = data[2:], 0
        end = data.find(b"\r\n\r\n", searched)
        try:
            if end < 0:
                self._keep_part(data)
                return b""
            self._head = b""
            self._skipped_line = False
            line_end = data.find(b"\r\n")
            self._read_head(data[:line_end], data[line_end + 2 : end + 4])
        except RequestError as error:
            self._refuse_input(error)
            return b""
        return data[end + 4 :]

    def _keep_part(self, data: bytes) -> None:
        if not self._head and data:
            self._read_deadline = self.port.header_deadline
        if len(data) > self._limits.target_bytes:
            line_end = data.find(b"\r\n")
            if line_end < 0 or line_end > self._limits.target_bytes + _LINE_EXTRA_BYTES:
                raise _target_too_long(self._limits)
            if len(data) - line_end > self._limits.header_bytes:
                raise _headers_too_large(self._limits)
        refuse_early(data)
        self._head = data

    def _read_head(self, line: bytes, block: bytes) -> None:
        limits = self._limits
        if len(line) > limits.target_bytes + _LINE_EXTRA_BYTES:
            raise _target_too_long(limits)
        if len(block) > limits.header_bytes or block.count(b"\n") > limits.header_count + 1:
            raise _headers_too_large(limits)
        start = read_start_line(line)
        if len(start.target) > limits.target_bytes:
            raise _target_too_long(limits)
        fields = read_fields(block)
        host = start.host or fields.host
        if start.minor == 0:
            if fields.is_chunked:
                raise RequestError(400, "BadRequest", "HTTP/1.0 has no Transfer-Encoding.")
            host = host or f"127.0.0.1:{self.port.number}"
        elif fields.host is None or host is None:
            raise RequestError(400, "BadRequest", "The request has no Host header.")
        self.port.requests += 1
        if fields.content_length or fields.is_chunked:
            body = RequestBody()
            exchange = SocketExchange(self, start, fields, host, body, limits.body_bytes)
            self._begin_body(exchange, body)
        else:
            exchange = SocketExchange(self, start, fields, host, b"", limits.body_bytes)
            self._read_deadline = math.inf
            if fields.upgrades:
                self._state = HELD
            elif not exchange.wants_to_stay:
                self._state = ENDED
            elif len(self._queue) >= limits.pipelined:
                self._state = HELD
        self._queue.append(exchange)

    def _begin_body(self, exchange: SocketExchange, body: RequestBody) -> None:
        self._receiving = exchange
        if exchange.content_length is not None:
            self._state = SIZED
            self._need = exchange.content_length
        else:
            self._state = CHUNKED
            self._decoder = ChunkedDecoder(body.feed, trailers_max=self._limits.header_count)
        if exchange.expects_continue:
            self._read_deadline = math.inf  # It is the client that waits.
        else:
            self._watch_body()

    def _receive_sized(self, data: bytes) -> bytes:
        exchange = self._receiving
        assert exchange is not None
        assert type(exchange.body) is RequestBody
        rest = b""
        if len(data) > self._need:
            data, rest = data[: self._need], data[self._need :]
        self._need -= len(data)
        exchange.body.feed(data)
        if self._need:
            self._pause_when_full(exchange.body)
        else:
            self._end_body(exchange, exchange.body)
        return rest

    def _receive_chunked(self, data: bytes) -> bytes:
        exchange, decoder = self._receiving, self._decoder
        assert exchange is not None
        assert type(exchange.body) is RequestBody
        assert decoder is not None
        try:
            taken, is_complete = decoder.feed(data)
        except RequestError as error:
            self._fail_body(error)
            return b""
        if not is_complete:
            self._pause_when_full(exchange.body)
            return b""
        self._end_body(exchange, exchange.body)
        return data[taken:]

    def _end_body(self, exchange: SocketExchange, body: RequestBody) -> None:
        self._receiving = self._decoder = None
        self._read_deadline = math.inf
        if not exchange.wants_to_stay:
            self._state = ENDED
        else:
            self._state = HEAD if len(self._queue) < self._limits.pipelined else HELD
        body.finish()

    def _fail_body(self, error: RequestError) -> None:
        """The body that is arriving is malformed, cut short or late."""
        exchange = self._receiving
        assert exchange is not None
        assert type(exchange.body) is RequestBody
        self._receiving = self._decoder = None
        self._read_deadline = math.inf
        self._state = ENDED
        self.is_closing = True
        if exchange is self._current:
            exchange.body.fail(error)
        elif self._queue:
            # The application has not seen it, and never will.
            self._queue[-1] = error

    def _refuse_input(self, error: RequestError) -> None:
        """Answer `error` after everything before it, then close."""
        self._head = b""
        self._state = ENDED
        self._read_deadline = math.inf
        self._queue.append(error)

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > _HELD_BYTES_MAX:
            self._pause_reading()

    def _discard(self, size: int) -> None:
        self._need -= size
        if self._need < 0:
            self.cut()

    def _pause_when_full(self, body: RequestBody) -> None:
        if body.is_full:
            self._pause_reading()

    def _pause_reading(self) -> None:
        if not self._is_read_paused and self.transport is not None:
            self._is_read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_read_paused and self.transport is not None:
            self._is_read_paused = False
            self.transport.resume_reading()

    # ---- exchanges ----

    def _pump(self) -> None:
        """Give the application what waits, until one exchange takes its time."""
        self._is_pumping = True
        while self._current is None and self._queue and not self.is_write_paused:
            item = self._queue.popleft()
            if isinstance(item, RequestError):
                self._refuse(item)
                break
            self._current = item
            self._dispatch(item)
        self._is_pumping = False
        if self._current is None and not self._queue and self._state in (HEAD, HELD):
            self._rest()

    def _rest(self) -> None:
        """Everything read was answered: look at what was held back, or wait for more."""
        if self._state == HELD:
            # Other connections come first: this one had its share.
            self._loop.call_soon(self._go_on)
        elif not self._head:
            self._read_deadline = self.port.idle_deadline

    def _dispatch(self, exchange: SocketExchange) -> None:
        try:
            awaitable = self._application(exchange)
        except Exception as error:
            settle(exchange, error)
            return
        if awaitable is None:
            if self._current is exchange:
                settle(exchange, None)  # It was not answered.
        else:
            task = self._loop.create_task(self._run(exchange, awaitable))
            self.port.own(task)
            if self._current is exchange:
                self._task = task

    async def _run(self, exchange: SocketExchange, awaitable: Awaitable[None]) -> None:
        try:
            await awaitable
        except asyncio.CancelledError as error:
            if not exchange.is_gone and not exchange.is_done:
                settle(exchange, error)
            raise
        except Exception as error:
            settle(exchange, error)
        else:
            settle(exchange, None)

    def _go_on(self) -> None:
        """The next requests, in a turn of their own."""
        try:
            if self._state == HELD and self._current is None and not self._queue:
                data, self._held = self._held, b""
                self._state = HEAD
                self._resume_reading()
                self._receive(data)
            self._pump()
        except Exception as error:
            log_failure("a connection", error)
            self.cut()

    def _refuse(self, error: RequestError) -> None:
        """Answer without the application, and close."""
        self.port.refused += 1
        if self.transport is not None:
            head = answer.encode_head(error.status, answer.error_headers(error.status))
            body = answer.error_body(error)
            self.transport.write(answer.encode_whole(head, self.port.date_line, answer.CLOSE, body))
        self._linger()

    # ---- ending ----

    def _linger(self) -> None:
        """Close for writing, and discard input for a while.

        Closing at once with input unread makes the system reset the connection, and the client
        may lose the answer it has not read.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self.is_closing = True
        self._queue.clear()
        if self._at_eof:
            self._close()
            return
        self._state = DISCARD
        self._need = self._limits.linger_bytes
        self._read_deadline = self.port.linger_deadline
        self._resume_reading()
        transport.write_eof()

    def _close(self) -> None:
        """Close once everything written has left."""
        transport = self.transport
        if transport is None:
            return
        self.is_closing = True
        self._state = ENDED
        self._queue.clear()
        self._read_deadline = math.inf
        self._watch_writing()
        transport.close()

    def close_soon(self) -> None:
        """Take no more requests; close when those that were read are answered."""
        self.is_closing = True
        if self._current is None and not self._queue and self._state != DISCARD:
            self._close()

    def cut(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _forget(self) -> None:
        self.port.closed(self)
        self._read_deadline = self._write_deadline = math.inf
        self._state = ENDED

    # ---- deadlines ----

    def _watch_body(self) -> None:
        body = self._receiving.body if self._receiving is not None else None
        self._mark = body.received if type(body) is RequestBody else 0
        self._read_deadline = self.port.body_deadline

    def _watch_writing(self) -> None:
        if self.transport is not None:
            self._write_mark = self.transport.get_write_buffer_size()
            self._write_deadline = self.port.write_deadline

    def look_at_deadlines(self, now: float) -> None:
        """Called by the sweep."""
        if now > self._read_deadline:
            self._read_is_late()
        if now > self._write_deadline:
            self._write_is_late()

    def _read_is_late(self) -> None:
        assert self.transport is not None
        if self._state in (SIZED, CHUNKED):
            self._body_is_late()
        elif self._state != HEAD or self._at_eof:
            self.cut()
        elif self._head:
            self.port.timeouts += 1
            self._refuse_input(
                RequestError(408, "RequestTimeout", "The request's head did not arrive in time.")
            )
            self._pump()
        elif self.transport.get_write_buffer_size():
            self.port.timeouts += 1
            self.cut()
        else:
            self._close()

    def _body_is_late(self) -> None:
        exchange, limits = self._receiving, self._limits
        assert exchange is not None
        assert type(exchange.body) is RequestBody
        least = limits.body_rate * limits.body_seconds
        if self._is_read_paused or exchange.body.received - self._mark >= least:
            self._watch_body()
            return
        self.port.timeouts += 1
        self._fail_body(
            RequestError(408, "RequestTimeout", "The request's body did not arrive in time.")
        )
        self._pump()

    def _write_is_late(self) -> None:
        assert self.transport is not None
        gone = self._write_mark - self.transport.get_write_buffer_size()
        if gone < self._limits.write_rate * self._limits.write_seconds:
            self.port.timeouts += 1
            self.cut()
        else:
            self._watch_writing()

    # ---- what its exchanges ask for (socket_exchange.Carrier) ----

    async def wait_writable(self) -> None:
        while self.is_write_paused:
            self._writable = self._loop.create_future()
            try:
                await self._writable
            finally:
                self._writable = None

    def body_wanted(self) -> None:
        exchange = self._receiving
        if exchange is None or exchange is not self._current:
            return
        assert type(exchange.body) is RequestBody
        if self._read_deadline == math.inf:
            if exchange.body.received == 0 and self.transport is not None:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._watch_body()
        if self._is_read_paused and exchange.body.is_low:
            self._resume_reading()
            self._watch_body()

    def answered(self, keeps_alive: bool, /) -> None:
        self._current = self._task = None
        if self._receiving is not None or not keeps_alive:
            self._linger()
            return
        if self._is_pumping:
            return
        if self._queue:
            self._loop.call_soon(self._go_on)
        elif self._state == HEAD or self._state == HELD:
            self._rest()

    def become_websocket(self, answer: bytes, receiver: Receiver, limits: WebSocketLimits) -> None:
        transport, rest = self.transport, self._held
        assert transport is not None
        self._resume_reading()
        websocket = SocketWebSocket(self.port, transport, receiver, limits)
        # In this order, so that the listener always counts one of them.
        self.port.socket_opened(websocket)
        self._forget()
        self._held = b""
        self._current = self._task = self.transport = None
        websocket.begin(answer, rest, is_full=self.is_write_paused)


def _target_too_long(limits: Limits) -> RequestError:
    return RequestError(
        414, "TargetTooLong", f"The request target is longer than {limits.target_bytes} bytes."
    )


def _headers_too_large(limits: Limits) -> RequestError:
    return RequestError(
        431,
        "HeadersTooLarge",
        f"More than {limits.header_count} headers or {limits.header_bytes} bytes of them.",
    )
