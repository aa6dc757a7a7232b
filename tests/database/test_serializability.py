"""Concurrent transactions come out as if they had run one after the other, in commit order."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import hypothesis.strategies as st
import pytest
from databases import (
    Play,
    delete,
    insert,
    patch,
    plan,
    play_in_memory,
    take,
    use_schema,
)
from hypothesis import HealthCheck, given, settings

from camber.database import database as database_module
from camber.database import expression
from camber.database.database import Database, complete
from camber.database.plan import Plan
from camber.database.scan import open_scan
from camber.database.transaction import Transaction
from camber.database.work import Committed
from camber.errors import ConflictError

Pause: TypeAlias = Callable[[], Awaitable[None]]
Body: TypeAlias = Callable[[Transaction], Coroutine[Any, Any, Any]]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rivals spread out over less time than in earnest."""
    monkeypatch.setattr(database_module, "BACKOFF_SECONDS", 0.0005)


# Transactions over numbered cells, each at most once. What one does depends on what it reads.

Step: TypeAlias = tuple[str, int, int]
Cells: TypeAlias = dict[int, int]
Seen: TypeAlias = tuple[list[int], bool]

steps = st.lists(
    st.tuples(
        st.sampled_from(("sum", "bump", "drop", "copy")), st.integers(0, 3), st.integers(0, 3)
    ),
    min_size=1,
    max_size=4,
)


async def cells_between(tx: Transaction, low: int, high: int) -> list[Any]:
    return await open_scan(tx, plan("cells", "by_k", ("gte", "k", low), ("lte", "k", high))).take(
        100
    )


async def perform(tx: Transaction, steps: list[Step], pause: Pause) -> Seen:
    """What it saw, and whether it wrote anything."""
    seen: list[int] = []
    for verb, a, b in steps:
        await pause()
        found = await cells_between(tx, a, b if verb == "sum" else a)
        seen += [cell["n"] for cell in found]
        await pause()
        if verb == "bump" and found:
            await tx.patch(found[0]["_id"], {"n": found[0]["n"] + 1})
        elif verb == "bump":
            tx.insert("cells", {"k": a, "n": 1})
        elif verb == "drop" and found:
            await tx.delete(found[0]["_id"])
        elif verb == "copy" and found:
            target = await cells_between(tx, b, b)
            if target:
                await tx.replace(target[0]["_id"], {"k": b, "n": found[0]["n"] + 10})
            else:
                tx.insert("cells", {"k": b, "n": found[0]["n"] + 10})
    return seen, tx.has_writes()


def suspending_body(steps: list[Step]) -> Body:
    return lambda tx: perform(tx, steps, yield_to_others)


def in_line_body(steps: list[Step]) -> Callable[[Transaction], Seen]:
    return lambda tx: complete(perform(tx, steps, go_on))


def perform_on_model(cells: Cells, steps: list[Step]) -> list[int]:
    seen: list[int] = []
    for verb, a, b in steps:
        found = sorted(k for k in cells if a <= k <= (b if verb == "sum" else a))
        seen += [cells[k] for k in found]
        if verb == "bump":
            cells[a] = cells.get(a, 0) + 1
        elif verb == "drop":
            cells.pop(a, None)
        elif verb == "copy" and found:
            cells[b] = cells[a] + 10
    return seen


async def yield_to_others() -> None:
    await asyncio.sleep(0)


async def go_on() -> None:
    return


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(clients=st.lists(st.lists(st.tuples(steps, st.booleans()), max_size=3), max_size=5))
def test_any_concurrent_history_is_the_serial_one_in_commit_order(
    clients: list[list[tuple[list[Step], bool]]],
) -> None:
    async def story(database: Database) -> None:
        await use_schema(database, cells={"by_k": ["k"]})
        done: list[tuple[Committed[Seen], list[Step]]] = []

        async def client(transactions: list[tuple[list[Step], bool]]) -> None:
            for steps, in_line in transactions:
                if in_line:
                    committed = await database.run(in_line_body(steps))
                else:
                    committed = await database.run_optimistic(suspending_body(steps))
                done.append((committed, steps))

        await asyncio.gather(*map(client, clients))
        cells: Cells = {}
        # What wrote nothing stands behind the write that it saw last.
        for committed, steps in sorted(done, key=lambda each: (each[0].ts, not each[0].value[1])):
            assert committed.value[0] == perform_on_model(cells, steps)
        left = take(database.snapshot(), plan("cells", "by_k"))
        assert [(cell["k"], cell["n"]) for cell in left] == sorted(cells.items())

    play_in_memory(story)


def test_no_increment_of_a_hot_counter_is_lost(play: Play) -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "counters", {"n": 0})

        async def increment(tx: Transaction, pause: Pause) -> None:
            counter = await tx.get(id)
            assert counter is not None
            await pause()
            await tx.patch(id, {"n": counter["n"] + 1})

        await asyncio.gather(
            *[
                database.run_optimistic(lambda tx: increment(tx, yield_to_others))
                for _ in range(64)
            ],
            *[database.run(lambda tx: complete(increment(tx, go_on))) for _ in range(64)],
        )
        counter = complete(database.snapshot().get(id))
        assert counter is not None
        assert counter["n"] == 128

    play(story)


def test_a_slow_transaction_on_a_document_that_always_changes_does_not_starve(play: Play) -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "counters", {"n": 0})
        attempts = 0
        over = False

        async def slow(tx: Transaction) -> None:
            nonlocal attempts
            attempts += 1
            counter = await tx.get(id)
            assert counter is not None
            for _ in range(50):
                await asyncio.sleep(0)
            await tx.patch(id, {"slow": True})

        async def rival() -> None:
            n = 0
            while not over:
                n += 1
                await patch(database, id, n=n)

        rivals = [asyncio.create_task(rival()) for _ in range(2)]
        await database.run_optimistic(slow)
        over = True
        await asyncio.gather(*rivals)
        counter = complete(database.snapshot().get(id))
        assert counter is not None
        assert counter["slow"] is True
        assert attempts == 5

    play(story)


# Two transactions, one of which is held in the middle.


async def held(
    database: Database,
    first: Body,
    second: Body,
    meanwhile: Callable[[], Awaitable[Any]],
) -> int:
    """Run `first`, then `meanwhile`, then `second`, first and second as one optimistic
    transaction; how many attempts it took."""
    attempts = 0

    async def body(tx: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await first(tx)
        if attempts == 1:
            await meanwhile()
        await second(tx)

    await database.run_optimistic(body)
    return attempts


def check_conflict(
    first: Body, meanwhile: Callable[[Database, list[str]], Awaitable[Any]], conflicts: bool
) -> None:
    """Whether a transaction that read with `first`, and writes elsewhere, is run again when
    `meanwhile` is committed beside it."""

    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]}, results={})
        ids = await insert(database, "rows", *[{"n": n} for n in range(1, 101)])

        async def write(tx: Transaction) -> None:
            tx.insert("results", {})

        attempts = await held(database, first, write, lambda: meanwhile(database, ids))
        assert attempts == (2 if conflicts else 1)

    play_in_memory(story)


def reads(index: str = "by_n", *comparisons: Any, desc: bool = False, count: int = 1) -> Body:
    async def body(tx: Transaction) -> None:
        await open_scan(tx, plan("rows", index, *comparisons, desc=desc)).take(count)

    return body


def change(number: int, /, **changes: Any) -> Callable[[Database, list[str]], Awaitable[Any]]:
    return lambda database, ids: patch(database, ids[number - 1], **changes)


def add(n: float) -> Callable[[Database, list[str]], Awaitable[Any]]:
    return lambda database, ids: insert(database, "rows", {"n": n})


def remove(n: int) -> Callable[[Database, list[str]], Awaitable[Any]]:
    return lambda database, ids: delete(database, ids[n - 1])


def test_the_first_row_does_not_conflict_with_a_change_of_row_fifty() -> None:
    check_conflict(reads(), change(50, x=1), conflicts=False)
    check_conflict(reads(), change(1, x=1), conflicts=True)


def test_a_row_that_comes_before_the_first_conflicts() -> None:
    check_conflict(reads(), add(0), conflicts=True)
    check_conflict(reads(), change(50, n=0), conflicts=True)
    check_conflict(reads(desc=True), add(101), conflicts=True)
    check_conflict(reads(desc=True), add(0), conflicts=False)


def test_rows_behind_the_last_one_taken_do_not_conflict() -> None:
    check_conflict(reads(count=10), change(11, x=1), conflicts=False)
    check_conflict(reads(count=10), change(10, x=1), conflicts=True)
    check_conflict(reads(count=10), add(10.5), conflicts=False)
    check_conflict(reads(count=100), add(100.5), conflicts=False)
    check_conflict(reads(count=101), add(100.5), conflicts=True)
    check_conflict(reads(count=10, desc=True), remove(90), conflicts=False)
    check_conflict(reads(count=10, desc=True), remove(91), conflicts=True)


def test_reading_nothing_is_reading() -> None:
    empty = reads("by_n", ("gt", "n", 200), ("lt", "n", 300))
    check_conflict(empty, add(250), conflicts=True)
    check_conflict(empty, change(3, n=250), conflicts=True)
    check_conflict(empty, add(300), conflicts=False)
    check_conflict(reads("by_n", ("eq", "n", 200)), add(200), conflicts=True)
    check_conflict(reads(count=0), change(1, x=1), conflicts=False)


def test_what_a_filter_dropped_was_read() -> None:
    async def sixtieth(tx: Transaction) -> None:
        found = Plan("rows", "by_n", operators=(expression.field("n") == 60,))
        assert len(await open_scan(tx, found).take(1)) == 1

    check_conflict(sixtieth, change(50, x=1), conflicts=True)
    check_conflict(sixtieth, change(61, x=1), conflicts=False)


def test_the_last_row_of_a_table_is_not_its_end() -> None:
    async def hundredth(tx: Transaction) -> None:
        found = Plan("rows", "by_n", operators=(expression.field("n") == 100,))
        assert len(await open_scan(tx, found).take(1)) == 1

    check_conflict(hundredth, add(101), conflicts=False)
    check_conflict(hundredth, add(99.5), conflicts=True)


def test_breaking_out_of_a_walk_leaves_the_rest_unread() -> None:
    async def first_three(tx: Transaction) -> None:
        async for row in open_scan(tx, plan("rows", "by_n")).rows():
            if row.document["n"] == 3:
                break

    check_conflict(first_three, change(4, x=1), conflicts=False)
    check_conflict(first_three, change(3, x=1), conflicts=True)


def test_a_patch_that_changes_nothing_conflicts_with_nobody() -> None:
    check_conflict(reads(), change(1), conflicts=False)
    check_conflict(reads(), change(1, n=1), conflicts=False)


def test_a_document_that_is_not_there_was_read() -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", {})
        attempts = []

        async def body(tx: Transaction) -> None:
            attempts.append(len(await open_scan(tx, plan("absent")).take(1)))
            if len(attempts) == 1:
                await insert(database, "absent", {})
            tx.insert("rows", {})

        await database.run_optimistic(body)
        assert attempts == [0, 1]

    play_in_memory(story)


def test_of_two_that_take_from_an_empty_range_and_insert_one_sees_the_other() -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})

        async def take_place(tx: Transaction) -> bool:
            taken = await open_scan(tx, plan("rows", "by_n", ("eq", "n", 7))).take(1)
            await asyncio.sleep(0)
            if not taken:
                tx.insert("rows", {"n": 7})
            return not taken

        done = await asyncio.gather(*[database.run_optimistic(take_place) for _ in range(8)])
        assert sum(each.value for each in done) == 1
        assert len(take(database.snapshot(), plan("rows"))) == 1

    play_in_memory(story)


def test_write_skew_is_prevented(play: Play) -> None:
    async def story(database: Database) -> None:
        ids = await insert(database, "doctors", {"on_call": True}, {"on_call": True})

        async def leave(tx: Transaction, id: str) -> None:
            doctors = [await tx.get(each) for each in ids]
            await asyncio.sleep(0)
            if sum(doctor["on_call"] for doctor in doctors if doctor) > 1:
                await tx.patch(id, {"on_call": False})

        def leaving(id: str) -> Body:
            return lambda tx: leave(tx, id)

        await asyncio.gather(*[database.run_optimistic(leaving(id)) for id in ids])
        assert sum(d["on_call"] for d in take(database.snapshot(), plan("doctors"))) == 1

    play(story)


def test_writers_of_one_document_conflict_and_writers_of_two_do_not() -> None:
    async def story(database: Database) -> None:
        one, two = await insert(database, "rows", {}, {})

        def writes(id: str) -> Body:
            return lambda tx: tx.patch(id, {"x": len(id)})

        async def nothing(tx: Transaction) -> None:
            return

        other = lambda: patch(database, two, y=1)  # noqa: E731
        assert await held(database, writes(one), nothing, other) == 1
        assert await held(database, writes(two), nothing, lambda: patch(database, two, y=2)) == 2

    play_in_memory(story)


def test_a_transaction_that_only_read_never_conflicts() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {"n": 1})

        async def read(tx: Transaction) -> None:
            await tx.get(id)

        async def nothing(tx: Transaction) -> None:
            return

        assert await held(database, read, nothing, lambda: patch(database, id, n=2)) == 1

    play_in_memory(story)


def test_a_conflict_names_the_table_and_the_document() -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        [one, two] = await insert(database, "rows", {"n": 1}, {"n": 2})
        for read in (
            lambda tx: tx.get(two),
            lambda tx: open_scan(tx, plan("rows", "by_n", ("gt", "n", 1))).take(5),
            lambda tx: open_scan(tx, plan("rows", "by_id", ("eq", "_id", two))).take(5),
        ):
            tx = database.snapshot()
            await read(tx)
            tx.insert("rows", {"n": 0})
            # Both in one commit, of which only the second was read.
            await database.run(
                lambda tx: [complete(tx.patch(id, {"x": tx.now_ns % 2**50})) for id in (one, two)]
            )
            await insert(database, "other", {"x": 1})
            database.clock.advance(1)  # type: ignore[attr-defined]  # a ManualClock
            with pytest.raises(ConflictError) as caught:
                await database.commit(tx)
            assert (caught.value.table, caught.value.id) == ("rows", two)
            assert str(caught.value) == (
                'Documents read from or written to the "rows" table changed while this mutation '
                "was being run and on every subsequent retry. Another call changed the document "
                f'with ID "{two}". See https://docs.convex.dev/error#1'
            )

    play_in_memory(story)


def test_a_table_that_was_made_meanwhile_is_named_in_the_conflict() -> None:
    async def story(database: Database) -> None:
        tx = database.snapshot()
        assert take(tx, plan("late")) == []
        tx.insert("other", {})
        await insert(database, "late", {})
        with pytest.raises(ConflictError, match='the "late" table changed') as caught:
            await database.commit(tx)
        assert caught.value.id is None

    play_in_memory(story)
