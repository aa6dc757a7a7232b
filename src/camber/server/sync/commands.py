"""What a session asks its owner to do."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from camber.functions.identity import Identity
from camber.server.sync.messages import TokenType


class Verify(NamedTuple):
    """Find out who that is, then call `verified` or `refused`; feed no message before."""

    token_type: TokenType
    value: str
    impersonating: Mapping[str, Any] | None


class RunMutation(NamedTuple):
    """Run it after all earlier ones: `mutation_started`, then `mutation_finished`."""

    request_id: int
    path: str
    args: Any
    component_path: str | None
    identity: Identity
    """Who asked, when the request arrived."""
    session_id: str | None
    """None if the client never said Connect: then it cannot be recognised when sent again."""
    log_id: str
    """The request id for logs and error texts, the same however often it is sent. Empty without
    a session."""
    size: int


class RunAction(NamedTuple):
    """Run it at once, beside all others, then `action_finished`."""

    request_id: int
    path: str
    args: Any
    component_path: str | None
    identity: Identity
    session_id: str | None
    log_id: str
    size: int


Command: TypeAlias = Verify | RunMutation | RunAction
