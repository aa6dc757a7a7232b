"""The function API's answers over HTTP, byte for byte: envelopes, errors, formats, redaction."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from function_api import APP, admin, call, post

from serving import Backend, served


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with served(tmp_path_factory.mktemp("api"), APP) as backend:
        yield backend


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with served(tmp_path_factory.mktemp("production"), APP, production=True) as backend:
        yield backend


# ---- envelopes ----


def test_a_result_has_a_status_and_a_value_and_no_log_lines_when_there_are_none(
    backend: Backend,
) -> None:
    answer = post(backend, "query", {"path": "m:seven", "args": {}})
    assert answer.body == b'{"status":"success","value":7.0}'


@pytest.mark.parametrize("args", [{}, [{}], []])
def test_arguments_come_as_an_object_or_as_a_list_of_one(args: Any, backend: Backend) -> None:
    assert call(backend, "m:seven", args)["value"] == 7.0


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (
            [{}, {}],
            "ArgumentValidationError: Expected to receive a single object as the function's "
            "argument. Instead received 2 arguments: ",
        ),
        (
            [3],
            "ArgumentValidationError: Expected to receive an object as the function's argument. "
            "Instead received: 3",
        ),
        (
            "x",
            "ArgumentValidationError: Expected to receive an object as the function's argument. "
            "Instead received: ",
        ),
    ],
)
def test_arguments_that_are_no_object_are_the_functions_error(
    args: Any, text: str, backend: Backend
) -> None:
    envelope = call(backend, "m:echo", args)
    assert envelope["status"] == "error"
    assert text in envelope["errorMessage"]
    assert "errorData" not in envelope


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("m:seven", 7.0),
        ("m.js:seven", 7.0),
        ("m.py:seven", 7.0),
        ("deep/er:where", "deep"),
        ("deep/er.js:where", "deep"),
    ],
)
def test_a_function_has_one_name_in_several_spellings(
    path: str, value: Any, backend: Backend
) -> None:
    assert call(backend, path)["value"] == value


@pytest.mark.parametrize("path", ["sendMessage", "sendMessage:default", "sendMessage.js"])
def test_a_module_alone_names_its_default(path: str, backend: Backend) -> None:
    assert call(backend, path, {"body": "hi"}, "mutation")["value"] == "hi"


def test_an_ordinary_error_shows_message_and_place(backend: Backend) -> None:
    envelope = call(backend, "m:add_and_fail", route="mutation")
    assert envelope.keys() == {"status", "errorMessage", "logLines"}
    assert re.fullmatch(
        r"\[Request ID: [0-9a-f]{16}\] Server Error\n"
        r"Uncaught ValueError: no stock\n"
        r"    at add_and_fail \(convex/m\.py:\d+\)\n",
        envelope["errorMessage"],
    )
    warning = next(line for line in envelope["logLines"] if "low stock" in line)
    assert warning.startswith("[WARN] ")
    assert call(backend, "m:total")["value"] < 1000


def test_log_lines_carry_their_level(backend: Backend) -> None:
    lines = call(backend, "m:add", {"count": 0}, "mutation")["logLines"]
    assert len(lines) == 1
    assert re.match(r"^\[LOG\] ", lines[0])


@pytest.mark.parametrize(
    "data", [None, "text", 3.0, {"code": "sold_out"}, [], {"$integer": "KgAAAAAAAAA="}, ""]
)
def test_a_convex_error_carries_its_data_even_if_that_is_null(data: Any, backend: Backend) -> None:
    envelope = call(backend, "m:refuse", {"data": data}, format="convex_encoded_json")
    assert envelope["status"] == "error"
    assert envelope["errorData"] == data
    assert "Uncaught ConvexError: " in envelope["errorMessage"]


@pytest.mark.parametrize("path", ["m:bare", "m:forgetful"])
def test_a_convex_error_without_data_has_null(path: str, backend: Backend) -> None:
    assert call(backend, path)["errorData"] is None


@pytest.mark.parametrize(
    ("path", "text"), [("m:too_much", "it is too large"), ("m:endless", "Value is too nested")]
)
def test_a_convex_error_whose_data_is_no_value_is_an_ordinary_error(
    path: str, text: str, backend: Backend
) -> None:
    envelope = call(backend, path)
    assert f"\nConvexError with invalid data: {text} (" in envelope["errorMessage"]
    assert "errorData" not in envelope


def test_an_error_that_cannot_be_shown_is_an_error_all_the_same(backend: Backend) -> None:
    message = call(backend, "m:unprintable")["errorMessage"]
    assert "Uncaught Unprintable: (its message cannot be shown: ValueError)" in message


def test_a_request_id_of_the_callers_choice_is_used(backend: Backend) -> None:
    envelope = call(backend, "m:bare", headers={"convex-request-id": "0123456789abcdef"})
    assert envelope["errorMessage"].startswith("[Request ID: 0123456789abcdef] Server Error\n")


def test_a_wrong_result_is_an_error_and_undoes_a_mutation(backend: Backend) -> None:
    before = call(backend, "m:total")["value"]
    assert "\nReturnsValidationError: " in call(backend, "m:wrong_result")["errorMessage"]
    message = call(backend, "m:wrong_result_of_mutation", route="mutation")["errorMessage"]
    assert "\nReturnsValidationError: " in message
    assert call(backend, "m:total")["value"] == before


@pytest.mark.parametrize(
    ("args", "names"),
    [
        ({}, "count"),
        ({"count": "three"}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": {"$integer": "AQAAAAAAAAA="}}, "count"),
        ({"count": 1, "extra": 2}, "extra"),
        ({"count": 1, "name": None}, "name"),
    ],
)
def test_a_wrong_argument_is_named(args: Any, names: str, backend: Backend) -> None:
    message = call(backend, "m:typed", args)["errorMessage"]
    assert "\nArgumentValidationError: " in message
    assert names in message.partition("ArgumentValidationError")[2]


# ---- formats ----

CLEAN = {
    "int64": "5",
    "nan": "NaN",
    "inf": "Infinity",
    "minus": "-Infinity",
    "zero": -0.0,
    "bytes": "AQL/",
    "one": 1.0,
}
ENCODED = {
    "int64": {"$integer": "BQAAAAAAAAA="},
    "nan": {"$float": "AAAAAAAA+H8="},
    "inf": {"$float": "AAAAAAAA8H8="},
    "minus": {"$float": "AAAAAAAA8P8="},
    "zero": {"$float": "AAAAAAAAAIA="},
    "bytes": {"$bytes": "AQL/"},
    "one": 1.0,
}


@pytest.mark.parametrize(
    ("format", "client", "value"),
    [
        ("json", None, CLEAN),
        ("convex_clean_json", None, CLEAN),
        ("convex_encoded_json", None, ENCODED),
        ("convex_json", None, ENCODED),
        (None, None, CLEAN),
        (None, "npm-1.48.0", CLEAN),
        (None, "npm-1.4.1", CLEAN),
        (None, "npm-1.4.0", ENCODED),
        (None, "npm-cli-0.20.0", ENCODED),
        (None, "python-0.8.1", CLEAN),
        (None, "python-0.4.9", ENCODED),
        (None, "unheard-of-0.0.1", CLEAN),
        (None, "nonsense", CLEAN),
        ("json", "npm-1.0.0", CLEAN),
    ],
)
def test_the_format_of_results(
    format: str | None, client: str | None, value: Any, backend: Backend
) -> None:
    headers = {} if client is None else {"convex-client": client}
    fields: dict[str, Any] = {} if format is None else {"format": format}
    envelope = call(backend, "m:odd", headers=headers, **fields)
    assert json.dumps(envelope["value"], sort_keys=True) == json.dumps(value, sort_keys=True)


def test_arguments_are_lossless_whatever_the_format_of_the_result(backend: Backend) -> None:
    value = {"$integer": "KgAAAAAAAAA="}
    assert call(backend, "m:echo", {"value": value}, format="json")["value"] == "42"
    assert call(backend, "m:echo", {"value": value}, format="convex_json")["value"] == value
    assert call(backend, "m:refuse", {"data": value}, format="json")["errorData"] == "42"


def test_whole_floats_have_a_point(backend: Backend) -> None:
    """The official Python client takes a number without one for no Convex value at all."""
    for route in ("query", "action"):
        path = "m:echo" if route == "query" else "m:act"
        answer = post(backend, route, {"path": path, "args": {"value": [1, {"a": 2}, 1e15]}})
        assert b"[1.0,{" in answer.body
        assert b"2.0}" in answer.body


# ---- production ----


def test_production_keeps_errors_and_log_lines_from_clients(production: Backend) -> None:
    envelope = call(production, "m:add_and_fail", route="mutation")
    assert envelope.keys() == {"status", "errorMessage"}
    assert re.fullmatch(r"\[Request ID: [0-9a-f]{16}\] Server Error", envelope["errorMessage"])
    assert "logLines" not in call(production, "m:add", {"count": 1}, "mutation")
    for path in ("m:nope", "m:typed", "m:secret", "m:wrong_result"):
        hidden = call(production, path)
        assert re.fullmatch(r"\[Request ID: [0-9a-f]{16}\] Server Error", hidden["errorMessage"])
        assert "errorData" not in hidden


def test_the_log_has_what_production_keeps_back_under_the_same_request_id(
    production: Backend,
) -> None:
    envelope = call(production, "m:unprintable")
    event = production.wait_event("m:unprintable")
    assert f"[Request ID: {event.request_id}] Server Error" == envelope["errorMessage"]
    assert event.failure is not None
    assert "Unprintable" in event.failure.message


def test_production_shows_the_data_of_a_convex_error(production: Backend) -> None:
    envelope = call(production, "m:refuse", {"data": {"code": "sold_out"}})
    assert envelope["errorData"] == {"code": "sold_out"}
    assert re.fullmatch(r"\[Request ID: [0-9a-f]{16}\] Server Error", envelope["errorMessage"])
    assert "logLines" not in envelope


def test_production_hides_nothing_from_an_administrator(production: Backend) -> None:
    envelope = call(production, "m:add_and_fail", route="mutation", headers=admin(production))
    assert "no stock" in envelope["errorMessage"]
    assert envelope["logLines"]
