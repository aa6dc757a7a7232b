import base64
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sync_model import outcome, response_json, transition_json

from camber.functions.outcome import Outcome
from camber.server.sync.farewell import ProtocolError
from camber.server.sync.messages import (
    ActionRequest,
    ActionResponse,
    AddQuery,
    Authenticate,
    AuthError,
    Connect,
    Event,
    FatalError,
    ModifyQuerySet,
    MutationRequest,
    MutationResponse,
    QueryResult,
    RemoveQuery,
    Transition,
    Version,
)
from camber.server.sync.wire import (
    CHUNK_BYTES,
    PING,
    chunks,
    decode,
    encode_farewell,
    encode_transition,
    takes_chunks,
)
from camber.values.value import Int64
from camber.values.wire import pack_value

SESSION = "7d0c7ae2-0f6c-4c5e-9a55-5b4b8ad0b2a1"


def text(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def refusal(message: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        decode(message)
    error = caught.value
    assert error.code == "WSMessageInvalidJson"
    assert error.farewell.message == FatalError(str(error))
    # The client sees 1005.
    assert error.farewell.close_code is None
    head = "Received Invalid JSON on websocket: "
    assert str(error).startswith(head)
    return str(error).removeprefix(head)


# From clients.


def test_a_first_connect_is_read() -> None:
    message = (
        b'{"type":"Connect","sessionId":"7d0c7ae2-0f6c-4c5e-9a55-5b4b8ad0b2a1",'
        b'"connectionCount":0,"lastCloseReason":"InitialConnect","clientTs":1760000000123}'
    )
    assert decode(message) == Connect(SESSION, 0, "InitialConnect", 0, 1760000000123.0)


def test_a_connect_after_a_loss_brings_the_newest_timestamp_that_was_seen() -> None:
    stamp = base64.b64encode((258).to_bytes(8, "little")).decode()
    message = text(
        type="Connect",
        sessionId=SESSION.upper(),
        connectionCount=3,
        lastCloseReason=None,
        maxObservedTimestamp=stamp,
    )
    assert decode(message) == Connect(SESSION, 3, None, 258, None)


def test_a_clock_with_a_fraction_is_read() -> None:
    message = decode(text(type="Connect", sessionId=SESSION, clientTs=12.5))
    assert isinstance(message, Connect)
    assert message.client_ts_ms == 12.5


def test_a_query_set_is_read_in_order_whatever_the_order_of_keys() -> None:
    message = (
        b'{"modifications":[{"args":[{"channel":"a"}],"udfPath":"m:list","queryId":0,"type":"Add"},'
        b'{"type":"Remove","queryId":7},'
        b'{"type":"Add","queryId":4294967295,"udfPath":"f:p","args":[{}],"journal":"j",'
        b'"componentPath":""}],"newVersion":1,"baseVersion":0,"type":"ModifyQuerySet"}'
    )
    share = len(message) // 3
    assert decode(message) == ModifyQuerySet(
        0,
        1,
        (
            AddQuery(0, "m:list", [{"channel": "a"}], None, None, share),
            RemoveQuery(7),
            AddQuery(4294967295, "f:p", [{}], "j", "", share),
        ),
    )


def test_an_empty_query_set_is_read() -> None:
    message = text(type="ModifyQuerySet", baseVersion=0, newVersion=1, modifications=[])
    assert decode(message) == ModifyQuerySet(0, 1, ())


def test_a_journal_may_be_null() -> None:
    added = {"type": "Add", "queryId": 0, "udfPath": "a:b", "args": [{}], "journal": None}
    message = decode(
        text(type="ModifyQuerySet", baseVersion=0, newVersion=1, modifications=[added])
    )
    assert isinstance(message, ModifyQuerySet)
    (modification,) = message.modifications
    assert isinstance(modification, AddQuery)
    assert modification.journal is None


def test_mutations_and_actions_are_read() -> None:
    mutation = b'{"args":[{"body":"hi"}],"requestId":4,"type":"Mutation","udfPath":"m:send"}'
    assert decode(mutation) == MutationRequest(4, "m:send", [{"body": "hi"}], None, len(mutation))
    action = text(type="Action", requestId=5, udfPath="m:d", args=[{}], componentPath="mailer")
    assert decode(action) == ActionRequest(5, "m:d", [{}], "mailer", len(action))


def test_how_many_arguments_there_are_is_the_functions_matter() -> None:
    message = decode(text(type="Mutation", requestId=1, udfPath="a:b", args=[1, {}]))
    assert isinstance(message, MutationRequest)
    assert message.args == [1, {}]


@pytest.mark.parametrize("name", ["impersonating", "acting_as"])
def test_who_an_administrator_acts_as_has_two_names(name: str) -> None:
    user = {"issuer": "https://id.example", "subject": "u1", "name": "Ada"}
    message = text(type="Authenticate", baseVersion=1, tokenType="Admin", value="k", **{name: user})
    assert decode(message) == Authenticate(1, "Admin", "k", user)


def test_a_value_beside_no_token_is_ignored() -> None:
    message = text(type="Authenticate", baseVersion=2, tokenType="None", value={"odd": 1})
    assert decode(message) == Authenticate(2, "None", "", None)


@pytest.mark.parametrize(
    "event",
    [
        {"eventType": "ClientConnect", "event": [{"name": "webSocketOpen", "startTime": 40.1}]},
        {"eventType": "NobodyKnowsThis", "event": None},
        {"eventType": {"even": "this"}, "event": "text"},
        {},
    ],
)
def test_20_events_of_every_type_are_taken(event: Any) -> None:
    assert decode(text(type="Event", **event)) == Event()


def test_fields_that_nobody_knows_are_passed_over() -> None:
    message = text(type="Mutation", requestId=1, udfPath="a:b", args=[{}], novelty=[1, {"a": 2}])
    assert isinstance(decode(message), MutationRequest)


def connect(**fields: Any) -> bytes:
    return text(**({"type": "Connect", "sessionId": SESSION} | fields))


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        (b"", "it is empty"),
        (b"nonsense", "invalid character (byte 4)"),
        (b'{"type":"Event"', "it ends too early"),
        (b'{"type":"Event"}}', "trailing characters (byte 17)"),
        (b"[]", "Expected `object`, got `array`"),
        (b"7", "Expected `object`, got `int`"),
        (b"{}", "Object missing required field `type`"),
        (text(type="Ping"), "Invalid value 'Ping' - at `$.type`"),
        (text(type=1), "Expected `str` - at `$.type`"),
        (text(type="Connect"), "Object missing required field `sessionId`"),
        (connect(sessionId="7d0c7ae2"), "Expected a UUID - at `$.sessionId`"),
        (connect(sessionId=f"{{{SESSION}}}"), "Expected a UUID - at `$.sessionId`"),
        (connect(connectionCount=-1), "Expected `int` >= 0 - at `$.connectionCount`"),
        (connect(connectionCount=1.5), "Expected `int`, got `float` - at `$.connectionCount`"),
        (
            connect(maxObservedTimestamp="AAAA"),
            "Expected a timestamp, base64 of 8 bytes - at `$.maxObservedTimestamp`",
        ),
        (
            connect(maxObservedTimestamp="AAAAAAAAAIA="),
            "Expected a timestamp, base64 of 8 bytes - at `$.maxObservedTimestamp`",
        ),
        (
            connect(maxObservedTimestamp="ü"),
            "Expected a timestamp, base64 of 8 bytes - at `$.maxObservedTimestamp`",
        ),
        (
            text(type="Mutation", requestId=1 << 32, udfPath="a:b", args=[{}]),
            "Expected `int` <= 4294967295 - at `$.requestId`",
        ),
        (
            text(type="Mutation", requestId=True, udfPath="a:b", args=[{}]),
            "Expected `int`, got `bool` - at `$.requestId`",
        ),
        (
            text(type="Mutation", requestId=1, udfPath="a:b", args={}),
            "Expected `array`, got `object` - at `$.args`",
        ),
        (
            text(type="ModifyQuerySet", baseVersion=0, newVersion=1, modifications=[{"type": "X"}]),
            "Invalid value 'X' - at `$.modifications[0].type`",
        ),
        (
            text(type="Authenticate", baseVersion=0, tokenType="Robot", value=""),
            "Invalid enum value 'Robot' - at `$.tokenType`",
        ),
        (
            text(type="Authenticate", baseVersion=0, tokenType="User"),
            "Expected `str` - at `$.value`",
        ),
        (
            b'{"type":"Mutation","requestId":1,"udfPath":"\xff","args":[]}',
            "it is not valid Unicode",
        ),
        (
            b'{"type":"Mutation","requestId":1,"udfPath":"\\ud800","args":[]}',
            "unexpected end of escaped utf-16 surrogate pair (byte 50)",
        ),
        (b'{"type":"Event","event":' + b"[" * 100_000, "it is too deeply nested"),
    ],
)
def test_what_is_no_message_is_refused_with_what_and_where(message: bytes, detail: str) -> None:
    assert refusal(message) == detail


def test_a_refusal_quotes_the_client_only_so_far() -> None:
    assert len(refusal(text(type="x" * 1_000_000))) < 300


ADDED: Any = {"type": "Add", "queryId": 1, "udfPath": "a:b", "args": []}
SCALARS: Any = [0, -1, 1 << 32, 1 << 70, 0.5, 1e300, True, None, "", "text", "User", "None", "AAA="]
TREES: Any = [[], [{}], {}, {"$integer": "x"}, [{"type": "Remove"}], [ADDED], [[[]]]]
JSON: Any = st.sampled_from([SESSION, *SCALARS, *TREES])
NAMES = [
    *("sessionId", "connectionCount", "lastCloseReason", "maxObservedTimestamp", "clientTs"),
    *("baseVersion", "newVersion", "modifications", "requestId", "udfPath", "args"),
    *("componentPath", "tokenType", "value", "impersonating", "acting_as"),
]
TYPES = ["Connect", "ModifyQuerySet", "Mutation", "Action", "Authenticate", "Event", "Ping", 3]
FIELDS: Any = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8)


MESSAGES = (Connect, ModifyQuerySet, MutationRequest, ActionRequest, Authenticate, Event)


def reads_or_refuses(message: bytes) -> None:
    try:
        read = decode(message)
    except ProtocolError as error:
        last = error.farewell.message
    else:
        assert isinstance(read, MESSAGES)
        return
    assert isinstance(last, FatalError)
    json.loads(b"".join(encode_farewell(last)))


@given(st.binary())
@example(b"\xed\xa0\x80")
def test_bytes_of_any_kind_are_a_message_or_a_protocol_error(message: bytes) -> None:
    reads_or_refuses(message)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TYPES), FIELDS, st.integers(0, 200), st.binary(max_size=4))
def test_messages_that_are_nearly_right_are_one_or_a_protocol_error(
    kind: Any, fields: dict[str, Any], at: int, junk: bytes
) -> None:
    message = json.dumps({"type": kind, **fields}).encode()
    reads_or_refuses(message)
    reads_or_refuses(message[:at] + junk + message[at + 1 :])


# To clients.


def transition(*results: QueryResult, hidden: bool = False, skew: int | None = None) -> Transition:
    return Transition(Version(), Version(1, 2, 258), (), results, skew, True, hidden)


def shown(made: Outcome, hidden: bool = False) -> Any:
    (modification,) = transition_json(
        transition(QueryResult(3, made, made.journal), hidden=hidden)
    )["modifications"]
    return modification


def test_a_transition_has_the_fields_and_numbers_that_clients_need() -> None:
    made = outcome(pack_value([{"likes": 2, "big": Int64(1)}]), journal="here")
    pieces = encode_transition(transition(QueryResult(7, made, "here"), skew=-12), 1_760)
    assert b"".join(pieces) == (
        b'{"type":"Transition",'
        b'"startVersion":{"querySet":0,"identity":0,"ts":"AAAAAAAAAAA="},'
        b'"endVersion":{"querySet":1,"identity":2,"ts":"AgEAAAAAAAA="},'
        b'"modifications":[{"type":"QueryUpdated","queryId":7,'
        b'"value":[{"likes":2.0,"big":{"$integer":"AQAAAAAAAAA="}}],'
        b'"logLines":[],"journal":"here"}],'
        b'"clientClockSkew":-12,"serverTs":1760}'
    )


def test_an_unknown_skew_is_null_and_an_empty_transition_has_an_empty_list() -> None:
    sent = transition_json(transition())
    assert sent["modifications"] == []
    assert sent["clientClockSkew"] is None


def test_removed_queries_and_many_results_are_told_in_one_transition() -> None:
    results = [QueryResult(i, outcome(f'"{i}"'), None) for i in range(3)]
    sent = Transition(Version(), Version(1, 0, 5), (8, 9), tuple(results), None, True, False)
    modifications = transition_json(sent)["modifications"]
    assert [m["type"] for m in modifications] == ["QueryRemoved"] * 2 + ["QueryUpdated"] * 3
    assert [m["queryId"] for m in modifications] == [8, 9, 0, 1, 2]


def test_clocks_are_told_with_other_versions_only_and_the_rest_is_the_same_bytes_for_all() -> None:
    made = outcome('"text"')

    def change(query_id: int, skew: int) -> Transition:
        results = (QueryResult(query_id, made, None),)
        return Transition(Version(1, 0, 5), Version(1, 0, 6), (), results, skew, False, False)

    first = encode_transition(change(0, 10), 1)
    assert encode_transition(change(0, 20), 2) is first
    assert b"".join(first) == (
        b'{"type":"Transition",'
        b'"startVersion":{"querySet":1,"identity":0,"ts":"BQAAAAAAAAA="},'
        b'"endVersion":{"querySet":1,"identity":0,"ts":"BgAAAAAAAAA="},'
        b'"modifications":[{"type":"QueryUpdated","queryId":0,'
        b'"value":"text","logLines":[],"journal":null}]}'
    )
    for query_id in range(100):
        sent = json.loads(b"".join(encode_transition(change(query_id, 0), 1)))
        assert sent["modifications"][0]["queryId"] == query_id
    assert len(made.encodings or ()) < 10


def test_a_removed_query_alone_is_told() -> None:
    sent = Transition(Version(), Version(1, 0, 5), (8,), (), None, True, False)
    assert transition_json(sent)["modifications"] == [{"type": "QueryRemoved", "queryId": 8}]


def test_a_failed_query_has_text_log_and_no_data() -> None:
    made = outcome(error="Uncaught Error: nope", log=("x",), request_id="00b1c2d3e4f50617")
    assert shown(made) == {
        "type": "QueryFailed",
        "queryId": 3,
        "errorMessage": "[Request ID: 00b1c2d3e4f50617] Server Error\nUncaught Error: nope\n",
        "logLines": ["[LOG] x"],
        "journal": None,
    }


def test_a_convex_error_has_its_data_also_if_that_is_null() -> None:
    assert shown(outcome(error="e", data='{"kind":"gone"}'))["errorData"] == {"kind": "gone"}
    assert shown(outcome(error="e", data="null"))["errorData"] is None


def test_in_production_text_and_log_are_kept_back_and_data_is_not() -> None:
    made = outcome(error="secret", data='"full"', log=("secret",), request_id="00b1c2d3e4f50617")
    assert shown(made, hidden=True) == {
        "type": "QueryFailed",
        "queryId": 3,
        "errorMessage": "[Request ID: 00b1c2d3e4f50617] Server Error",
        "errorData": "full",
        "logLines": [],
        "journal": None,
    }
    assert shown(made)["logLines"] == ["[LOG] secret"]


def test_a_failure_without_a_request_id_gets_one() -> None:
    made = outcome(error="e")
    made.request_id = ""
    assert len(shown(made)["errorMessage"].partition("]")[0]) == len("[Request ID: ") + 16


def test_a_journal_that_is_not_the_outcomes_own_is_sent_as_it_is() -> None:
    made = outcome(error="e")
    for journal in ("kept", None, "other"):
        sent = transition_json(transition(QueryResult(1, made, journal)))
        assert sent["modifications"][0]["journal"] == journal


def test_a_long_result_is_shared_by_all_who_get_it_and_not_copied() -> None:
    made = outcome(pack_value("x" * 100_000))
    first = encode_transition(transition(QueryResult(1, made, None)), 1)
    second = encode_transition(transition(QueryResult(2, made, None)), 2)
    assert any(a is b and len(a) > 100_000 for a in first for b in second)
    assert any(piece is made.wire() for piece in first)


def test_responses_of_mutations_that_succeed_have_a_timestamp() -> None:
    made = outcome('"k17"', 258, log=("said",))
    assert response_json(MutationResponse(4, made, False)) == {
        "type": "MutationResponse",
        "requestId": 4,
        "success": True,
        "result": "k17",
        "ts": "AgEAAAAAAAA=",
        "logLines": ["[LOG] said"],
    }


def test_responses_of_mutations_that_fail_have_a_text_and_no_timestamp() -> None:
    made = outcome(error='Uncaught ConvexError: "full"', data='"full"', request_id="4" * 16)
    assert response_json(MutationResponse(8, made, False)) == {
        "type": "MutationResponse",
        "requestId": 8,
        "success": False,
        "result": f'[Request ID: {"4" * 16}] Server Error\nUncaught ConvexError: "full"\n',
        "errorData": "full",
        "ts": None,
        "logLines": [],
    }
    hidden = response_json(MutationResponse(8, outcome(error="secret", log=("s",)), True))
    assert "errorData" not in hidden
    assert "secret" not in str(hidden)
    assert hidden["logLines"] == []


def test_responses_of_actions_have_no_timestamp_at_all() -> None:
    assert response_json(ActionResponse(5, outcome("null", log=("sent",)), False)) == {
        "type": "ActionResponse",
        "requestId": 5,
        "success": True,
        "result": None,
        "logLines": ["[LOG] sent"],
    }
    failed = response_json(ActionResponse(7, outcome(error="e"), False))
    assert failed.keys() == {"type", "requestId", "success", "result", "logLines"}
    assert failed["success"] is False


def test_the_last_messages_are_as_clients_know_them() -> None:
    refused = encode_farewell(AuthError("no", 3, True))
    assert json.loads(b"".join(refused)) == {
        "type": "AuthError",
        "error": "no",
        "baseVersion": 3,
        "authUpdateAttempted": True,
    }
    fatal = encode_farewell(FatalError("bad"))
    assert json.loads(b"".join(fatal)) == {"type": "FatalError", "error": "bad"}
    assert json.loads(b"".join(PING)) == {"type": "Ping"}


# Chunks.


@pytest.mark.parametrize(
    ("version", "takes"),
    [
        ("1.28.0", True),
        ("1.48.0", True),
        ("2.0.0", True),
        ("1.28.1-alpha.0", True),
        ("1.28.0+build", True),
        ("1.27.9", False),
        ("1.28.0-alpha.1", False),
        ("0.99.99", False),
        ("1.48", False),
        ("9" * 5000 + ".0.0", False),
        ("", False),
        (None, False),
    ],
)
def test_18_chunks_are_for_npm_clients_since_1_28(version: str | None, takes: bool) -> None:
    assert takes_chunks(version) is takes


def test_18_a_large_transition_is_cut_between_characters_and_put_together_again() -> None:
    made = outcome(pack_value(["", "äöü€𝄞\u2028\n" * 300] * 4000))
    pieces = encode_transition(transition(QueryResult(1, made, None)), 1)
    whole = b"".join(pieces)
    parts = [json.loads(b"".join(part)) for part in chunks(pieces)]
    assert len(parts) == -(-len(whole) // CHUNK_BYTES)
    assert [part["partNumber"] for part in parts] == list(range(len(parts)))
    assert {part["totalParts"] for part in parts} == {len(parts)}
    assert {part["transitionId"] for part in parts} == {str(len(whole))}
    assert all(len(part["chunk"].encode()) <= CHUNK_BYTES for part in parts)
    assert "".join(part["chunk"] for part in parts) == whole.decode()


def test_18_what_fits_is_not_cut() -> None:
    pieces = [b'"', b"x" * (CHUNK_BYTES - 2), b'"']
    assert chunks(pieces) == [pieces]
    pieces[1] += b"x"
    assert len(chunks(pieces)) == 2


@pytest.mark.parametrize("shift", range(4))
def test_18_no_cut_divides_a_character(shift: int) -> None:
    pieces = [b"x" * (CHUNK_BYTES - shift), "𝄞𝄞".encode()]
    parts = [json.loads(b"".join(part))["chunk"] for part in chunks(pieces)]
    assert "".join(parts).encode() == b"".join(pieces)
