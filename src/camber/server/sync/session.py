"""One client's side of the sync protocol, as the server keeps it: which queries, which identity,
what was sent last, and what is to be sent next.

A session decides and never waits: no socket, no clock, no runner. Its owner feeds it messages in
the order in which they came, does what it is asked to, and brings back what came of it.

    message ──receive──► Verify ──► verified / refused
                         RunMutation ──► mutation_started ──► mutation_finished ──► response
                         RunAction ──► action_finished ──► response
    on_ready ──► begin_transition ──► evaluate all its queries at one timestamp
             ──► finish_transition ──► transition, or None

A client's view goes from one snapshot to the next: all results of a transition belong to its
timestamp, and what was not evaluated again has not changed up to it. Timestamps, query set versions
and identity versions never go back.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

from camber.errors import RequestError
from camber.functions.identity import NOBODY, Identity
from camber.functions.outcome import Outcome
from camber.server.sync.commands import Command, RunAction, RunMutation, Verify
from camber.server.sync.farewell import (
    EXPIRED,
    Farewell,
    broken,
    farewell_of,
    out_of_step,
    too_much,
    unauthenticated,
)
from camber.server.sync.messages import (
    ActionRequest,
    ActionResponse,
    AddQuery,
    Authenticate,
    ClientMessage,
    Connect,
    Event,
    Modification,
    ModifyQuerySet,
    MutationRequest,
    MutationResponse,
    QueryResult,
    Transition,
    Version,
)
from camber.server.sync.query import Query, Result
from camber.storage.engine import Timestamp

# What an owner deals with, wherever it is defined.
__all__ = [
    "Command",
    "Committing",
    "Evaluation",
    "Query",
    "Result",
    "RunAction",
    "RunMutation",
    "Session",
    "Verify",
]

QUERIES_MAX: Final = 1000
"""Queries that one connection may have at a time. FatalError `TooManyQueries` beyond: connecting
again would bring the same queries again."""

QUERY_BYTES_MAX: Final = 32 << 20
"""Bytes of all subscribed queries' messages together, of which arguments are nearly all."""

MUTATIONS_MAX: Final = 1000
"""Mutations of one connection that are not answered. Close code 1013
`TooManyConcurrentMutations` beyond."""

ACTIONS_MAX: Final = 1000
"""As `MUTATIONS_MAX`, for actions: `TooManyInflightActionsForSingleClient`."""

REQUEST_BYTES_MAX: Final = 64 << 20
"""Bytes of all mutations and actions together that are not answered. Larger ones wait at the
client, if the owner stops reading before."""

SKEW_MS_MAX: Final = 1 << 53
"""Clocks further apart than that are not compared: clients could not read the number."""


class Committing(Protocol):
    """A mutation that runs."""

    @property
    def is_committing(self) -> bool:
        """Whether its writes are on their way, or visible, and it has not returned."""


class Evaluation(NamedTuple):
    """What to evaluate for a transition: every query, at `ts`, for `identity`."""

    ts: Timestamp
    identity: Identity
    queries: list[Query]


class _UnderWay(NamedTuple):
    end: Version
    identity: Identity
    queries: list[Query]
    is_asked: bool


class Session:
    """The state machine of one connection.

    Args:
        on_ready: called when a transition is wanted and nothing in the session is against it,
            perhaps more than once. It is called within the publishing of a commit: it must not
            wait, raise, or call the session.
        redact: keep errors and log lines from clients who are no administrators.
    """

    __slots__ = (
        "_actions",
        "_added",
        "_all_stale",
        "_committing",
        "_floor_ts",
        "_identity",
        "_identity_version",
        "_is_asked",
        "_is_closed",
        "_is_mutating",
        "_is_verifying",
        "_is_wanted",
        "_log_prefix",
        "_modifications",
        "_mutations",
        "_on_ready",
        "_queries",
        "_query_bytes",
        "_query_set_version",
        "_redact",
        "_removed",
        "_request_bytes",
        "_sent",
        "_sent_hidden",
        "_session_id",
        "_skew_ms",
        "_stale",
        "_under_way",
    )

    def __init__(self, on_ready: Callable[[], None], *, redact: bool) -> None:
        self._on_ready = on_ready
        self._redact = redact
        # From the last Connect, None before.
        self._session_id: str | None = None
        # What all log ids of its requests begin with; empty before.
        self._log_prefix = ""
        # How far the client's clock is ahead, from the last Connect; None if it did not say.
        self._skew_ms: int | None = None
        # The last versions received; `_sent` has those that a transition was sent for.
        self._query_set_version = 0
        self._identity_version = 0
        # The end of the last transition: the next one starts there.
        self._sent = Version()
        # Whether errors and log lines were kept back in it.
        self._sent_hidden = redact
        # No transition may be older: the client has seen this time, or a write of it.
        self._floor_ts: Timestamp = 0
        # Queries as received, with the size of each: what the next Add or Remove is held against.
        self._added: dict[int, int] = {}
        self._query_bytes = 0
        # Received, and waiting for the next transition to begin.
        self._modifications: list[Modification] = []
        # Queries as of the last transition that began.
        self._queries: dict[int, Query] = {}
        # Those of them whose result may differ from what the client has.
        self._stale: dict[Query, None] = {}
        # Ids that left `_queries`, and that the client has not been told about.
        self._removed: list[int] = []
        # The last accepted.
        self._identity = NOBODY
        # It changed, so every query is to be evaluated again.
        self._all_stale = False
        # From an Authenticate until its token was verified.
        self._is_verifying = False
        # Mutations and actions received and not answered.
        self._mutations = 0
        self._actions = 0
        self._request_bytes = 0
        # From `mutation_started` to `mutation_finished`. None means: cannot tell when it commits.
        self._is_mutating = False
        self._committing: Committing | None = None
        # Something happened since the last transition began that may need another.
        self._is_wanted = False
        # A response was given since the last transition began: one follows even if it is empty.
        self._is_asked = False
        # From `begin_transition` to `finish_transition`.
        self._under_way: _UnderWay | None = None
        self._is_closed = False

    # What the owner may look at.

    @property
    def identity(self) -> Identity:
        """Who the client is, by the last Authenticate that was accepted."""
        return self._identity

    @property
    def sent(self) -> Version:
        """The state that the last transition ended at."""
        return self._sent

    @property
    def floor_ts(self) -> Timestamp:
        """The next transition must not be older."""
        return self._floor_ts

    @property
    def request_bytes(self) -> int:
        """Bytes of the mutations and actions that are not answered. See `REQUEST_BYTES_MAX`."""
        return self._request_bytes

    @property
    def wants_transition(self) -> bool:
        """Whether there may be news for the client, or it waits for a transition."""
        return self._is_wanted

    @property
    def may_transition(self) -> bool:
        """Whether `begin_transition` may be called: not while one is under way, a token is being
        verified, or a mutation of this client commits, whose answer must come before its effects.
        """
        if self._is_closed or self._is_verifying or self._under_way is not None:
            return False
        if not self._is_mutating:
            return True
        return self._committing is not None and not self._committing.is_committing

    # Messages.

    def receive(
        self, message: ClientMessage, *, now: float, newest_ts: Timestamp
    ) -> Command | None:
        """Take the next message.

        Args:
            now: the wall clock, in seconds since the epoch.
            newest_ts: the timestamp of the newest commit that can be read.

        Raises:
            ProtocolError: the connection must end, with the error's `farewell`.
        """
        assert not self._is_verifying
        assert not self._is_closed
        match message:
            case ModifyQuerySet():
                self._modify(message)
            case MutationRequest():
                return self._mutation(message, now)
            case ActionRequest():
                return self._action(message, now)
            case Authenticate():
                return self._authenticate(message)
            case Connect():
                self._connect(message, now, newest_ts)
            case Event():
                pass
        return None

    def _connect(self, message: Connect, now: float, newest_ts: Timestamp) -> None:
        if message.max_observed_ts > newest_ts:
            # The client knows a future of this database: a copy was put in its place.
            raise out_of_step(
                f"the client has seen timestamp {message.max_observed_ts}, "
                f"the newest here is {newest_ts}"
            )
        self._session_id = message.session_id
        self._log_prefix = sha256(message.session_id.encode()).hexdigest()[:8]
        self._skew_ms = _skew_ms(message.client_ts_ms, now)
        self._floor_ts = max(self._floor_ts, message.max_observed_ts)

    def _modify(self, message: ModifyQuerySet) -> None:
        base, new = message.base_version, message.new_version
        if base != self._query_set_version:
            raise broken(
                f"Base version {base} passed up doesn't match the current version "
                f"{self._query_set_version}",
                code="BaseVersionMismatch",
            )
        if new <= base:
            raise broken(
                f"New version {new} passed up isn't greater than the base version {base}",
                code="InvalidVersion",
            )
        for modification in message.modifications:
            self._check(modification)
        self._query_set_version = new
        self._modifications += message.modifications
        self._want()

    def _check(self, modification: Modification) -> None:
        # An id in use twice, or unknown, is a slip in the client's book-keeping, which a new
        # connection clears; a FatalError would leave a browser's page dead.
        query_id = modification.query_id
        if not isinstance(modification, AddQuery):
            size = self._added.pop(query_id, None)
            if size is None:
                raise out_of_step(f"there is no query {query_id} to remove")
            self._query_bytes -= size
            return
        if query_id in self._added:
            raise out_of_step(f"there is a query {query_id} already")
        if len(self._added) >= QUERIES_MAX:
            raise broken(
                f"Too many queries: a connection may have {QUERIES_MAX} at a time",
                code="TooManyQueries",
            )
        self._added[query_id] = modification.size
        self._query_bytes += modification.size
        if self._query_bytes > QUERY_BYTES_MAX:
            raise broken(
                "The arguments of this connection's queries are too large together: "
                f"limit: {QUERY_BYTES_MAX >> 20} MiB",
                code="QueriesTooLarge",
            )

    def _mutation(self, message: MutationRequest, now: float) -> RunMutation:
        self._check_expiry(now)
        if self._mutations >= MUTATIONS_MAX or self._exceeds(message.size):
            raise too_much(
                f"Too many mutations wait: at most {MUTATIONS_MAX}, and "
                f"{REQUEST_BYTES_MAX >> 20} MiB",
                code="TooManyConcurrentMutations",
            )
        self._mutations += 1
        self._request_bytes += message.size
        return RunMutation(
            message.request_id,
            message.path,
            message.args,
            message.component_path,
            self._identity,
            self._session_id,
            self._log_id(message.request_id),
            message.size,
        )

    def _action(self, message: ActionRequest, now: float) -> RunAction:
        self._check_expiry(now)
        if self._actions >= ACTIONS_MAX or self._exceeds(message.size):
            raise too_much(
                f"Too many actions run: at most {ACTIONS_MAX}, and {REQUEST_BYTES_MAX >> 20} MiB",
                code="TooManyInflightActionsForSingleClient",
            )
        self._actions += 1
        self._request_bytes += message.size
        return RunAction(
            message.request_id,
            message.path,
            message.args,
            message.component_path,
            self._identity,
            self._session_id,
            self._log_id(message.request_id),
            message.size,
        )

    def _exceeds(self, size: int) -> bool:
        # One alone may be of any size that a message may have.
        return self._request_bytes > 0 and self._request_bytes + size > REQUEST_BYTES_MAX

    def _log_id(self, request_id: int) -> str:
        return f"{self._log_prefix}{request_id:08x}" if self._log_prefix else ""

    # Identity.

    def _authenticate(self, message: Authenticate) -> Verify | None:
        if message.base_version != self._identity_version:
            raise out_of_step(
                f"base identity version {message.base_version} is not the current version "
                f"{self._identity_version}"
            )
        if message.token_type == "None":
            self._become(NOBODY)
            return None
        self._is_verifying = True
        return Verify(message.token_type, message.value, message.impersonating)

    def verified(self, identity: Identity) -> None:
        """The token that a `Verify` asked about is good, and this is whose it is."""
        assert self._is_verifying
        self._is_verifying = False
        self._become(identity)

    def refused(self, error: BaseException) -> Farewell:
        """The token that a `Verify` asked about is not accepted, or could not be verified: how
        the connection is to end."""
        assert self._is_verifying
        self._is_verifying = False
        if isinstance(error, RequestError) and error.status in (400, 401, 403):
            return unauthenticated(str(error), self._sent.identity, attempted=True).farewell
        return farewell_of(error)

    def _become(self, identity: Identity) -> None:
        self._identity = identity
        self._identity_version += 1
        self._all_stale = True
        self._want()

    def _check_expiry(self, now: float) -> None:
        expires_at = self._identity.expires_at
        if expires_at is not None and now >= expires_at:
            raise unauthenticated(EXPIRED, self._sent.identity, attempted=False)

    # Responses.

    def mutation_started(self, committing: Committing | None) -> None:
        """A mutation runs now. `committing` tells when it commits; None: it cannot be told, and
        no transition begins until it has finished."""
        assert not self._is_mutating
        self._is_mutating = True
        self._committing = committing

    def mutation_finished(self, request: RunMutation, outcome: Outcome) -> MutationResponse:
        """The response to send, before any further transition."""
        assert self._mutations > 0
        self._is_mutating = False
        self._committing = None
        self._mutations -= 1
        self._request_bytes -= request.size
        if outcome.failure is None:
            self._floor_ts = max(self._floor_ts, outcome.ts)
        self._ask()
        return MutationResponse(request.request_id, outcome, self._is_hidden(request.identity))

    def action_finished(self, request: RunAction, outcome: Outcome) -> ActionResponse:
        """The response to send."""
        assert self._actions > 0
        self._actions -= 1
        self._request_bytes -= request.size
        self._ask()
        return ActionResponse(request.request_id, outcome, self._is_hidden(request.identity))

    def _ask(self) -> None:
        # Clients resolve a promise only when a transition follows the response.
        self._is_asked = True
        self._want()

    def _is_hidden(self, identity: Identity) -> bool:
        return self._redact and not identity.is_admin

    # Transitions.

    def query_changed(self, query: Query) -> None:
        """One of the queries is stale. Within the publishing of a commit, for each who watches."""
        self._stale[query] = None
        if not self._is_wanted:
            self._want()

    def _want(self) -> None:
        self._is_wanted = True
        self._tell()

    def _tell(self) -> None:
        if self._is_wanted and self.may_transition:
            self._on_ready()

    def begin_transition(self, ts: Timestamp, *, now: float) -> Evaluation:
        """Begin a transition to `ts`, which is the newest timestamp that can be read. It takes up
        all messages that were received.

        Raises:
            ProtocolError: the client's token has expired, and a query is to be evaluated.
        """
        assert self.may_transition
        assert ts >= self._floor_ts
        assert ts >= self._sent.ts
        if self._modifications:
            self._apply_modifications()
        if self._all_stale:
            self._all_stale = False
            self._stale = dict.fromkeys(self._queries.values())
        queries = list(self._stale)
        if queries:
            self._check_expiry(now)
            self._stale = {}
        end = Version(self._query_set_version, self._identity_version, ts)
        self._under_way = _UnderWay(end, self._identity, queries, self._is_asked)
        self._is_wanted = False
        self._is_asked = False
        return Evaluation(ts, self._identity, queries)

    def _apply_modifications(self) -> None:
        for modification in self._modifications:
            query_id = modification.query_id
            if isinstance(modification, AddQuery):
                query = self._queries[query_id] = Query(self, modification)
                self._stale[query] = None
                continue
            query = self._queries.pop(query_id)
            self._stale.pop(query, None)
            query.drop()
            # Of a query that came and went between two transitions the client hears nothing.
            if query.outcome is not None:
                self._removed.append(query_id)
        self._modifications = []

    def finish_transition(self, results: Mapping[Query, Result]) -> Transition | None:
        """The transition to send at once, before anything else; None if there is nothing to tell.

        Args:
            results: of all queries that `begin_transition` named, each right at its timestamp.
        """
        under_way, self._under_way = self._under_way, None
        assert under_way is not None
        if self._is_closed:
            return None
        hidden = self._is_hidden(under_way.identity)
        news = []
        for query in under_way.queries:
            result = results[query]
            if query.take(result):
                # It may have changed while it was under way, which is taken up by this result.
                self._stale.pop(query, None)
            else:
                self._stale[query] = None
                self._is_wanted = True
            outcome = result.outcome
            query.keep_journal(outcome)
            if self._is_news(query.outcome, outcome, hidden):
                news.append(QueryResult(query.query_id, outcome, query.journal))
            query.outcome = outcome
        transition = self._transition(under_way, hidden, news)
        self._tell()
        return transition

    def _is_news(self, old: Outcome | None, new: Outcome, hidden: bool) -> bool:
        if old is None or not new.reads_like(old, with_log=not hidden):
            return True
        # The same, but shown to an administrator before, and not now, or the other way round.
        return hidden != self._sent_hidden and bool(new.log or new.failure is not None)

    def _transition(
        self, under_way: _UnderWay, hidden: bool, news: list[QueryResult]
    ) -> Transition | None:
        start, end = self._sent, under_way.end
        versions_differ = start[:2] != end[:2]
        if not (news or versions_differ or under_way.is_asked):
            return None
        self._sent = end
        self._sent_hidden = hidden
        removed, self._removed = tuple(self._removed), []
        return Transition(start, end, removed, tuple(news), self._skew_ms, versions_differ, hidden)

    def abandon_transition(self) -> None:
        """Nothing came of the evaluation; it can be begun again, when the owner thinks fit: it is
        wanted still."""
        under_way, self._under_way = self._under_way, None
        assert under_way is not None
        for query in under_way.queries:
            self._stale[query] = None
        self._is_asked = self._is_asked or under_way.is_asked
        self._is_wanted = True

    def close(self) -> None:
        """The connection is over: watch nothing any more. Safe to call twice."""
        self._is_closed = True
        for query in self._queries.values():
            query.drop()
        self._queries.clear()
        self._stale.clear()
        self._modifications.clear()


def _skew_ms(client_ts_ms: float | None, now: float) -> int | None:
    if client_ts_ms is None:
        return None
    skew = client_ts_ms - now * 1000
    return round(skew) if abs(skew) < SKEW_MS_MAX else None
