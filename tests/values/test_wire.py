"""Values as JSON text: nothing is lost in the store and on the wire, and nonsense is refused."""

import json
import math
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from camber.errors import InvalidValueError, StorageCorruptError
from camber.values.value import Document, Int64, equal, survey
from camber.values.wire import (
    MalformedJsonError,
    dump_json,
    from_wire,
    pack,
    pack_value,
    parse_json,
    to_clean,
    to_export,
    to_wire,
    unpack,
    unpack_many,
    unpack_value,
)

MANUAL = Path(__file__).parents[2] / "docs" / "formats.md"

# Texts that look like what the fast paths look for.
texts = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        ['"$', '{"$integer":"AA=="}', '\\"$bytes', "$", "null", "-0.0", "\\u0024", "\0"]
    ),
)
names = st.one_of(
    st.sampled_from(["", "a", "_id", 'a"$', "null", "-0.0", "\\"]),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=5),
).filter(lambda name: not name.startswith("$"))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.sampled_from([0.0, -0.0, math.nan, -math.inf, math.inf]),
    st.integers(-(2**53), 2**53),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    texts,
    st.binary(max_size=5),
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.dictionaries(names, inner, max_size=3)
    return st.lists(inner, max_size=3) | objects | objects.map(Document)


values = st.recursive(scalars, containers, max_leaves=8)
documents = st.dictionaries(names, values, max_size=4)
json_trees = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names | st.sampled_from(["$integer", "$bytes", "$x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same Python types throughout, but for what reads are normalised to."""
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and equal(a, b)


@given(documents)
@example({"a": '"$'})
@example({'"$bytes': {"b": b"x"}})
def test_what_is_packed_is_unpacked(fields: dict[str, Any]) -> None:
    text = pack(fields, survey(fields)[1])
    assert same(fields, unpack(text))


@given(documents)
def test_what_an_encoder_would_write_is_what_the_slow_way_writes(fields: dict[str, Any]) -> None:
    if survey(fields)[1]:
        assert pack(fields, plain=True) == pack(fields, plain=False)


@settings(max_examples=30)
@given(st.lists(documents, max_size=4))
def test_many_are_unpacked_as_one_by_one(many: list[dict[str, Any]]) -> None:
    stored = [pack(fields, survey(fields)[1]) for fields in many]
    assert same(unpack_many(stored), [unpack(text) for text in stored])


@given(values)
def test_any_value_is_packed_and_unpacked(value: Any) -> None:
    assert same(value, unpack_value(pack_value(value)))


@given(values)
@example([{"a": math.nan, "b": "x"}])
@example([{"a": -0.0, "b": None}])
@example({"a": 'null "$', "b": 1.5})
def test_what_goes_over_the_wire_is_the_same_value(value: Any) -> None:
    text = to_wire(value)
    assert equal(from_wire(text), value)
    assert equal(from_wire(json.loads(text)), value)


@given(values)
def test_no_number_is_written_without_a_dot_or_an_exponent(value: Any) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    for write in (to_wire, to_clean):
        json.loads(write(value), parse_int=refuse, parse_constant=refuse)


@given(json_trees)
def test_what_is_read_is_a_value_or_refused(tree: Any) -> None:
    try:
        value = from_wire(json.dumps(tree).encode())
    except InvalidValueError:
        return
    survey(value)
    assert equal(from_wire(to_wire(value)), value)


FORMATS = [
    # value, wire, clean, export, stored
    (None, "null", "null", "null", "null"),
    (True, "true", "true", "true", "true"),
    ("é\n", '"é\\n"', '"é\\n"', '"é\\n"', '"é\\n"'),
    (1, "1.0", "1.0", "1.0", "1"),
    (1.0, "1.0", "1.0", "1.0", "1.0"),
    (0, "0.0", "0.0", "0.0", "0"),
    (-0.0, '{"$float":"AAAAAAAAAIA="}', "-0.0", "-0.0", "-0.0"),
    (math.nan, '{"$float":"AAAAAAAA+H8="}', '"NaN"', '{"$float":"AAAAAAAA+H8="}', None),
    (math.inf, '{"$float":"AAAAAAAA8H8="}', '"Infinity"', '{"$float":"AAAAAAAA8H8="}', None),
    (-math.inf, '{"$float":"AAAAAAAA8P8="}', '"-Infinity"', '{"$float":"AAAAAAAA8P8="}', None),
    (Int64(0), '{"$integer":"AAAAAAAAAAA="}', '"0"', "0", None),
    (Int64(1), '{"$integer":"AQAAAAAAAAA="}', '"1"', "1", None),
    (Int64(-1), '{"$integer":"//////////8="}', '"-1"', "-1", None),
    (Int64(5), '{"$integer":"BQAAAAAAAAA="}', '"5"', "5", None),
    (Int64(42), '{"$integer":"KgAAAAAAAAA="}', '"42"', "42", None),
    (Int64(2**63 - 1), '{"$integer":"/////////38="}', f'"{2**63 - 1}"', f"{2**63 - 1}", None),
    (Int64(-(2**63)), '{"$integer":"AAAAAAAAAIA="}', f'"{-(2**63)}"', f"{-(2**63)}", None),
    (
        Int64(1234567890123456789),
        '{"$integer":"FYHpffQQIhE="}',
        '"1234567890123456789"',
        "1234567890123456789",
        None,
    ),
    (b"\x01\x02\xff", '{"$bytes":"AQL/"}', '"AQL/"', '{"$bytes":"AQL/"}', None),
    (b"", '{"$bytes":""}', '""', '{"$bytes":""}', None),
    ([1, (2.5,)], "[1.0,[2.5]]", "[1.0,[2.5]]", "[1.0,[2.5]]", "[1,[2.5]]"),
    ({"a": {"b": 1}}, '{"a":{"b":1.0}}', '{"a":{"b":1.0}}', '{"a":{"b":1.0}}', '{"a":{"b":1}}'),
]


@pytest.mark.parametrize(("value", "wire", "clean", "export", "stored"), FORMATS)
def test_the_vectors_of_the_formats(
    value: Any, wire: str, clean: str, export: str, stored: str | None
) -> None:
    assert to_wire(value).decode() == wire
    assert to_clean(value).decode() == clean
    assert to_export(value).decode() == export
    assert pack_value(value) == (wire if stored is None else stored)
    assert equal(from_wire(wire.encode()), [1, [2.5]] if isinstance(value, list) else value)


def test_the_manual_tells_the_truth_about_json() -> None:
    section = MANUAL.read_text(encoding="utf-8").split("## Values as JSON")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(.+?)`" + r" \| `(.+?)`" * 4 + r" \|$", section, re.MULTILINE)
    assert len(rows) == 16
    for shown, *texts in rows:
        value = eval(shown, {"Int64": Int64, "inf": math.inf, "nan": math.nan})
        written = [pack_value(value)]
        written += [write(value).decode() for write in (to_wire, to_clean, to_export)]
        assert (shown, written) == (shown, texts)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.0", 1.0),
        ("1e3", 1000.0),
        ("-0.0", -0.0),
        ("9007199254740992", 2**53),
        ("9007199254740993", 2.0**53),
        ("123456789012345678901234567890", 1.2345678901234568e29),
        ('{"$float":"AAAAAAAAAAA="}', 0.0),
        ('{"\\u0024integer":"AQAAAAAAAAA="}', Int64(1)),
        ('{"a":1,"a":2}', {"a": 2}),
        ('{"a":[{"$bytes":"AQL/"},9007199254740993]}', {"a": [b"\x01\x02\xff", 2.0**53]}),
        ('"\\ud83d\\ude00"', "😀"),
    ],
)
def test_json_reads_as(text: str, value: Any) -> None:
    assert same(from_wire(text.encode()), value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"$integer":"AQ=="}', "Int64 must be 8 bytes, found 1 at $"),
        ('{"$float":"AAAAAAAA8D8="}', "Float64 1.0 should be encoded as a number at $"),
        ('[{"a":{"$float":"AQ=="}}]', "Float64 must be 8 bytes, found 1 at $[0].a"),
        ('{"a":{"$bytes":"A"}}', "$bytes is not valid base64 at $.a"),
        ('{"$bytes":"QQ==QQ=="}', "$bytes is not valid base64 at $"),
        ('{"$bytes":"é"}', "$bytes is not valid base64 at $"),
        ('{"$bytes":7}', "$bytes must be a string of base64 at $"),
        ('{"$set":[]}', "Field name $set starts with '$', which is reserved."),
        ('{"$undefined":null}', "Field name $undefined starts with '$', which is reserved."),
        (
            '{"$integer":"AQAAAAAAAAA=","a":1}',
            "Field name $integer starts with '$', which is reserved.",
        ),
        ("9" * 400, "Number out of range at $"),
    ],
)
def test_json_that_is_no_value_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        from_wire(text.encode())
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b'{"a":', "it ends too early"),
        (b"nope", "invalid character (byte 4)"),
        (b"[1] x", "trailing characters (byte 5)"),
        (b"NaN", "invalid character (byte 0)"),
        (b"[Infinity]", "invalid character (byte 1)"),
        (b"1e999", "Number out of range"),
        (b"1" * 5000, "Integer value out of range"),
        (b'"\xff"', "it is not valid Unicode"),
        (b'"\xed\xa0\x80"', "it is not valid Unicode"),
        (b'"\\ud800"', "it ends too early, or has a lone surrogate"),
        (b'{"\\udc00":1}', "invalid utf-16 surrogate pair (byte 8)"),
        (b"[" * 100_000, "it is too deeply nested"),
        (b'{"a":' * 100_000, "it is too deeply nested"),
    ],
)
def test_what_is_not_json_is_malformed(text: bytes, detail: str) -> None:
    for read in (from_wire, parse_json):
        with pytest.raises(MalformedJsonError) as caught:
            read(text)
        assert str(caught.value) == detail


@pytest.mark.parametrize("form", ["[{}]", '{{"a":{}}}'])
def test_sixty_four_levels_are_read_and_no_more(form: str) -> None:
    text = "1"
    for _ in range(64):
        text = form.format(text)
    from_wire(text.encode())
    with pytest.raises(InvalidValueError, match=r"nested 65 levels deep > maximum nesting 64"):
        from_wire(form.format(text).encode())


def test_a_special_form_takes_no_level() -> None:
    text = "[" * 64 + '{"$integer":"AQAAAAAAAAA="}' + "]" * 64
    assert to_wire(from_wire(text.encode())).decode() == text


def test_parsed_json_is_taken_as_it_is() -> None:
    assert from_wire("[1]") == "[1]"
    assert from_wire({"a": [{"$integer": "AQAAAAAAAAA="}]}) == {"a": [Int64(1)]}


class Colour(StrEnum):
    RED = "red"


def test_what_is_taken_for_a_value_is_written_as_one() -> None:
    value = {"a": (1, 2), "b": bytearray(b"x"), "c": memoryview(b"y"), "d": Colour.RED}
    expected = {"a": [1, 2], "b": b"x", "c": b"y", "d": "red"}
    assert same(unpack(pack(value, survey(value)[1])), expected)
    assert from_wire(to_wire(value)) == expected


@pytest.mark.parametrize("write", [to_wire, to_clean, to_export, pack_value])
def test_what_is_no_value_cannot_be_written(write: Any) -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in ({"a": {1, 2}}, endless, {"a": ["\ud800"]}, [object()]):
        with pytest.raises(InvalidValueError):
            write(value)


@pytest.mark.parametrize("text", ["", "{", '{"$integer":"AA=="}', '"\ud800"'])
def test_damaged_stored_text_is_told_apart(text: str) -> None:
    with pytest.raises(StorageCorruptError):
        unpack_value(text)


@dataclass
class Point:
    x: float


def test_plain_json_is_written_as_python_people_expect() -> None:
    value = {"a": [1, 2.0, None, "null"], "b": Int64(5), "c": Document(d=True), "e": Point(1.5)}
    assert dump_json(value) == (b'{"a":[1,2.0,null,"null"],"b":5,"c":{"d":true},"e":{"x":1.5}}')
    assert parse_json(dump_json(value))["b"] == 5
    assert parse_json(b"123456789012345678901234567890") == 123456789012345678901234567890


@pytest.mark.parametrize(
    "value", [math.nan, [None, math.inf], {"a": {"b": (-math.inf,)}}, Point(math.nan)]
)
def test_special_floats_are_not_json(value: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"JSON has no -?(NaN|Infinity)"):
        dump_json(value)


def test_what_is_not_json_cannot_be_dumped() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for value in (object(), [{None: 1}], "\ud800", endless):
        with pytest.raises(InvalidValueError):
            dump_json(value)
