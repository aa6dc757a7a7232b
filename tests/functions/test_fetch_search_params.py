"""The query of a URL, after the URL standard."""

from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camber.functions.fetch import URLSearchParams


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("author=User%20123", [("author", "User 123")]),
        ("author=User+123", [("author", "User 123")]),
        ("?a=1", [("a", "1")]),
        ("??a=1", [("?a", "1")]),
        ("", []),
        ("&&a=1&&b=2&", [("a", "1"), ("b", "2")]),
        ("a", [("a", "")]),
        ("a=", [("a", "")]),
        ("=a", [("", "a")]),
        ("=", [("", "")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=1;b=2", [("a", "1;b=2")]),
        ("a=%", [("a", "%")]),
        ("a=%zz%4", [("a", "%zz%4")]),
        ("a=%2B%26%3D", [("a", "+&=")]),
        ("a=%ff", [("a", "\ufffd")]),
        ("a=%e2%82", [("a", "\ufffd")]),
        ("a=%E2%82%AC", [("a", "€")]),
        ("a=€", [("a", "€")]),
        ("%ef%bb%bfa=1", [("\ufeffa", "1")]),
        ("a=%00", [("a", "\0")]),
        ("a=\ud800", [("a", "\ufffd")]),
        ("__proto__=1&a=2&a=1", [("__proto__", "1"), ("a", "2"), ("a", "1")]),
    ],
)
def test_a_query_is_read_as_forms_are(query: str, pairs: list[tuple[str, str]]) -> None:
    assert list(URLSearchParams(query)) == pairs


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b", "a+b"),
        ("a+b", "a%2Bb"),
        ("a&b=c", "a%26b%3Dc"),
        ("~é€", "%7E%C3%A9%E2%82%AC"),
        ("*-._09azAZ", "*-._09azAZ"),
        ("!'()", "%21%27%28%29"),
        ("\0\r\n", "%00%0D%0A"),
        ("%20", "%2520"),
        (3, "3"),
        (1.5, "1.5"),
        (True, "true"),
    ],
)
def test_a_value_is_written_as_forms_are(value: Any, text: str) -> None:
    assert str(URLSearchParams({"a": value})) == f"a={text}"


@pytest.mark.parametrize(
    "init",
    [
        "a=1&b=2",
        {"a": "1", "b": "2"},
        [("a", "1"), ("b", "2")],
        [["a", "1"], ["b", "2"]],
        URLSearchParams("a=1&b=2"),
    ],
)
def test_params_are_made_of_text_mappings_pairs_and_params(init: Any) -> None:
    params = URLSearchParams(init)
    assert params == URLSearchParams("a=1&b=2")
    assert dict(params) == {"a": "1", "b": "2"}
    assert params.size == len(params) == 2


@pytest.mark.parametrize("init", [3, ["ab"], [("a",)], {"a": None}, {"a": ["x"]}, [("a", b"x")]])
def test_what_is_not_params_is_refused(init: Any) -> None:
    with pytest.raises(TypeError):
        URLSearchParams(init)


def test_names_may_repeat() -> None:
    params = URLSearchParams("a=1&b=2&a=3")
    assert params.get("a") == params["a"] == "1"
    assert params.get_all("a") == ["1", "3"]
    assert list(params.keys()) == ["a", "b", "a"]
    assert list(params.values()) == ["1", "2", "3"]
    assert params.has("a", "3")
    assert not params.has("a", "2")
    assert "b" in params


def test_an_absent_name_is_none_or_the_default() -> None:
    params = URLSearchParams()
    assert params.get("a") is None
    assert params.get("a", "x") == "x"
    assert params.get_all("a") == []
    with pytest.raises(KeyError):
        params["a"]


def test_setting_keeps_the_place_of_the_first_and_drops_the_others() -> None:
    params = URLSearchParams("a=1&b=2&a=3")
    params.set("a", "9")
    params.set("c", 4)
    assert str(params) == "a=9&b=2&c=4"


def test_deleting_by_name_or_by_name_and_value() -> None:
    params = URLSearchParams("a=1&b=2&a=3")
    params.delete("a", "3")
    assert str(params) == "a=1&b=2"
    params.delete("a")
    params.delete("nothing")
    assert str(params) == "b=2"


def test_sorting_is_by_utf_16_and_stable() -> None:
    params = URLSearchParams([("\uffff", "1"), ("😀", "2"), ("a", "2"), ("a", "1")])
    params.sort()
    assert list(params) == [("a", "2"), ("a", "1"), ("😀", "2"), ("\uffff", "1")]


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(_TEXT, _TEXT)))
def test_writing_and_reading_is_identity(pairs: list[tuple[str, str]]) -> None:
    text = str(URLSearchParams(pairs))
    assert list(URLSearchParams(text)) == pairs
    assert parse_qsl(text, keep_blank_values=True) == [p for p in pairs if p != ("", "")] or (
        ("", "") in pairs
    )
