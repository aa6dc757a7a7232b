"""The head of a request, judged: what it says, or why it is refused.

llhttp (through httptools) judges the header lines; the checks beside it refuse what it lets pass.
Two programs that read one request differently can be played against each other ("request
smuggling"), so whatever is ambiguous is refused, never repaired.

Both halves are pure functions of bytes, and clients send the same bytes again and again: equal
first lines and equal header blocks are judged once while they are remembered.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import httptools

from camber.errors import RequestError

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""What reaches an application. Other known methods are answered 405, unknown ones 501."""

_OTHER_METHODS: Final = frozenset(
    (
        "ACL", "BIND", "CONNECT", "COPY", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR",
        "MKCOL", "MOVE", "NOTIFY", "PROPFIND", "PROPPATCH", "PURGE", "QUERY", "REBIND", "REPORT",
        "SEARCH", "SUBSCRIBE", "TRACE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE",
    )
)  # fmt: skip

REMEMBERED_BYTES: Final = 2048
"""Longer lines and blocks are not remembered, so that memory stays bounded."""

_LINE: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]+) HTTP/([0-9]\.[0-9])")
_ABSOLUTE: Final = re.compile(r"https?://([^/?]*)(/[^?]*)?(\?.*)?", re.IGNORECASE)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")
_DIGITS: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class StartLine:
    """The first line of a request."""

    method: str
    target: str
    path: str
    query: str
    # The host of an absolute target; None when the target is a path.
    host: str | None
    # HTTP/1.x
    minor: int


@dataclass(frozen=True, slots=True)
class Fields:
    """The header lines of a request."""

    headers: tuple[tuple[str, str], ...]
    first: Mapping[str, str]
    host: str | None
    # None also when the body is chunked.
    content_length: int | None
    is_chunked: bool
    # What `Connection` asks for.
    closes: bool
    keeps_alive: bool
    upgrades: bool
    expects_continue: bool
    # An HTTP/1.1 request with these fields needs no special care.
    is_plain: bool


def read_start_line(line: bytes) -> StartLine:
    """Judge the first line, given without its CRLF.

    Raises:
        RequestError: 400, 405, 501 or 505.
    """
    return known_line(line) if len(line) <= REMEMBERED_BYTES else _judge_line(line)


def read_fields(block: bytes) -> Fields:
    """Judge the header lines, given with the empty line that ends them.

    Raises:
        RequestError: 400, 417 or 501.
    """
    return known_fields(block) if len(block) <= REMEMBERED_BYTES else _judge_fields(block)


def refuse_early(part: bytes) -> None:
    """Refuse what can no longer become a sound head, given its bytes so far.

    Raises:
        RequestError: 400, 405, 501 or 505.
    """
    sound = part.count(b"\r\n")
    # The last byte may be a CR whose LF is still on its way.
    if part.count(b"\n") != sound or part[:-1].count(b"\r") != sound:
        raise _bad("a line must end in CR LF, and neither may stand alone")
    if b"\0" in part:
        raise _bad("a NUL byte in the head")
    line, ends, _ = part.partition(b"\r\n")
    if line == b"\r":
        return  # An empty line, of which one is forgiven.
    if ends:
        read_start_line(line)
    elif not _MAY_BECOME_LINE.fullmatch(line):
        raise _bad("the first line must read METHOD target HTTP/1.1")


_MAY_BECOME_LINE: Final = re.compile(
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{0,32}(?: [!-~]*(?: H?[!-~]{0,7}\r?)?)?"
)


def _bad(what: str) -> RequestError:
    return RequestError(400, "BadRequest", f"The request is not sound HTTP/1.1: {what}.")


def _judge_line(line: bytes) -> StartLine:
    match = _LINE.fullmatch(line.decode("latin-1"))
    if match is None:
        raise _bad("the first line must read METHOD target HTTP/1.1")
    method, target, version = match.groups()
    if version not in ("1.1", "1.0"):
        raise RequestError(505, "HttpVersionNotSupported", "This port speaks HTTP/1.1.")
    check_method(method)
    host = None
    if target[0] != "/":
        host, target = _shorten(method, target)
    if "#" in target:
        raise _bad("a request target has no fragment (#)")
    path, _, query = target.partition("?")
    return StartLine(method, target, path, query, host, int(version[2]))


def check_method(method: str) -> None:
    """Raises RequestError, 405 or 501, for what never reaches an application."""
    if method in METHODS:
        return
    if method in _OTHER_METHODS:
        raise RequestError(405, "MethodNotAllowed", f"The method {method} is not allowed here.")
    raise RequestError(501, "NotImplemented", f"The method {method} is not known here.")


def _shorten(method: str, target: str) -> tuple[str | None, str]:
    """The host, if any, and the path of a target that does not start with `/`."""
    if target == "*" and method == "OPTIONS":
        return None, target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise _bad("the request target must be a path or an http:// address")
    host, path, query = match.groups()
    _check_host(host)
    return host, (path or "/") + (query or "")


def _check_host(host: str) -> None:
    match = _HOST.fullmatch(host)
    if match is None or int(match[1] or 0) > 65535:
        raise _bad("Host must be a name or an address, with a port or without")


def _judge_fields(block: bytes) -> Fields:
    _judge_by_llhttp(block)
    lines = block.decode("latin-1").split("\r\n")[:-2]
    return judge_headers(tuple([_split(line) for line in lines]))


def judge_headers(headers: tuple[tuple[str, str], ...]) -> Fields:
    """Judge header lines that are taken apart already; names in lower case.

    Raises:
        RequestError: 400, 417 or 501.
    """
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    options = _tokens(values.get("connection", []))
    host = _read_host(values)
    closes = "close" in options
    is_chunked = _is_chunked(values)
    upgrades = "upgrade" in options and "upgrade" in values
    expects_continue = _expects_continue(values)
    return Fields(
        headers=headers,
        first={name: found[0] for name, found in values.items()},
        host=host,
        content_length=_read_length(values),
        is_chunked=is_chunked,
        closes=closes,
        keeps_alive="keep-alive" in options,
        upgrades=upgrades,
        expects_continue=expects_continue,
        is_plain=host is not None and not (closes or is_chunked or upgrades or expects_continue),
    )


def _judge_by_llhttp(block: bytes) -> None:
    parser = httptools.HttpRequestParser(None)
    try:
        parser.feed_data(b"GET / HTTP/1.1\r\n" + block)
    except httptools.HttpParserUpgrade:
        pass  # A sound head that asks for another protocol.
    except httptools.HttpParserError as error:
        raise _bad(str(error)) from None


def _split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value.strip(" \t")


def _tokens(values: list[str]) -> set[str]:
    return {token.strip(" \t").lower() for value in values for token in value.split(",")}


def _read_host(values: dict[str, list[str]]) -> str | None:
    hosts = values.get("host")
    if hosts is None:
        return None
    if len(hosts) > 1:
        raise _bad("more than one Host")
    _check_host(hosts[0])
    return hosts[0]


def _read_length(values: dict[str, list[str]]) -> int | None:
    lengths = values.get("content-length")
    if lengths is None:
        return None
    # llhttp refuses these as well; a length is too dear to have one judge.
    if len(lengths) > 1 or _DIGITS.fullmatch(lengths[0]) is None:
        raise _bad("Content-Length must be one number")
    return int(lengths[0])


def _is_chunked(values: dict[str, list[str]]) -> bool:
    codings = values.get("transfer-encoding")
    if codings is None:
        return False
    if "content-length" in values:
        raise _bad("both Content-Length and Transfer-Encoding")
    if len(codings) > 1 or codings[0].lower() != "chunked":
        raise RequestError(
            501, "NotImplemented", "The only Transfer-Encoding known here is chunked."
        )
    return True


def _expects_continue(values: dict[str, list[str]]) -> bool:
    expectations = values.get("expect")
    if expectations is None:
        return False
    if len(expectations) > 1 or expectations[0].lower() != "100-continue":
        raise RequestError(
            417, "ExpectationFailed", "The only expectation met here is 100-continue."
        )
    return True


known_line = lru_cache(1024)(_judge_line)
"""`read_start_line` for at most REMEMBERED_BYTES, without the call around it."""

known_fields = lru_cache(1024)(_judge_fields)
"""`read_fields` for at most REMEMBERED_BYTES, without the call around it."""
