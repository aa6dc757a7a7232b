"""A WebSocket behind an ASGI server, which does the handshake, frames and pings.

One task, the exchange's, reads; a second one writes what was sent meanwhile. Deadlines are kept as
far as ASGI shows the peer: a message that it does not take, and a close that it does not answer.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

from camber.server.failure import log_failure
from camber.server.websocket import Receiver, WebSocket, WebSocketLimits

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]

# Close codes. Where ASGI can send no close frame without a code, it is the one for "all is well".
_NORMAL: Final = 1000
_NOT_TEXT: Final = 1003
_NO_CODE: Final = 1005
_NO_FRAME: Final = 1006
_NOT_UTF8: Final = 1007
_POLICY_VIOLATION: Final = 1008
_TOO_LONG: Final = 1009
_FAILED: Final = 1011

_REASON_BYTES_MAX: Final = 123


def denying(scope: MutableMapping[str, Any], send: _Send) -> _Send:
    """`send` for the exchange of a `websocket` scope: a plain answer denies the handshake.

    Not every server can pass the answer on; those that cannot tell the client 403.
    """
    is_passed_on = "websocket.http.response" in (scope.get("extensions") or {})

    async def deny(message: _Message) -> None:
        kind = message["type"]
        if not kind.startswith("http.response."):
            await send(message)
        elif is_passed_on:
            await send({**message, "type": f"websocket.{kind}"})
        elif kind == "http.response.start":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    return deny


class AsgiWebSocket(WebSocket):
    """One peer's WebSocket, while `run` runs."""

    __slots__ = (
        "_buffered",
        "_close",
        "_has_work",
        "_is_full",
        "_is_over",
        "_limits",
        "_may_read",
        "_outgoing",
        "_receive",
        "_receiver",
        "_send",
        "_timeout",
    )

    def __init__(
        self, receive: _Receive, send: _Send, receiver: Receiver, limits: WebSocketLimits
    ) -> None:
        self._receive = receive
        self._send = send
        self._receiver = receiver
        self._limits = limits
        # Messages that the server has not taken, and their sizes together.
        self._outgoing: deque[bytes] = deque()
        self._buffered = 0
        self._is_full = False
        # The close message that comes after them.
        self._close: _Message | None = None
        self._has_work = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()
        # From when it was cut, or the receiver was told.
        self._is_over = False
        # Ends `run` when its time comes.
        self._timeout: asyncio.Timeout | None = None

    async def run(self) -> None:
        """Accept the handshake, and stay until the end."""
        try:
            await self._send({"type": "websocket.accept"})
        except OSError:
            return  # The client is gone, and nobody was told of it yet.
        self._tell(self._receiver.opened, self)
        writer = asyncio.get_running_loop().create_task(self._write_on())
        code = _NO_FRAME
        try:
            async with asyncio.timeout(0 if self._is_over else None) as self._timeout:
                code = await self._read_on()
        except TimeoutError:
            pass  # It was cut.
        finally:
            self._timeout = None
            self._end(code)
            writer.cancel()
            await asyncio.wait((writer,))

    async def _read_on(self) -> int:
        """Hand on what the peer sends. Returns the code of its close frame."""
        while True:
            await self._may_read.wait()
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                code = message.get("code")
                return _NO_CODE if code is None else int(code)
            if not self.is_closing:
                self._take(message.get("text"))

    def _take(self, text: str | None) -> None:
        if text is None:
            self.close(_NOT_TEXT, "binary messages are not understood")
            return
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            self.close(_NOT_UTF8, "not UTF-8")
            return
        if len(encoded) > self._limits.message_bytes:
            self.close(_TOO_LONG, f"longer than {self._limits.message_bytes} bytes")
        else:
            self._tell(self._receiver.received, encoded)

    async def _write_on(self) -> None:
        try:
            while not self._is_over:
                if self._outgoing:
                    await self._write(self._outgoing.popleft())
                elif self._close is not None:
                    await self._send(self._close)
                    self._end_after(self._limits.close_seconds)
                    return
                else:
                    self._has_work.clear()
                    await self._has_work.wait()
        except TimeoutError:
            self.cut()
        except OSError:
            # The client is gone, of which the reader will be told.
            self._end_after(self._limits.close_seconds)
        except Exception as error:
            log_failure("sending to a WebSocket", error)
            self.cut()

    async def _write(self, text: bytes) -> None:
        async with asyncio.timeout(self._limits.write_seconds):
            await self._send({"type": "websocket.send", "text": text.decode()})
        self._buffered -= len(text)
        if self._is_full and self._buffered <= self._limits.full_bytes // 4:
            self._is_full = False
            if not self.is_closing:
                self._tell(self._receiver.writable)

    # ---- what the receiver asks for ----

    @property
    def is_full(self) -> bool:
        return self._is_full

    @property
    def is_closing(self) -> bool:
        return self._close is not None or self._is_over

    @property
    def buffered_bytes(self) -> int:
        return self._buffered

    def send(self, pieces: Sequence[bytes]) -> None:
        if self.is_closing:
            return
        text = b"".join(pieces)
        self._outgoing.append(text)
        self._buffered += len(text)
        if self._buffered >= self._limits.full_bytes:
            self._is_full = True
        self._has_work.set()

    def pause_reading(self) -> None:
        if not self.is_closing:
            self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    def close(self, code: int | None = None, reason: str = "") -> None:
        if self.is_closing:
            return
        cut = reason.encode()[:_REASON_BYTES_MAX].decode(errors="ignore")
        self._close = {
            "type": "websocket.close",
            "code": _NORMAL if code is None else code,
            "reason": cut,
        }
        self._may_read.set()
        self._has_work.set()
        self._end_after(self._limits.write_seconds)

    def cut(self) -> None:
        self._end_after(0.0)
        self._is_over = True

    # ---- ending ----

    def _end_after(self, seconds: float) -> None:
        if self._timeout is not None and not self._is_over:
            self._timeout.reschedule(asyncio.get_running_loop().time() + seconds)

    def _end(self, code: int) -> None:
        self._is_over = True
        self._outgoing.clear()
        self._buffered = 0
        try:
            self._receiver.closed(code)
        except Exception as error:
            log_failure("the end of a WebSocket", error)

    def _tell(self, told: Callable[..., None], *arguments: object) -> None:
        """Call the receiver, which may fail."""
        try:
            told(*arguments)
        except Exception as error:
            log_failure("a WebSocket's receiver", error)
            self.close(_FAILED, "InternalServerError")
