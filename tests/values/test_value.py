"""Values: what is one, how large it is, and in which order they come."""

import copy
import math
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from camber.errors import InvalidArgumentError, InvalidValueError
from camber.values.value import (
    ARRAY_LENGTH_MAX,
    FIELDS_MAX,
    UNDEFINED,
    Document,
    Int64,
    Undefined,
    check_document,
    check_identifier,
    compare,
    describe,
    documents_of,
    equal,
    glance,
    measure,
    stored_text,
    survey,
)
from camber.values.wire import pack_value, unpack_many, unpack_value

names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=4).filter(
    lambda name: not name.startswith("$")
)
plain_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)
rare_scalars = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf]),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.binary(max_size=5),
    st.binary(max_size=5).map(bytearray),
    st.binary(max_size=5).map(lambda content: memoryview(content)),
)


def nested(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(names, inner, max_size=3)
            | st.lists(st.dictionaries(names, inner, max_size=2).map(Document), max_size=6)
        ),
        max_leaves=8,
    )


values = nested(plain_scalars | rare_scalars)


def size_of(value: Any) -> int:
    """The accounting, written down as the reference has it."""
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, (int, float)):
        return 9
    if isinstance(value, str):
        return 2 + len(value.encode())
    if isinstance(value, (bytes, bytearray, memoryview)):
        return 2 + len(value)
    if isinstance(value, dict):
        return 2 + sum(len(name) + 1 + size_of(item) for name, item in value.items())
    return 2 + sum(map(size_of, value))


def is_rare(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(is_rare, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(is_rare, value))
    return isinstance(value, (Int64, bytes, bytearray, memoryview)) or (
        isinstance(value, float) and not math.isfinite(value)
    )


def refusal(value: Any) -> str:
    with pytest.raises(InvalidValueError) as caught:
        measure(value)
    assert glance(value) is None
    return str(caught.value)


def refusal_of_document(fields: dict[str, Any]) -> str:
    with pytest.raises(InvalidValueError) as caught:
        check_document(fields)
    return str(caught.value)


# Sizes and limits.


@given(values)
def test_the_size_is_the_sum_of_the_parts(value: Any) -> None:
    assert measure(value) == size_of(value)
    assert glance(value) == survey(value)


@given(values)
def test_a_value_is_plain_if_an_ordinary_encoder_can_write_it(value: Any) -> None:
    assert survey(value)[1] is not is_rare(value)


@given(
    st.lists(names, min_size=1, max_size=3, unique=True),
    st.lists(st.lists(values, min_size=3, max_size=3), min_size=3, max_size=6),
)
@example(["a"], [[1e308]] * 5)
@example(["a"], [["\ud83d"], ["\ude00"], ["x"], ["y"]])
@example(["a"], [[math.nan], [1.0], [math.inf], [-math.inf]])
def test_rows_are_measured_as_their_parts_are(columns: list[str], rows: list[list[Any]]) -> None:
    table = [dict(zip(columns, row, strict=False)) for row in rows]
    one_by_one = [glance(row) for row in table]
    if None in one_by_one:
        assert glance(table) is None
    else:
        assert glance(table) == (size_of(table), not is_rare(table))


@given(st.dictionaries(names.filter(lambda name: not name.startswith("_")), values, max_size=4))
def test_a_document_is_measured_as_an_object(fields: dict[str, Any]) -> None:
    document = {"_id": "x", "_creationTime": 1.5, **fields}
    assert check_document(document) == check_document(Document(document)) == survey(document)


def test_the_sizes_of_the_reference() -> None:
    scalars = [None, True, 1, 1.5, Int64(1), "é", b"ab"]
    assert [measure(value) for value in scalars] == [1, 1, 9, 9, 9, 4, 4]
    assert [measure(value) for value in ([], [1, None], {}, {"ab": 1})] == [2, 12, 2, 14]


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Celsius(float):
    pass


def test_a_member_of_a_text_enumeration_is_its_text() -> None:
    assert survey({"a": Colour.RED, "b": Celsius(1)}) == (2 + 2 + 5 + 2 + 9, False)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**53 + 1, "Integer 9007199254740993 is outside the range of a float64 (-2^53 to 2^53)."),
        ({"a": [-(2**60)]}, "Integer -1152921504606846976 at $.a[0] is outside the range"),
        ([10**5000], "Integer of 16610 bits at $[0] is outside the range"),
        ({"a": {1}}, "set {1} at $.a is not a supported value: store `list(…)`"),
        ([UNDEFINED], "Undefined UNDEFINED at $[0] is not a supported value: leave the field out"),
        ({"t": datetime(2026, 1, 1, tzinfo=UTC)}, "datetime datetime.datetime(2026, 1, 1, 0, 0"),
        (Level.HIGH, "Level <Level.HIGH: 3> is not a supported value"),
        ({"a": {"b": "\ud800"}}, "String is not valid Unicode: it has a lone surrogate at $.a.b"),
        ({1: 2}, "Object keys must be strings, found 1"),
        ({"a": {None: 2}}, "Object keys must be strings, found None at $.a"),
        ({"$a": 1}, "Field name $a starts with '$', which is reserved."),
        ([{"é": 1}], "Field name é has invalid character 'é': Field names can only contain"),
        ({"a\n": 1}, "Field name a\n has invalid character '\n': Field names can only contain"),
        ({"\ud800": 1}, "Field name \\ud800 has invalid character '\\ud800': Field names"),
        ({"n" * 1025: 1}, "Field name is too long (1025 > maximum 1024)"),
        ({"a": [0] * 8193}, "Array length is too long (8193 > maximum length 8192) at $.a"),
        (
            {str(n): n for n in range(1025)},
            "Object has too many fields (1025 > maximum number 1024)",
        ),
    ],
)
def test_what_is_no_value_is_refused_with_its_path(value: Any, message: str) -> None:
    assert refusal(value).startswith(message)


def test_a_value_is_at_most_thirty_two_mebibytes() -> None:
    measure("x" * ((32 << 20) - 2))
    assert refusal("x" * ((32 << 20) - 1)) == (
        "Value is too large (33554433 bytes > maximum size 32 MiB)"
    )
    assert refusal({"a": ["x" * (1 << 20)] * 40}).startswith("Value is too large (")


def test_an_array_may_be_as_long_as_the_limit_and_an_object_as_wide() -> None:
    assert measure([None] * ARRAY_LENGTH_MAX) == 2 + ARRAY_LENGTH_MAX
    measure({str(n): n for n in range(FIELDS_MAX)})
    measure({"": 1, "n" * 1024: 2})


def test_sixty_four_levels_nest_and_no_more() -> None:
    value: Any = 1
    for _ in range(64):
        value = [value]
    measure(value)
    assert refusal([value]).startswith(
        "Value is too nested (nested 65 levels deep > maximum nesting 64) at $[0][0]"
    )
    assert refusal({"a": value}).startswith("Value is too nested (nested 65 levels deep")
    rows: Any = 1
    for _ in range(32):
        rows = [{"a": rows}] * 4 if rows == 1 else [{"a": rows}]
    measure(rows)
    assert refusal([rows]).startswith("Value is too nested (nested 65 levels deep")


def test_a_value_that_contains_itself_is_too_nested() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert refusal(endless).startswith("Value is too nested")


def test_a_document_nests_sixteen_levels_itself_included() -> None:
    inner: Any = 1
    for _ in range(15):
        inner = [inner]
    check_document({"a": inner})
    assert refusal_of_document({"a": [inner]}).startswith(
        "Document is too nested (nested 17 levels deep > maximum nesting 16) at $.a[0]"
    )


def test_a_document_is_at_most_one_mebibyte() -> None:
    overhead = measure({"a": ""})
    check_document({"a": "x" * ((1 << 20) - overhead)})
    assert refusal_of_document({"a": "x" * ((1 << 20) - overhead + 1)}) == (
        "Value is too large (1048577 bytes > maximum size 1 MiB)"
    )


def test_only_system_fields_of_a_document_start_with_an_underscore() -> None:
    check_document({"_id": "x", "_creationTime": 1.0, "a": {"_inside": 1}})
    assert refusal_of_document({"_mine": 1}).startswith("Field name _mine starts with '_'")
    measure({"_mine": 1})
    assert refusal_of_document({"_mine": 1}).startswith("Field name _mine starts with '_'")


# Order.


def test_the_order_of_the_types() -> None:
    ordered: list[Any] = [UNDEFINED, None, Int64(5), -0.0, 0.0, 1.0, True, "a", b"", [], {}]
    for place, value in enumerate(ordered):
        for other, another in enumerate(ordered):
            assert compare(value, another) == (place > other) - (place < other)


@pytest.mark.parametrize(
    ("smaller", "greater"),
    [
        (Int64(-5), Int64(3)),
        (Int64(2**63 - 1), -math.inf),
        (-math.nan, -math.inf),
        (-math.inf, -1.0),
        (-1, -0.0),
        (-0.0, 0),
        (0.0, 5e-324),
        (1, 1.5),
        (2**53 - 1, 2.0**53),
        (math.inf, math.nan),
        (False, True),
        ("\uffff", "\U00010000"),
        ("a", "a\0"),
        (b"a", b"a\0"),
        ([], [None]),
        ([1, 2], [1, 3]),
        ({"a": 2}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 0}),
        ({"a": 1, "c": 0}, {"b": 0}),
    ],
)
def test_this_comes_before_that(smaller: Any, greater: Any) -> None:
    assert compare(smaller, greater) == -1
    assert compare(greater, smaller) == 1
    assert not equal(smaller, greater)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 1.0),
        (math.nan, math.nan),
        ((1, 2), [1.0, 2]),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
        (Colour.RED, "red"),
        ({"a": 1, "b": 2}, Document(b=2.0, a=1)),
        (UNDEFINED, UNDEFINED),
    ],
)
def test_these_are_the_same_value(a: Any, b: Any) -> None:
    assert equal(a, b)
    assert compare(a, b) == compare(b, a) == 0


def test_types_keep_numbers_and_truth_apart() -> None:
    assert not equal(Int64(1), 1)
    assert not equal(True, 1)
    assert not equal(None, UNDEFINED)


@given(values, values, values)
def test_the_order_is_total(a: Any, b: Any, c: Any) -> None:
    assert compare(a, b) == -compare(b, a)
    first, second, third = sorted([a, b, c], key=cmp_to_key(compare))
    assert compare(first, second) <= 0
    assert compare(second, third) <= 0
    assert compare(first, third) <= 0


def test_what_is_no_value_has_no_place_in_the_order() -> None:
    with pytest.raises(InvalidValueError, match="object"):
        compare(object(), 1)


# The types of our own.


def test_an_int64_is_an_integer_that_shows_what_it_is() -> None:
    number = Int64(5)
    assert (number, repr(number), str(number), f"{number}") == (5, "Int64(5)", "5", "5")
    assert type(number + 1) is int
    again = pickle.loads(pickle.dumps(number))
    assert type(again) is Int64
    assert again == number


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_an_int64_has_sixty_four_bits(number: int) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Int64(number)
    assert str(caught.value) == f"BigInt {number} does not fit into a 64-bit signed integer."
    assert Int64(2**63 - 1) - Int64(-(2**63)) == 2**64 - 1


def test_there_is_one_undefined() -> None:
    assert Undefined() is UNDEFINED
    assert pickle.loads(pickle.dumps(UNDEFINED)) is copy.deepcopy(UNDEFINED) is UNDEFINED
    assert not UNDEFINED
    assert repr(UNDEFINED) == "UNDEFINED"


def test_the_fields_of_a_document_read_as_attributes() -> None:
    document = Document({"_id": "x", "body": "hello"})
    assert document.body == document["body"] == "hello"
    assert document == {"_id": "x", "body": "hello"}
    assert getattr(document, "author", None) is None
    assert copy.deepcopy(document) == pickle.loads(pickle.dumps(document)) == document
    with pytest.raises(AttributeError) as caught:
        _ = document.boddy
    assert str(caught.value) == "This document has no field 'boddy'. Its fields: _id, body."
    with pytest.raises(AttributeError, match=r"document\['body'\] = …"):
        document.body = "bye"


# Names and messages.


@pytest.mark.parametrize("name", ["a", "_a", "a1", "A_b", "a" * 64])
def test_an_identifier(name: str) -> None:
    check_identifier(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "Identifier cannot be empty"),
        (
            "1a",
            "Invalid first character '1' in 1a: Identifiers must start with an alphabetic "
            "character or underscore",
        ),
        (
            "a-b",
            "Identifier a-b has invalid character '-': Identifiers can only contain alphanumeric "
            "characters or underscores",
        ),
        (
            "aé",
            "Identifier aé has invalid character 'é': Identifiers can only contain alphanumeric "
            "characters or underscores",
        ),
        ("a" * 65, "Identifier is too long (65 > maximum 64)"),
        ("__", "Identifier __ cannot have exclusively underscores"),
    ],
)
def test_what_is_no_identifier_says_why(name: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_identifier(name)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (UNDEFINED, "undefined"),
        (True, "true"),
        (1, "1.0"),
        (-0.0, "-0.0"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (Int64(5), "5n"),
        ('a"é\n', '"a\\"é\\n"'),
        ("\ud800", '"\\\\ud800"'),
        (b"\x01\xff", "bytes(01ff)"),
        (bytes(40), "bytes(" + "00" * 32 + "…)"),
        ([], "[]"),
        ({}, "{}"),
        (
            {"a": 1.0, "b": "x", "c": [None, {"d": Int64(1)}]},
            '{a: 1.0, b: "x", c: [null, {d: 1n}]}',
        ),
        (2**60, "1152921504606846976"),
        ({1}, "{1}"),
    ],
)
def test_how_messages_show_a_value(value: Any, shown: str) -> None:
    assert describe(value) == shown


def test_a_message_shows_the_beginning_of_what_is_long() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError

    endless: list[Any] = []
    endless.append(endless)
    assert len(describe([0] * 8192)) == len(describe("x" * 1_000_000)) == 500
    assert describe([0] * 8192).endswith("…")
    assert describe(endless) == "[" * 8 + "[…]" + "]" * 8
    assert describe(Hostile()) == "<Hostile>"


FLAT = ['{"_id":"a","n":1}', '{"_id":"b","n":1.0}']


def test_documents_that_nobody_changed_are_written_as_they_were_read() -> None:
    documents = documents_of(unpack_many(FLAT), FLAT)
    assert stored_text(documents) == f"[{FLAT[0]},{FLAT[1]}]" == pack_value(documents)
    assert stored_text(documents[0]) == FLAT[0]


CHANGES: list[Callable[[Document], object]] = [
    lambda document: document.__setitem__("x", 2),
    lambda document: document.__delitem__("n"),
    lambda document: document.update(n=True),
    lambda document: document.__ior__({"n": 2}),
    lambda document: document.setdefault("z", None),
    lambda document: document.pop("n"),
    lambda document: document.popitem(),
    lambda document: document.clear(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_document_is_written_anew(change: Callable[[Document], object]) -> None:
    documents = documents_of(unpack_many(FLAT), FLAT)
    change(documents[0])
    assert stored_text(documents) is None
    assert unpack_value(pack_value(documents)) == documents


def test_documents_with_something_inside_to_change_are_written_anew() -> None:
    texts = ['{"_id":"a","tags":["x"]}', '{"_id":"b","tags":{}}']
    documents = documents_of(unpack_many(texts), texts)
    documents[0]["tags"].append("y")
    assert stored_text(documents) is None
    assert stored_text([{}]) is stored_text([]) is stored_text([Document(a=1)]) is None


def test_a_copy_of_a_document_is_a_document_of_its_own() -> None:
    document = documents_of(unpack_many(FLAT), FLAT)[0]
    for twin in (copy.copy(document), copy.deepcopy(document)):
        assert twin == document
        twin["n"] = 7
        assert pack_value(document) == FLAT[0]
