"""The parts of a URL, and how text becomes them.

The rules are those of the URL standard, exact for `http` and `https`. Two things are left out:
names beyond ASCII in a host are kept as they are (no IDNA), and `file` URLs know no drive letters.
"""

import re
import struct
from socket import AF_INET6, inet_pton
from typing import NamedTuple

from camber.functions.fetch import percent

# The port that a scheme means when none is written. These schemes are the "special" ones:
# they always have a host, and `\\` counts as `/`.
DEFAULT_PORTS: dict[str, int | None] = {
    "http": 80,
    "https": 443,
    "ws": 80,
    "wss": 443,
    "ftp": 21,
    "file": None,
}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_TRIMMED = "".join(map(chr, range(0x21)))
_DROPPED = str.maketrans("", "", "\t\n\r")
_FORBIDDEN_IN_HOST = re.compile(r"[\x00\t\n\r #/:<>?@\[\\\]^|]")
_FORBIDDEN_IN_DOMAIN = re.compile(r"[\x00-\x20#/:<>?@\[\\\]^|%\x7f]")
_HEXADECIMAL = re.compile(r"0x[0-9a-f]*")
_NUMBER = re.compile(r"[0-9a-fx]{1,80}")
_HERE = frozenset({".", "%2e"})
_UP = frozenset({"..", ".%2e", "%2e.", "%2e%2e"})


class URLParts(NamedTuple):
    """A parsed URL. What is absent is None; what is present but empty is empty."""

    scheme: str
    username: str = ""
    password: str = ""
    host: str | None = None
    port: int | None = None
    # Either the segments between the slashes, or for `mailto:x` and the like one opaque text.
    path: tuple[str, ...] | str = ()
    query: str | None = None
    fragment: str | None = None

    @property
    def special(self) -> bool:
        return self.scheme in DEFAULT_PORTS

    @property
    def pathname(self) -> str:
        if isinstance(self.path, str):
            return self.path
        return "".join(f"/{segment}" for segment in self.path)

    @property
    def authority(self) -> str:
        """Host and port, as in `example.com:8080`."""
        host = self.host or ""
        return host if self.port is None else f"{host}:{self.port}"

    def __str__(self) -> str:
        text = [self.scheme, ":"]
        pathname = self.pathname
        if self.host is not None:
            text += ["//", self._credentials(), self.authority]
        elif pathname.startswith("//"):
            # Without this dot the path would read as a host.
            text.append("/.")
        text.append(pathname)
        if self.query is not None:
            text += ["?", self.query]
        if self.fragment is not None:
            text += ["#", self.fragment]
        return "".join(text)

    def _credentials(self) -> str:
        if not self.username and not self.password:
            return ""
        return f"{self.username}{':' if self.password else ''}{self.password}@"


def parse(text: str, base: URLParts | None = None) -> URLParts:
    """The parts of `text`, read relative to `base` where it is relative.

    Raises:
        TypeError: `text` is not a URL, or it is relative and there is no base.
    """
    parts = _parse(text, base)
    if parts is None:
        raise TypeError(f"Invalid URL: {text!r}")
    return parts


def _parse(text: str, base: URLParts | None) -> URLParts | None:
    text = percent.scalar_text(text).strip(_TRIMMED)
    if not text.isprintable():
        text = text.translate(_DROPPED)
    text, fragment = _cut(text, "#")
    if fragment is not None:
        fragment = percent.encode_fragment(fragment)
    match = _SCHEME.match(text)
    if match is None:
        if base is None or (isinstance(base.path, str) and text):
            return None
        return _relative(text, fragment, base)
    scheme, text = match[1].lower(), text[match.end() :]
    special = scheme in DEFAULT_PORTS
    if special and base is not None and base.scheme == scheme and not text.startswith("//"):
        return _relative(text, fragment, base)
    text, query = _cut_query(text, special=special)
    if special and not (scheme == "file" and text.startswith("//")):
        # However many slashes there are, a host follows them; in `file:` an empty one.
        text = ("///" if scheme == "file" else "//") + text.lstrip("/")
    if text.startswith("/"):
        return _absolute(scheme, text, query, fragment)
    return URLParts(scheme, path=percent.encode_opaque(text), query=query, fragment=fragment)


def _cut(text: str, mark: str) -> tuple[str, str | None]:
    before, found, after = text.partition(mark)
    return before, after if found else None


def _cut_query(text: str, *, special: bool) -> tuple[str, str | None]:
    """What stands before the query, with its slashes the right way, and the query, encoded."""
    text, query = _cut(text, "?")
    if query is not None:
        query = encode_query(query, special=special)
    return text.replace("\\", "/") if special else text, query


def encode_query(query: str, *, special: bool) -> str:
    """`query` as it stands in a URL whose scheme is, or is not, a special one."""
    return percent.encode_special_query(query) if special else percent.encode_query(query)


def _relative(text: str, fragment: str | None, base: URLParts) -> URLParts | None:
    text, query = _cut_query(text, special=base.special)
    if text.startswith("//"):
        return _absolute(base.scheme, text, query, fragment)
    if not text:
        return base._replace(query=base.query if query is None else query, fragment=fragment)
    assert not isinstance(base.path, str), "an opaque path takes only a fragment"
    path = parse_path(text[1:]) if text.startswith("/") else parse_path(text, base.path[:-1])
    return base._replace(path=path, query=query, fragment=fragment)


def _absolute(scheme: str, text: str, query: str | None, fragment: str | None) -> URLParts | None:
    """What follows `scheme:` when it begins with a slash: an authority and a path, or a path."""
    special = scheme in DEFAULT_PORTS
    if not text.startswith("//"):
        return URLParts(scheme, path=parse_path(text[1:]), query=query, fragment=fragment)
    text = text[2:] if not special or scheme == "file" else text.lstrip("/")
    authority, slash, rest = text.partition("/")
    credentials, at, host_and_port = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    host, port = split_port(host_and_port)
    if (not host and special and scheme != "file") or (
        (at or port is not None) and (not host or scheme == "file")
    ):
        return None
    try:
        return URLParts(
            scheme,
            percent.encode_userinfo(username),
            percent.encode_userinfo(password),
            parse_host(host, scheme),
            None if port is None else parse_port(port, scheme),
            parse_path(rest) if slash or special else (),
            query,
            fragment,
        )
    except ValueError:
        return None


def split_port(text: str) -> tuple[str, str | None]:
    """Host and port of `host:port`; brackets protect the colons of an IPv6 address."""
    colon = text.find(":", text.find("]") + 1 if text.startswith("[") else 0)
    return (text, None) if colon < 0 else (text[:colon], text[colon + 1 :])


def parse_port(text: str, scheme: str) -> int | None:
    """The port, or None when it is absent or the scheme's own.

    Raises:
        ValueError: not a number up to 65535.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text.lstrip("0")) > 5 or int(text) > 65535:
        raise ValueError(f"not a port: {text!r}")
    port = int(text)
    return None if port == DEFAULT_PORTS.get(scheme) else port


def parse_path(text: str, onto: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The segments of `text` after those of `onto`, with `.` and `..` resolved."""
    segments = list(onto)
    encoded = percent.encode_path(text).split("/")
    for segment in encoded:
        lowered = segment.lower()
        if lowered in _UP:
            del segments[-1:]
        elif lowered not in _HERE:
            segments.append(segment)
    if encoded[-1].lower() in _UP | _HERE:
        segments.append("")
    return tuple(segments)


def parse_host(text: str, scheme: str) -> str:
    """The host, in its one written form.

    Raises:
        ValueError: not a host.
    """
    if text.startswith("["):
        if not text.endswith("]"):
            raise ValueError(f"not a host: {text!r}")
        return f"[{_ipv6(text[1:-1])}]"
    if scheme not in DEFAULT_PORTS:
        if _FORBIDDEN_IN_HOST.search(text):
            raise ValueError(f"not a host: {text!r}")
        return percent.encode_opaque(text)
    domain = percent.decode(text).lower()
    if _FORBIDDEN_IN_DOMAIN.search(domain):
        raise ValueError(f"not a host: {text!r}")
    return _ipv4(domain) if _ends_in_number(domain) else domain


def _ends_in_number(domain: str) -> bool:
    labels = domain.removesuffix(".").split(".")
    last = labels[-1]
    return domain.isascii() and (last.isdigit() or _HEXADECIMAL.fullmatch(last) is not None)


def _ipv4(domain: str) -> str:
    labels = domain.removesuffix(".").split(".")
    if len(labels) > 4:
        raise ValueError(f"not an IPv4 address: {domain}")
    *heads, last = map(_ipv4_number, labels)
    if any(head > 255 for head in heads) or last >= 256 ** (4 - len(heads)):
        raise ValueError(f"not an IPv4 address: {domain}")
    address = sum(head << (24 - 8 * place) for place, head in enumerate(heads)) + last
    return ".".join(str(byte) for byte in address.to_bytes(4, "big"))


def _ipv4_number(text: str) -> int:
    """A number as C reads it: hexadecimal after `0x`, octal after `0`."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"not a number: {text!r}")
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if len(text) > 1 and text.startswith("0") else 10)


def _ipv6(text: str) -> str:
    """The address in its shortest form, always in hexadecimal groups."""
    try:
        groups = struct.unpack("!8H", inet_pton(AF_INET6, text))
    except OSError:
        raise ValueError(f"not an IPv6 address: {text!r}") from None
    words = [f"{group:x}" for group in groups]
    start, length = _longest_zeros(groups)
    if length < 2:
        return ":".join(words)
    return ":".join(words[:start]) + "::" + ":".join(words[start + length :])


def _longest_zeros(groups: tuple[int, ...]) -> tuple[int, int]:
    """Where the first of the longest runs of zeros starts, and its length."""
    best = (0, 0)
    start = None
    for place, group in enumerate((*groups, 1)):
        if group == 0:
            start = place if start is None else start
        elif start is not None:
            if place - start > best[1]:
                best = (start, place - start)
            start = None
    return best
