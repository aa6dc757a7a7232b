"""Tokens of anybody who signs JSON Web Tokens and publishes the keys."""

import logging
from typing import Final
from urllib.parse import urlsplit

from camber.clock import Clock
from camber.errors import RequestError
from camber.functions.auth_config import CustomJwtProvider
from camber.functions.identity import Identity
from camber.services.auth.attributes import custom_attributes
from camber.services.auth.claims import ClaimError, check_times, subject_of
from camber.services.auth.key_ring import KeyRing
from camber.services.auth.keys import KeySet
from camber.services.auth.token import Token
from camber.services.auth.web import Web, WebError, one_line

_CONTENT_TYPES: Final = ("application/json", "application/jwk-set+json")
_SHOWN_MAX: Final = 100
_LOGGER: Final = logging.getLogger("camber.auth")


class CustomJwtIssuer:
    """Verifies the tokens of one provider.

    Args:
        redact: do not tell callers why its keys cannot be had.
    """

    def __init__(
        self, provider: CustomJwtProvider, web: Web, clock: Clock, *, redact: bool
    ) -> None:
        self.provider = provider
        self._web = web
        self._redact = redact
        self.ring = KeyRing(self._fetch_keys, self._unfetched, clock)

    async def identify(self, token: Token, now: float) -> tuple[Identity, KeySet]:
        """Whom `token` names, and the keys that say so.

        Raises:
            RequestError: it is not accepted.
        """
        flaw = token.header_flaw()
        if flaw is None and token.algorithm != self.provider.algorithm:
            flaw = f"its algorithm is not {self.provider.algorithm}"
        if flaw is not None:
            raise _invalid(flaw)
        keys = await self._keys_for(token)
        try:
            expires_at = check_times(token.claims, now, needs_issue_time=False)
            subject = subject_of(token.claims)
            attributes = custom_attributes(token.issuer, subject, token.claims)
        except ClaimError as error:
            raise _invalid(str(error)) from None
        return Identity(attributes, expires_at=expires_at), keys

    async def _keys_for(self, token: Token) -> KeySet:
        """The keys, one of which has signed the token."""
        id, algorithm = token.key_id, self.provider.algorithm
        if id is None:
            raise _undecoded("JWT may be missing a 'kid' (key ID) header.")
        keys = await self.ring.keys()
        if not keys.named(id, algorithm):
            keys = await self.ring.keys_anew()
        if not any(key.has_signed(token) for key in keys.named(id, algorithm)):
            raise _undecoded(
                f"The JWT's 'kid' (key ID) header is '{id[:_SHOWN_MAX]}', does this key match any "
                "key in the provider's JWKS?"
            )
        return keys

    async def _fetch_keys(self) -> bytes:
        provider = self.provider
        if provider.is_inline:
            return provider.inline_keys()
        try:
            answer = await self._web.get(provider.jwks)
        except WebError as error:
            raise self._unfetched(str(error)) from None
        if answer.status != 200:
            raise self._unfetched(f"HTTP {answer.status}")
        if answer.content_type.partition(";")[0].strip() not in _CONTENT_TYPES:
            raise self._mistyped(one_line(answer.content_type[:_SHOWN_MAX]))
        return answer.body

    @property
    def _place(self) -> str:
        """Where the keys are, without what may be secret in it, or too long to read."""
        provider = self.provider
        if provider.is_inline:
            return "data:…"
        return urlsplit(provider.jwks)._replace(query="").geturl()

    def _unfetched(self, why: str) -> RequestError:
        text = f"Could not fetch JWKS from URL '{self._place}'"
        _LOGGER.warning("%s: %s", text, why)
        reason = "" if self._redact else f": {why}"
        return _unavailable(f"{text}{reason}. Check that the URL is correct and accessible.")

    def _mistyped(self, content_type: str) -> RequestError:
        text = (
            f"Invalid Content-Type '{content_type}' when fetching JWKS from '{self._place}'. "
            "Expected 'application/json' or 'application/jwk-set+json'."
        )
        _LOGGER.warning("%s", text)
        return _unavailable(text)


def _unavailable(text: str) -> RequestError:
    return RequestError(401, "AuthProviderDiscoveryFailed", text)


def _undecoded(why: str) -> RequestError:
    return RequestError(401, "InvalidAuthHeader", f"Could not decode token. {why}")


def _invalid(why: str) -> RequestError:
    return RequestError(401, "Unauthenticated", f"Could not validate token: {why}.")
