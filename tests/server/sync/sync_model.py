"""A world for sessions without sockets: a few keys with a history, queries that read them, and a
client that holds its server to what official clients rely on."""

import base64
import json
from collections.abc import Callable
from typing import Any, Final

from camber.database.read_set import ReadSet
from camber.errors import ConvexError
from camber.functions.capture import LogLine
from camber.functions.failure import Failure
from camber.functions.identity import ADMIN, NOBODY, Identity
from camber.functions.outcome import Outcome
from camber.server.sync.messages import (
    ActionResponse,
    AddQuery,
    MutationResponse,
    Transition,
)
from camber.server.sync.session import Evaluation, Query, Session
from camber.server.sync.wire import encode_response, encode_transition

NOW: Final = 1_760_000_000.0
SERVER_TS: Final = 1_760_000_000_000_000_000


def user(name: str, expires_at: float | None = None) -> Identity:
    return Identity({"tokenIdentifier": f"https://id|{name}"}, expires_at=expires_at)


WHO: Final = {"nobody": NOBODY, "ada": user("ada"), "bob": user("bob"), "admin": ADMIN}


def outcome(
    text: str | None = "null",
    ts: int = 1,
    *,
    log: tuple[str, ...] = (),
    error: str | None = None,
    data: str | None = None,
    journal: str | None = None,
    request_id: str = "",
    raised: Exception | None = None,
) -> Outcome:
    """An outcome as the runner makes them; a failure if `error` is given."""
    failure = None if error is None else Failure(error, data=data)
    if error is not None:
        text, raised = None, raised or ConvexError(error)
        request_id = request_id or "00000000000000aa"
    lines = [LogLine("LOG", line, ts) for line in log]
    made = Outcome(text, ts, ReadSet(), lines, raised, failure)
    made.journal = journal
    made.request_id = request_id
    return made


class ModelResult:
    """A result as the query cache gives them out."""

    def __init__(self, outcome: Outcome, keys: frozenset[str], is_current: bool = True) -> None:
        self.outcome = outcome
        self.keys = keys
        self.is_current = is_current
        self.watchers: dict[Query, None] = {}

    def watch(self, watcher: Query) -> None:
        assert self.is_current
        self.watchers[watcher] = None

    def unwatch(self, watcher: Query) -> None:
        self.watchers.pop(watcher, None)

    def end(self) -> None:
        """A commit touched what was read."""
        self.is_current = False
        watchers, self.watchers = list(self.watchers), {}
        for watcher in watchers:
            watcher.changed()


class World:
    """Keys with all their past values, and the results that are watched."""

    def __init__(self) -> None:
        self.ts = 1
        self._past: dict[str, list[tuple[int, int]]] = {}
        self._results: list[ModelResult] = []
        # What was done for (session, request): never twice.
        self.receipts: dict[tuple[str, int], int] = {}
        self._executions = 0

    def commit(self, writes: dict[str, int]) -> int:
        self.ts += 1
        for key, value in writes.items():
            self._past.setdefault(key, []).append((self.ts, value))
        touched = [r for r in self._results if r.keys & writes.keys()]
        self._results = [r for r in self._results if not r.keys & writes.keys()]
        for result in touched:
            result.end()
        return self.ts

    def forget(self) -> None:
        """Other code is in force: no result is current any more."""
        results, self._results = self._results, []
        for result in results:
            result.end()

    def value(self, key: str, ts: int) -> int:
        return next((v for at, v in reversed(self._past.get(key, [])) if at <= ts), 0)

    @property
    def watchers(self) -> int:
        return sum(len(result.watchers) for result in self._results)

    def evaluate(self, args: Any, ts: int, identity: Identity) -> ModelResult:
        """What the query `args` says at `ts`: the values of its keys, and of the user's own. It
        raises where one of them is a multiple of five, and says so of odd ones."""
        keys = list(args[0]["keys"])
        if args[0]["mine"] and identity.attributes is not None:
            keys.append(identity.attributes["tokenIdentifier"])
        values = {key: self.value(key, ts) for key in keys}
        fails = any(value and value % 5 == 0 for value in values.values())
        self._executions += 1
        made = outcome(
            json.dumps(values),
            ts,
            log=tuple(f"{key} is odd" for key, value in values.items() if value % 2),
            error="Uncaught Five: a five" if fails else None,
            request_id=f"{self._executions:016x}",
        )
        last = max([at for key in keys for at, _ in self._past.get(key, [])], default=0)
        result = ModelResult(made, frozenset(keys), is_current=last <= ts)
        if result.is_current:
            self._results.append(result)
        return result

    def shown(self, args: Any, ts: int, identity: Identity, *, redact: bool) -> Any:
        """What a client is to have of a query, but for the request id."""
        fresh = self.evaluate(args, ts, identity).outcome
        hidden = redact and not identity.is_admin
        log = [] if hidden else [line.wire() for line in fresh.log]
        if fresh.failure is not None:
            return ("failed", fresh.failure.shown("", redacted=hidden), log)
        return ("updated", fresh.value(), log)


def ts_of(text: str) -> int:
    return int.from_bytes(base64.b64decode(text), "little")


class Client:
    """What an official client knows, and what it refuses: npm and Rust clients together."""

    def __init__(self) -> None:
        self.version: Any = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
        # Its query set and its identity at each version that it asked for.
        self.sets: dict[int, dict[int, AddQuery]] = {0: {}}
        self.identities: dict[int, str] = {0: "nobody"}
        self.view: dict[int, Any] = {}
        # Mutations sent; the commit's timestamp once answered; until a transition shows it.
        self.unanswered: dict[int, Any] = {}
        self.unseen: dict[int, int] = {}
        # Responses of any kind that no transition followed yet: Rust clients wait for one.
        self.unfollowed = 0
        # Sent again after a reconnect: what they did may have been seen before their response.
        self.resent: set[int] = set()
        self.max_observed = 0
        self.transitions = 0

    @property
    def query_set(self) -> int:
        return max(self.sets)

    @property
    def identity(self) -> int:
        return max(self.identities)

    def take(self, message: Any, commit_ts_of: Callable[[int], int | None]) -> None:
        if message["type"] != "Transition":
            self._take_response(message)
            return
        start, end = message["startVersion"], message["endVersion"]
        assert start == self.version
        assert end["querySet"] >= start["querySet"]
        assert end["identity"] >= start["identity"]
        ts = ts_of(end["ts"])
        assert ts >= ts_of(start["ts"])
        for request in self.unanswered.keys() - self.resent:
            commit_ts = commit_ts_of(request)
            assert commit_ts is None or ts < commit_ts, "its effects came before its response"
        self._take_modifications(message["modifications"], self.sets[end["querySet"]])
        self.version = end
        self.max_observed = max(self.max_observed, ts)
        self.unseen = {request: at for request, at in self.unseen.items() if at > ts}
        self.unfollowed = 0
        self.transitions += 1

    def _take_modifications(self, modifications: Any, queries: dict[int, AddQuery]) -> None:
        for modification in modifications:
            query_id = modification["queryId"]
            if modification["type"] == "QueryRemoved":
                assert query_id not in queries
                del self.view[query_id]
                continue
            assert query_id in queries
            assert "journal" in modification
            log = modification["logLines"]
            if modification["type"] == "QueryUpdated":
                self.view[query_id] = ("updated", modification["value"], log)
            else:
                text = modification["errorMessage"]
                text = f"[Request ID: {text[13:]}" if text[13] == "]" else _nameless(text)
                self.view[query_id] = ("failed", text, log)
        assert self.view.keys() == queries.keys()

    def _take_response(self, message: Any) -> None:
        request = message["requestId"]
        del self.unanswered[request]
        self.unfollowed += 1
        if message["success"]:
            at = ts_of(message["ts"])
            self.unseen[request] = at
            self.max_observed = max(self.max_observed, at)


def _nameless(text: str) -> str:
    head = "[Request ID: "
    assert text.startswith(head)
    return head + text[len(head) + 16 :]


def transition_json(transition: Transition) -> Any:
    return json.loads(b"".join(encode_transition(transition, SERVER_TS)))


def response_json(response: MutationResponse | ActionResponse) -> Any:
    return json.loads(b"".join(encode_response(response)))


def evaluated(world: World, evaluation: Evaluation) -> dict[Query, ModelResult]:
    return {
        query: world.evaluate(query.args, evaluation.ts, evaluation.identity)
        for query in evaluation.queries
    }


def transit(session: Session, world: World) -> Any:
    """One transition at the newest timestamp, as JSON; None if there is nothing to tell."""
    evaluation = session.begin_transition(world.ts, now=NOW)
    transition = session.finish_transition(evaluated(world, evaluation))
    return None if transition is None else transition_json(transition)
