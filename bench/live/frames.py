"""WebSocket frames (RFC 6455), made and read with as little work as is legal.

A client must mask what it sends. The key zero is legal and leaves the payload as it is.
"""

from struct import pack
from typing import Final, NamedTuple

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_FINAL: Final = 0x80
_MASKED: Final = 0x80
_KEY: Final = bytes(4)


class Frame(NamedTuple):
    """Where a frame's payload lies in what was received."""

    opcode: int
    begin: int
    end: int


def client_frame(opcode: int, payload: bytes = b"") -> bytes:
    """A whole message, or a control frame, from a client."""
    size = len(payload)
    if size < 126:
        head = pack("!BB", _FINAL | opcode, _MASKED | size)
    elif size < 1 << 16:
        head = pack("!BBH", _FINAL | opcode, _MASKED | 126, size)
    else:
        head = pack("!BBQ", _FINAL | opcode, _MASKED | 127, size)
    return head + _KEY + payload


def server_frame(opcode: int, payload: bytes) -> bytes:
    """A whole message, or a control frame, from a server: not masked."""
    size = len(payload)
    if size < 126:
        return pack("!BB", _FINAL | opcode, size) + payload
    if size < 1 << 16:
        return pack("!BBH", _FINAL | opcode, 126, size) + payload
    return pack("!BBQ", _FINAL | opcode, 127, size) + payload


def next_frame(received: bytes, at: int) -> Frame | None:
    """The server's frame that starts at `at`; None while it is incomplete.

    Raises:
        ValueError: it is fragmented, masked, or uses an extension, none of which was agreed on.
    """
    begin = at + 2
    if begin > len(received):
        return None
    first, size = received[at], received[at + 1]
    if first & 0xF0 != _FINAL or size & _MASKED:
        raise ValueError(f"an unexpected frame: {received[at : at + 20]!r}")
    if size >= 126:
        width = 2 if size == 126 else 8
        begin += width
        if begin > len(received):
            return None
        size = int.from_bytes(received[at + 2 : begin], "big")
    end = begin + size
    return Frame(first & 0x0F, begin, end) if end <= len(received) else None
