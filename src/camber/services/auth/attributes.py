"""From the claims of a token to what `ctx.auth.get_user_identity()` shows.

Who somebody is, is issuer and subject, and nothing else: no other claim ever identifies anybody,
and none can take the place of those.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from camber.errors import InvalidValueError
from camber.services.auth.claims import ClaimError
from camber.values.value import INTEGER_MAX, NESTING_MAX, survey

_TEXTS: Final = {
    "name": "name",
    "given_name": "givenName",
    "family_name": "familyName",
    "nickname": "nickname",
    "preferred_username": "preferredUsername",
    "profile": "profileUrl",
    "picture": "pictureUrl",
    "website": "websiteUrl",
    "email": "email",
    "gender": "gender",
    "birthdate": "birthday",
    "zoneinfo": "timezone",
    "locale": "language",
    "phone_number": "phoneNumber",
}
_FLAGS: Final = {"email_verified": "emailVerified", "phone_number_verified": "phoneNumberVerified"}

_WHO: Final = frozenset({"tokenIdentifier", "issuer", "subject"})
_REGISTERED: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
# Of a session with the provider; nothing about the user.
_PLUMBING: Final = frozenset({"nonce", "azp", "auth_time", "acr", "amr", "fva"})


def oidc_attributes(issuer: str, subject: str, claims: dict[str, Any]) -> dict[str, Any]:
    """The standard claims under their names here, and all others under their own.

    Raises:
        ClaimError: a standard claim has the wrong type, or they are too large.
    """
    readers: dict[str, tuple[str, Callable[[Any], Any]]] = {
        **{claim: (name, _text) for claim, name in _TEXTS.items()},
        **{claim: (name, _flag) for claim, name in _FLAGS.items()},
        "address": ("address", _address),
        "updated_at": ("updatedAt", _moment),
    }
    attributes = _identified(issuer, subject)
    for claim, (name, read) in readers.items():
        if claims.get(claim) is not None:
            value = read(claims[claim])
            if value is None:
                raise ClaimError(f"`{claim}` has the wrong type")
            if value is not _ABSENT:
                attributes[name] = value
    # What looks like one of ours but is not from the claim that it belongs to is left out.
    taken = _WHO | {name for name, _ in readers.values()}
    for claim, value in claims.items():
        if claim not in readers and claim not in _REGISTERED | _PLUMBING and claim not in taken:
            _keep(attributes, claim, value)
    return _checked(attributes)


def custom_attributes(issuer: str, subject: str, claims: dict[str, Any]) -> dict[str, Any]:
    """All claims under their own names, what is nested by the path to it: `props.role`.

    Raises:
        ClaimError: they are too large, or nested too deep.
    """
    attributes = _identified(issuer, subject)
    own = {name: value for name, value in claims.items() if name not in _REGISTERED | _WHO}
    for name, value in own.items():
        if isinstance(value, dict):
            for path, leaf in _leaves(name, value, NESTING_MAX):
                # A claim that is literally called so is the claim that is meant.
                if path not in own:
                    _keep(attributes, path, leaf)
        else:
            _keep(attributes, name, value)
    return _checked(attributes)


def _identified(issuer: str, subject: str) -> dict[str, Any]:
    return {"tokenIdentifier": f"{issuer}|{subject}", "issuer": issuer, "subject": subject}


def _leaves(path: str, value: Any, room: int) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield path, value
        return
    if not room:
        raise ClaimError(f"`{path[:100]}` is nested too deep")
    for name, inner in value.items():
        yield from _leaves(f"{path}.{name}", inner, room - 1)


def _keep(attributes: dict[str, Any], name: str, value: Any) -> None:
    """Add a claim, if it can be a field of a value."""
    try:
        value = _number(value)
        survey({name: value})
    except InvalidValueError:
        return
    attributes[name] = value


def _number(value: Any) -> Any:
    """A whole number beyond those that are values is the nearest that is."""
    if type(value) is int and abs(value) > INTEGER_MAX:
        try:
            return float(value)
        except OverflowError:
            raise InvalidValueError("a number is too large") from None
    return value


def _checked(attributes: dict[str, Any]) -> dict[str, Any]:
    try:
        survey(attributes)
    except InvalidValueError as error:
        raise ClaimError(f"its claims cannot be kept: {error}") from None
    return attributes


# Readers of standard claims: None is what has the wrong type.

_ABSENT: Final = object()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _flag(value: Any) -> bool | None:
    # Some providers write it as a string.
    if value in ("true", "false"):
        return bool(value == "true")
    return value if isinstance(value, bool) else None


def _address(value: Any) -> Any:
    if not isinstance(value, dict):
        return _text(value)
    formatted = value.get("formatted")
    return _ABSENT if formatted is None else _text(formatted)


def _moment(value: Any) -> str | None:
    """A time, in seconds or in words, after RFC 3339."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
        if type(value) in (int, float):
            return datetime.fromtimestamp(value, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        pass
    return None
