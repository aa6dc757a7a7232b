"""What a token says of its own time, held against the clock; and what numbers may say it."""

from typing import Any, Final

LEEWAY_SECONDS: Final = 5.0
"""How much longer, and earlier, a token is good than it says: clocks differ."""
SKEW_SECONDS: Final = 60.0
"""How far in the future a token may have been issued. Nothing is let in longer by it."""

# The end of the year 9999. Whoever writes milliseconds is beyond it.
_TIME_MAX: Final = 253_402_300_799


class ClaimError(Exception):
    """A claim keeps the token from being accepted; the message says why."""


def check_times(claims: dict[str, Any], now: float, *, needs_issue_time: bool) -> float:
    """Hold `exp`, `nbf` and `iat` against the clock.

    Args:
        now: seconds since the Unix epoch.
        needs_issue_time: whether `iat` must be there.

    Returns:
        When the token stops being good, the leeway included.

    Raises:
        ClaimError: it is not good now, or does not say until when.
    """
    expires = _time(claims, "exp")
    begins = _time(claims, "nbf")
    issued = _time(claims, "iat")
    if expires is None:
        raise ClaimError("it has no expiration time (`exp`)")
    if issued is None and needs_issue_time:
        raise ClaimError("it does not say when it was issued (`iat`)")
    if now >= expires + LEEWAY_SECONDS:
        raise ClaimError("it has expired (`exp`)")
    if begins is not None and begins > now + LEEWAY_SECONDS:
        raise ClaimError("it is not valid yet (`nbf`)")
    if issued is not None and issued > now + SKEW_SECONDS:
        raise ClaimError("it was issued in the future (`iat`)")
    return expires + LEEWAY_SECONDS


def subject_of(claims: dict[str, Any]) -> str:
    """Whom the token is about.

    Raises:
        ClaimError: it does not say.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise ClaimError("it has no subject (`sub`)")
    return subject


def audiences_of(claims: dict[str, Any]) -> list[str]:
    """Whom the token is for; empty if it does not say, or in no way that is known."""
    given = claims.get("aud")
    listed: list[Any] = given if isinstance(given, list) else [given]
    return listed if all(isinstance(audience, str) for audience in listed) else []


def _time(claims: dict[str, Any], name: str) -> float | None:
    """A claim that is a time; None when it is absent."""
    if name not in claims:
        return None
    time = claims[name]
    # `True` is an int to Python.
    if type(time) not in (int, float) or not 0 <= time <= _TIME_MAX:
        raise ClaimError(f"`{name}` is not a time in seconds")
    return float(time)
