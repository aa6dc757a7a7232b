"""The head of an answer, as bytes: its status line and its header lines.

Names and values come from applications, which may have copied them from a request; a line break
in one would let a client write headers, or a whole second answer. They are refused here.
"""

import http
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from camber.errors import InvalidArgumentError, RequestError

JSON: Final = (("content-type", "application/json"),)

CLOSE: Final = b"connection: close\r\n"
KEEP_ALIVE: Final = b"connection: keep-alive\r\n"

NO_BODY: Final = frozenset((204, 205, 304))
"""Statuses whose answers have no body, whatever the application gives."""

# These belong to the connection, and the connection to the transport.
_TRANSPORT_OWNS: Final = frozenset(
    [
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ]
)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# Encoded heads by what they were encoded from: answers repeat theirs.
_ENCODED: dict[tuple[int, tuple[tuple[str, str], ...]], bytes] = {}
_ENCODED_MAX: Final = 512
_ENCODED_BYTES_MAX: Final = 512


def _status_line(status: int) -> bytes:
    try:
        reason = http.HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    return f"HTTP/1.1 {status} {reason}\r\n".encode("ascii")


_STATUS_LINES: Final = {status: _status_line(status) for status in range(200, 600)}


def encode_status(status: int) -> bytes:
    """The status line.

    Raises:
        InvalidArgumentError: not 200-599.
    """
    line = _STATUS_LINES.get(status)
    if line is None:
        raise InvalidArgumentError(f"An answer's status must be from 200 to 599, got {status!r}")
    return line


def encode_head(status: int, headers: Sequence[tuple[str, str]]) -> bytes:
    """The status line and the header lines, without those that the transport writes itself.

    Raises:
        InvalidArgumentError: a status outside 200-599; a name that is no token; a value with CR,
            LF or NUL, or with characters beyond latin-1.
    """
    key = (status, tuple(headers))
    encoded = _ENCODED.get(key)
    if encoded is None:
        encoded = encode_status(status) + b"".join([_encode_line(*header) for header in headers])
        if len(encoded) <= _ENCODED_BYTES_MAX:
            if len(_ENCODED) >= _ENCODED_MAX:
                _ENCODED.clear()
            _ENCODED[key] = encoded
    return encoded


def encode_length(length: int) -> bytes:
    """The last header line and the empty line after it."""
    return b"content-length: %d\r\n\r\n" % length


def checked(headers: Sequence[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """The headers as ASGI takes them. Raises as `encode_head`."""
    return [
        (name.lower().encode("ascii"), _encode_value(name, value))
        for name, value in headers
        if not _is_of_transport(name)
    ]


def _encode_line(name: str, value: str) -> bytes:
    if _is_of_transport(name):
        return b""
    return name.encode("ascii") + b": " + _encode_value(name, value) + b"\r\n"


def _is_of_transport(name: str) -> bool:
    if _NAME.fullmatch(name) is None:
        raise InvalidArgumentError(f"Not a header name: {name!a}")
    return name.lower() in _TRANSPORT_OWNS


def _encode_value(name: str, value: str) -> bytes:
    if "\r" in value or "\n" in value or "\0" in value:
        raise InvalidArgumentError(f"A line break or NUL in the value of the header {name}")
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidArgumentError(
            f"A character beyond latin-1 in the value of the header {name}"
        ) from None


def encode_whole(head: bytes, date_line: bytes, option: bytes, body: bytes) -> bytes:
    """An answer of known length."""
    return b"".join((head, date_line, option, encode_length(len(body)), body))


def error_headers(status: int) -> tuple[tuple[str, str], ...]:
    """What an error answer of ours says beside its body."""
    if status == 405:
        return (*JSON, ("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
    if status == 503:
        return (*JSON, ("retry-after", "1"))
    return JSON


def error_body(error: RequestError) -> bytes:
    """`{"code": ..., "message": ...}`."""
    return msgspec.json.encode({"code": error.code, "message": error.message})


def hidden_error() -> RequestError:
    """What a client is told of a failure of ours."""
    return RequestError(
        500, "InternalServerError", "Your request couldn't be completed. Try again later."
    )
