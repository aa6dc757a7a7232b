"""Headers, after the Fetch standard."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camber.functions.fetch import Headers


def test_names_are_lower_case_and_found_in_any_case() -> None:
    headers = Headers({"Content-TYPE": "text/html"})
    assert headers.get("content-type") == headers.get("CONTENT-type") == "text/html"
    assert headers.has("Content-Type")
    assert "CONTENT-TYPE" in headers
    assert list(headers) == [("content-type", "text/html")]


@pytest.mark.parametrize(
    "init",
    [
        {"b": "2", "a": "1"},
        [("b", "2"), ("a", "1")],
        [["b", "2"], ["a", "1"]],
        (pair for pair in [("b", "2"), ("a", "1")]),
        Headers({"b": "2", "a": "1"}),
        {"b": 2, "a": 1},
    ],
)
def test_headers_are_made_of_mappings_pairs_and_headers(init: Any) -> None:
    assert list(Headers(init)) == [("a", "1"), ("b", "2")]


def test_a_copy_changes_alone() -> None:
    original = Headers({"a": "1"})
    copy = Headers(original)
    copy.set("a", "2")
    assert original.get("a") == "1"


def test_repeated_values_are_joined_when_read_and_kept_when_sent() -> None:
    headers = Headers([("Vary", "origin"), ("x", "1"), ("vary", "accept")])
    assert headers.get("vary") == "origin, accept"
    assert list(headers.items()) == [("vary", "origin, accept"), ("x", "1")]
    assert headers._fields == [("vary", "origin"), ("x", "1"), ("vary", "accept")]


def test_cookies_are_never_joined_in_iteration() -> None:
    headers = Headers([("Set-Cookie", "a=1"), ("a", "0"), ("set-cookie", "b=2")])
    assert headers.get_set_cookie() == ["a=1", "b=2"]
    assert list(headers) == [("a", "0"), ("set-cookie", "a=1"), ("set-cookie", "b=2")]
    assert list(headers.keys()) == ["a", "set-cookie", "set-cookie"]
    assert list(headers.values()) == ["0", "a=1", "b=2"]


def test_absent_is_none_or_the_default() -> None:
    headers = Headers()
    assert headers.get("x") is None
    assert headers.get("x", "d") == "d"
    assert not headers.has("x")
    assert headers.get_set_cookie() == []
    with pytest.raises(KeyError):
        headers["x"]


def test_an_empty_value_is_a_value() -> None:
    headers = Headers({"x": ""})
    assert headers.get("x") == headers["x"] == ""


def test_setting_keeps_the_place_of_the_first_and_drops_the_others() -> None:
    headers = Headers([("a", "1"), ("b", "2"), ("a", "3")])
    headers.set("A", "9")
    headers["c"] = "4"
    assert headers._fields == [("a", "9"), ("b", "2"), ("c", "4")]


def test_deleting_drops_all_of_a_name_and_absent_is_no_error() -> None:
    headers = Headers([("a", "1"), ("b", "2"), ("a", "3")])
    headers.delete("A")
    headers.delete("nothing")
    assert headers._fields == [("b", "2")]


@pytest.mark.parametrize("name", ["", "a b", "a:b", "é", "a\r\n", "a\0", "(x)", "a\n", 3, None])
def test_a_name_that_http_cannot_carry_is_refused(name: Any) -> None:
    headers = Headers()
    for use in (headers.get, headers.has, headers.delete, lambda n: headers.set(n, "x")):
        with pytest.raises(TypeError):
            use(name)


@pytest.mark.parametrize(
    "value", ["a\r\nx: y", "a\nb", "a\rb", "a\0b", "\0", "€", "\ud800", b"x", True, 1.5]
)
def test_a_value_that_http_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="x-name"):
        Headers({"X-Name": value})


@pytest.mark.parametrize(
    ("value", "kept"),
    [(" a b ", "a b"), ("\ta\t", "a"), ("\r\na\r\n", "a"), ("a\tb", "a\tb"), ("é", "é"), (" ", "")],
)
def test_the_space_around_a_value_is_dropped(value: str, kept: str) -> None:
    assert Headers({"x": value}).get("x") == kept


def test_none_names_the_header_and_the_likely_cause() -> None:
    unset: Any = {"Access-Control-Allow-Origin": None}
    with pytest.raises(TypeError) as caught:
        Headers(unset)
    assert "'access-control-allow-origin' is None" in str(caught.value)
    assert "environment variable" in str(caught.value)


@pytest.mark.parametrize("init", ["a: b", b"a: b", 3, [("a",)], [("a", "b", "c")], ["ab"]])
def test_what_is_not_headers_is_refused(init: Any) -> None:
    with pytest.raises(TypeError):
        Headers(init)


def test_headers_become_a_dict() -> None:
    assert dict(Headers([("b", "1"), ("a", "2"), ("b", "3")])) == {"a": "2", "b": "1, 3"}


@given(st.lists(st.tuples(st.sampled_from("aAbBcC"), st.sampled_from(["1", "2"]))))
def test_iteration_is_sorted_and_joined_whatever_was_appended(pairs: list[tuple[str, str]]) -> None:
    headers = Headers()
    for name, value in pairs:
        headers.append(name, value)
    names = sorted({name.lower() for name, _ in pairs})
    assert [name for name, _ in headers] == names
    assert [headers.get(name) for name in names] == list(headers.values())
    assert headers == Headers(pairs)
