"""Providers that tests play: their keys, the tokens they sign, and verifiers that believe them.

google = Signer("RS256", "key-1")
token = google.token(claims())
identity = verify(token, CustomJwtProvider(ISSUER, google.data_url(), "RS256"))
"""

import asyncio
import base64
import json
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from urllib.parse import quote

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa_key

from camber.clock import Clock, ManualClock
from camber.errors import RequestError
from camber.functions.auth_config import AuthConfig, CustomJwtProvider, Provider
from camber.functions.identity import Identity
from camber.services.auth.verifier import JwtVerifier
from camber.services.auth.web import Web

ISSUER: Final = "https://id.example.com"
AUDIENCE: Final = "my-app"
NOW: Final = ManualClock().now_ns() // 10**9
"""Where a hand-turned clock begins."""


def base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that are accepted, but for the changes; `...` leaves one out."""
    all_ = {
        "iss": ISSUER,
        "sub": "user-1",
        "aud": AUDIENCE,
        "exp": NOW + 3600,
        "iat": NOW - 10,
        **changes,
    }
    return {name: value for name, value in all_.items() if value is not ...}


@cache
def private_key(algorithm: str, number: int = 0, bits: int = 2048) -> Any:
    """A private key; `number` tells several apart. Made once: it takes long."""
    if algorithm.startswith(("RS", "PS")):
        return new_rsa_key(65537, bits)
    return new_ec_key(SECP256R1()) if algorithm == "ES256" else Ed25519PrivateKey.generate()


@dataclass(frozen=True)
class Signer:
    """Who signs with one key, which is called `id`."""

    algorithm: str
    id: str | None = "key-1"
    number: int = 0
    # Of the key in the set, beside or instead of what it usually says; `...` leaves one out.
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def private(self) -> Any:
        return private_key(self.algorithm, self.number)

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key, as it stands in a key set."""
        public = jwt.get_algorithm_by_name(self.algorithm).to_jwk(
            self.private.public_key(), as_dict=True
        )
        public.pop("key_ops", None)
        members = {**public, "use": "sig", "alg": self.algorithm, "kid": self.id, **self.said}
        return {k: v for k, v in members.items() if v is not ... and (k, v) != ("kid", None)}

    def key_set(self) -> bytes:
        return json.dumps({"keys": [self.jwk]}).encode()

    def data_url(self) -> str:
        return data_url(self.key_set())

    def sign(self, content: bytes, algorithm: str | None = None) -> bytes:
        return jwt.get_algorithm_by_name(algorithm or self.algorithm).sign(content, self.private)

    def header(self, **changes: Any) -> dict[str, Any]:
        all_ = {"alg": self.algorithm, "typ": "JWT", "kid": self.id, **changes}
        return {k: v for k, v in all_.items() if v is not ... and (k, v) != ("kid", None)}

    def token(self, payload: Any = None, header: Any = None, algorithm: str | None = None) -> str:
        """A token, truly signed, whatever it says. Bytes are taken as they are."""
        payload = claims() if payload is None else payload
        header = self.header() if header is None else header
        parts = [p if isinstance(p, bytes) else json.dumps(p).encode() for p in (header, payload)]
        signed = ".".join(map(base64url, parts))
        return f"{signed}.{base64url(self.sign(signed.encode(), algorithm))}"


def data_url(document: bytes) -> str:
    return "data:application/json," + quote(document.decode())


def custom(
    signer: Signer, *, issuer: str = ISSUER, audience: str | None = AUDIENCE
) -> CustomJwtProvider:
    """A provider whose keys need not be fetched."""
    return CustomJwtProvider(issuer, signer.data_url(), signer.algorithm, audience)


def verifier(
    *providers: Provider, clock: Clock | None = None, web: Web | None = None, redact: bool = False
) -> JwtVerifier:
    made = JwtVerifier(web or Web(development=True), clock or ManualClock(), redact=redact)
    made.use(AuthConfig(providers))
    return made


def verify(token: str, *providers: Provider, **options: Any) -> Identity:
    return asyncio.run(verifier(*providers, **options).verify(token))


def refusal(token: str, *providers: Provider, **options: Any) -> RequestError | None:
    """Why the token is not accepted; None if it is."""
    try:
        verify(token, *providers, **options)
    except RequestError as error:
        return error
    return None


def outcomes(tokens: dict[str, str], *providers: Provider) -> dict[str, RequestError | None]:
    """By name: why a token is not accepted, or None."""

    async def all_() -> dict[str, RequestError | None]:
        made, found = verifier(*providers), dict[str, RequestError | None]()
        for name, token in tokens.items():
            try:
                await made.verify(token)
                found[name] = None
            except RequestError as error:
                found[name] = error
        return found

    return asyncio.run(all_())
