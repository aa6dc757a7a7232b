"""Filter expressions: comparisons never fail, arithmetic and logic only on what they are for."""

import math
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from camber.database.expression import (
    Expression,
    build,
    field,
    from_json,
    judge,
    literal,
    to_json,
)
from camber.errors import InvalidArgumentError
from camber.values.value import UNDEFINED, Int64, compare

values: st.SearchStrategy[Any] = st.sampled_from(
    [
        UNDEFINED,
        None,
        Int64(1),
        Int64(-1),
        0,
        -0.0,
        1.5,
        math.inf,
        True,
        "",
        "a",
        b"",
        [1],
        {},
        {"x": 1},
    ]
)


def value_of(expression: Expression, **document: Any) -> Any:
    return expression.evaluate(document)


def refused(expression: Expression, **document: Any) -> str:
    with pytest.raises(InvalidArgumentError) as caught:
        expression.evaluate(document)
    return str(caught.value)


@given(values, values)
def test_comparisons_follow_the_order_of_all_values(a: Any, b: Any) -> None:
    order = compare(a, b)
    x, y = literal(a), literal(b)
    assert value_of(x == y) is (order == 0)
    assert value_of(x != y) is (order != 0)
    assert value_of(x < y) is (order < 0)
    assert value_of(x <= y) is (order <= 0)
    assert value_of(x > y) is (order > 0)
    assert value_of(x >= y) is (order >= 0)


def test_a_path_leads_through_objects_and_nowhere_is_undefined() -> None:
    nested = field("a.b.c")
    assert value_of(nested, a={"b": {"c": 3}}) == 3
    elsewhere: list[dict[str, Any]] = [
        {},
        {"a": 1},
        {"a": {"b": [1]}},
        {"a": {"b": {}}},
        {"a": None},
    ]
    for document in elsewhere:
        assert value_of(nested, **document) is UNDEFINED
    assert value_of(field("a.b") == UNDEFINED, a={}) is True
    assert value_of(field("a.b"), **{"a.b": 1}) is UNDEFINED
    for path in ("", 3, None):
        with pytest.raises(InvalidArgumentError, match=r"q\.field\(\) takes a field path"):
            field(path)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (field("x") + 1, 8.0),
        (1 + field("x"), 8.0),
        (field("x") - 10, -3.0),
        (10 - field("x"), 3.0),
        (field("x") * 2, 14.0),
        (field("x") / 2, 3.5),
        (14 / field("x"), 2.0),
        (field("x") % 4, 3.0),
        (-field("x"), -7.0),
        (build("mod", -7, 4), -3.0),
        (build("mod", 7, math.inf), 7.0),
        (build("div", 1, 0), math.inf),
        (build("div", 1, -0.0), -math.inf),
        (build("div", -1.0, 0), -math.inf),
        (build("mul", 1e308, 10), math.inf),
        (build("add", Int64(5), Int64(7)), Int64(12)),
        (build("div", Int64(-7), Int64(2)), Int64(-3)),
        (build("mod", Int64(-7), Int64(2)), Int64(-1)),
        (build("neg", Int64(5)), Int64(-5)),
    ],
)
def test_arithmetic(expression: Expression, expected: Any) -> None:
    assert compare(value_of(expression, x=7), expected) == 0


@pytest.mark.parametrize(
    "expression", [build("div", 0, 0), build("mod", 1, 0), build("mod", math.inf, 3)]
)
def test_arithmetic_without_an_answer_is_not_a_number(expression: Expression) -> None:
    assert math.isnan(value_of(expression))


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (build("add", 1, Int64(1)), "Cannot add 1.0 (type Float64) and 1n (type Int64)"),
        (build("sub", "a", 1), 'Cannot subtract "a" (type String) and 1.0 (type Float64)'),
        (build("mul", True, 1), "Cannot multiply true (type Boolean) and 1.0 (type Float64)"),
        (
            build("div", None, field("x")),
            "Cannot divide null (type Null) and undefined (type Undefined)",
        ),
        (build("mod", [], {}), "Cannot mod [] (type Array) and {} (type Object)"),
        (build("div", Int64(3), Int64(0)), "Cannot divide 3 by zero"),
        (build("mod", Int64(3), Int64(0)), "Cannot divide 3 by zero"),
        (
            build("add", Int64(2**63 - 1), Int64(1)),
            "Cannot add 9223372036854775807 and 1: the result is out of range for Int64",
        ),
        (
            build("neg", Int64(-(2**63))),
            "Cannot negate -9223372036854775808: the result is out of range for Int64",
        ),
        (build("neg", "a"), 'Cannot negate "a" (type String)'),
    ],
)
def test_arithmetic_on_other_types_is_refused(expression: Expression, text: str) -> None:
    assert refused(expression) == text


def test_logic_needs_booleans_and_looks_no_further_than_it_must() -> None:
    true, false, number = literal(True), literal(False), literal(1)
    assert value_of(build("and")) is True
    assert value_of(build("or")) is False
    assert value_of(true & false) is False
    assert value_of(true | number) is True
    assert value_of(false & number) is False
    assert value_of(~false) is True
    for expression in (true & number, false | number, ~number):
        assert refused(expression) == "Expected a boolean in a filter, got 1.0 (type Float64)"
    with pytest.raises(InvalidArgumentError):
        judge(field("x"), {"x": None})
    assert judge(field("x"), {"x": True})


def test_an_expression_has_no_truth_value() -> None:
    with pytest.raises(InvalidArgumentError, match="no truth value of its own"):
        bool(field("x") == 1)
    with pytest.raises(InvalidArgumentError):
        _ = field("x") == 1 and field("y") == 2


def test_the_json_form_is_the_documented_one() -> None:
    expression = (field("a.b") == Int64(3)) & ~(field("c") < UNDEFINED)
    assert to_json(expression) == {
        "$and": [
            {"$eq": [{"$field": "a.b"}, {"$literal": {"$integer": "AwAAAAAAAAA="}}]},
            {"$not": [{"$lt": [{"$field": "c"}, {"$literal": {"$undefined": None}}]}]},
        ]
    }
    again = from_json(to_json(expression))
    assert to_json(again) == to_json(expression)
    assert value_of(again, a={"b": Int64(3)}, c=1) is True


@pytest.mark.parametrize(
    "value",
    [
        3,
        {},
        {"$eq": [1]},
        {"$eq": 3},
        {"$no": []},
        {"$eq": [], "$lt": []},
        {"$field": 3},
        {"$not": []},
    ],
)
def test_what_is_not_an_expression_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        from_json(value)
