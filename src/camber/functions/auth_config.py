"""`auth_config.py` of an app: whose tokens it believes.

    auth_config = AuthConfig(providers=[
        OidcProvider(domain="https://id.example.com", application_id="my-app"),
    ])

The same as plain dicts, with the names that official clients' documentation uses:

    auth_config = {"providers": [{"domain": "https://id.example.com", "applicationID": "my-app"}]}
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit

from camber.errors import ConfigError
from camber.values.wire import MalformedJsonError, parse_json

ALGORITHMS: Final = ("RS256", "ES256")
"""What a custom provider may sign with."""


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """An OpenID Connect provider. Its keys are found by discovery, at
    `{domain}/.well-known/openid-configuration`; it signs with RS256 or EdDSA.

    Args:
        domain: the issuer, as its tokens name it in `iss`; `https://` is prepended to one without
            a scheme.
        application_id: what its tokens name in `aud`.

    Raises:
        ConfigError: a field is not as it must be; the message names it.
    """

    domain: str
    application_id: str

    def __post_init__(self) -> None:
        _check_text("domain", self.domain, "the issuer's URL, such as https://id.example.com")
        _check_text("application_id", self.application_id, "what the tokens name in `aud`")
        _check_url("domain", self.issuer)

    @property
    def issuer(self) -> str:
        """The domain as a URL."""
        return with_scheme(self.domain)

    def __str__(self) -> str:
        return f"OIDC(domain={self.issuer}, app_id={self.application_id})"


@dataclass(frozen=True, slots=True)
class CustomJwtProvider:
    """Anybody who signs JSON Web Tokens and publishes the keys.

    Args:
        issuer: what its tokens name in `iss`.
        jwks: where its keys are: a URL, or the key set itself as a `data:` URL.
        algorithm: what it signs with: "RS256" or "ES256".
        application_id: what its tokens name in `aud`; None: the audience is not looked at.

    Raises:
        ConfigError: a field is not as it must be; the message names it.
    """

    issuer: str
    jwks: str
    algorithm: str
    application_id: str | None = None

    def __post_init__(self) -> None:
        _check_text("issuer", self.issuer, "what the tokens name in `iss`")
        if "|" in self.issuer:
            raise ConfigError("`issuer` must not contain `|`.")
        if self.algorithm not in ALGORITHMS:
            raise ConfigError(
                f'`algorithm` must be "RS256" or "ES256", got {_shown(self.algorithm)}.'
            )
        if self.application_id is not None:
            _check_text("application_id", self.application_id, "what the tokens name in `aud`")
        _check_text("jwks", self.jwks, "the URL of a JSON Web Key Set")
        if self.is_inline:
            _check_key_set(self.inline_keys())
        else:
            _check_url("jwks", self.jwks)

    @property
    def is_inline(self) -> bool:
        """Whether `jwks` holds the keys itself."""
        return self.jwks[:5].lower() == "data:"

    def inline_keys(self) -> bytes:
        """The key set in a `data:` URL.

        Raises:
            ConfigError: it is no `data:` URL.
        """
        head, comma, content = self.jwks.partition(",")
        if not comma:
            raise ConfigError("`jwks` is a `data:` URL without a comma before its content.")
        document = unquote_to_bytes(content)
        if not head.lower().endswith(";base64"):
            return document
        try:
            return base64.b64decode(document, validate=True)
        except binascii.Error:
            raise ConfigError("`jwks` is a `data:` URL that is not valid base64.") from None

    def __str__(self) -> str:
        audience = "" if self.application_id is None else f", app_id={self.application_id}"
        return f"CustomJWT(issuer={self.issuer}{audience})"


Provider: TypeAlias = OidcProvider | CustomJwtProvider


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Whose tokens an app believes.

    Args:
        providers: in the order in which they are asked; each an `OidcProvider`, a
            `CustomJwtProvider`, or a dict with the fields of one.

    Raises:
        ConfigError: a provider is not as it must be; the message names it and the field.
    """

    providers: Sequence[Provider | Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        given = self.providers
        if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
            raise ConfigError(f"`providers` must be a list, got {_shown(given)}.")
        # What is kept is always of our classes, and cannot be changed any more.
        object.__setattr__(self, "providers", tuple(map(_provider, range(len(given)), given)))

    @property
    def checked(self) -> tuple[Provider, ...]:
        """The providers, whichever form they were written in."""
        return tuple(p for p in self.providers if isinstance(p, OidcProvider | CustomJwtProvider))


def read_auth_config(found: object) -> AuthConfig:
    """What an app's `auth_config` says, in either form.

    Raises:
        ConfigError: it is not as it must be; the message says where.
    """
    if isinstance(found, AuthConfig):
        return found
    if not isinstance(found, Mapping) or "providers" not in found:
        raise ConfigError('must be an AuthConfig(providers=[…]), or a dict {"providers": […]}.')
    if extra := sorted(map(str, found.keys() - {"providers"})):
        raise ConfigError(f"has no field `{extra[0]}`: only `providers`.")
    return AuthConfig(found["providers"])


def with_scheme(issuer: str) -> str:
    """`issuer` as a URL: `https` is meant where nothing is said."""
    return issuer if "://" in issuer else f"https://{issuer}"


# Reading the form of dicts.

_OIDC_FIELDS: Final = ("domain", "applicationID")
_CUSTOM_FIELDS: Final = ("type", "issuer", "jwks", "algorithm", "applicationID")


def _provider(number: int, given: object) -> Provider:
    if isinstance(given, OidcProvider | CustomJwtProvider):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"`providers[{number}]` must be an OidcProvider, a CustomJwtProvider or a dict, "
            f"got {_shown(given)}."
        )
    try:
        return _provider_of_fields(dict(given))
    except ConfigError as error:
        text = str(error).replace("`application_id` must", "`applicationID` must")
        raise ConfigError(f"`providers[{number}]`: {text}") from None


def _provider_of_fields(fields: dict[Any, Any]) -> Provider:
    # Both spellings are natural to somebody.
    if "application_id" in fields and "applicationID" not in fields:
        fields["applicationID"] = fields.pop("application_id")
    if "type" not in fields:
        _check_fields(fields, _OIDC_FIELDS, _OIDC_FIELDS)
        return OidcProvider(fields["domain"], fields["applicationID"])
    if fields["type"] != "customJwt":
        raise ConfigError(
            f'`type` must be "customJwt", or left out for OpenID Connect, '
            f"got {_shown(fields['type'])}."
        )
    _check_fields(fields, _CUSTOM_FIELDS, _CUSTOM_FIELDS[:-1])
    return CustomJwtProvider(
        fields["issuer"], fields["jwks"], fields["algorithm"], fields.get("applicationID")
    )


def _check_fields(fields: dict[Any, Any], known: Sequence[str], needed: Sequence[str]) -> None:
    for name in fields:
        if name not in known:
            raise ConfigError(f"there is no field `{name}`; the fields are {', '.join(known)}.")
    for name in needed:
        if name not in fields:
            raise ConfigError(f"`{name}` is missing.")


# What fields must be.


def _check_text(field: str, value: object, what: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"`{field}` must be {what}, got {_shown(value)}.")


def _check_url(field: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or "|" in url or any(c <= " " or c == "\x7f" for c in url) or parts.fragment:
        raise ConfigError(f"`{field}` must be an http or https URL, got {_shown(url)}.")


def _check_key_set(document: bytes) -> None:
    try:
        keys = parse_json(document)
    except MalformedJsonError as error:
        raise ConfigError(f"`jwks` is a `data:` URL whose content is no JSON: {error}") from None
    if not isinstance(keys, dict) or not isinstance(keys.get("keys"), list):
        raise ConfigError('`jwks` is a `data:` URL whose content is no key set: {"keys": […]}.')


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


NO_AUTH: Final = AuthConfig()
"""An app without `auth_config.py`: no token is believed."""
