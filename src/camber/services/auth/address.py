"""Where the server may connect to when a URL tells it to: addresses of the public internet.

A URL that is fetched by a server is a way into the network that the server stands in. So it is
`https`, its host is written in the one ordinary way, and every address that the name stands for is
public. In development, and only there, the machine itself may be reached, also by `http`.
"""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple
from urllib.parse import urlsplit

PORTS: Final = {"https": 443, "http": 80}

_NAME: Final = re.compile(r"(?!.{254})(?:(?!-)[a-z0-9_-]{1,63}(?<!-)\.)+(?!-)[a-z0-9-]{2,63}(?<!-)")
# A last label of this shape makes lenient readers take the name for an IPv4 address.
_NUMBER: Final = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z")
# Names that only mean something inside of some network.
_INNER: Final = ("internal", "local", "localdomain", "localhost", "lan", "intranet", "home.arpa")
# What is legal in a URL; in particular no space, no control character, no backslash.
_URL: Final = re.compile(r"[!#-;=?-Z\[\]_a-z~%]+")

# Public by their flags, but not hosts of the public internet.
_OTHER_V4: Final = [IPv4Network(n) for n in ("192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4")]
_PUBLIC_V6: Final = IPv6Network("2000::/3")
_OTHER_V6: Final = [
    IPv6Network(n)
    # Teredo and other protocols · documentation · 6to4, with an IPv4 address inside · documentation
    for n in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]
_NAT64: Final = IPv6Network("64:ff9b::/96")


class ForbiddenAddressError(Exception):
    """The server does not connect there; the message says why."""


class Target(NamedTuple):
    """What a URL asks for: a `path` with its query, from a `host` as it stands in the URL."""

    is_secure: bool
    host: str
    port: int
    path: str
    # Whether the machine itself is meant.
    is_loopback: bool

    @property
    def authority(self) -> str:
        """Host and port, as the `Host` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == PORTS["https" if self.is_secure else "http"]
        return host if usual else f"{host}:{self.port}"


def target_of(url: str, *, development: bool) -> Target:
    """Read a URL that the server is to fetch.

    Args:
        development: allow the machine itself.

    Raises:
        ForbiddenAddressError: it is not to be fetched.
    """
    try:
        if not _URL.fullmatch(url):
            raise ValueError
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ForbiddenAddressError("it is not a valid URL") from None
    if parts.scheme not in PORTS:
        raise ForbiddenAddressError("its scheme is not https")
    if "@" in parts.netloc:
        raise ForbiddenAddressError("it has a user name or password in it")
    host = parts.hostname or ""
    is_loopback = _check_host(host, bracketed="[" in parts.netloc, development=development)
    if parts.scheme == "http" and not is_loopback:
        raise ForbiddenAddressError("it must be https")
    if port == 0 or parts.netloc.endswith(":"):
        raise ForbiddenAddressError("its port is not valid")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme == "https", host, port or PORTS[parts.scheme], path, is_loopback)


def check_address(address: str, target: Target) -> None:
    """Refuse an address that `target`'s host stands for, unless it may be connected to.

    Raises:
        ForbiddenAddressError: it must not be.
    """
    try:
        found = ip_address(address)
    except ValueError:
        raise ForbiddenAddressError(f"{address!r} is not an address") from None
    if found.is_loopback if target.is_loopback else is_public(found):
        return
    raise ForbiddenAddressError(f"{target.host} is {address}, which is not a public address")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether it is one host of the public internet."""
    if isinstance(address, IPv4Address):
        special = address.is_multicast or any(address in network for network in _OTHER_V4)
        return address.is_global and not special
    if address.scope_id is not None:
        return False
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    special = any(address in network for network in _OTHER_V6)
    return address.is_global and address in _PUBLIC_V6 and not special


def _check_host(host: str, *, bracketed: bool, development: bool) -> bool:
    """Refuse a host that is inside of some network, or written in an odd way.

    Returns:
        Whether it is the machine itself, which is refused outside of development.
    """
    literal = _literal(host, bracketed=bracketed)
    if literal is not None:
        is_loopback = literal.is_loopback
    else:
        is_loopback = host == "localhost" or host.endswith(".localhost")
        if not is_loopback:
            _check_name(host)
    if is_loopback and development:
        return True
    if is_loopback or (literal is not None and not is_public(literal)):
        raise ForbiddenAddressError(f"{host} is not a public address")
    return False


def _literal(host: str, *, bracketed: bool) -> IPv4Address | IPv6Address | None:
    """The address that `host` is; None if it is a name."""
    try:
        return IPv6Address(host) if bracketed else IPv4Address(host)
    except ValueError:
        if bracketed:
            raise ForbiddenAddressError(f"{host!r} is not an address") from None
        return None


def _check_name(host: str) -> None:
    if not _NAME.fullmatch(host) or _NUMBER.match(host.rpartition(".")[2]):
        raise ForbiddenAddressError(f"{host!r} is not a full host name")
    if any(host.endswith(f".{inner}") for inner in _INNER):
        raise ForbiddenAddressError(f"{host} is a name inside of a private network")
