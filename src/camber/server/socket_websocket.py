"""A WebSocket on a socket of our own.

What arrives is handed on a share at a time: one peer's ten thousand frames in one read do not make
the others wait, and a receiver that pauses gets no more than one message. What goes out is not
copied when it is long. The pulse of the listener calls for pings and looks at the deadlines.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from camber.server.failure import log_failure
from camber.server.pulse import Pulse
from camber.server.websocket import Receiver, WebSocket, WebSocketLimits
from camber.server.websocket_frames import (
    EMPTY_PONG,
    FRAME_BYTES_MAX,
    NO_CODE,
    NO_FRAME,
    PING,
    FrameReader,
    Incoming,
    Kind,
    encode_close,
    encode_head,
    encode_pong,
    fragments,
    text_at,
)

# How far it is.
OPEN: Final = 0
CLOSING: Final = 1  # a close frame was sent, and the peer's is awaited
OVER: Final = 2  # the receiver was told, and what still arrives is dropped

# Longer messages, and pieces of them, are handed to the socket as they are instead of being joined.
_JOIN_BYTES_MAX: Final = 16 * 1024
# Input is taken apart in slices of this size, until a turn has had its frames.
_SLICE_BYTES: Final = 16 * 1024
_TURN_FRAMES: Final = 200

# How much unsent output the system keeps for a peer.
_UNSENT_BYTES: Final = 128 * 1024
_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)

# Close codes.
_SILENT: Final = 1000
_FAILED: Final = 1011


class Port(Protocol):
    """What a WebSocket needs of its listener."""

    timeouts: int

    def socket_opened(self, socket: "SocketWebSocket") -> None: ...

    def socket_closed(self, socket: "SocketWebSocket") -> None: ...

    def pulse(self, limits: WebSocketLimits) -> Pulse:
        """The one for all sockets with these limits."""


class SocketWebSocket(asyncio.Protocol, WebSocket):
    """One peer's WebSocket. Made by the connection that the handshake arrived at."""

    __slots__ = (
        "_deadline",
        "_has_spoken",
        "_heard_at",
        "_held",
        "_is_draining",
        "_is_full",
        "_is_let_in",
        "_is_reading",
        "_is_scheduled",
        "_limits",
        "_pong",
        "_port",
        "_pulse",
        "_reader",
        "_receiver",
        "_sent",
        "_stage",
        "_taken",
        "_transport",
        "_turn",
        "_waiting",
    )

    def __init__(
        self, port: Port, transport: asyncio.Transport, receiver: Receiver, limits: WebSocketLimits
    ) -> None:
        self._port = port
        self._transport = transport
        self._receiver = receiver
        self._limits = limits
        self._stage = OPEN

        # Input: frames that are incomplete; bytes that are not looked at yet; and what was found
        # in others and not handed on yet.
        self._reader = FrameReader(limits.message_bytes)
        self._held = b""
        self._waiting: deque[Incoming] | None = None
        # False while the receiver wants nothing.
        self._is_reading = True
        # False while the transport was told to read no further.
        self._is_let_in = True
        # Whether `_go_on` will be called.
        self._is_scheduled = False

        # Output: every byte so far; whether the peer takes less than that; and the newest ping
        # that came meanwhile.
        self._sent = 0
        self._is_full = False
        self._pong: bytes | None = None

        # Deadlines, in monotonic seconds. What was heard since the last beat counts as heard then.
        self._pulse = port.pulse(limits)
        self._turn = self._pulse.join(self)
        self._has_spoken = True
        self._heard_at = 0.0
        # While full: how much had left at the last progress, and when the next is due.
        self._taken = 0
        # While closing, or over: whether something is still to leave, and when it is enough.
        self._is_draining = False
        self._deadline = 0.0

    def begin(self, answer: bytes, rest: bytes, *, is_full: bool) -> None:
        """Answer the handshake, and take `rest`, the input that followed it."""
        full = self._limits.full_bytes
        _keep_little_in_the_kernel(self._transport)
        self._transport.set_protocol(self)
        self._transport.set_write_buffer_limits(full - 1, full // 4)
        self._write(answer)
        if is_full:
            self.pause_writing()
        self._tell(self._receiver.opened, self)
        if rest:
            self.data_received(rest)

    # ---- what asyncio calls ----

    def data_received(self, data: bytes) -> None:
        self._has_spoken = True
        if self._stage == OVER:
            return
        if self._is_reading and not self._held and self._waiting is None:
            if self._reader.is_between:
                found = text_at(data, 0, self._limits.message_bytes)
                if found is not None and found[1] == len(data):
                    self._hear(found[0])
                    return
                if len(data) == len(EMPTY_PONG) + 4 and data.startswith(EMPTY_PONG):
                    return  # The answer to our own ping, whatever its mask.
            self._held = data
            self._take_turn()
        else:
            self._held += data
            self._hold()

    def eof_received(self) -> bool:
        if self._stage != OVER:
            self._end(NO_FRAME)
            self._limit_the_rest()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._end(NO_FRAME)
        self._pulse.leave(self, self._turn)
        self._port.socket_closed(self)

    def pause_writing(self) -> None:
        self._is_full = True
        if self._stage == OPEN:
            self._taken = self._sent - self.buffered_bytes
            self._deadline = self._now() + self._limits.write_seconds
            self._pulse.hurry(self)

    def resume_writing(self) -> None:
        self._is_full = False
        if self._stage != OPEN:
            return
        self._pulse.relax(self)
        self._has_spoken = True  # It reads: that is a sign of life.
        if self._pong is not None:
            self._write(encode_pong(self._pong))
            self._pong = None
        self._tell(self._receiver.writable)

    # ---- input ----

    def _take_turn(self) -> None:
        """Hand on what was found and what is held, until others should have their turn."""
        data, self._held = self._held, b""
        at = 0
        for _ in range(_TURN_FRAMES):
            if not self._is_reading or self._stage == OVER:
                break
            if self._waiting:
                self._handle(self._waiting.popleft())
            elif at < len(data):
                at = self._take(data, at)
            else:
                break
        self._held = data[at:]
        if not self._waiting:
            self._waiting = None
        self._hold()

    def _take(self, data: bytes, at: int) -> int:
        """Take one frame, or a slice of what is none, from there on. Returns where it ended."""
        if self._reader.is_between:
            found = text_at(data, at, self._limits.message_bytes)
            if found is not None:
                self._hear(found[0])
                return found[1]
        self._waiting = deque(self._reader.feed(data[at : at + _SLICE_BYTES]))
        return at + _SLICE_BYTES

    def _hear(self, text: bytes) -> None:
        if self._stage == OPEN:
            self._tell(self._receiver.received, text)

    def _hold(self) -> None:
        """Read no further before what is there was handed on."""
        if self._stage == OVER:
            self._held = b""
            self._waiting = None
        has_rest = bool(self._held) or self._waiting is not None
        self._let_in(self._is_reading and not has_rest)
        if has_rest and self._is_reading and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _let_in(self, is_let_in: bool) -> None:
        if is_let_in != self._is_let_in and not self._transport.is_closing():
            self._is_let_in = is_let_in
            if is_let_in:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _go_on(self) -> None:
        self._is_scheduled = False
        self._take_turn()

    def _handle(self, incoming: Incoming) -> None:
        match incoming.kind:
            case Kind.TEXT:
                self._hear(incoming.payload)
            case Kind.PING:
                self._answer_ping(incoming.payload)
            case Kind.PONG:
                pass
            case Kind.CLOSE:
                self._peer_closed(incoming.code)
            case Kind.BROKEN:
                self._fail(incoming.code, incoming.reason)

    def _answer_ping(self, payload: bytes) -> None:
        if self._stage != OPEN:
            return
        if self._is_full:
            self._pong = payload  # The RFC lets us answer only the newest of several.
        else:
            self._write(encode_pong(payload))

    # ---- output ----

    @property
    def is_full(self) -> bool:
        return self._is_full

    @property
    def is_closing(self) -> bool:
        return self._stage != OPEN

    @property
    def buffered_bytes(self) -> int:
        return self._transport.get_write_buffer_size() if self._stage != OVER else 0

    def send(self, pieces: Sequence[bytes]) -> None:
        if self._stage != OPEN:
            return
        size = sum([len(piece) for piece in pieces])
        if size <= _JOIN_BYTES_MAX:
            self._write(b"".join((encode_head(size), *pieces)))
        elif size <= FRAME_BYTES_MAX:
            head = encode_head(size)
            self._sent += len(head) + size
            self._transport.writelines(_join_short((head, *pieces)))
        else:
            for part in fragments(b"".join(pieces)):
                self._sent += len(part)
                self._transport.write(part)

    def _write(self, data: bytes) -> None:
        self._sent += len(data)
        self._transport.write(data)

    def pause_reading(self) -> None:
        if self._stage == OPEN:
            self._is_reading = False
            self._let_in(False)

    def resume_reading(self) -> None:
        if self._is_reading:
            return
        self._is_reading = True
        self._has_spoken = True  # Nobody listened while it was paused.
        self._hold()

    # ---- ending ----

    def close(self, code: int | None = None, reason: str = "") -> None:
        if self._stage != OPEN:
            return
        self._stage = CLOSING
        self._write(encode_close(code, reason))
        self._limit_the_rest()
        # Messages are dropped from now on, but the peer's close frame may be behind them.
        self._is_reading = True
        self._hold()

    def cut(self) -> None:
        if self._stage == OPEN:
            self._stage = CLOSING
        self._transport.abort()

    def _peer_closed(self, code: int) -> None:
        if self._stage == OPEN:
            self._write(encode_close(None if code == NO_CODE else code))
        self._end(code)
        self._limit_the_rest()
        self._transport.close()

    def _fail(self, code: int, reason: str) -> None:
        """Close without hearing the peer any further."""
        if self._stage == OPEN:
            self._write(encode_close(code, reason))
        self._end(NO_FRAME)
        self._linger()

    def _end(self, code: int) -> None:
        """Tell the receiver, once, that it is over."""
        if self._stage == OVER:
            return
        self._stage = OVER
        try:
            self._receiver.closed(code)
        except Exception as error:
            log_failure("the end of a WebSocket", error)

    def _linger(self) -> None:
        """Close for writing, and drop input for a while.

        Closing at once with input unread makes the system reset the connection, and the peer may
        lose the close frame.
        """
        if not self._transport.is_closing():
            self._limit_the_rest()
            self._is_reading = True
            self._hold()
            self._transport.write_eof()

    def _limit_the_rest(self) -> None:
        """See to it that it ends, whatever the peer does."""
        limits = self._limits
        self._is_draining = self._transport.get_write_buffer_size() > 0
        seconds = limits.write_seconds if self._is_draining else limits.close_seconds
        self._deadline = self._now() + seconds
        self._pulse.hurry(self)

    def _tell(self, told: Callable[..., None], *arguments: object) -> None:
        """Call the receiver, which may fail."""
        try:
            told(*arguments)
        except Exception as error:
            log_failure("a WebSocket's receiver", error)
            self._fail(_FAILED, "InternalServerError")

    # ---- what the pulse calls ----

    def beat(self, now: float) -> None:
        if self._has_spoken or self._is_full or not self._is_reading:
            self._has_spoken = False
            self._heard_at = now
        elif now - self._heard_at > self._limits.silence_seconds:
            self._port.timeouts += 1
            self.close(_SILENT, "ClientDisconnected")
        if self._stage == OPEN and not self._is_full:
            self._write(PING)

    def look_at_deadlines(self, now: float) -> None:
        unsent = self._transport.get_write_buffer_size()
        if self._stage == OPEN:
            if self._sent - unsent > self._taken:
                self._taken = self._sent - unsent
                self._deadline = now + self._limits.write_seconds
        elif self._is_draining and not unsent:
            self._is_draining = False
            self._deadline = now + self._limits.close_seconds
        if now > self._deadline:
            self._port.timeouts += 1
            self.cut()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _keep_little_in_the_kernel(transport: asyncio.Transport) -> None:
    """See early that a peer takes nothing.

    Otherwise the system takes megabytes for each such peer, states that are stale by the time they
    are read, before the transport calls itself full.
    """
    wire = transport.get_extra_info("socket")
    if wire is not None and hasattr(socket, "TCP_NOTSENT_LOWAT") and wire.family in _INTERNET:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def _join_short(pieces: Sequence[bytes]) -> list[bytes]:
    """The same bytes, with neighbours joined unless they are long: each piece costs something."""
    joined: list[bytes] = []
    short: list[bytes] = []
    for piece in pieces:
        if len(piece) > _JOIN_BYTES_MAX:
            joined += (b"".join(short), piece)
            short.clear()
        else:
            short.append(piece)
    joined.append(b"".join(short))
    return [piece for piece in joined if piece]
