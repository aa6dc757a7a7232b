"""What clients and the server say to each other over the sync protocol, as frozen values.

Versions, query ids and request ids are whole numbers below 2^32. Arguments are plain JSON still:
whether they are values is the called function's matter, and its failure. `size` is how many bytes
of its message a part took, which is what limits are counted by.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from camber.functions.outcome import Outcome
from camber.storage.engine import Timestamp

# From clients.


class Connect(NamedTuple):
    """Who connects. Clients say it first; nobody is held to that."""

    session_id: str
    """A UUID in canonical form. Request ids are counted within it."""
    connection_count: int = 0
    last_close_reason: str | None = None
    max_observed_ts: Timestamp = 0
    """The newest timestamp that the client has seen on earlier connections, 0 for none."""
    client_ts_ms: float | None = None
    """The client's clock, in milliseconds since the epoch."""


class AddQuery(NamedTuple):
    query_id: int
    path: str
    args: Any
    journal: str | None = None
    component_path: str | None = None
    """`None` and `""` are the root."""
    size: int = 0


class RemoveQuery(NamedTuple):
    query_id: int


Modification: TypeAlias = AddQuery | RemoveQuery


class ModifyQuerySet(NamedTuple):
    base_version: int
    new_version: int
    modifications: tuple[Modification, ...] = ()


class MutationRequest(NamedTuple):
    request_id: int
    path: str
    args: Any
    component_path: str | None = None
    size: int = 0


class ActionRequest(NamedTuple):
    request_id: int
    path: str
    args: Any
    component_path: str | None = None
    size: int = 0


TokenType: TypeAlias = Literal["User", "Admin", "None"]


class Authenticate(NamedTuple):
    base_version: int
    token_type: TokenType
    value: str = ""
    """The token or admin key; empty for `None`."""
    impersonating: Mapping[str, Any] | None = None
    """The attributes of the user whom an administrator acts as."""


class Event(NamedTuple):
    """Telemetry, which nobody listens to."""


ClientMessage: TypeAlias = (
    Connect | ModifyQuerySet | MutationRequest | ActionRequest | Authenticate | Event
)

# From the server.


class Version(NamedTuple):
    """A state of a client's view: its query set, its identity, and the snapshot."""

    query_set: int = 0
    identity: int = 0
    ts: Timestamp = 0


class QueryResult(NamedTuple):
    """A query's new result, or its failure."""

    query_id: int
    outcome: Outcome
    journal: str | None


class Transition(NamedTuple):
    """From one state to the next, all results at the timestamp of `end`."""

    start: Version
    end: Version
    removed: tuple[int, ...]
    """Ids of queries that are no longer in the set."""
    results: tuple[QueryResult, ...]
    client_clock_skew_ms: int | None
    tells_time: bool
    """Whether the clocks are told: clients look when the query set or the identity has changed."""
    is_hidden: bool
    """Whether errors and log lines are kept from this client."""


class MutationResponse(NamedTuple):
    request_id: int
    outcome: Outcome
    is_hidden: bool


class ActionResponse(NamedTuple):
    request_id: int
    outcome: Outcome
    is_hidden: bool


@dataclass(frozen=True, slots=True)
class AuthError:
    """A token was refused or has expired. The client may fetch another and connect again."""

    error: str
    base_version: int
    """The identity version that the client was sent last."""
    auth_update_attempted: bool
    """Whether an Authenticate was refused, in contrast to a token that expired."""


@dataclass(frozen=True, slots=True)
class FatalError:
    """The client broke the protocol. npm clients stop for good."""

    error: str


ServerMessage: TypeAlias = Transition | MutationResponse | ActionResponse | AuthError | FatalError
