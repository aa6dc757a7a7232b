"""The database against a model that is too simple to be wrong: dicts, sorted by `compare`.

One machine writes in transactions with savepoints, reads with any range, order, filter and limit,
pages with cursors while it writes, and looks back at older timestamps.
"""

import asyncio
import copy
import functools
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
from databases import schema, take
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from camber.clock import ManualClock
from camber.database import expression
from camber.database.check import check_database
from camber.database.database import Database, complete
from camber.database.pagination import Cursors, PageRequest, read_page
from camber.database.plan import Comparison, Limit, Operator, Order, Plan
from camber.database.schema_change import change_schema
from camber.database.transaction import Savepoint, Transaction
from camber.errors import InvalidArgumentError
from camber.storage.engine import Engine, Snapshot
from camber.storage.memory import MemoryEngine
from camber.storage.sqlite import open_sqlite
from camber.values.value import UNDEFINED, Int64, compare

T = TypeVar("T")
Fields = dict[str, Any]
State = dict[str, Fields]

INDEXES = {
    "by_id": ("_id",),
    "by_creation_time": ("_creationTime", "_id"),
    "by_a": ("a", "_creationTime", "_id"),
    "by_a_b": ("a", "b", "_creationTime", "_id"),
    "by_nested": ("o.x", "b", "_creationTime", "_id"),
}
FIELDS = ("a", "b", "o.x", "_creationTime", "_id", "c")
OPERATORS = ("eq", "gt", "gte", "lt", "lte")

values = st.sampled_from(
    [
        *(None, Int64(-300), Int64(0), Int64(5), -0.0, 0.0, 0, 1, 1.5, float("nan"), float("-inf")),
        *(False, True, "", "a", "a\0", "a\1b", "b", "\U0001f600", b"", b"\0", b"\xff"),
        *([], [None], [1, "a"], {}, {"x": 1}, {"x": "a", "y": None}),
    ]
)
some_fields = st.fixed_dictionaries(
    {},
    optional={
        "a": values,
        "b": values,
        "o": st.one_of(values, st.fixed_dictionaries({}, optional={"x": values})),
        "c": values,
    },
)
changes = st.dictionaries(
    st.sampled_from(("a", "b", "o", "c")), st.one_of(values, st.just(UNDEFINED)), max_size=3
)
filters = st.builds(
    lambda name, op, value: expression.build(op, expression.field(name), value),
    st.sampled_from(("a", "b", "o.x", "c")),
    st.sampled_from((*OPERATORS, "neq")),
    values,
)
operators = st.lists(st.one_of(filters, st.builds(Limit, st.integers(1, 6))), max_size=2)
orders = st.sampled_from(Order)
picks = st.integers(0, 1000)


def value_at(fields: Fields, path: str) -> Any:
    value: Any = fields
    for name in path.split("."):
        value = value.get(name, UNDEFINED) if isinstance(value, dict) else UNDEFINED
    return value


def key_of(index: str, fields: Fields) -> list[Any]:
    return [value_at(fields, path) for path in INDEXES[index]]


def compare_keys(left: list[Any], right: list[Any]) -> int:
    return next((order for order in map(compare, left, right) if order), 0)


by_key = functools.cmp_to_key(compare_keys)

HOLDS: dict[str, Callable[[int], bool]] = {
    "eq": lambda order: order == 0,
    "neq": lambda order: order != 0,
    "gt": lambda order: order > 0,
    "gte": lambda order: order >= 0,
    "lt": lambda order: order < 0,
    "lte": lambda order: order <= 0,
}


def is_legal(index: str, comparisons: tuple[Comparison, ...]) -> bool:
    """Equalities on the first fields, each once, then one bound of each kind on the next."""
    equal = [c.field for c in comparisons if c.operator == "eq"]
    lower = [c.field for c in comparisons if c.operator in ("gt", "gte")]
    upper = [c.field for c in comparisons if c.operator in ("lt", "lte")]
    following = INDEXES[index][len(equal) : len(equal) + 1]
    return (
        sorted(equal) == sorted(INDEXES[index][: len(equal)])
        and len(lower) <= 1
        and len(upper) <= 1
        and all((field,) == following for field in lower + upper)
    )


def walk(state: State, plan: Plan, after: list[Any] | None = None) -> list[Fields]:
    """What a plan finds, before its operators, beyond the key `after`."""
    found = [
        fields
        for fields in state.values()
        if all(
            HOLDS[c.operator](compare(value_at(fields, c.field), c.value)) for c in plan.comparisons
        )
    ]
    down = plan.order is Order.DESC
    found.sort(key=lambda fields: by_key(key_of(plan.index, fields)), reverse=down)
    if after is not None:
        wanted = -1 if down else 1
        found = [f for f in found if compare_keys(key_of(plan.index, f), after) == wanted]
    return found


def through(rows: list[Fields], steps: tuple[Operator, ...]) -> list[Fields]:
    for step in steps:
        if isinstance(step, Limit):
            rows = rows[: step.count]
        else:
            path, literal = step.operands
            rows = [
                fields
                for fields in rows
                if HOLDS[step.operator](
                    compare(value_at(fields, path.operands[0]), literal.operands[0])
                )
            ]
    return rows


def assert_same(found: list[Any], expected: list[Fields]) -> None:
    assert [f["_id"] for f in found] == [f["_id"] for f in expected]
    for one, other in zip(found, expected, strict=True):
        assert compare(one, other) == 0, (one, other)


class Oracle(RuleBasedStateMachine):
    """A database, and what it should say."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.database: Database = self.do(self.open())
        self.state: State = {}
        self.history: list[tuple[int, State]] = [(self.database.visible_ts, {})]
        self.cursors = Cursors(b"secret")
        # The transaction that is open, if one is, with the model's state at each savepoint.
        self.snapshot: Snapshot | None = None
        self.tx: Transaction | None = None
        self.savepoints: list[tuple[Savepoint, State]] = []
        # A walk by pages: its plan, the cursor, and the key that the model stands after.
        self.paging: tuple[Plan, str | None, list[Any] | None] | None = None

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    async def engine(self) -> Engine:
        return MemoryEngine()

    async def open(self) -> Database:
        database = await Database.open(await self.engine(), self.clock)
        declared = {n: f[:-2] for n, f in INDEXES.items() if len(f) > 2}
        await change_schema(database, schema(items=declared))
        return database

    def teardown(self) -> None:
        if self.snapshot is not None:
            self.snapshot.close()
        try:
            assert self.do(check_database(self.database)) == []
        finally:
            self.do(self.database.close())
            self.loop.close()

    def pick(self, number: int) -> str | None:
        ids = sorted(self.state)
        return ids[number % len(ids)] if ids else None

    # Transactions

    @initialize()
    def begin_at_once(self) -> None:
        self.begin()

    @precondition(lambda self: self.tx is None)
    @rule()
    def begin(self) -> None:
        self.snapshot = self.do(self.database.engine.snapshot())
        self.tx = self.database.transaction_on(self.snapshot, self.snapshot.ts)
        self.savepoints = []

    @precondition(lambda self: self.tx is not None)
    @rule()
    def commit(self) -> None:
        assert self.tx is not None
        while self.savepoints:
            self.tx.release(self.savepoints.pop()[0])
        ts = self.do(self.database.commit(self.tx))
        self.end()
        if ts > self.history[-1][0]:
            self.history.append((ts, copy.deepcopy(self.state)))
        else:
            assert ts == self.history[-1][0]
            assert self.state == self.history[-1][1]

    @precondition(lambda self: self.tx is not None)
    @rule()
    def abandon(self) -> None:
        self.end()
        self.state = copy.deepcopy(self.history[-1][1])

    def end(self) -> None:
        assert self.snapshot is not None
        self.snapshot.close()
        self.snapshot = self.tx = None
        self.savepoints = []

    @precondition(lambda self: self.tx is not None and len(self.savepoints) < 3)
    @rule()
    def begin_nested(self) -> None:
        assert self.tx is not None
        self.savepoints.append((self.tx.savepoint(), copy.deepcopy(self.state)))

    @precondition(lambda self: self.savepoints)
    @rule(keep=st.booleans())
    def end_nested(self, keep: bool) -> None:
        assert self.tx is not None
        savepoint, state = self.savepoints.pop()
        if keep:
            self.tx.release(savepoint)
        else:
            self.tx.roll_back(savepoint)
            self.state = state

    # Writing

    @precondition(lambda self: self.tx is not None)
    @rule(fields=some_fields)
    def insert(self, fields: Fields) -> None:
        assert self.tx is not None
        id = self.tx.insert("items", fields)
        written = complete(self.tx.get(id))
        assert written is not None
        self.state[id] = {**fields, "_id": id, "_creationTime": written["_creationTime"]}
        assert compare(dict(written), self.state[id]) == 0

    @precondition(lambda self: self.tx is not None and self.state)
    @rule(number=picks, fields=changes)
    def patch(self, number: int, fields: Fields) -> None:
        id = self.pick(number)
        assert self.tx is not None
        assert id is not None
        complete(self.tx.patch(id, fields))
        merged = {**self.state[id], **fields}
        self.state[id] = {k: value for k, value in merged.items() if value is not UNDEFINED}

    @precondition(lambda self: self.tx is not None and self.state)
    @rule(number=picks, fields=some_fields)
    def replace(self, number: int, fields: Fields) -> None:
        id = self.pick(number)
        assert self.tx is not None
        assert id is not None
        complete(self.tx.replace(id, fields))
        system = {name: self.state[id][name] for name in ("_id", "_creationTime")}
        self.state[id] = {**fields, **system}

    @precondition(lambda self: self.tx is not None and self.state)
    @rule(number=picks)
    def delete(self, number: int) -> None:
        id = self.pick(number)
        assert self.tx is not None
        assert id is not None
        complete(self.tx.delete(id))
        del self.state[id]
        assert complete(self.tx.get(id)) is None

    @rule(seconds=st.sampled_from((0.0, 0.001, 5.0)), back=st.booleans())
    def turn_the_clock(self, seconds: float, back: bool) -> None:
        self.clock.jump(-seconds if back else seconds)

    # Reading

    @property
    def reader(self) -> Transaction:
        return self.tx if self.tx is not None else self.database.snapshot()

    def plan_of(self, data: st.DataObject) -> Plan:
        """A plan within the rules, its bounds often on values that are there."""
        index = data.draw(st.sampled_from(sorted(INDEXES)))
        fields = INDEXES[index]
        comparisons = [
            Comparison("eq", field, self.draw_value(data, field))
            for field in fields[: data.draw(st.integers(0, len(fields)))]
        ]
        if len(comparisons) < len(fields):
            field = fields[len(comparisons)]
            for pair in (("gt", "gte"), ("lt", "lte")):
                if data.draw(st.booleans()):
                    operator = data.draw(st.sampled_from(pair))
                    comparisons.append(Comparison(operator, field, self.draw_value(data, field)))
        chosen = data.draw(st.permutations(comparisons))
        return Plan("items", index, tuple(chosen), data.draw(orders), tuple(data.draw(operators)))

    def draw_value(self, data: st.DataObject, field: str) -> Any:
        id = self.pick(data.draw(picks))
        if id is not None and data.draw(st.integers(0, 3)):
            return value_at(self.state[id], field)
        return data.draw(st.one_of(values, st.just(UNDEFINED)))

    @rule(data=st.data(), count=st.integers(0, 8))
    def read(self, data: st.DataObject, count: int) -> None:
        plan = self.plan_of(data)
        expected = through(walk(self.state, plan), plan.operators)
        tx = self.reader
        assert_same(take(tx, plan), expected)
        assert_same(take(tx, plan, count), expected[:count])

    @rule(
        index=st.sampled_from(sorted(INDEXES)),
        comparisons=st.lists(
            st.builds(Comparison, st.sampled_from(OPERATORS), st.sampled_from(FIELDS), values),
            max_size=4,
        ),
    )
    def read_any_range(self, index: str, comparisons: list[Comparison]) -> None:
        plan = Plan("items", index, tuple(comparisons))
        if is_legal(index, plan.comparisons):
            assert_same(take(self.reader, plan), walk(self.state, plan))
        else:
            with pytest.raises(InvalidArgumentError):
                take(self.reader, plan)

    @rule(number=picks)
    def get(self, number: int) -> None:
        id = self.pick(number)
        if id is not None:
            found = complete(self.reader.get(id))
            assert found is not None
            assert compare(dict(found), self.state[id]) == 0

    # Pages, while the machine goes on writing

    @rule(data=st.data())
    def begin_paging(self, data: st.DataObject) -> None:
        plan = self.plan_of(data)
        only_filters = tuple(o for o in plan.operators if not isinstance(o, Limit))
        plan = Plan(plan.table, plan.index, plan.comparisons, plan.order, only_filters)
        self.paging = (plan, None, None)

    @precondition(lambda self: self.paging is not None)
    @rule(items=st.integers(1, 4))
    def read_page(self, items: int) -> None:
        assert self.paging is not None
        plan, cursor, after = self.paging
        request = PageRequest(items, cursor)
        page = complete(read_page(self.reader, plan, request, self.cursors))
        rows = walk(self.state, plan, after)
        expected = through(rows, plan.operators)[:items]
        assert_same(page["page"], expected)
        assert page["isDone"] == (len(expected) < items)
        if page["isDone"]:
            self.paging = None
        else:
            cursor = page["continueCursor"]
            self.paging = (plan, cursor, key_of(plan.index, expected[-1]))
            self.read_again_up_to(plan, request, cursor, expected)

    def read_again_up_to(
        self, plan: Plan, request: PageRequest, end: str, expected: list[Fields]
    ) -> None:
        """The same page by its end cursor, as a client that keeps watching it asks for it."""
        pinned = PageRequest(1, request.cursor, end)
        page = complete(read_page(self.reader, plan, pinned, self.cursors))
        assert_same(page["page"], expected)
        assert page["continueCursor"] == end

    # The past

    @rule(number=picks, data=st.data())
    def look_back(self, number: int, data: st.DataObject) -> None:
        ts, state = self.history[number % len(self.history)]
        tx = self.database.snapshot_at(ts)
        plan = self.plan_of(data)
        assert_same(take(tx, plan), through(walk(state, plan), plan.operators))
        for id in {*state, *self.state}:
            found = complete(tx.get(id))
            assert (found is None) == (id not in state)

    @invariant()
    def the_last_commit_is_what_is_visible(self) -> None:
        assert self.database.visible_ts == self.history[-1][0]


class SqliteOracle(Oracle):
    async def engine(self) -> Engine:
        self.folder = tempfile.TemporaryDirectory(prefix="camber-oracle-")
        return await open_sqlite(Path(self.folder.name) / "camber.db")

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.folder.cleanup()


TestOracleOverMemory = Oracle.TestCase
TestOracleOverMemory.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestOracleOverSqlite = SqliteOracle.TestCase
TestOracleOverSqlite.settings = settings(
    max_examples=8,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
