"""What a session decides. Numbers in names are of the conformance checklist of the protocol."""

import re
from typing import Any

import pytest
from sync_model import (
    NOW,
    ModelResult,
    World,
    evaluated,
    outcome,
    response_json,
    transit,
    transition_json,
    ts_of,
    user,
)

from camber.database.pagination import InvalidCursorError
from camber.errors import OverloadedError, RequestError, StorageCorruptError
from camber.functions.identity import ADMIN, NOBODY, Identity
from camber.functions.outcome import Outcome
from camber.server.sync import session as session_module
from camber.server.sync.farewell import Farewell, ProtocolError, farewell_of
from camber.server.sync.messages import (
    ActionRequest,
    AddQuery,
    Authenticate,
    AuthError,
    ClientMessage,
    Connect,
    Event,
    FatalError,
    ModifyQuerySet,
    MutationRequest,
    RemoveQuery,
    Transition,
    Version,
)
from camber.server.sync.session import (
    ACTIONS_MAX,
    MUTATIONS_MAX,
    QUERIES_MAX,
    QUERY_BYTES_MAX,
    REQUEST_BYTES_MAX,
    Command,
    Query,
    RunAction,
    RunMutation,
    Session,
    Verify,
)

SESSION = "7d0c7ae2-0f6c-4c5e-9a55-5b4b8ad0b2a1"


def add(query_id: int, *keys: str, mine: bool = False, journal: str | None = None) -> AddQuery:
    return AddQuery(query_id, "get", [{"keys": list(keys), "mine": mine}], journal)


class Scene:
    """A session over a world, with a client who says what a test wants said."""

    def __init__(self, *, redact: bool = False) -> None:
        self.world = World()
        self.calls = 0
        self.session = Session(self._ready, redact=redact)
        self.query_set = 0
        self.made: list[ModelResult] = []

    def _ready(self) -> None:
        self.calls += 1

    def say(self, message: ClientMessage, now: float = NOW) -> Command | None:
        return self.session.receive(message, now=now, newest_ts=self.world.ts)

    def modify(self, *modifications: AddQuery | RemoveQuery) -> None:
        self.say(ModifyQuerySet(self.query_set, self.query_set + 1, modifications))
        self.query_set += 1

    def log_in(self, identity: Identity, base: int = 0) -> None:
        assert self.say(Authenticate(base, "User", "token")) == Verify("User", "token", None)
        self.session.verified(identity)

    def transit(self) -> Any:
        return transit(self.session, self.world)

    def mutation(self, request_id: int = 0, size: int = 0) -> RunMutation:
        command = self.say(MutationRequest(request_id, "put", [{}], None, size))
        assert isinstance(command, RunMutation)
        return command

    def answer(self, command: RunMutation, made: Outcome) -> Any:
        self.session.mutation_started(None)
        return response_json(self.session.mutation_finished(command, made))

    def evaluate(self, *results: Outcome) -> Transition | None:
        """One transition in which the queries come to `results`, in order."""
        evaluation = self.session.begin_transition(self.world.ts, now=NOW)
        assert len(evaluation.queries) == len(results)
        self.made = [ModelResult(result, frozenset("k")) for result in results]
        given = dict(zip(evaluation.queries, self.made, strict=True))
        return self.session.finish_transition(given)

    def spoil(self) -> None:
        """What `evaluate` gave is no longer current."""
        for result in self.made:
            result.end()


def farewell(scene: Scene, message: ClientMessage, now: float = NOW) -> tuple[str, Farewell]:
    with pytest.raises(ProtocolError) as caught:
        scene.say(message, now)
    return caught.value.code, caught.value.farewell


def only(transition: Any) -> Any:
    (modification,) = transition["modifications"]
    return modification


# Connect.


def test_connect_wants_nothing_and_is_not_answered() -> None:
    scene = Scene()
    assert scene.say(Connect(SESSION)) is None
    assert not scene.session.wants_transition
    assert scene.calls == 0


def test_messages_before_connect_are_served() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    assert only(scene.transit())["value"] == {"a": 0}
    command = scene.mutation()
    assert (command.session_id, command.log_id) == (None, "")


def test_a_second_connect_replaces_the_session() -> None:
    scene = Scene()
    scene.say(Connect(SESSION))
    other = SESSION.replace("7", "8")
    scene.say(Connect(other))
    assert scene.mutation().session_id == other


def test_the_id_in_logs_is_the_same_however_often_a_request_is_sent() -> None:
    scene = Scene()
    scene.say(Connect(SESSION))
    first = scene.mutation(3).log_id
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert scene.mutation(3).log_id == first
    assert scene.mutation(4).log_id != first
    action = scene.say(ActionRequest(3, "a:b", [{}]))
    assert isinstance(action, RunAction)
    assert action.log_id == first


@pytest.mark.parametrize(
    ("client_ts_ms", "skew"),
    [(None, None), (NOW * 1000 - 12, -12), (NOW * 1000 + 40.6, 41), (0, -1_760_000_000_000)],
)
def test_the_skew_is_whole_milliseconds_that_the_client_is_ahead(
    client_ts_ms: float | None, skew: int | None
) -> None:
    scene = Scene()
    scene.say(Connect(SESSION, client_ts_ms=client_ts_ms))
    scene.modify()
    assert scene.transit()["clientClockSkew"] == skew


@pytest.mark.parametrize("odd", [1e300, -1e300, float("inf")])
def test_an_absurd_clock_is_not_compared(odd: float) -> None:
    scene = Scene()
    scene.say(Connect(SESSION, client_ts_ms=odd))
    scene.modify()
    assert scene.transit()["clientClockSkew"] is None


def test_13_no_transition_is_older_than_what_the_client_has_seen() -> None:
    scene = Scene()
    seen = scene.world.commit({"a": 1})
    scene.say(Connect(SESSION, max_observed_ts=seen))
    assert scene.session.floor_ts == seen
    scene.modify()
    with pytest.raises(AssertionError):
        scene.session.begin_transition(seen - 1, now=NOW)
    assert ts_of(scene.transit()["endVersion"]["ts"]) == seen


def test_13_a_client_that_has_seen_a_later_time_is_told_to_come_again() -> None:
    scene = Scene()
    _, end = farewell(scene, Connect(SESSION, max_observed_ts=scene.world.ts + 1))
    assert end == Farewell(
        None, 1011, "InternalServerError: the client has seen timestamp 2, the newest here is 1"
    )


# The query set.


def test_a_new_query_is_sent_with_its_versions() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    assert scene.calls == 1
    sent = scene.transit()
    assert sent["startVersion"] == {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}
    assert sent["endVersion"] == {"querySet": 1, "identity": 0, "ts": "AQAAAAAAAAA="}
    assert only(sent) == {
        "type": "QueryUpdated",
        "queryId": 0,
        "value": {"a": 0.0},
        "logLines": [],
        "journal": None,
    }
    assert not scene.session.wants_transition


def test_an_empty_query_set_is_answered() -> None:
    scene = Scene()
    scene.modify()
    sent = scene.transit()
    assert (sent["endVersion"]["querySet"], sent["modifications"]) == (1, [])


def test_several_query_sets_and_identities_are_folded_into_one_transition() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    scene.modify(add(1, "b"))
    scene.log_in(user("ada"))
    scene.modify()
    scene.say(Authenticate(1, "None"))
    sent = scene.transit()
    assert sent["endVersion"]["querySet"] == 3
    assert sent["endVersion"]["identity"] == 2
    assert [m["queryId"] for m in sent["modifications"]] == [0, 1]


def test_a_removed_query_is_told_once_and_watched_no_more() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    scene.transit()
    scene.modify(RemoveQuery(0))
    assert scene.world.watchers == 1
    assert scene.transit()["modifications"] == [{"type": "QueryRemoved", "queryId": 0}]
    assert scene.world.watchers == 0
    scene.world.commit({"a": 1})
    assert not scene.session.wants_transition


def test_of_a_query_that_came_and_went_between_transitions_nothing_is_told() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    scene.modify(RemoveQuery(0))
    assert scene.session.begin_transition(1, now=NOW).queries == []
    transition = scene.session.finish_transition({})
    assert transition is not None
    assert transition.end.query_set == 2
    assert transition_json(transition)["modifications"] == []


def test_an_id_may_be_used_again_once_it_was_removed() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    scene.transit()
    scene.modify(RemoveQuery(0), add(0, "b"))
    kinds = [(m["type"], m["queryId"]) for m in scene.transit()["modifications"]]
    assert kinds == [("QueryRemoved", 0), ("QueryUpdated", 0)]


def test_the_base_must_be_the_version_received_last_not_the_one_sent() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    scene.modify(add(1, "a"))
    code, end = farewell(scene, ModifyQuerySet(0, 1))
    assert code == "BaseVersionMismatch"
    text = "Base version 0 passed up doesn't match the current version 2"
    assert end == Farewell(FatalError(text), None)


def test_versions_must_grow_and_may_jump() -> None:
    scene = Scene()
    scene.say(ModifyQuerySet(0, 7))
    assert scene.transit()["endVersion"]["querySet"] == 7
    code, _ = farewell(scene, ModifyQuerySet(7, 7))
    assert code == "InvalidVersion"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            ModifyQuerySet(1, 2, (add(0, "b"),)),
            "InternalServerError: there is a query 0 already",
        ),
        (
            ModifyQuerySet(1, 2, (add(1), add(1))),
            "InternalServerError: there is a query 1 already",
        ),
        (
            ModifyQuerySet(1, 2, (RemoveQuery(5),)),
            "InternalServerError: there is no query 5 to remove",
        ),
        (
            Authenticate(3, "None"),
            "InternalServerError: base identity version 3 is not the current version 0",
        ),
    ],
)
def test_a_client_that_is_out_of_step_is_told_to_come_again(
    message: ClientMessage, reason: str
) -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    _, end = farewell(scene, message)
    assert end == Farewell(None, 1011, reason)


def test_component_paths_are_handed_on() -> None:
    scene = Scene()
    scene.modify(add(0)._replace(component_path="mailer"))
    (query,) = scene.session.begin_transition(1, now=NOW).queries
    assert query.component_path == "mailer"
    command = scene.say(MutationRequest(0, "a:b", [{}], ""))
    assert isinstance(command, RunMutation)
    assert command.component_path == ""


def test_20_events_change_nothing() -> None:
    scene = Scene()
    assert scene.say(Event()) is None
    assert not scene.session.wants_transition


# Limits.


def test_a_connection_has_so_many_queries_at_a_time() -> None:
    scene = Scene()
    scene.modify(*[add(i) for i in range(QUERIES_MAX)])
    scene.modify(RemoveQuery(0), add(QUERIES_MAX))
    code, end = farewell(scene, ModifyQuerySet(2, 3, (add(0),)))
    assert code == "TooManyQueries"
    assert isinstance(end.message, FatalError)


def test_what_queries_are_asked_with_is_limited_together() -> None:
    scene = Scene()
    large = QUERY_BYTES_MAX // 2
    scene.modify(add(0)._replace(size=large), add(1)._replace(size=large))
    scene.modify(RemoveQuery(0), add(2)._replace(size=large))
    code, _ = farewell(scene, ModifyQuerySet(2, 3, (add(3)._replace(size=1),)))
    assert code == "QueriesTooLarge"


def test_so_many_mutations_of_a_client_may_wait() -> None:
    scene = Scene()
    commands = [scene.mutation(i) for i in range(MUTATIONS_MAX)]
    scene.answer(commands[0], outcome())
    scene.mutation(MUTATIONS_MAX)
    code, end = farewell(scene, MutationRequest(9, "put", [{}]))
    assert code == "TooManyConcurrentMutations"
    assert end == Farewell(None, 1013, code)


def test_so_many_actions_of_a_client_may_run() -> None:
    scene = Scene()
    message = ActionRequest(0, "a:b", [{}])
    for _ in range(ACTIONS_MAX):
        command = scene.say(message)
    assert isinstance(command, RunAction)
    scene.session.action_finished(command, outcome())
    scene.say(message)
    code, end = farewell(scene, message)
    assert code == "TooManyInflightActionsForSingleClient"
    assert end == Farewell(None, 1013, code)


def test_requests_that_wait_are_limited_by_size_too_but_for_a_single_one() -> None:
    scene = Scene()
    command = scene.mutation(0, REQUEST_BYTES_MAX + 5)
    assert scene.session.request_bytes == REQUEST_BYTES_MAX + 5
    assert farewell(scene, MutationRequest(1, "put", [{}], None, 1))[1].close_code == 1013
    scene = Scene()
    command = scene.mutation(0, 7)
    scene.answer(command, outcome())
    assert scene.session.request_bytes == 0


# Responses, and the transitions that follow.


def test_9_a_mutation_is_followed_by_a_transition_though_there_is_no_query() -> None:
    scene = Scene()
    scene.modify()
    scene.transit()
    command = scene.mutation()
    ts = scene.world.commit({"a": 1})
    response = scene.answer(command, outcome("null", ts))
    assert (response["requestId"], ts_of(response["ts"])) == (0, ts)
    assert scene.session.wants_transition
    sent = scene.transit()
    assert ts_of(sent["endVersion"]["ts"]) >= ts
    assert sent["modifications"] == []


def test_10_a_failed_mutation_is_followed_by_a_transition_without_any_query_set() -> None:
    scene = Scene()
    scene.say(Connect(SESSION))
    response = scene.answer(scene.mutation(), outcome(error="e", data='"no"'))
    assert (response["success"], response["ts"], response["errorData"]) == (False, None, "no")
    sent = scene.transit()
    assert sent["endVersion"] == {"querySet": 0, "identity": 0, "ts": "AQAAAAAAAAA="}
    assert sent["modifications"] == []
    # And a second one too, though nothing at all is different.
    scene.answer(scene.mutation(1), outcome(error="e"))
    assert scene.transit()["endVersion"] == sent["endVersion"]


def test_an_action_is_followed_by_a_transition() -> None:
    scene = Scene()
    command = scene.say(ActionRequest(5, "a:b", [{}]))
    assert isinstance(command, RunAction)
    response = response_json(scene.session.action_finished(command, outcome('"done"')))
    assert (response["requestId"], response["result"]) == (5, "done")
    assert scene.transit()["modifications"] == []


def test_a_response_during_a_transition_is_followed_by_another() -> None:
    scene = Scene()
    scene.modify()
    scene.transit()
    scene.modify()
    command = scene.mutation()
    scene.session.begin_transition(1, now=NOW)
    scene.answer(command, outcome(error="e"))
    assert scene.session.finish_transition({}) is not None
    assert scene.session.wants_transition
    assert scene.transit() is not None


class Body:
    is_committing = False


def test_11_no_transition_begins_while_a_mutation_of_this_client_commits() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    scene.transit()
    command, body = scene.mutation(), Body()
    scene.session.mutation_started(body)
    assert scene.session.may_transition
    body.is_committing = True
    assert not scene.session.may_transition
    calls = scene.calls
    ts = scene.world.commit({"a": 2})
    # The effects are there, and nobody is told before the response.
    assert scene.session.wants_transition
    assert scene.calls == calls
    scene.session.mutation_finished(command, outcome("null", ts))
    assert scene.calls == calls + 1
    assert only(scene.transit())["value"] == {"a": 2}


def test_11_a_transition_that_began_before_a_commit_may_end_before_its_response() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    evaluation = scene.session.begin_transition(scene.world.ts, now=NOW)
    body = Body()
    command = scene.mutation()
    scene.session.mutation_started(body)
    body.is_committing = True
    ts = scene.world.commit({"a": 2})
    transition = scene.session.finish_transition(evaluated(scene.world, evaluation))
    assert transition is not None
    assert transition.end.ts < ts
    assert transition_json(transition)["modifications"][0]["value"] == {"a": 0}
    scene.session.mutation_finished(command, outcome("null", ts))
    assert only(scene.transit())["value"] == {"a": 2}


def test_while_nobody_can_tell_when_a_mutation_commits_no_transition_begins() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    command = scene.mutation()
    scene.session.mutation_started(None)
    assert not scene.session.may_transition
    scene.session.mutation_finished(command, outcome())
    assert scene.session.may_transition


def test_12_a_receipts_old_timestamp_does_not_lower_the_floor() -> None:
    scene = Scene()
    for _ in range(5):
        scene.world.commit({"a": 1})
    scene.say(Connect(SESSION, max_observed_ts=5))
    scene.answer(scene.mutation(), outcome("null", 2))
    assert scene.session.floor_ts == 5


# What is sent, and what is not.


def test_a_commit_that_touches_no_query_wakes_nobody() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    scene.transit()
    calls = scene.calls
    scene.world.commit({"b": 1})
    assert not scene.session.wants_transition
    assert scene.calls == calls


def test_many_commits_wake_a_session_once_and_it_gets_the_newest_state() -> None:
    scene = Scene()
    scene.modify(add(0, "a"), add(1, "b"))
    scene.transit()
    calls = scene.calls
    for value in (1, 2, 3):
        scene.world.commit({"a": value, "b": value})
    assert scene.calls == calls + 1
    sent = scene.transit()
    assert [m["value"] for m in sent["modifications"]] == [{"a": 3}, {"b": 3}]
    assert ts_of(sent["endVersion"]["ts"]) == scene.world.ts


def test_only_what_changed_is_evaluated_again() -> None:
    scene = Scene()
    scene.modify(*[add(i, f"k{i}") for i in range(100)])
    scene.transit()
    scene.world.commit({"k7": 1})
    (query,) = scene.session.begin_transition(scene.world.ts, now=NOW).queries
    assert query.query_id == 7


def test_an_unchanged_result_sends_nothing_and_the_version_stays() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    before = scene.transit()["endVersion"]
    scene.world.commit({"a": 0})
    assert scene.transit() is None
    scene.world.commit({"a": 2})
    assert scene.transit()["startVersion"] == before


def test_a_result_is_compared_by_value_and_log() -> None:
    scene = Scene()
    scene.modify(add(0, "k"))
    assert scene.evaluate(outcome('{"n":1}', log=("x",))) is not None
    for made, is_news in [
        (outcome('{"n":1}', 9, log=("x",)), False),
        (outcome('{"n":1}', 9, log=("y",)), True),
        (outcome('{"n":1}', 9), True),
        (outcome('{"n":2}', 9), True),
        (outcome('{"n":2}', 9), False),
    ]:
        scene.spoil()
        assert (scene.evaluate(made) is not None) is is_news


def test_21_a_failure_is_compared_without_its_request_id_and_a_result_follows_it() -> None:
    scene = Scene()
    scene.modify(add(0, "k"))
    for made, kind in [
        (outcome(error="e", request_id="0" * 16), "QueryFailed"),
        (outcome(error="e", request_id="1" * 16), None),
        (outcome(error="f", request_id="2" * 16), "QueryFailed"),
        (outcome(error="f", data="1"), "QueryFailed"),
        (outcome("1"), "QueryUpdated"),
    ]:
        scene.spoil()
        transition = scene.evaluate(made)
        sent = None if transition is None else only(transition_json(transition))["type"]
        assert sent == kind


def test_a_log_that_is_kept_back_is_not_compared() -> None:
    scene = Scene(redact=True)
    scene.modify(add(0, "k"))
    scene.evaluate(outcome("1", log=("a",)))
    scene.spoil()
    assert scene.evaluate(outcome("1", log=("b",))) is None


def test_equal_results_of_two_executions_become_one_text() -> None:
    old, new = outcome("x" * 1000), outcome("".join(["x"] * 1000))
    assert new.text is not old.text
    assert new.reads_like(old, with_log=True)
    assert new.text is old.text


def test_a_change_during_an_evaluation_is_not_lost() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    scene.transit()
    scene.world.commit({"a": 1})
    evaluation = scene.session.begin_transition(scene.world.ts, now=NOW)
    results = evaluated(scene.world, evaluation)
    scene.world.commit({"a": 2})
    calls = scene.calls
    transition = scene.session.finish_transition(results)
    assert transition is not None
    assert only(transition_json(transition))["value"] == {"a": 1}
    assert scene.session.wants_transition
    assert scene.calls > calls
    assert only(scene.transit())["value"] == {"a": 2}


def test_an_evaluation_that_came_to_nothing_can_be_begun_again() -> None:
    scene = Scene()
    scene.modify(add(0, "a"), add(1, "b"))
    scene.transit()
    scene.answer(scene.mutation(), outcome(error="e"))
    scene.modify(RemoveQuery(1))
    scene.world.commit({"a": 1})
    assert len(scene.session.begin_transition(scene.world.ts, now=NOW).queries) == 1
    scene.session.abandon_transition()
    assert scene.session.wants_transition
    sent = scene.transit()
    kinds = [(m["type"], m["queryId"]) for m in sent["modifications"]]
    assert kinds == [("QueryRemoved", 1), ("QueryUpdated", 0)]


def test_10_a_response_is_followed_by_a_transition_though_the_first_came_to_nothing() -> None:
    scene = Scene()
    scene.answer(scene.mutation(), outcome(error="e"))
    scene.session.begin_transition(scene.world.ts, now=NOW)
    scene.session.abandon_transition()
    assert scene.transit() is not None


def test_closing_watches_nothing_any_more_whatever_is_under_way() -> None:
    scene = Scene()
    scene.modify(add(0, "a"), add(1, "b"))
    scene.transit()
    scene.modify(add(2, "c"))
    scene.world.commit({"a": 1})
    evaluation = scene.session.begin_transition(scene.world.ts, now=NOW)
    results = evaluated(scene.world, evaluation)
    scene.session.close()
    scene.session.close()
    assert scene.session.finish_transition(results) is None
    assert scene.world.watchers == 0
    calls = scene.calls
    scene.world.commit({"a": 2, "b": 2, "c": 2})
    assert scene.calls == calls
    assert not scene.session.may_transition


# Identity.


def test_15_ten_authenticates_in_a_row_count_to_ten_and_the_last_one_holds() -> None:
    scene = Scene()
    scene.modify(add(0, mine=True))
    scene.transit()
    for number in range(10):
        scene.log_in(user(f"u{number}"), base=number)
        if number == 4:
            assert scene.transit()["endVersion"]["identity"] == 5
    scene.world.commit({"https://id|u9": 4})
    sent = scene.transit()
    assert sent["endVersion"]["identity"] == 10
    assert only(sent)["value"] == {"https://id|u9": 4}
    assert scene.session.identity == user("u9")


def test_15_queries_are_evaluated_again_and_only_what_differs_is_sent() -> None:
    scene = Scene()
    scene.world.commit({"https://id|ada": 4})
    scene.modify(add(0, "a"), add(1, mine=True))
    scene.transit()
    scene.log_in(user("ada"))
    evaluation = scene.session.begin_transition(scene.world.ts, now=NOW)
    assert evaluation.identity == user("ada")
    assert len(evaluation.queries) == 2
    transition = scene.session.finish_transition(evaluated(scene.world, evaluation))
    assert transition is not None
    sent = transition_json(transition)
    assert sent["endVersion"]["identity"] == 1
    assert only(sent) == {
        "type": "QueryUpdated",
        "queryId": 1,
        "value": {"https://id|ada": 4},
        "logLines": [],
        "journal": None,
    }


def test_a_fresh_token_of_the_same_user_is_confirmed_by_an_empty_transition() -> None:
    scene = Scene()
    scene.modify(add(0, mine=True))
    scene.log_in(user("ada"))
    scene.transit()
    scene.log_in(user("ada"), base=1)
    sent = scene.transit()
    assert sent["modifications"] == []
    assert (sent["startVersion"]["identity"], sent["endVersion"]["identity"]) == (1, 2)


def test_no_transition_begins_while_a_token_is_verified() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    scene.say(Authenticate(0, "Admin", "key", {"subject": "u"}))
    assert not scene.session.may_transition
    with pytest.raises(AssertionError):
        scene.say(Event())
    calls = scene.calls
    scene.session.verified(ADMIN)
    assert scene.calls == calls + 1
    assert scene.session.may_transition


def test_an_evaluation_keeps_the_identity_that_it_began_with() -> None:
    scene = Scene()
    scene.world.commit({"https://id|ada": 4})
    scene.modify(add(0, mine=True))
    evaluation = scene.session.begin_transition(scene.world.ts, now=NOW)
    scene.log_in(user("ada"))
    transition = scene.session.finish_transition(evaluated(scene.world, evaluation))
    assert transition is not None
    assert transition.end.identity == 0
    assert only(transition_json(transition))["value"] == {}
    assert only(scene.transit())["value"] == {"https://id|ada": 4}


def test_a_request_is_made_by_who_the_client_was_when_it_arrived() -> None:
    scene = Scene()
    before = scene.mutation(0)
    scene.log_in(user("ada"))
    after = scene.mutation(1)
    scene.say(Authenticate(1, "None"))
    assert [before.identity, after.identity] == [NOBODY, user("ada")]


def test_17_a_refused_token_ends_the_connection_with_the_last_sent_identity() -> None:
    scene = Scene()
    scene.log_in(user("ada"))
    scene.transit()
    scene.log_in(user("ada"), base=1)
    scene.say(Authenticate(2, "User", "bad"))
    refusal = RequestError(401, "Unauthenticated", "Could not verify it.")
    assert scene.session.refused(refusal) == Farewell(
        AuthError("Could not verify it.", 1, auth_update_attempted=True), None
    )


def test_a_verifier_that_is_overloaded_refuses_nobody() -> None:
    scene = Scene()
    scene.say(Authenticate(0, "User", "good"))
    end = scene.session.refused(OverloadedError("later"))
    assert (end.message, end.close_code) == (None, 1013)


@pytest.mark.parametrize(
    "message", [MutationRequest(0, "a:b", [{}]), ActionRequest(0, "a:b", [{}])]
)
def test_16_a_request_with_an_expired_token_ends_the_connection(message: ClientMessage) -> None:
    scene = Scene()
    scene.log_in(user("ada", expires_at=NOW + 10))
    scene.transit()
    scene.say(message, NOW + 9.9)
    _, end = farewell(scene, message, NOW + 10)
    assert end == Farewell(AuthError("Convex token identity expired", 1, False), None)


def test_16_an_update_with_an_expired_token_ends_the_connection() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    scene.log_in(user("ada", expires_at=NOW + 10))
    scene.transit()
    scene.world.commit({"a": 1})
    with pytest.raises(ProtocolError) as caught:
        scene.session.begin_transition(scene.world.ts, now=NOW + 10)
    last = caught.value.farewell.message
    assert last == AuthError("Convex token identity expired", 1, auth_update_attempted=False)


def test_16_a_new_token_in_time_goes_on_as_before() -> None:
    scene = Scene()
    scene.modify(add(0, "a"))
    scene.log_in(user("ada", expires_at=NOW - 1))
    scene.log_in(user("ada", expires_at=NOW + 99), base=1)
    assert scene.transit()["endVersion"]["identity"] == 2


def test_administrators_see_what_production_keeps_from_others() -> None:
    scene = Scene(redact=True)
    scene.world.commit({"a": 5})
    scene.modify(add(0, "a"))
    hidden = only(scene.transit())
    assert hidden["errorMessage"].endswith("Server Error")
    assert hidden["logLines"] == []
    scene.log_in(ADMIN)
    shown = only(scene.transit())
    assert shown["errorMessage"].endswith("Uncaught Five: a five\n")
    assert shown["logLines"] == ["[LOG] a is odd"]
    command = scene.mutation()
    scene.say(Authenticate(1, "None"))
    assert only(scene.transit())["errorMessage"].endswith("Server Error")
    # The administrator's own request still.
    assert scene.answer(command, outcome(error="secret"))["result"].endswith("secret\n")


# Journals.


def journal_of(query: Query) -> str | None:
    return query.journal


def test_19_the_journal_of_each_execution_is_that_of_the_next() -> None:
    scene = Scene()
    scene.modify(add(0, "k", journal="from the client"))
    (query,) = scene.session.begin_transition(1, now=NOW).queries
    assert query.journal == "from the client"
    first = ModelResult(outcome("1", journal="one"), frozenset("k"))
    transition = scene.session.finish_transition({query: first})
    assert transition is not None
    assert only(transition_json(transition))["journal"] == "one"
    assert journal_of(query) == "one"


def test_19_a_changed_journal_with_an_unchanged_result_is_kept_and_not_sent() -> None:
    scene = Scene()
    scene.modify(add(0, "k"))
    scene.evaluate(outcome("1", journal="one"))
    scene.spoil()
    assert scene.evaluate(outcome("1", journal="two")) is None
    scene.spoil()
    (query,) = scene.session.begin_transition(1, now=NOW).queries
    assert query.journal == "two"


def test_19_a_failure_does_not_move_the_end_of_a_page() -> None:
    scene = Scene()
    scene.modify(add(0, "k"))
    scene.evaluate(outcome("1", journal="one"))
    scene.spoil()
    transition = scene.evaluate(outcome(error="e"))
    assert transition is not None
    assert only(transition_json(transition))["journal"] == "one"


def test_19_a_journal_that_is_refused_is_forgotten() -> None:
    scene = Scene()
    scene.modify(add(0, "k", journal="wrong"))
    made = outcome(error="InvalidCursor", raised=InvalidCursorError())
    transition = scene.evaluate(made)
    assert transition is not None
    assert only(transition_json(transition))["journal"] is None


# The end.


def test_every_error_ends_a_connection_as_clients_expect() -> None:
    assert farewell_of(OverloadedError("busy")).close_code == 1013
    assert farewell_of(RequestError(503, "Busy", "later")) == Farewell(None, 1013, "Busy")
    internal = Farewell(None, 1011, "InternalServerError")
    assert farewell_of(StorageCorruptError("secret path")) == internal
    assert farewell_of(ZeroDivisionError("secret")) == internal
    assert farewell_of(RequestError(400, "BadRequest", "what")).message == FatalError("what")


def test_a_reason_fits_into_a_close_frame() -> None:
    scene = Scene()
    _, end = farewell(scene, Connect(SESSION, max_observed_ts=(1 << 63) - 1))
    assert len(end.reason.encode()) <= 123


def test_the_session_knows_neither_loop_nor_clock_nor_runner() -> None:
    names = set(vars(session_module))
    assert not names & {"asyncio", "time", "Runner", "socket"}
    assert Version() == (0, 0, 0)
