"""Who is calling: a verified user, an administrator, or nobody in particular."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from camber.errors import RequestError


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller. `attributes` are what `ctx.auth.get_user_identity()` shows; None for nobody.

    An administrator may act as a user: then both are set.
    """

    attributes: Mapping[str, Any] | None = None
    is_admin: bool = False
    # Why the caller's token was refused, where that is not refused at once (HTTP endpoints).
    refusal: RequestError | None = None
    # When the caller stops being this user, in seconds of wall time; None: never by itself.
    expires_at: float | None = None
    # What tells callers apart in a cache: all that app code can learn of them, as one text. Two
    # tokens of one user may say different things. Empty for nobody.
    key: str = field(init=False, compare=False, repr=False, default="")
    # Who this is and nothing else, so the same for every token of a user. Empty for nobody.
    caller: str = field(init=False, compare=False, repr=False, default="")

    def __post_init__(self) -> None:
        who = "" if self.attributes is None else f"{self.attributes.get('tokenIdentifier')}"
        object.__setattr__(self, "caller", f"admin {who}" if self.is_admin else who)
        if self.refusal is not None:
            told = {"refusal": [self.refusal.status, self.refusal.code, str(self.refusal)]}
            object.__setattr__(self, "key", _canonical(told))
        elif self.attributes is not None:
            object.__setattr__(self, "key", _canonical(self.attributes))

    def shown(self) -> dict[str, Any] | None:
        """The attributes for app code, which may change what it is given."""
        shown: dict[str, Any] | None = _copied(self.attributes)
        return shown


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _copied(inner) for name, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _canonical(attributes: Mapping[str, Any]) -> str:
    """A text that is the same for the same attributes, in whatever order they come."""
    return json.dumps(_copied(attributes), sort_keys=True, separators=(",", ":"), default=repr)


NOBODY = Identity()
ADMIN = Identity(is_admin=True)


class TokenVerifier(Protocol):
    """Who can tell whether a user's token is genuine."""

    async def verify(self, token: str, /) -> Identity:
        """The user whom `token` names.

        Raises:
            RequestError: the token is not accepted; the message says why.
        """
