"""Tokens of an OpenID Connect provider: ID tokens, whose keys discovery leads to."""

import logging
from typing import Final

from camber.clock import Clock
from camber.errors import RequestError
from camber.functions.auth_config import OidcProvider
from camber.functions.identity import Identity
from camber.services.auth.attributes import oidc_attributes
from camber.services.auth.claims import ClaimError, audiences_of, check_times, subject_of
from camber.services.auth.key_ring import KeyRing
from camber.services.auth.keys import Key, KeySet
from camber.services.auth.token import Token, read_object
from camber.services.auth.web import Web, WebError, one_line

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"

_ALGORITHMS: Final = ("RS256", "EdDSA")
_SHOWN_MAX: Final = 200
_LOGGER: Final = logging.getLogger("camber.auth")


class OidcIssuer:
    """Verifies the tokens of one provider.

    Args:
        redact: do not tell callers what the provider's server said.
    """

    def __init__(self, provider: OidcProvider, web: Web, clock: Clock, *, redact: bool) -> None:
        self.provider = provider
        self._web = web
        self._redact = redact
        self.ring = KeyRing(self._fetch_keys, self._undiscovered, clock)

    async def identify(self, token: Token, now: float) -> tuple[Identity, KeySet]:
        """Whom `token` names, and the keys that say so.

        Raises:
            RequestError: it is not accepted.
        """
        if token.header_flaw() is not None or token.algorithm not in _ALGORITHMS:
            raise _unverified()
        keys = await self.ring.keys()
        candidates = _candidates(keys, token)
        if not candidates:
            keys = await self.ring.keys_anew()
            candidates = _candidates(keys, token)
        if not any(key.has_signed(token) for key in candidates):
            raise _unverified()
        return self._identity(token, now), keys

    def _identity(self, token: Token, now: float) -> Identity:
        # One audience, ours: a token that was also made for another may have come from it.
        if audiences_of(token.claims) != [self.provider.application_id]:
            raise _unverified()
        try:
            expires_at = check_times(token.claims, now, needs_issue_time=True)
        except ClaimError:
            raise _unverified() from None
        try:
            subject = subject_of(token.claims)
            attributes = oidc_attributes(token.issuer, subject, token.claims)
        except ClaimError:
            raise RequestError(
                401,
                "InvalidAuthHeader",
                "Could not parse as OIDC ID token. Token might not be an OIDC-compliant JWT.",
            ) from None
        return Identity(attributes, expires_at=expires_at)

    # Discovery

    async def _fetch_keys(self) -> bytes:
        issuer = self.provider.issuer.removesuffix("/")
        found = await self._get(issuer + DISCOVERY_PATH)
        try:
            configuration = read_object(found)
        except (ValueError, RecursionError):
            raise self._undiscovered("its configuration is not a JSON object") from None
        named, place = configuration.get("issuer"), configuration.get("jwks_uri")
        # Whoever is able to answer there must not be able to speak for others.
        if not isinstance(named, str) or named.removesuffix("/") != issuer:
            raise self._undiscovered("its configuration names another issuer")
        if not isinstance(place, str):
            raise self._undiscovered("its configuration has no `jwks_uri`")
        return await self._get(place)

    async def _get(self, url: str) -> bytes:
        try:
            answer = await self._web.get(url)
        except WebError as error:
            raise self._undiscovered(str(error)) from None
        if answer.status != 200:
            body = one_line(answer.body[:_SHOWN_MAX].decode("utf-8", "replace"))
            raise self._undiscovered(f"{answer.status} {body}".rstrip())
        return answer.body

    def _undiscovered(self, why: str) -> RequestError:
        text = f"Auth provider discovery of {self.provider.issuer} failed"
        _LOGGER.warning("%s: %s", text, why)
        return RequestError(
            400, "AuthProviderDiscoveryFailed", text if self._redact else f"{text}: {why}"
        )


def _candidates(keys: KeySet, token: Token) -> list[Key]:
    algorithm = str(token.algorithm)
    # A provider with a single key may leave out its name.
    if token.key_id is None:
        return keys.only(algorithm)
    return keys.named(token.key_id, algorithm)


def _unverified() -> RequestError:
    return RequestError(
        401,
        "Unauthenticated",
        "Could not verify OIDC token claim. Check that the token signature is valid and the "
        "token hasn't expired.",
    )
