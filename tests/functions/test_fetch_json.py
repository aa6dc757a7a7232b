"""JSON as requests carry it and responses write it."""

import dataclasses
import datetime
import enum
import json
import math
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camber.functions.fetch import json_text
from camber.values.value import Int64


class Document(dict[str, Any]):
    """Like the documents that a query returns."""


class Name(str):
    __slots__ = ()


class Ratio(float):
    pass


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"1", 1),
        (b"1.0", 1.0),
        (b"-0", 0),
        (b"1e5", 1e5),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b' {"a": [true, false, null]} ', {"a": [True, False, None]}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'"\\ud83d\\ude00 \\u00e9"', "😀 é"),
        ('"é"'.encode(), "é"),
        (b"\xef\xbb\xbf[1]", [1]),
        (b'{"__proto__": 1}', {"__proto__": 1}),
    ],
)
def test_json_is_read(data: bytes, value: Any) -> None:
    read = json_text.decode(data)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"", 0),
        (b"   ", 3),
        (b"{", 1),
        (b"[1,]", 3),
        (b'{"a": 1,}', 8),
        (b'{"a" 1}', 5),
        (b"{'a': 1}", 1),
        (b"[1] 2", 4),
        (b'{"a": tru}', 6),
        ('["éé", x]'.encode(), 7),
        (b"[NaN]", 1),
        (b'{"a": Infinity}', 6),
        (b"[-Infinity]", 2),
        (b'["\\ud800"]', 2),
        (b'["\\udc00"]', 2),
        (b'["\\ud83d\\ude00\\ud83d"]', 14),
        (b'["\\ud800\\ud83d\\ude00"]', 2),
        (b'["\\\\ud800", "\\ud800"]', 13),
        (b'["a\xff"]', 3),
        (b'["\xed\xa0\x80"]', 2),
    ],
)
def test_what_is_not_json_is_refused_at_its_place(data: bytes, place: int) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json_text.decode(data)
    assert caught.value.pos == place
    assert f"(char {place})" in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 100_000 + b"x",
        b"9" * 10_000,
        b"1e400",
        b"01",
        b".5",
        b"0x10",
        b'"\t"',
        b'"\\x41"',
        b"\xff\xfe1\x00",
    ],
)
def test_malicious_json_is_refused_like_any_other(data: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        json_text.decode(data)


@given(st.binary(max_size=20))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        json_text.decode(data)
    except json.JSONDecodeError:
        pass


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, b"null"),
        ({"a": 1, "b": 1.0}, b'{"a":1,"b":1.0}'),
        ([Document(a=Int64(2**63 - 1))], b'[{"a":9223372036854775807}]'),
        (2**70, b"1180591620717411303424"),
        ({"n": Name("x"), "r": Ratio(0.5), "none": None}, b'{"n":"x","r":0.5,"none":null}'),
        (("a", True), b'["a",true]'),
        ("é😀", '"é😀"'.encode()),
        (datetime.datetime(2026, 1, 2, 3, 4, 5), b'"2026-01-02T03:04:05"'),
        (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (Colour.RED, b'"red"'),
        (Point(1, 2.5), b'{"x":1,"y":2.5}'),
        (b"ab", b'"YWI="'),
    ],
)
def test_values_are_written(value: Any, data: bytes) -> None:
    assert json_text.encode(value) == data


_CYCLE: list[Any] = []
_CYCLE.append(_CYCLE)
_DEEP: list[Any] = [math.nan]
for _ in range(500):
    _DEEP = [_DEEP]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "nan at $"),
        ({"a": [1.0, None, math.inf]}, "inf at $.a[2]"),
        ([Document(x=-math.inf)], "-inf at $[0].x"),
        ({"a": {"b": object()}}, "object at $.a.b"),
        ([1, range(3)], "range at $[1]"),
        ({"f": test_values_are_written}, "function at $.f"),
        ({(1, 2): 3}, "the key (1, 2) at $"),
        ({"a": [{None: 3}]}, "the key None at $.a[0]"),
        (["ok", "\ud800"], "str at $[1]"),
        ({"\ud800": 1}, "the key '\\ud800' at $"),
        (_CYCLE, "nested too deeply"),
        ([1, Point(1, math.nan)], "Point at $[1], which holds NaN or infinity"),
        (_DEEP, "nested too deeply"),
    ],
)
def test_what_json_has_no_form_for_is_named_with_its_path(value: Any, said: str) -> None:
    with pytest.raises(TypeError) as caught:
        json_text.encode(value)
    assert said in str(caught.value)


def test_null_beside_numbers_that_look_odd_in_memory_is_written() -> None:
    value = {"text": "null", "none": None, "bits": [b"\xcb\x7f\xf0", 0xCB7FF0, 1.7e308]}
    assert json.loads(json_text.encode(value))["none"] is None


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab$é", max_size=3), inner),
    max_leaves=8,
)


@given(_JSON)
def test_writing_and_reading_is_identity_for_whole_and_other_numbers(value: Any) -> None:
    data = json_text.encode(value)
    assert repr(json_text.decode(data)) == repr(value)
    assert json.loads(data) == value


@given(_JSON, st.sampled_from([math.nan, math.inf, -math.inf]))
def test_no_number_that_json_lacks_slips_through(value: Any, odd: float) -> None:
    with pytest.raises(TypeError):
        json_text.encode([value, {"a": odd}])
