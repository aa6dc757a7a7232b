"""Tells whether a user's token is genuine, by the providers that the app believes."""

import asyncio
import hashlib
from typing import Final, NamedTuple, TypeAlias

from camber.clock import Clock
from camber.errors import RequestError
from camber.functions.auth_config import NO_AUTH, AuthConfig, OidcProvider, Provider, with_scheme
from camber.functions.identity import Identity
from camber.services.auth.claims import audiences_of
from camber.services.auth.custom_jwt import CustomJwtIssuer
from camber.services.auth.keys import KeySet
from camber.services.auth.oidc import OidcIssuer
from camber.services.auth.token import Token, read_token
from camber.services.auth.web import Web

VERIFIED_MAX: Final = 4096
"""Tokens that are remembered."""
REMEMBERED_LENGTH_MAX: Final = 4096
"""Characters of a token that is remembered: longer ones are verified each time."""

Issuer: TypeAlias = OidcIssuer | CustomJwtIssuer


class _Verified(NamedTuple):
    """A token that was verified: good until its end, while these are its issuer's fresh keys."""

    identity: Identity
    issuer: Issuer
    keys: KeySet


class JwtVerifier:
    """The verifier of a deployment. Believes nobody until it is told whom, by `use`.

    Args:
        web: fetches the providers' keys.
        redact: keep the configuration from callers, as in production.
    """

    def __init__(self, web: Web, clock: Clock, *, redact: bool) -> None:
        self._web = web
        self._clock = clock
        self._redact = redact
        self._issuers: tuple[Issuer, ...] = ()
        # By the hash of the token, the one that was used last at the end. Belongs to `_issuers`.
        self._verified: dict[bytes, _Verified] = {}

    def use(self, config: AuthConfig = NO_AUTH) -> None:
        """Believe the providers of `config` from now on, and no others. What is known of those
        that stay is kept."""
        before = {issuer.provider: issuer for issuer in self._issuers}
        issuers = tuple(before.get(p) or self._issuer(p) for p in config.checked)
        if issuers != self._issuers:
            for provider in before.keys() - set(config.checked):
                before[provider].ring.stop()
            self._issuers = issuers
            self._verified = {}

    async def verify(self, token: str, /) -> Identity:
        """The user whom `token` names.

        Raises:
            RequestError: the token is not accepted; the message says why.
        """
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        return self._remembered(digest) or await self._verify(token, digest)

    async def close(self) -> None:
        """Stop what is under way."""
        if stopped := [task for issuer in self._issuers if (task := issuer.ring.stop())]:
            await asyncio.wait(stopped)

    def _remembered(self, digest: bytes) -> Identity | None:
        found = self._verified.pop(digest, None)
        if found is None:
            return None
        expires_at = found.identity.expires_at
        assert expires_at is not None
        if self._now() >= expires_at or found.issuer.ring.fresh() is not found.keys:
            return None
        self._verified[digest] = found
        return found.identity

    async def _verify(self, text: str, digest: bytes) -> Identity:
        issuers = self._issuers
        if not issuers:
            raise self._unknown("(no providers configured). Check convex/auth_config.py.")
        token = read_token(text)
        issuer = next((issuer for issuer in issuers if _is_of(issuer.provider, token)), None)
        if issuer is None:
            believed = ", ".join(str(issuer.provider) for issuer in issuers)
            raise self._unknown(
                "Check that your JWT's issuer and audience match one of your configured "
                f"providers: [{believed}]"
            )
        try:
            identity, keys = await issuer.identify(token, self._now())
        except RequestError:
            if self._issuers is issuers:
                raise
        if self._issuers is not issuers:
            # Others are believed by now.
            return await self._verify(text, digest)
        if len(text) <= REMEMBERED_LENGTH_MAX:
            self._remember(digest, _Verified(identity, issuer, keys))
        return identity

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        self._verified[digest] = verified
        if len(self._verified) > VERIFIED_MAX:
            del self._verified[next(iter(self._verified))]

    def _issuer(self, provider: Provider) -> Issuer:
        if isinstance(provider, OidcProvider):
            return OidcIssuer(provider, self._web, self._clock, redact=self._redact)
        return CustomJwtIssuer(provider, self._web, self._clock, redact=self._redact)

    def _now(self) -> float:
        return self._clock.now_ns() / 1e9

    def _unknown(self, detail: str) -> RequestError:
        text = "No auth provider found matching the given token"
        if not self._redact:
            text += f" {detail}" if detail.startswith("(") else f". {detail}"
        return RequestError(401, "NoAuthProvider", text)


def _is_of(provider: Provider, token: Token) -> bool:
    """Whether a token says that it is of that provider. Characters are compared as they are, but
    for a scheme that is missing and a slash at the end."""
    issuer = with_scheme(provider.issuer).removesuffix("/")
    if with_scheme(token.issuer).removesuffix("/") != issuer:
        return False
    wanted = provider.application_id
    return wanted is None or wanted in audiences_of(token.claims)
