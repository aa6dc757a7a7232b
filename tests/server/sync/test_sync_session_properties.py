"""Whatever is interleaved, a client's view is one snapshot, never goes back, and in the end is
what a fresh query says. The session is real; the database and the clients are models."""

import base64
import os
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sync_model import (
    NOW,
    WHO,
    Client,
    ModelResult,
    World,
    evaluated,
    outcome,
    response_json,
    transition_json,
)

from camber.server.sync.messages import (
    AddQuery,
    Authenticate,
    ClientMessage,
    Connect,
    ModifyQuerySet,
    MutationRequest,
    RemoveQuery,
)
from camber.server.sync.session import Evaluation, Query, RunAction, RunMutation, Session, Verify
from camber.server.sync.wire import decode

EXAMPLES: Final = int(os.environ.get("SYNC_EXAMPLES", "120"))
KEYS: Final = ("a", "b", "c")
OWN: Final = ("https://id|ada", "https://id|bob")


class _Running:
    """A mutation that the server runs."""

    def __init__(self, command: RunMutation) -> None:
        self.command = command
        self.is_committing = False
        self.commit_ts: int | None = None


class _Peer:
    """A client, the two directions of its connection, and its session with what waits for it."""

    def __init__(self, number: int, world: World, redact: bool) -> None:
        self.world = world
        self.redact = redact
        self.session_id = f"00000000-0000-4000-8000-{number:012d}"
        self.requests = 0
        self.query_ids = 0
        self.client = Client()
        self.session = Session(self._ready, redact=redact)
        self.is_ready = False
        self.inbox: list[ClientMessage] = []
        self.verifying: Verify | None = None
        self.mutations: list[RunMutation] = []
        self.running: _Running | None = None
        self.slow: tuple[Evaluation, dict[Query, ModelResult]] | None = None
        self.send(Connect(self.session_id))

    def _ready(self) -> None:
        self.is_ready = True

    def send(self, message: ClientMessage) -> None:
        self.inbox.append(message)

    # The client.

    def modify(self, *modifications: AddQuery | RemoveQuery) -> None:
        base = self.client.query_set
        queries = dict(self.client.sets[base])
        for modification in modifications:
            if isinstance(modification, AddQuery):
                queries[modification.query_id] = modification
            else:
                del queries[modification.query_id]
        self.client.sets[base + 1] = queries
        self.send(ModifyQuerySet(base, base + 1, modifications))

    def reconnect(self) -> None:
        before, client = self.client, Client()
        self.session.close()
        self.session.close()
        client.max_observed = before.max_observed
        self.client = client
        self.session = Session(self._ready, redact=self.redact)
        self.inbox, self.mutations, self.verifying, self.slow = [], [], None, None
        # What runs goes on, but nobody waits for it here.
        if self.running is not None and self.running.commit_ts is None:
            self.running = None
        elif self.running is not None:
            command = self.running.command
            self.world.receipts[self.session_id, command.request_id] = self.running.commit_ts or 0
            self.running = None
        observed = base64.b64encode(before.max_observed.to_bytes(8, "little")).decode()
        self.send(
            decode(
                b'{"type":"Connect","sessionId":"%b","connectionCount":1,"clientTs":5,'
                b'"lastCloseReason":null,"maxObservedTimestamp":"%b"}'
                % (self.session_id.encode(), observed.encode())
            )
        )
        self.authenticate(before.identities[before.identity])
        self.modify(*before.sets[before.query_set].values())
        for request, message in before.unanswered.items():
            client.unanswered[request] = message
            client.resent.add(request)
            self.send(message)

    def authenticate(self, name: str) -> None:
        base = self.client.identity
        self.client.identities[base + 1] = name
        kind: Any = "None" if name == "nobody" else "Admin" if name == "admin" else "User"
        self.send(Authenticate(base, kind, name))

    def mutate(self, key: str, value: int) -> None:
        message = MutationRequest(self.requests, "put", [{"key": key, "value": value}])
        self.client.unanswered[self.requests] = message
        self.requests += 1
        self.send(message)

    # The server.

    def receive(self) -> None:
        message = self.inbox.pop(0)
        command = self.session.receive(message, now=NOW, newest_ts=self.world.ts)
        match command:
            case Verify():
                self.verifying = command
            case RunMutation():
                self.mutations.append(command)
            case RunAction() | None:
                pass

    def verify(self) -> None:
        assert self.verifying is not None
        name, self.verifying = self.verifying.value, None
        self.session.verified(WHO[name])

    def mutation_step(self) -> None:
        """One of: a mutation begins, its body has run, it commits, it returns."""
        running = self.running
        if running is None:
            self.running = running = _Running(self.mutations.pop(0))
            self.session.mutation_started(running)
        elif not running.is_committing:
            running.is_committing = True
        elif running.commit_ts is None:
            running.commit_ts = self._commit(running.command)
        else:
            self.running = None
            self._respond(running)

    def _commit(self, command: RunMutation) -> int:
        done = self.world.receipts.get((self.session_id, command.request_id))
        if done is not None:
            return done
        arguments = command.args[0]
        if arguments["value"] % 7 == 0:
            return -1
        ts = self.world.commit({arguments["key"]: arguments["value"]})
        self.world.receipts[self.session_id, command.request_id] = ts
        return ts

    def _respond(self, running: _Running) -> None:
        assert running.commit_ts is not None
        failed = running.commit_ts < 0
        made = outcome("null", running.commit_ts, error="Uncaught Seven" if failed else None)
        running.is_committing = False
        response = self.session.mutation_finished(running.command, made)
        self.tell(response_json(response))
        assert self.session.wants_transition
        if self.session.may_transition:
            self.turn()

    def commit_ts_of(self, request: int) -> int | None:
        return self.world.receipts.get((self.session_id, request))

    def turn(self) -> None:
        self.is_ready = False
        evaluation = self.session.begin_transition(self.world.ts, now=NOW)
        self._finish(evaluated(self.world, evaluation))

    def begin_slowly(self, some: int) -> None:
        self.is_ready = False
        evaluation = self.session.begin_transition(self.world.ts, now=NOW)
        first = Evaluation(evaluation.ts, evaluation.identity, evaluation.queries[:some])
        self.slow = evaluation, evaluated(self.world, first)

    def finish_slowly(self) -> None:
        assert self.slow is not None
        (evaluation, results), self.slow = self.slow, None
        late = [query for query in evaluation.queries if query not in results]
        rest = Evaluation(evaluation.ts, evaluation.identity, late)
        self._finish(results | evaluated(self.world, rest))

    def _finish(self, results: dict[Query, ModelResult]) -> None:
        transition = self.session.finish_transition(results)
        if transition is not None:
            self.tell(transition_json(transition))

    def tell(self, message: Any) -> None:
        self.client.take(message, self.commit_ts_of)
        if message["type"] == "Transition":
            self.check_view()

    def check_view(self) -> None:
        """The view is what fresh queries say at the version's timestamp."""
        client = self.client
        end = client.version
        ts = int.from_bytes(base64.b64decode(end["ts"]), "little")
        identity = WHO[client.identities[end["identity"]]]
        for query_id, added in client.sets[end["querySet"]].items():
            shown = self.world.shown(added.args, ts, identity, redact=self.redact)
            assert client.view[query_id] == shown

    def settle(self) -> None:
        """Let everything that is under way come to its end."""
        while True:
            if self.slow is not None:
                self.finish_slowly()
            elif self.verifying is not None:
                self.verify()
            elif self.inbox:
                self.receive()
            elif self.running is not None or self.mutations:
                self.mutation_step()
            elif self.session.wants_transition:
                assert self.is_ready, "it wants a transition and told nobody"
                self.turn()
            else:
                return


class _Scene:
    """Two clients and others' commits. What cannot happen at the moment is passed over."""

    def __init__(self, redact: bool) -> None:
        self.world = World()
        self.peers = [_Peer(number, self.world, redact) for number in range(2)]

    def play(self, name: str, who: int, pick: int) -> None:
        """One step. `pick` chooses whatever there is to choose."""
        peer = self.peers[who]
        match name:
            case "subscribe":
                self._subscribe(peer, pick)
            case "unsubscribe":
                self._unsubscribe(peer, pick)
            case "authenticate":
                peer.authenticate(sorted(WHO)[pick % 4])
            case "mutate":
                peer.mutate((*KEYS, *OWN)[pick % 5], pick // 5)
            case "others commit":
                self.world.commit({(*KEYS, *OWN)[pick % 5]: pick // 5})
            case "reconnect":
                peer.reconnect()
            case "other code":
                self.world.forget()
            case "settle":
                self.settle()
            case _:
                self._serve(peer, name, pick)

    def _subscribe(self, peer: _Peer, pick: int) -> None:
        keys = [key for i, key in enumerate(KEYS) if pick >> i & 1]
        peer.modify(AddQuery(peer.query_ids, "get", [{"keys": keys, "mine": pick % 3 > 0}]))
        peer.query_ids += 1

    def _unsubscribe(self, peer: _Peer, pick: int) -> None:
        queries = peer.client.sets[peer.client.query_set]
        if not queries:
            peer.modify()
            return
        added = queries[sorted(queries)[pick % len(queries)]]
        if pick % 2:
            peer.query_ids += 1
            successor = added._replace(query_id=peer.query_ids - 1)
            peer.modify(RemoveQuery(added.query_id), successor)
        else:
            peer.modify(RemoveQuery(added.query_id))

    def _serve(self, peer: _Peer, name: str, pick: int) -> None:
        may_transit = peer.session.wants_transition and peer.session.may_transition
        match name:
            case "receive" if peer.inbox and peer.verifying is None:
                peer.receive()
            case "verify" if peer.verifying is not None:
                peer.verify()
            case "run" if peer.running is not None or peer.mutations:
                peer.mutation_step()
            # A full socket is one whose turn does not come.
            case "turn" if may_transit:
                assert peer.is_ready
                peer.turn()
            case "begin slowly" if may_transit:
                assert peer.is_ready
                peer.begin_slowly(pick % 4)
            case "finish slowly" if peer.slow is not None:
                peer.finish_slowly()
            case "abandon" if peer.slow is not None:
                peer.slow = None
                peer.session.abandon_transition()
                # As its owner would after a pause.
                peer.is_ready = True

    def settle(self) -> None:
        # Twice, because of the other's last commits.
        for peer in self.peers * 2:
            peer.settle()
        for peer in self.peers:
            self._check_quiet(peer)

    def _check_quiet(self, peer: _Peer) -> None:
        client = peer.client
        assert not client.unanswered
        assert not client.unseen
        assert not client.unfollowed
        assert client.version["querySet"] == client.query_set
        assert client.version["identity"] == client.identity
        identity = WHO[client.identities[client.identity]]
        for query_id, added in client.sets[client.query_set].items():
            shown = self.world.shown(added.args, self.world.ts, identity, redact=peer.redact)
            assert client.view[query_id] == shown

    def end(self) -> None:
        self.settle()
        for peer in self.peers:
            peer.session.close()
        assert self.world.watchers == 0


# How often each step is taken.
STEPS: Final = (
    ["subscribe"] * 3
    + ["unsubscribe", "reconnect", "other code", "abandon", "settle"]
    + ["authenticate"] * 2
    + ["mutate", "others commit", "verify", "turn", "begin slowly", "finish slowly"] * 3
    + ["receive", "run"] * 7
)
PLAYS: Final = st.lists(
    st.tuples(st.sampled_from(STEPS), st.integers(0, 1), st.integers(0, 64)),
    min_size=50,
    max_size=120,
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.booleans(), PLAYS)
def test_a_view_is_one_snapshot_never_goes_back_and_is_right_once_it_is_quiet(
    redact: bool, play: list[tuple[str, int, int]]
) -> None:
    scene = _Scene(redact)
    for name, who, pick in play:
        scene.play(name, who, pick)
    scene.end()
