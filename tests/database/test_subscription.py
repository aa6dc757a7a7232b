"""Subscriptions: told exactly once, by the first commit that overlaps what was read."""

import asyncio
from typing import Any

import hypothesis.strategies as st
from databases import Play, delete, insert, patch, plan, play_in_memory, take, use_schema
from hypothesis import given, settings

from camber.database.catalog import Catalog, make_index, new_table, system_table
from camber.database.database import Database, complete
from camber.database.plan import Comparison, find_index, interval_of
from camber.database.read_set import Interval, ReadSet
from camber.database.schema_change import NO_SCHEMA, change_schema
from camber.database.subscription import Subscription, Subscriptions
from camber.database.transaction import CreationClock, Transaction
from camber.storage.engine import Reader
from camber.storage.memory import MemoryEngine
from camber.values.id import IdMint
from camber.values.value import UNDEFINED, Int64


def watch(database: Database, tx: Transaction) -> list[int]:
    """Subscribe what `tx` read; the timestamps that are told."""
    told: list[int] = []
    database.subscribe(tx.reads, tx.begin_ts, told.append)
    return told


def test_the_first_overlapping_commit_is_told_and_no_other(play: Play) -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        [one, two] = await insert(database, "rows", {"n": 1}, {"n": 2})
        tx = database.snapshot()
        take(tx, plan("rows", "by_n", ("eq", "n", 1)))
        told = watch(database, tx)
        await patch(database, two, x=1)
        assert told == []
        ts = await patch(database, one, x=1)
        assert told == [ts]
        await patch(database, one, x=2)
        await delete(database, one)
        assert told == [ts]

    play(story)


def test_several_overlaps_in_one_batch_are_told_once() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {})
        tx = database.snapshot()
        complete(tx.get(id))
        take(tx, plan("rows"))
        told = watch(database, tx)
        done = await asyncio.gather(*[patch(database, id, x=n) for n in range(5)])
        assert told == [min(done)]

    play_in_memory(story)


def test_what_was_written_before_it_was_subscribed_is_told_at_once() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {})
        tx = database.snapshot()
        complete(tx.get(id))
        first = await patch(database, id, x=1)
        await patch(database, id, x=2)
        assert watch(database, tx) == [first]
        assert database.statistics()["subscriptions"].subscriptions == 0

    play_in_memory(story)


def test_subscribe_write_subscribe_misses_nothing(play: Play) -> None:
    """The classic race: reading and subscribing from within the very change, while the next
    commits are under way."""

    async def story(database: Database) -> None:
        [id] = await insert(database, "counters", {"n": 0})
        seen: list[int] = []
        told: list[int] = []

        def follow(ts: int) -> None:
            tx = database.snapshot()
            counter = complete(tx.get(id))
            assert counter is not None
            assert ts <= tx.begin_ts
            seen.append(counter["n"])
            told.append(ts)
            database.subscribe(tx.reads, tx.begin_ts, follow)

        follow(0)

        def increment(tx: Transaction) -> None:
            counter = complete(tx.get(id))
            assert counter is not None
            complete(tx.patch(id, {"n": counter["n"] + 1}))

        for size in (1, 7, 1, 30):
            await asyncio.gather(*[database.run(increment) for _ in range(size)])
        # Each once, though all of a batch become visible together.
        assert seen == [0, 1, 8, 9, 39]
        assert told == sorted(set(told))

    play(story)


def test_an_empty_read_is_told_of_an_insert() -> None:
    async def story(database: Database) -> None:
        tx = database.snapshot()
        take(tx, plan("absent"))
        told = watch(database, tx)
        await insert(database, "other", {})
        assert told == []
        await insert(database, "absent", {})
        assert len(told) == 1
        tx = database.snapshot()
        take(tx, plan("absent", "by_creation_time", ("gt", "_creationTime", 9e15)))
        told = watch(database, tx)
        await insert(database, "absent", {})
        assert told == []

    play_in_memory(story)


def test_a_write_of_what_is_there_already_is_told_to_nobody() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {"n": 1, "o": {"x": [1]}})
        tx = database.snapshot()
        take(tx, plan("rows"))
        told = watch(database, tx)
        await patch(database, id)
        await patch(database, id, n=1, o={"x": [1]}, absent=UNDEFINED)
        assert told == []

    play_in_memory(story)


def test_an_index_that_is_filled_is_told_to_nobody_who_does_not_read_it() -> None:
    async def story(database: Database) -> None:
        ids = await insert(database, "rows", *[{"n": n} for n in range(5)])
        tx = database.snapshot()
        take(tx, plan("rows"))
        complete(tx.get(ids[0]))
        told = watch(database, tx)
        await use_schema(database, rows={"by_n": ["n"]})
        assert told == []

    play_in_memory(story)


def test_a_reader_by_an_index_is_told_when_the_index_goes() -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        tx = database.snapshot()
        take(tx, plan("rows", "by_n"))
        told = watch(database, tx)
        await change_schema(database, NO_SCHEMA)
        assert len(told) == 1

    play_in_memory(story)


def test_who_unsubscribed_is_not_told_not_even_by_the_same_commit() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {})
        told: list[str] = []
        subscriptions: list[Subscription] = []

        def forget_all(name: str) -> None:
            told.append(name)
            for subscription in subscriptions:
                database.unsubscribe(subscription)

        for name in ("a", "b", "c"):
            tx = database.snapshot()
            complete(tx.get(id))
            subscriptions.append(
                database.subscribe(tx.reads, tx.begin_ts, lambda _, name=name: forget_all(name))  # type: ignore[misc]  # a lambda's default
            )
        await patch(database, id, x=1)
        assert len(told) == 1
        await patch(database, id, x=2)
        assert len(told) == 1
        statistics = database.statistics()["subscriptions"]
        assert (statistics.subscriptions, statistics.points, statistics.intervals) == (0, 0, 0)

    play_in_memory(story)


def test_one_subscriber_that_fails_keeps_nothing_from_the_others() -> None:
    async def story(database: Database) -> None:
        reported: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
        [id] = await insert(database, "rows", {})

        def fail(ts: int) -> None:
            raise ValueError("no")

        told: list[int] = []
        for on_change in (told.append, fail, told.append):
            tx = database.snapshot()
            complete(tx.get(id))
            database.subscribe(tx.reads, tx.begin_ts, on_change)
        await patch(database, id, x=1)
        await patch(database, id, x=2)
        assert len(told) == 2
        assert [str(error) for error in reported] == ["no"]

    play_in_memory(story)


# Filing by prefix never misses an interval that the naive test would find.

TABLE = new_table(10_001, "rows", "").with_indexes(
    {
        **new_table(10_001, "rows", "").indexes,
        "by_a": make_index((10_001 << 20) + 1, "by_a", ("a",), ready=True),
        "by_a_b": make_index((10_001 << 20) + 2, "by_a_b", ("a", "b"), ready=True),
    },
    3,
)
CATALOG = Catalog({"rows": TABLE, "_tables": system_table(1, "_tables", {})})
FIELDS = {
    "by_id": ("_id",),
    "by_creation_time": ("_creationTime", "_id"),
    "by_a": ("a", "_creationTime", "_id"),
    "by_a_b": ("a", "b", "_creationTime", "_id"),
}

values: st.SearchStrategy[Any] = st.sampled_from(
    [UNDEFINED, None, Int64(1), -0.0, 1, 2.0, True, "", "a", "a\0", "ab", b"", b"a", [], ["a"], {}]
)


@st.composite
def intervals(draw: st.DrawFn, ids: list[str], times: list[float]) -> Interval:
    """The interval of a legal range, and then perhaps only a part of it, as a walk leaves it."""
    name = draw(st.sampled_from(sorted(FIELDS)))
    fields = FIELDS[name]

    def value_for(field: str) -> Any:
        special = {"_id": st.sampled_from(ids), "_creationTime": st.sampled_from(times)}
        return draw(special.get(field, values))

    equal = draw(st.integers(0, len(fields)))
    comparisons = [Comparison("eq", field, value_for(field)) for field in fields[:equal]]
    if equal < len(fields):
        for operators in (("gt", "gte"), ("lt", "lte")):
            if draw(st.booleans()):
                operator = draw(st.sampled_from(operators))
                comparisons.append(Comparison(operator, fields[equal], value_for(fields[equal])))
    index = find_index(CATALOG, "rows", name)
    assert index is not None
    return interval_of(CATALOG, "rows", index, comparisons)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_subscriptions_find_what_the_naive_test_finds(data: st.DataObject) -> None:
    documents = data.draw(
        st.lists(
            st.dictionaries(
                st.sampled_from(("a", "b")),
                values.filter(lambda value: value is not UNDEFINED),
            ),
            min_size=1,
            max_size=4,
        )
    )
    tx = transaction_over(MemoryEngine().head)
    ids = [tx.insert("rows", document) for document in documents]
    times = [complete(tx.get(id))["_creationTime"] for id in ids]  # type: ignore[index]  # it is there
    sealed = tx.seal(1)
    assert sealed is not None

    subscriptions = Subscriptions()
    expected: set[Subscription] = set()
    for _ in range(data.draw(st.integers(1, 6))):
        reads = ReadSet()
        reads.points.update(data.draw(st.lists(st.sampled_from([*ids, "catalog"]), max_size=1)))
        reads.intervals.extend(data.draw(st.lists(intervals(ids, times), max_size=3)))
        subscription = Subscription(reads, 0, lambda ts: None)
        subscriptions.add(subscription)
        if sealed.logged.written.first_overlap(reads) is not None:
            expected.add(subscription)
    found = subscriptions.overlapping(sealed.logged.written)
    assert set(found) == expected
    assert len(found) == len(expected)


def transaction_over(reader: Reader) -> Transaction:
    return Transaction(
        reader, CATALOG, 1, 1_760_000_000_000_000_000, CreationClock(), IdMint(lambda: 5)
    )


def test_only_the_author_that_was_written_is_told() -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_author": ["author"]})
        told: list[list[int]] = []
        for author in range(3):
            tx = database.snapshot()
            take(tx, plan("rows", "by_author", ("eq", "author", f"User {author}")))
            told.append(watch(database, tx))
        await insert(database, "rows", {"author": "User 1"})
        assert [len(each) for each in told] == [0, 1, 0]

    play_in_memory(story)
