"""Requests that the function API refuses: with a code and a message, and the connection lives."""

import json
from collections.abc import Iterator

import pytest
from function_api import APP, JSON, call, post

from serving import Backend, Connection, ask, served


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with served(tmp_path_factory.mktemp("api"), APP) as backend:
        yield backend


# ---- malformed requests: refused with code and message, and the connection lives ----

NESTED = 100_000


def echo_of(value: bytes) -> bytes:
    return b'{"path":"m:echo","args":{"value":' + value + b"}}"


MALFORMED: list[tuple[str, bytes, str]] = [
    ("empty", b"", "BadJsonBody"),
    ("blank", b"  \n", "BadJsonBody"),
    ("a word", b"hello", "BadJsonBody"),
    ("cut short", b'{"path": "m:seven", "args": {', "BadJsonBody"),
    ("two documents", b'{"path":"m:seven","args":{}} {}', "BadJsonBody"),
    ("trailing comma", b'{"path":"m:seven","args":{},}', "BadJsonBody"),
    ("single quotes", b"{'path':'m:seven','args':{}}", "BadJsonBody"),
    ("a comment", b'{"path":"m:seven",/* x */"args":{}}', "BadJsonBody"),
    ("NaN", echo_of(b"NaN"), "BadJsonBody"),
    ("Infinity", echo_of(b"Infinity"), "BadJsonBody"),
    ("-Infinity", echo_of(b"-Infinity"), "BadJsonBody"),
    ("leading zero", echo_of(b"01"), "BadJsonBody"),
    ("plus sign", echo_of(b"+1"), "BadJsonBody"),
    ("hexadecimal", echo_of(b"0x10"), "BadJsonBody"),
    ("no digits after the point", echo_of(b"1."), "BadJsonBody"),
    ("control character", echo_of(b'"a\x01b"'), "BadJsonBody"),
    ("raw line break", echo_of(b'"a\nb"'), "BadJsonBody"),
    ("bad escape", echo_of(b'"\\x41"'), "BadJsonBody"),
    ("lone high surrogate", echo_of(b'"\\ud800"'), "BadJsonBody"),
    ("lone low surrogate", echo_of(b'"\\udc00"'), "BadJsonBody"),
    ("surrogates swapped", echo_of(b'"\\udc00\\ud800"'), "BadJsonBody"),
    ("surrogate in a name", b'{"path":"m:echo","args":{"\\ud800":1}}', "BadJsonBody"),
    ("surrogate in UTF-8", echo_of(b'"\xed\xa0\x80"'), "BadJsonBody"),
    ("not UTF-8", echo_of(b'"\xff"'), "BadJsonBody"),
    ("overlong UTF-8", echo_of(b'"\xc0\xaf"'), "BadJsonBody"),
    ("UTF-16", '{"path":"m:seven","args":{}}'.encode("utf-16"), "BadJsonBody"),
    ("byte order mark", b'\xef\xbb\xbf{"path":"m:seven","args":{}}', "BadJsonBody"),
    ("open brackets", b"[" * NESTED, "BadJsonBody"),
    ("deep array", b"[" * NESTED + b"]" * NESTED, "BadJsonBody"),
    (
        "deep argument",
        echo_of(b"[" * 70 + b"]" * 70),
        "BadJsonBody",
    ),
    (
        "deeper argument",
        echo_of(b"[" * 9000 + b"]" * 9000),
        "BadJsonBody",
    ),
    (
        "deep objects",
        b'{"path":"m:echo","args":' + b'{"a":' * 9000 + b"1" + b"}" * 9000 + b"}",
        "BadJsonBody",
    ),
    ("an array", b"[]", "BadJsonBody"),
    ("null", b"null", "BadJsonBody"),
    ("a string", b'"x"', "BadJsonBody"),
    ("no path", b'{"args":{}}', "BadJsonBody"),
    ("no args", b'{"path":"m:seven"}', "BadJsonBody"),
    ("path of another type", b'{"path":3,"args":{}}', "BadJsonBody"),
    ("path null", b'{"path":null,"args":{}}', "BadJsonBody"),
    ("unknown format", b'{"path":"m:seven","args":{},"format":"xml"}', "BadFormat"),
    ("format of another type", b'{"path":"m:seven","args":{},"format":["json"]}', "BadFormat"),
    ("dollar name", echo_of(b'{"$x":1}'), "BadJsonBody"),
    (
        "two special names",
        echo_of(b'{"$integer":"","b":1}'),
        "BadJsonBody",
    ),
    ("set", echo_of(b'{"$set":[]}'), "BadJsonBody"),
    ("integer too short", echo_of(b'{"$integer":"AQ=="}'), "BadJsonBody"),
    ("integer not base64", echo_of(b'{"$integer":"!"}'), "BadJsonBody"),
    (
        "integer of another type",
        echo_of(b'{"$integer":3}'),
        "BadJsonBody",
    ),
    ("bytes not base64", echo_of(b'{"$bytes":"="}'), "BadJsonBody"),
    (
        "ordinary float as special",
        echo_of(b'{"$float":"AAAAAAAA8D8="}'),
        "BadJsonBody",
    ),
    ("control in a name", echo_of(b'{"a\\u0001":1}'), "BadJsonBody"),
    ("accent in a name", '{"path":"m:echo","args":{"value":{"é":1}}}'.encode(), "BadJsonBody"),
    ("path empty", b'{"path":"","args":{}}', "BadConvexFunctionIdentifier"),
    ("path blank", b'{"path":" ","args":{}}', "BadConvexFunctionIdentifier"),
    ("path of another extension", b'{"path":"m.ts.x:a","args":{}}', "BadConvexFunctionIdentifier"),
]


@pytest.mark.parametrize(
    ("body", "code"), [case[1:] for case in MALFORMED], ids=[c[0] for c in MALFORMED]
)
@pytest.mark.parametrize("route", ["query", "mutation", "action"])
def test_a_malformed_request_is_refused_and_the_connection_lives(
    route: str, body: bytes, code: str, backend: Backend
) -> None:
    with Connection(backend.api_port) as connection:
        origin = {"origin": "https://page.example"}
        answer = connection.ask("POST", f"/api/{route}", body, {**JSON, **origin})
        assert answer.status == 400, answer
        assert answer.header("content-type") == "application/json"
        assert answer.header("access-control-allow-origin") == "https://page.example"
        refusal = json.loads(answer.body)
        assert refusal.keys() == {"code", "message"}
        assert refusal["code"] == code, refusal
        assert refusal["message"]
        again = connection.ask("POST", "/api/query", b'{"path":"m:seven","args":{}}', JSON)
        assert json.loads(again.body)["value"] == 7.0


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "multipart/json"],
)
def test_a_body_that_is_not_called_json_is_refused(content_type: str, backend: Backend) -> None:
    headers = {"content-type": content_type} if content_type else {}
    with Connection(backend.api_port) as connection:
        answer = connection.ask("POST", "/api/query", b'{"path":"m:seven","args":{}}', headers)
        assert answer.status == 400
        assert json.loads(answer.body) == {
            "code": "BadJsonBody",
            "message": "Expected request with `Content-Type: application/json`",
        }
        assert connection.ask("GET", "/version").status == 200


@pytest.mark.parametrize(
    "content_type",
    ["application/json; charset=utf-8", "Application/JSON", "application/vnd.app+json"],
)
def test_a_body_may_be_called_json_in_several_ways(content_type: str, backend: Backend) -> None:
    body = b'{"path":"m:seven","args":{}}'
    answer = ask(backend.api, "POST", "/api/query", body, {"content-type": content_type})
    assert answer.status == 200


def test_of_a_field_that_stands_twice_the_last_one_counts(backend: Backend) -> None:
    answer = post(
        backend, "query", b'{"path":"m:nope","path":"m:echo","args":{"value":1,"value":2}}'
    )
    assert json.loads(answer.body)["value"] == 2.0


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (b"9007199254740993", 9007199254740992.0),
        (b"123456789012345678901234567890", 1.2345678901234568e29),
        (b"-18446744073709551616", -18446744073709551616.0),
        (b"1e308", 1e308),
        (b"1E-400", 0.0),
    ],
)
def test_numbers_are_floats_however_long(number: bytes, value: float, backend: Backend) -> None:
    answer = post(backend, "query", echo_of(number))
    assert json.loads(answer.body)["value"] == value


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"9" * 400, b"9" * 100_000])
def test_a_number_beyond_all_floats_is_refused_or_infinite(number: bytes, backend: Backend) -> None:
    answer = post(backend, "query", echo_of(number))
    if answer.status == 200:
        assert json.loads(answer.body)["value"] in ("Infinity", "-Infinity")
    else:
        assert (answer.status, json.loads(answer.body)["code"]) == (400, "BadJsonBody")


def test_names_that_mean_something_to_python_are_names_like_others(backend: Backend) -> None:
    value = {"__class__": "x", "__proto__": 1.0, "constructor": None, "self": [], "ctx": "y"}
    assert call(backend, "m:echo", {"value": value})["value"] == value
    for name in ("ctx", "self", "__class__", "args", "kwargs"):
        message = call(backend, "m:seven", {name: 1})["errorMessage"]
        assert "ArgumentValidationError" in message


def test_a_body_past_sixteen_mebibytes_is_refused_before_the_rest_is_read(
    backend: Backend,
) -> None:
    with Connection(backend.api_port) as connection:
        head = (
            "POST /api/query HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            f"content-length: {(16 << 20) + 2001}\r\n\r\n"
        )
        connection.socket.sendall(head.encode() + b"{")
        answer = connection.answer()
        assert answer.status == 413
        assert json.loads(answer.body) == {
            "code": "RequestTooLarge",
            "message": "Failed to buffer the request body: length limit exceeded",
        }


def test_a_body_of_sixteen_mebibytes_is_read(backend: Backend) -> None:
    filler = (16 << 20) + 2000 - len(b'{"path":"m:seven","args":{},"x":""}')
    body = b'{"path":"m:seven","args":{},"x":"' + b"x" * filler + b'"}'
    assert len(body) == (16 << 20) + 2000
    assert json.loads(post(backend, "query", body).body)["value"] == 7.0
