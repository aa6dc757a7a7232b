"""Plans: which ranges fit an index, what is said of those that do not, and their JSON form."""

from typing import Any

import hypothesis.strategies as st
import pytest
from databases import insert, plan, play_in_memory, take, use_schema
from hypothesis import given

from camber.database import expression
from camber.database.database import Database
from camber.database.plan import Comparison, Limit, Order, Plan
from camber.errors import InvalidArgumentError, InvalidValueError
from camber.values.value import UNDEFINED, Int64, equal

DOCS = "https://docs.convex.dev/using/indexes"
FIELDS_AB = '["a", "b", "_creationTime", "_id"]'


def found(database: Database, index: str, *comparisons: tuple[str, str, Any]) -> list[Any]:
    return [row.get("f") for row in take(database.snapshot(), plan("rows", index, *comparisons))]


def check_refused(index: str, comparisons: list[tuple[str, str, Any]], text: str) -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_a_b": ["a", "b"], "by_f": ["f"]})
        with pytest.raises(InvalidArgumentError) as caught:
            found(database, index, *comparisons)
        assert str(caught.value) == text

    play_in_memory(story)


def test_an_index_walks_in_the_order_of_all_values() -> None:
    """Conformance 1, 2 and 3."""
    values: list[Any] = [None, Int64(5), -0.0, 0.0, 1.0, True, "a", b"a", [], {}]

    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_f": ["f"]})
        documents: list[dict[str, Any]] = [{"f": value} for value in reversed(values)]
        [*_, missing] = await insert(database, "rows", *documents, {})
        rows = take(database.snapshot(), plan("rows", "by_f"))
        assert rows[0]["_id"] == missing
        for row, value in zip(rows[1:], values, strict=True):
            assert equal(row["f"], value)
        assert len(found(database, "by_f", ("gt", "f", None))) == 9
        assert len(found(database, "by_f", ("gt", "f", UNDEFINED))) == 10
        assert found(database, "by_f", ("gte", "f", True), ("lt", "f", b"")) == [True, "a"]
        assert found(database, "by_f", ("gt", "f", "b"), ("lt", "f", "a")) == []
        tx = database.snapshot()
        absent = take(tx, plan("rows", "by_f", ("eq", "f", UNDEFINED)))
        assert [row["_id"] for row in absent] == [missing]

    play_in_memory(story)


def test_equalities_may_come_in_any_order_and_bounds_too() -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_a_b": ["a", "b"]})
        await insert(database, "rows", *[{"a": 1, "b": n, "f": n} for n in range(5)])
        assert found(database, "by_a_b", ("eq", "b", 3), ("eq", "a", 1)) == [3]
        in_order = found(database, "by_a_b", ("eq", "a", 1), ("gt", "b", 0), ("lte", "b", 2))
        assert in_order == [1, 2]
        assert found(database, "by_a_b", ("lte", "b", 2), ("gt", "b", 0), ("eq", "a", 1)) == [1, 2]

    play_in_memory(story)


def test_the_creation_time_and_the_id_are_fields_of_every_index() -> None:
    """Conformance 6."""

    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_a": ["a"]})
        ids = await insert(database, "rows", *[{"a": 1, "f": n} for n in range(4)])
        rows = take(database.snapshot(), plan("rows"))
        time = rows[1]["_creationTime"]
        assert found(database, "by_a", ("eq", "a", 1), ("gt", "_creationTime", time)) == [2, 3]
        assert found(database, "by_creation_time", ("lte", "_creationTime", time)) == [0, 1]
        exact = ("eq", "a", 1), ("eq", "_creationTime", time)
        assert found(database, "by_a", *exact, ("eq", "_id", ids[1])) == [1]
        assert found(database, "by_a", *exact, ("eq", "_id", ids[2])) == []
        assert sorted(found(database, "by_id", ("gte", "_id", min(ids)))) == [0, 1, 2, 3]

    play_in_memory(story)


@pytest.mark.parametrize("value", [UNDEFINED, None, Int64(3), 1.5, True, ""])
def test_ids_come_after_what_sorts_before_strings(value: Any) -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", {"f": 1}, {"f": 1})
        assert found(database, "by_id", ("gt", "_id", value)) == [1, 1]
        assert found(database, "by_id", ("gte", "_id", value)) == [1, 1]
        for operator in ("eq", "lt", "lte"):
            assert found(database, "by_id", (operator, "_id", value)) == []

    play_in_memory(story)


@pytest.mark.parametrize("value", [b"", [], {}, "zzz", "\U0001f600"])
def test_ids_come_before_what_sorts_after_them(value: Any) -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", {"f": 1}, {"f": 1})
        for operator in ("eq", "gt", "gte"):
            assert found(database, "by_id", (operator, "_id", value)) == []
        assert found(database, "by_id", ("lt", "_id", value)) == [1, 1]
        assert found(database, "by_id", ("lte", "_id", value)) == [1, 1]

    play_in_memory(story)


def test_the_beginning_of_an_id_is_a_value_before_it() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {"f": 1})
        assert found(database, "by_id", ("gt", "_id", id[:5])) == [1]
        assert found(database, "by_id", ("lte", "_id", id[:5])) == []
        assert found(database, "by_id", ("gt", "_id", id)) == []
        assert found(database, "by_id", ("lte", "_id", id)) == [1]
        with pytest.raises(InvalidValueError, match="lone surrogate"):
            found(database, "by_id", ("eq", "_id", "\ud800"))

    play_in_memory(story)


def test_a_walk_by_id_stays_in_its_table() -> None:
    async def story(database: Database) -> None:
        await insert(database, "before", {"f": 0})
        await insert(database, "rows", {"f": 1})
        await insert(database, "zafter", {"f": 2})
        assert found(database, "by_id") == [1]
        assert found(database, "by_id", ("gt", "_id", "")) == [1]
        assert found(database, "by_id", ("lt", "_id", "~")) == [1]

    play_in_memory(story)


# What is refused


def test_a_field_that_the_index_does_not_have() -> None:
    check_refused(
        "by_a_b",
        [("eq", "c", 1)],
        'The index range included a comparison with "c", but rows.by_a_b with fields '
        f"{FIELDS_AB} doesn't index this field. For more information see {DOCS}.",
    )


def test_fields_out_of_order() -> None:
    """Conformance 4 and 5."""
    text = (
        "Tried to query index rows.by_a_b but the query didn't use the index fields in order.\n"
        f"Index fields: {FIELDS_AB}\nQuery fields: [{{}}]\n"
        f'First incorrect field: "{{}}"\nFor more information see {DOCS}.'
    )
    check_refused("by_a_b", [("eq", "b", 1)], text.format('"b"', "b"))
    check_refused(
        "by_a_b",
        [("eq", "a", 1), ("gt", "_creationTime", 0)],
        text.format('"a", "_creationTime"', "_creationTime"),
    )
    check_refused("by_a_b", [("lt", "b", 1)], text.format('"b"', "b"))


def test_bounds_on_two_fields() -> None:
    check_refused(
        "by_a_b",
        [("gt", "a", 1), ("lt", "b", 2)],
        "Upper and lower bounds in `range` can only be applied to a single index field. This query "
        'against index rows.by_a_b attempted to set a range bound on both "a" and "b". Consider '
        f"using `filter` instead. See {DOCS} for more info.",
    )


@pytest.mark.parametrize(
    ("comparisons", "kind", "shown"),
    [
        ([("eq", "a", 1), ("eq", "a", 2)], "equality", '"a" == 2.0'),
        ([("gt", "a", 1), ("gte", "a", "x")], "lower", '"a" >= "x"'),
        ([("lt", "a", 1), ("lte", "a", None)], "upper", '"a" <= null'),
        ([("lt", "a", 1), ("lt", "a", Int64(1))], "upper", '"a" < 1n'),
        ([("eq", "a", 1), ("gt", "a", 1)], "equality", '"a" > 1.0'),
    ],
)
def test_the_same_bound_twice(
    comparisons: list[tuple[str, str, Any]], kind: str, shown: str
) -> None:
    check_refused(
        "by_a_b",
        comparisons,
        f"Already defined {kind} bound in index range. Can't add {shown}.",
    )


def test_a_bound_behind_the_whole_key() -> None:
    check_refused(
        "by_id",
        [("eq", "_id", "x"), ("gt", "_id", "y")],
        'Already defined equality bound in index range. Can\'t add "_id" > "y".',
    )


def test_an_index_that_is_not_there() -> None:
    check_refused("by_nothing", [], "Index rows.by_nothing not found.")

    async def story(database: Database) -> None:
        with pytest.raises(InvalidArgumentError, match=r"^Index absent\.by_a not found\.$"):
            take(database.snapshot(), plan("absent", "by_a"))
        for index in ("by_id", "by_creation_time"):
            tx = database.snapshot()
            assert take(tx, plan("absent", index)) == []
            assert tx.reads.points == {"table:absent"}

    play_in_memory(story)


# JSON

values: st.SearchStrategy[Any] = st.sampled_from(
    [
        UNDEFINED,
        None,
        Int64(-5),
        1,
        1.5,
        float("inf"),
        -0.0,
        True,
        "a",
        b"\xff",
        [1, {"x": b""}],
        {},
    ]
)
expressions: st.SearchStrategy[expression.Expression] = st.recursive(
    st.one_of(
        st.builds(expression.field, st.sampled_from(("a", "a.b", "_id"))),
        st.builds(expression.literal, values),
    ),
    lambda inner: st.one_of(
        st.builds(
            lambda op, a, b: expression.build(op, a, b),
            st.sampled_from(("eq", "neq", "lt", "add", "mod", "and", "or")),
            inner,
            inner,
        ),
        st.builds(lambda op, a: expression.build(op, a), st.sampled_from(("not", "neg")), inner),
    ),
    max_leaves=6,
)
plans = st.builds(
    Plan,
    st.just("rows"),
    st.sampled_from(("by_id", "by_a")),
    st.lists(
        st.builds(
            Comparison, st.sampled_from(("eq", "gt", "gte", "lt", "lte")), st.just("a"), values
        ),
        max_size=3,
    ).map(tuple),
    st.sampled_from(Order),
    st.lists(st.one_of(expressions, st.builds(Limit, st.integers(0, 9))), max_size=3).map(tuple),
)


@given(plans)
def test_a_plan_is_a_plain_value(plan: Plan) -> None:
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"table": "t"},
        {"table": "t", "index": "i", "range": [], "order": "up", "operators": []},
        {"table": "t", "index": "i", "range": 3, "order": "asc", "operators": []},
        {
            "table": "t",
            "index": "i",
            "range": [{"op": "ne", "field": "a", "value": 1}],
            "order": "asc",
            "operators": [],
        },
        {"table": "t", "index": "i", "range": [], "order": "asc", "operators": [{"filter": 3}]},
        {"table": "t", "index": "i", "range": [], "order": "asc", "operators": [{}]},
    ],
)
def test_what_is_not_a_plan_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^Not a "):
        Plan.from_json(value)
