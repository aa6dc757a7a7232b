"""WebSocket frames (RFC 6455, 5): what arrived, taken apart and judged, and what goes out, encoded.

`FrameReader` keeps every rule of the RFC, but takes its time for each frame. `text_at` is the short
way for what clients send nearly always, a small message in one frame that has arrived whole; it
must take nothing that a `FrameReader` refuses.
"""

import logging
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple, cast

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Protocol, Side
from websockets.streams import StreamReader

try:
    from websockets.speedups import apply_mask
except ImportError:  # Not compiled for this machine.
    from websockets.utils import apply_mask

REASON_BYTES_MAX: Final = 123
"""The longest reason that fits into a close frame."""

FRAME_BYTES_MAX: Final = 8 << 20
"""Longer messages go out in several frames: Rust's and Python's clients take a message of 64 MiB,
but no frame above 16 MiB."""

NO_CODE: Final = int(CloseCode.NO_STATUS_RCVD)
"""Stands for a close frame without a code."""

NO_FRAME: Final = int(CloseCode.ABNORMAL_CLOSURE)
"""Stands for an end without a close frame."""

PING: Final = b"\x89\x00"
"""A ping with nothing in it, as it goes out."""

EMPTY_PONG: Final = b"\x8a\x80"
"""The usual answer to it, up to its mask."""

_MASK_BYTES: Final = 4
_CONTROL_BYTES_MAX: Final = 125

# What hostile peers send is nothing to log, and there is a lot of it.
_SILENT: Final = logging.Logger("camber.server.frames", logging.CRITICAL + 1)


class Kind(IntEnum):
    """What has arrived."""

    TEXT = 1
    CLOSE = 8
    PING = 9
    PONG = 10
    # The peer broke a rule; the code is the one to close with.
    BROKEN = 16


class Incoming(NamedTuple):
    """One thing that has arrived: a whole message, a control frame, or a broken rule."""

    kind: Kind
    payload: bytes = b""
    code: int = 0
    reason: str = ""


def text_at(data: bytes, begin: int, longest: int) -> tuple[bytes, int] | None:
    """A text that is one whole frame of at most 64 kB, beginning at `begin`, and where the frame
    ends. None if there is anything else, which a `FrameReader` then has to judge.

    Only where a frame begins, outside a fragmented message.
    """
    size = len(data)
    if size - begin < 6 or data[begin] != 0x81:
        return None
    length, key = data[begin + 1] - 0x80, begin + 2
    if length == 126 and size - begin > 8:
        length, key = data[begin + 2] << 8 | data[begin + 3], begin + 4
        if length < 126:
            return None
    elif length < 0 or length > 125:
        return None
    start = key + _MASK_BYTES
    end = start + length
    if end > size or length > longest:
        return None
    text = apply_mask(data[start:end], data[key:start])
    return (text, end) if is_utf8(text) else None


def is_utf8(text: bytes) -> bool:
    """Whether `text` is UTF-8 as the RFC wants it: no surrogates, nothing overlong."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


class FrameReader:
    """Bytes of one peer in, what they say out. Pure: it keeps what is incomplete, and waits for
    nothing.

    After CLOSE or BROKEN nothing more comes.
    """

    __slots__ = ("_is_over", "_message", "_message_bytes", "_protocol")

    def __init__(self, message_bytes: int) -> None:
        # The longest message, all fragments together.
        self._message_bytes = message_bytes
        # There is one only while a frame or a message is incomplete: most sockets are idle.
        self._protocol: Protocol | None = None
        # The fragments so far; None outside a fragmented message.
        self._message: bytearray | None = None
        self._is_over = False

    @property
    def is_between(self) -> bool:
        """Whether the next byte begins a frame, and a message."""
        return self._protocol is None and not self._is_over

    def feed(self, data: bytes) -> list[Incoming]:
        """Take `data`, and say what it completes."""
        if self._is_over:
            return []
        protocol = self._protocol or self._begin()
        protocol.receive_data(data)
        protocol.data_to_send()  # The socket answers for itself.
        found: list[Incoming] = []
        for frame in protocol.events_received():
            incoming = self._take(cast(Frame, frame))
            if incoming is not None:
                found.append(incoming)
                if incoming.kind is Kind.BROKEN:
                    return self._end(found)
        if protocol.close_rcvd is not None:
            found.append(Incoming(Kind.CLOSE, code=protocol.close_rcvd.code))
            return self._end(found)
        if protocol.close_sent is not None:
            sent = protocol.close_sent
            found.append(Incoming(Kind.BROKEN, code=sent.code, reason=sent.reason))
            return self._end(found)
        if self._message is None and _is_at_frame(protocol):
            self._protocol = None
        return found

    def _begin(self) -> Protocol:
        # A control frame may come between the fragments of a message of full length, and would be
        # counted to it: so there is room for one, and messages are measured in `_add`.
        room = self._message_bytes + _CONTROL_BYTES_MAX
        self._protocol = Protocol(Side.SERVER, max_size=room, logger=_SILENT)
        return self._protocol

    def _end(self, found: list[Incoming]) -> list[Incoming]:
        self._is_over = True
        self._protocol = self._message = None
        return found

    def _take(self, frame: Frame) -> Incoming | None:
        match frame.opcode:
            case Opcode.PING:
                return Incoming(Kind.PING, bytes(frame.data))
            case Opcode.PONG:
                return Incoming(Kind.PONG, bytes(frame.data))
            case Opcode.BINARY:
                return _broken(CloseCode.UNSUPPORTED_DATA, "binary messages are not understood")
            case Opcode.TEXT | Opcode.CONT:
                return self._add(cast(bytes, frame.data), frame.fin)
            case _:
                return None  # A close frame, which the protocol keeps.

    def _add(self, piece: bytes, is_last: bool) -> Incoming | None:
        """Add a fragment to the message under way, or begin one."""
        before = self._message
        if len(piece) + (len(before) if before is not None else 0) > self._message_bytes:
            most = self._message_bytes
            return _broken(CloseCode.MESSAGE_TOO_BIG, f"longer than {most} bytes")
        if not is_last:
            if before is None:
                self._message = bytearray(piece)
            else:
                before += piece
            return None
        text = bytes(piece) if before is None else bytes(before) + piece
        self._message = None
        if not is_utf8(text):
            return _broken(CloseCode.INVALID_DATA, "not UTF-8")
        return Incoming(Kind.TEXT, text)


def encode_head(size: int, first: int = 0x81) -> bytes:
    """What goes before the `size` bytes of an outgoing frame: a whole text message, unless its
    `first` byte says otherwise."""
    if size < 126:
        return bytes((first, size))
    if size < 65536:
        return struct.pack("!BBH", first, 126, size)
    return struct.pack("!BBQ", first, 127, size)


def fragments(text: bytes) -> Iterator[bytes | memoryview]:
    """A long text message in frames of FRAME_BYTES_MAX: their heads and what they carry."""
    view = memoryview(text)
    for start in range(0, len(text), FRAME_BYTES_MAX):
        part = view[start : start + FRAME_BYTES_MAX]
        is_last = start + FRAME_BYTES_MAX >= len(text)
        yield encode_head(len(part), (0x80 if is_last else 0) | (0 if start else 0x01))
        yield part


def encode_pong(payload: bytes) -> bytes:
    return bytes((0x8A, len(payload))) + payload


def encode_close(code: int | None, reason: str = "") -> bytes:
    """A close frame. `reason` is cut to REASON_BYTES_MAX, at a character's end."""
    if code is None:
        return b"\x88\x00"
    text = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore").encode()
    return struct.pack("!BBH", 0x88, 2 + len(text), code) + text


def _broken(code: CloseCode, reason: str) -> Incoming:
    return Incoming(Kind.BROKEN, code=int(code), reason=reason)


def _is_at_frame(protocol: Protocol) -> bool:
    """Whether the next byte begins a frame."""
    # The parser waits in `at_eof` before each frame, and in `read_exact` within one. Were this to
    # change, the answer would be no, which costs time but is right.
    waiting_in = getattr(protocol.parser, "gi_yieldfrom", None)
    where = getattr(waiting_in, "gi_code", None)
    return not protocol.reader.buffer and where is StreamReader.at_eof.__code__
