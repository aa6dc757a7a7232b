"""Key bytes: their order is the order of values."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from camber.errors import InvalidValueError
from camber.values.key import compile_fields, encode, successor
from camber.values.value import UNDEFINED, Int64, compare

MANUAL = Path(__file__).parents[2] / "docs" / "formats.md"

texts = st.one_of(st.text(st.sampled_from("\0\1\2aé\uffff\U00010000"), max_size=4), st.text())
names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=4).filter(
    lambda name: not name.startswith("$")
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.sampled_from([0.0, -0.0, math.nan, -math.nan, math.inf, -math.inf, 5e-324]),
    st.integers(-(2**53), 2**53),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.sampled_from(
        [s * 2**k + d for k in (0, 7, 8, 15, 16, 31, 32) for s in (1, -1) for d in (-1, 0, 1)]
    ).map(Int64),
    texts,
    st.binary(max_size=4),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
components: Any = values | st.just(UNDEFINED)


def order(a: Any, b: Any) -> int:
    return int(a > b) - int(a < b)


@given(components, components)
@example("a", "a\0")
@example("a\0", "a\1")
@example(["a"], ["a", None])
@example({"a": 1}, {"a": 1, "b": 1})
@example({"": 1}, {})
def test_bytes_are_ordered_as_values_are(a: Any, b: Any) -> None:
    assert order(encode(a), encode(b)) == compare(a, b)


@given(components, components)
@example("a", "a\0")
@example(b"", b"\0")
@example(b"\1", b"\1\1")
def test_no_encoding_begins_another(a: Any, b: Any) -> None:
    if compare(a, b) != 0:
        assert not encode(a).startswith(encode(b))


@given(st.tuples(components, components), st.tuples(components, components))
def test_encodings_strung_together_compare_component_by_component(
    a: tuple[Any, Any], b: tuple[Any, Any]
) -> None:
    by_component = compare(a[0], b[0]) or compare(a[1], b[1])
    assert order(encode(a[0]) + encode(a[1]), encode(b[0]) + encode(b[1])) == by_component


@given(st.binary(max_size=4), st.binary(max_size=4))
@example(b"a\xff", b"b")
def test_the_successor_is_after_all_that_begin_with_the_prefix_and_the_first_such(
    prefix: bytes, other: bytes
) -> None:
    after = successor(prefix)
    if after is None:
        assert prefix == b"\xff" * len(prefix)
    else:
        assert prefix + b"\xff" * 5 < after
        assert (other >= after) == (other > prefix and not other.startswith(prefix))


def test_the_manual_tells_the_truth_about_keys() -> None:
    section = MANUAL.read_text(encoding="utf-8").split("## Index keys")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.+)` \| `([0-9a-f]+)` \|$", section, re.MULTILINE)
    assert len(rows) == 28
    names = {"Int64": Int64, "UNDEFINED": UNDEFINED, "inf": math.inf, "nan": math.nan}
    for shown, hexadecimal in rows:
        assert (shown, encode(eval(shown, names)).hex()) == (shown, hexadecimal)


def test_a_mixed_index_is_in_the_order_of_the_types() -> None:
    ordered: list[Any] = [UNDEFINED, None, Int64(5), -0.0, 0.0, 1.0, True, "a", b"", [], {}]
    assert [encode(value) for value in ordered] == sorted(encode(value) for value in ordered)


def test_fields_are_found_through_objects_and_are_undefined_where_there_is_nothing() -> None:
    document = {"a": {"b": 1}, "c": "x", "n": None}
    paths = [("a", "b"), ("c",), ("c", "d"), ("a", "z", "y"), ("n",)]
    expected = [encode(value) for value in (1, "x", UNDEFINED, UNDEFINED, None)]
    assert list(compile_fields(paths)(document)) == expected
    assert compile_fields([("c",), ("zz",)])(document) == (encode("x"), encode(UNDEFINED))
    assert compile_fields([])(document) == ()


@pytest.mark.parametrize("value", [{1, 2}, 2**53 + 1, 10**400, "\ud800", ["\ud800"], object()])
def test_what_is_no_value_has_no_key(value: Any) -> None:
    with pytest.raises(InvalidValueError):
        encode(value)
