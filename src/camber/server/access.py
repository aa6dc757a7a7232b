"""Who sent a request: the `Authorization` header, read strictly.

`Bearer <token>` is a user, `Convex <admin key>` an administrator, `Convex <admin key>:<base64>` an
administrator who acts as the user that the JSON in the base64 describes.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from camber.errors import InvalidValueError, RequestError
from camber.functions.identity import ADMIN, NOBODY, Identity, TokenVerifier
from camber.server.exchange import Exchange
from camber.values.value import survey
from camber.values.wire import MalformedJsonError, parse_json

_HEADER_MIN: Final = 7


class Access:
    """Reads identities; knows the deployment's admin key and who verifies users' tokens."""

    def __init__(self, name: str, admin_key: str, verifier: TokenVerifier) -> None:
        self._name = name
        # Only the hash is compared, so that how long it takes says nothing about the key.
        self._secret_hash = _hash(admin_key.partition("|")[2])
        self._verifier = verifier

    async def identify(self, exchange: Exchange) -> Identity:
        """Who sent this request; refused if the header cannot be accepted.

        Raises:
            RequestError: 400 or 401.
        """
        header = exchange.header("authorization")
        if header is None:
            return self._from_query(exchange)
        if len(header) < _HEADER_MIN:
            raise RequestError(400, "InvalidHeaderFailure", "Invalid authentication header")
        scheme, _, credentials = header.partition(" ")
        match scheme.lower():
            case "bearer":
                return await self._verifier.verify(credentials.strip())
            case "convex":
                return self._admin(credentials.strip())
        raise RequestError(400, "InvalidAdminKey", "Invalid admin key")

    async def identify_leniently(self, exchange: Exchange) -> Identity:
        """As `identify`, but a header that is not accepted is only remembered: an endpoint may
        have its own use for it."""
        header = exchange.header("authorization")
        if header is None:
            return NOBODY
        try:
            return await self.identify(exchange)
        except RequestError as error:
            return Identity(refusal=error)

    def _from_query(self, exchange: Exchange) -> Identity:
        """Download links carry the key in the query."""
        if "adminKey=" not in exchange.query:
            return NOBODY
        key = dict(parse_qsl(exchange.query)).get("adminKey", "")
        return self._admin(key)

    async def authenticate(
        self, token_type: str, value: str | None, impersonating: Mapping[str, Any] | None = None
    ) -> Identity:
        """Who a client of the sync protocol says it is, verified.

        Args:
            token_type: "User", "Admin" or "None".
            value: the token, or the admin key; looked at unless the type is "None".
            impersonating: the attributes of the user whom an administrator acts as.

        Raises:
            RequestError: it is not accepted; the message says why.
        """
        match token_type:
            case "None":
                return NOBODY
            case "User":
                return await self._verifier.verify(value or "")
            case "Admin":
                identity = self._admin(value or "")
                if impersonating is None:
                    return identity
                return Identity(_attributes(impersonating), is_admin=True)
        raise RequestError(
            400, "BadTokenType", f"The token type must be User, Admin or None, not {token_type}."
        )

    def _admin(self, credentials: str) -> Identity:
        # The name may have a type before it, such as `dev:`: only what follows the bar is split.
        name, bar, rest = credentials.partition("|")
        secret, colon, acting = rest.partition(":")
        named = name.rpartition(":")[2]
        matches = hmac.compare_digest(_hash(secret), self._secret_hash)
        if not (bar and matches and named == self._name):
            raise RequestError(
                401, "BadAdminKey", "The provided admin key was invalid for this instance"
            )
        return Identity(_acting_as(acting), is_admin=True) if colon else ADMIN


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _acting_as(encoded: str) -> dict[str, Any]:
    try:
        return _attributes(parse_json(base64.b64decode(encoded, validate=True)))
    except (ValueError, MalformedJsonError):
        raise _malformed() from None


def _attributes(given: Any) -> dict[str, Any]:
    """The attributes of a user to act as: as they are given, and who it is in both ways."""
    if not isinstance(given, Mapping):
        raise _malformed()
    attributes = dict(given)
    if "tokenIdentifier" in attributes:
        token = attributes["tokenIdentifier"]
        issuer, bar, subject = token.partition("|") if isinstance(token, str) else ("", "", "")
        if not bar:
            raise _malformed()
        attributes.setdefault("issuer", issuer)
        attributes.setdefault("subject", subject)
    who = attributes.get("issuer"), attributes.get("subject")
    if not all(isinstance(part, str) for part in who):
        raise _malformed()
    attributes.setdefault("tokenIdentifier", "{}|{}".format(*who))
    try:
        survey(attributes)
    except InvalidValueError:
        raise _malformed() from None
    return attributes


def _malformed() -> RequestError:
    return RequestError(400, "HeaderParseFailure", "Malformed Authorization header.")
