"""A JSON Web Token taken apart, strictly, before anything in it is believed.

Libraries are lenient where two readers may differ: base64 with stray bits, a name that stands twice
in an object, numbers that are none. Here a token has one reading or it is refused.
"""

import base64
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from camber.errors import RequestError

LENGTH_MAX: Final = 16_384
"""Characters of a token."""

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)

# What the same keys may sign but was not made to let anybody in: for logging out, for proving
# possession and so on. Of the types that end so, only access tokens are for us.
_FOREIGN_TYPE: Final = re.compile(r"(?i)(?:application/)?(?!at\+jwt\Z)[^/]*\+jwt\Z")


@dataclass(frozen=True, slots=True)
class Token:
    """A token that could be read. Nothing of it is verified.

    Args:
        header: its header, whole.
        claims: its payload, whole.
        issuer: the claim `iss`.
        signed: the bytes that the signature is of.
        signature: the signature, decoded.
    """

    header: dict[str, Any]
    claims: dict[str, Any]
    issuer: str
    signed: bytes
    signature: bytes

    @property
    def algorithm(self) -> object:
        """What the header says it is signed with. Never believed, only compared."""
        return self.header.get("alg")

    @property
    def key_id(self) -> str | None:
        """Which key the header says it is signed with."""
        id = self.header.get("kid")
        return id if isinstance(id, str) else None

    def header_flaw(self) -> str | None:
        """What in the header keeps this from being a user's token; None if nothing does.

        Keys that it brings with it, or names the place of, are ignored: ours come from the
        provider.
        """
        header = self.header
        for name in ("crit", "b64"):
            if name in header:
                return f"its header has `{name}`, which is not supported"
        if "enc" in header or "zip" in header:
            return "it is encrypted or compressed, which is not supported"
        if not isinstance(header.get("kid", ""), str):
            return "its key ID (`kid`) is no string"
        kind, content = header.get("typ", "JWT"), header.get("cty", "")
        if not isinstance(kind, str) or _FOREIGN_TYPE.match(kind):
            return "its type (`typ`) is not that of a user's token"
        if not isinstance(content, str) or content.lower().endswith("jwt"):
            return "it has another token inside"
        return None


def read_token(text: str) -> Token:
    """Take a token apart.

    Raises:
        RequestError: 401 `InvalidAuthHeader`: it cannot be read, or has no issuer.
    """
    try:
        token = _read(text)
    except (ValueError, RecursionError):
        raise RequestError(
            401,
            "InvalidAuthHeader",
            "Could not parse JWT payload. Check that the token is a valid JWT format with three "
            "base64-encoded parts separated by dots.",
        ) from None
    if not token.issuer:
        raise RequestError(
            401,
            "InvalidAuthHeader",
            "Missing issuer claim ('iss') in JWT payload. The JWT must include an 'iss' claim that "
            "matches one of your configured auth providers.",
        )
    return token


def _read(text: str) -> Token:
    if len(text) > LENGTH_MAX:
        raise ValueError("too long")
    header_text, payload_text, signature_text = text.split(".")
    claims = read_object(from_base64url(payload_text))
    issuer = claims.get("iss", "")
    return Token(
        header=read_object(from_base64url(header_text)),
        claims=claims,
        issuer=issuer if isinstance(issuer, str) else "",
        signed=f"{header_text}.{payload_text}".encode("ascii"),
        signature=from_base64url(signature_text),
    )


def from_base64url(text: str) -> bytes:
    """What unpadded base64url stands for.

    Raises:
        ValueError: it is not the one way of writing those bytes.
    """
    if not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise ValueError("not base64url")
    content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # Bits that are left over in the last character must not be set.
    if base64.urlsafe_b64encode(content).rstrip(b"=") != text.encode("ascii"):
        raise ValueError("not canonical base64url")
    return content


def read_object(document: bytes) -> dict[str, Any]:
    """A JSON object with one reading: no name twice, no numbers that are none, whole characters.

    Raises:
        ValueError, RecursionError: it is not.
    """
    found = json.loads(
        document.decode("utf-8"),
        object_pairs_hook=_object,
        parse_constant=_no_number,
        parse_float=_finite,
    )
    if not isinstance(found, dict):
        raise ValueError("not an object")
    json.dumps(found, ensure_ascii=False).encode("utf-8")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name stands twice")
    return fields


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number
