"""Validators: their texts, their exported form, and that both forms of a check agree."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camber.errors import InvalidArgumentError, SchemaError, ValidationError
from camber.values.id import encode_id
from camber.values.matcher import compile_check
from camber.values.subset import implies
from camber.values.validator import (
    Field,
    ObjectValidator,
    Validator,
    WholeNumberValidator,
    v,
)
from camber.values.value import UNDEFINED, Document, Int64


class Tables:
    """Two tables of the app and one of the system."""

    numbers: Mapping[str, int] = {"users": 10001, "messages": 10002, "_storage": 17}

    def number_of(self, name: str, /) -> int | None:
        return self.numbers.get(name)

    def name_of(self, number: int, /) -> str | None:
        return next((name for name, own in self.numbers.items() if own == number), None)


TABLES = Tables()
USER = encode_id(10001, bytes(16))
MESSAGE = encode_id(10002, bytes(range(16)))
FILE = encode_id(17, bytes(16))
STRANGER = encode_id(12345, bytes(16))


def accepts(validator: Validator, value: Any) -> bool:
    """Whether both forms of the validator accept `value`; they must agree."""
    quick = compile_check(validator)(value, TABLES)
    assert quick == (validator.mismatch(value, TABLES, "") is None)
    return quick


def refusal(validator: Validator, value: Any) -> str:
    assert not accepts(validator, value)
    with pytest.raises(ValidationError) as raised:
        validator.check(value, TABLES)
    return str(raised.value)


def test_a_wrong_type_is_told_with_its_path_value_and_validator() -> None:
    validator = v.object({"a": v.array(v.object({"b": v.string()}))})
    assert refusal(validator, {"a": [{"b": 3}]}) == (
        "Value does not match validator.\nPath: .a[0].b\nValue: 3.0\nValidator: v.string()"
    )


def test_a_wrong_value_at_the_top_has_an_empty_line_where_the_path_would_be() -> None:
    assert refusal(v.int64(), 1.0) == (
        "Value does not match validator.\n\nValue: 1.0\nValidator: v.int64()"
    )


def test_a_missing_field_is_named() -> None:
    assert refusal(v.object({"a": v.string(), "b": v.optional(v.number())}), {"b": 1}) == (
        "Object is missing the required field `a`. Consider wrapping the field validator in "
        "`v.optional(...)` if this is expected.\n\nObject: {b: 1.0}\n"
        "Validator: v.object({a: v.string(), b: v.optional(v.float64())})"
    )


def test_an_extra_field_is_named_with_the_path_of_its_object() -> None:
    assert refusal(v.object({"inner": v.object({})}), {"inner": {"x": None}}) == (
        "Object contains extra field `x` that is not in the validator.\nPath: .inner\n"
        "Object: {x: null}\nValidator: v.object({})"
    )


def test_an_id_of_another_table_is_told_apart_from_no_id_at_all() -> None:
    validator = v.object({"author": v.id("users")})
    assert refusal(validator, {"author": MESSAGE}) == (
        f'Found ID "{MESSAGE}" from table `messages`, which does not match the table name in '
        'validator `v.id("users")`.Path: .author'
    )
    assert refusal(v.id("users"), FILE) == (
        f'Found ID "{FILE}" from a system table, which does not match the table name in '
        'validator `v.id("users")`.'
    )
    for text in ("bob", STRANGER, USER.upper(), ""):
        assert refusal(v.id("users"), text).startswith("Value does not match validator.")


def test_an_id_is_valid_whether_or_not_its_document_exists() -> None:
    assert accepts(v.id("users"), USER)
    assert accepts(v.id("_storage"), FILE)
    assert not accepts(v.id("no_such_table"), USER)


def test_a_literal_says_what_it_is() -> None:
    assert refusal(v.object({"kind": v.literal("a")}), {"kind": "b"}) == (
        '`"b"` does not match literal validator `v.literal("a")`.Path: .kind'
    )


def test_a_union_shows_itself_but_with_one_member_the_inner_error() -> None:
    both = v.union(v.literal("a"), v.null())
    assert refusal(both, "b") == (
        'Value does not match validator.\n\nValue: "b"\n'
        'Validator: v.union(v.literal("a"), v.null())'
    )
    assert refusal(v.union(v.literal("a")), "b").startswith('`"b"` does not match literal')
    assert not accepts(v.union(), None)


def test_records_name_the_side_that_is_wrong() -> None:
    record = v.record(v.id("users"), v.number())
    assert accepts(record, {USER: 1})
    assert "\nPath: .keys()\n" in refusal(record, {"bob": 1})
    assert "\nPath: .values()\n" in refusal(record, {USER: "1"})


def test_numbers_int64_and_booleans_are_three_things() -> None:
    assert accepts(v.number(), 1)
    assert accepts(v.number(), 1.5)
    assert accepts(v.int64(), Int64(1))
    for validator, value in [
        (v.number(), Int64(1)),
        (v.number(), True),
        (v.int64(), 1.0),
        (v.int64(), 1),
        (v.boolean(), 1),
        (v.literal(1), True),
        (v.literal(1), Int64(1)),
        (v.literal(True), 1),
        (v.literal(Int64(1)), 1),
    ]:
        assert not accepts(validator, value)
    assert accepts(v.literal(1), 1.0)
    assert v.literal(1) == v.literal(1.0) != v.literal(True)


def test_a_whole_number_is_one_that_an_int_holds() -> None:
    for whole in (3, 3.0, -(2.0**53)):
        assert accepts(WholeNumberValidator(), whole)
    for other in (0.5, float("nan"), float("inf"), 1e300, True, Int64(3), "3"):
        assert not accepts(WholeNumberValidator(), other)


def test_an_undefined_field_counts_as_missing() -> None:
    optional = v.object({"a": v.optional(v.string())})
    assert accepts(optional, {"a": UNDEFINED})
    assert accepts(optional, {"b": UNDEFINED})
    assert not accepts(optional, {"a": None})
    assert "missing the required field" in refusal(v.object({"a": v.any()}), {"a": UNDEFINED})


def test_documents_and_tuples_are_objects_and_arrays() -> None:
    assert accepts(v.object({"a": v.array(v.number())}), Document(a=(1, 2)))


def test_an_open_object_checks_the_fields_it_does_not_name() -> None:
    validator = ObjectValidator({"a": Field(v.string())}, rest=v.number())
    assert accepts(validator, {"a": "x", "b": 1})
    assert "\nPath: .b\n" in refusal(validator, {"a": "x", "b": "1"})
    assert not accepts(validator, {"b": 1})
    assert str(validator) == "v.object({a: v.string(), ...: v.float64()})"
    assert validator.to_json() == {"type": "any"}


EVERYTHING = v.object(
    {
        "a": v.null(),
        "b": v.float64(),
        "c": v.bigint(),
        "d": v.boolean(),
        "e": v.bytes(),
        "f": v.any(),
        "g": v.id("users"),
        "h": v.literal("x"),
        "i": v.literal(2),
        "j": v.literal(Int64(3)),
        "k": v.literal(True),
        "l": v.array(v.string()),
        "m": v.record(v.string(), v.number()),
        "n": v.optional(v.nullable(v.string())),
    }
)


def test_validators_export_as_the_reference_says() -> None:
    fields = EVERYTHING.to_json()["value"]
    assert EVERYTHING.to_json()["type"] == "object"
    assert {name: each["fieldType"] for name, each in fields.items()} == {
        "a": {"type": "null"},
        "b": {"type": "number"},
        "c": {"type": "bigint"},
        "d": {"type": "boolean"},
        "e": {"type": "bytes"},
        "f": {"type": "any"},
        "g": {"type": "id", "tableName": "users"},
        "h": {"type": "literal", "value": "x"},
        "i": {"type": "literal", "value": 2},
        "j": {"type": "literal", "value": {"$integer": "AwAAAAAAAAA="}},
        "k": {"type": "literal", "value": True},
        "l": {"type": "array", "value": {"type": "string"}},
        "m": {
            "type": "record",
            "keys": {"type": "string"},
            "values": {"fieldType": {"type": "number"}, "optional": False},
        },
        "n": {"type": "union", "value": [{"type": "string"}, {"type": "null"}]},
    }
    assert [name for name, each in fields.items() if each["optional"]] == ["n"]


def test_validators_print_as_they_are_written() -> None:
    assert str(EVERYTHING) == (
        "v.object({a: v.null(), b: v.float64(), c: v.int64(), d: v.boolean(), e: v.bytes(), "
        'f: v.any(), g: v.id("users"), h: v.literal("x"), i: v.literal(2.0), '
        "j: v.literal(<bigint>), k: v.literal(true), l: v.array(v.string()), "
        "m: v.record(v.string(), v.float64()), n: v.optional(v.union(v.string(), v.null()))})"
    )


def test_validators_are_compared_and_hashed_by_structure() -> None:
    one = v.object({"a": v.string(), "b": v.optional(v.id("users"))})
    same = v.object({"b": v.optional(v.id("users")), "a": v.string()})
    assert one == same
    assert len({one, same, v.object({"a": v.string()})}) == 2


def test_objects_are_picked_omitted_extended_and_made_partial() -> None:
    whole = v.object({"a": v.string(), "b": v.number()})
    assert whole.pick("a") == v.object({"a": v.string()})
    assert whole.omit("a") == v.object({"b": v.number()})
    assert whole.extend({"b": v.null()}) == v.object({"a": v.string(), "b": v.null()})
    assert whole.partial().fields["a"] == v.optional(v.string())
    with pytest.raises(SchemaError, match="There is no field `c`"):
        whole.pick("c")


loose: Any = v  # Where the type checker, too, would refuse what is tried.


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: loose.record(v.literal("a"), v.any()), "Records cannot have string literal keys"),
        (
            lambda: loose.record(v.number(), v.any()),
            "with key typed as `v.float64()`, which is not",
        ),
        (
            lambda: loose.record(v.string(), v.optional(v.any())),
            "Records cannot have optional values",
        ),
        (
            lambda: loose.array(v.optional(v.any())),
            "v.optional() is only for a field of v.object()",
        ),
        (lambda: loose.object({"a": None}), 'A validator is undefined for field "a" in v.object()'),
        (lambda: loose.array(str), "v.array() takes validators such as v.string()"),
        (lambda: loose.literal(float("nan")), "v.literal() does not support nan"),
        (lambda: loose.literal([]), "v.literal() takes a string, a number, an Int64 or a boolean"),
    ],
)
def test_what_makes_no_validator_is_refused(build: Any, message: str) -> None:
    with pytest.raises(SchemaError) as raised:
        build()
    assert message in str(raised.value)


def test_field_names_of_objects_are_identifiers() -> None:
    with pytest.raises(InvalidArgumentError, match="invalid character '-'"):
        v.object({"a-b": v.string()})


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (v.string(), v.any()),
        (v.id("users"), v.string()),
        (v.literal("a"), v.union(v.string(), v.null())),
        (v.union(v.literal("a"), v.literal("b")), v.string()),
        (v.boolean(), v.union(v.literal(True), v.literal(False))),
        (WholeNumberValidator(), v.number()),
        (v.literal(2.0), WholeNumberValidator()),
        (v.array(v.id("users")), v.array(v.string())),
        (v.record(v.id("users"), v.literal(1)), v.record(v.string(), v.number())),
        (v.object({"a": v.id("users")}), v.object({"a": v.string(), "b": v.optional(v.any())})),
        (v.object({"a": v.string()}), v.object({"a": v.optional(v.string())})),
        (v.object({"a": v.string()}), v.record(v.string(), v.string())),
    ],
)
def test_a_validator_that_lets_in_more_is_implied(narrow: Validator, wide: Validator) -> None:
    assert implies(narrow, wide)
    assert not implies(wide, narrow) or narrow == v.boolean()


def test_a_field_that_goes_or_is_newly_needed_is_not_implied() -> None:
    one = v.object({"a": v.string()})
    both = one.extend({"b": v.string()})
    assert not implies(both, one)
    assert not implies(one, both)
    assert not implies(one.partial(), one)


names = st.sampled_from(["a", "b", "c", "long_name"])
literals = st.one_of(
    st.sampled_from(["", "a", "b"]),
    st.booleans(),
    st.integers(-2, 2),
    st.just(Int64(1)),
    st.just(0.5),
)
leaves = st.one_of(
    st.sampled_from([v.null(), v.number(), v.int64(), v.boolean(), v.string(), v.bytes(), v.any()]),
    st.sampled_from(
        [WholeNumberValidator(), v.id("users"), v.id("messages"), v.id("_storage"), v.id("none")]
    ),
    literals.map(v.literal),
)


def _larger(inner: st.SearchStrategy[Validator]) -> st.SearchStrategy[Validator]:
    fields = st.dictionaries(names, st.builds(Field, inner, st.booleans()), max_size=3)
    return st.one_of(
        inner.map(v.array),
        fields.map(v.object),
        st.builds(ObjectValidator, fields, inner),
        st.lists(inner, max_size=3).map(lambda members: v.union(*members)),
        st.builds(v.record, st.sampled_from([v.string(), v.id("users")]), inner),
    )


validators = st.recursive(leaves, _larger, max_leaves=6)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        literals,
        st.floats(),
        st.binary(max_size=2),
        st.sampled_from([USER, MESSAGE, FILE, STRANGER, Int64(2)]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(names, st.just(USER)), inner | st.just(UNDEFINED), max_size=3),
    ),
    max_leaves=6,
)


def fitting(validator: Validator) -> st.SearchStrategy[Any]:
    """Values that are likely to match: random ones hardly ever fit an object."""
    match validator:
        case ObjectValidator(fields):
            return st.fixed_dictionaries(
                {n: fitting(each.validator) for n, each in fields.items() if not each.optional},
                optional={
                    n: fitting(each.validator) for n, each in fields.items() if each.optional
                },
            )
    return values


@given(st.data(), validators)
def test_the_quick_check_agrees_with_the_one_that_explains(
    data: st.DataObject, validator: Validator
) -> None:
    if isinstance(validator, ObjectValidator):
        accepts(validator, data.draw(fitting(validator)))
    accepts(validator, data.draw(values))


@given(validators, validators, values)
def test_what_is_implied_lets_in_all_that_implied_it(
    narrow: Validator, wide: Validator, value: Any
) -> None:
    if implies(narrow, wide) and accepts(narrow, value):
        assert accepts(wide, value)


@given(validators)
def test_every_validator_implies_itself_and_any(validator: Validator) -> None:
    assert implies(validator, validator)
    assert implies(validator, v.any())
    assert hash(validator) == hash(validator)
