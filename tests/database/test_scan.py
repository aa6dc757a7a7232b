"""Walking a plan: fetched in chunks, consumed one by one."""

from typing import Any

import pytest
from databases import insert, plan, play_in_memory, take, use_schema

from camber.database import expression
from camber.database.database import Database, complete
from camber.database.plan import Limit, Plan
from camber.database.scan import CHUNK_MAX, open_scan
from camber.database.transaction import Transaction
from camber.errors import InvalidArgumentError

COUNT = 3 * CHUNK_MAX + 7


def count_fetched(tx: Transaction) -> list[int]:
    """How many rows each fetch of `tx` asks for, from now on."""
    asked: list[int] = []
    reader = tx._reader

    class Counting:
        get = reader.get

        async def scan(self, *arguments: Any, limit: int, reverse: bool) -> Any:
            asked.append(limit)
            return await reader.scan(*arguments, limit=limit, reverse=reverse)

    tx._reader = Counting()
    return asked


async def many(database: Database) -> None:
    await use_schema(database, rows={"by_n": ["n"]})
    await insert(database, "rows", *[{"n": n} for n in range(COUNT)])


def test_every_row_comes_once_whatever_the_chunks() -> None:
    async def story(database: Database) -> None:
        await many(database)
        for desc in (False, True):
            expected = list(range(COUNT))[:: -1 if desc else 1]
            tx = database.snapshot()
            rows = take(tx, plan("rows", "by_n", desc=desc))
            assert [row["n"] for row in rows] == expected
            every = Plan("rows", "by_n", (), plan("rows", desc=desc).order, (anything,))
            assert [row["n"] for row in take(database.snapshot(), every)] == expected
            scan = open_scan(database.snapshot(), plan("rows", "by_n", desc=desc))
            assert [row.document["n"] async for row in scan.rows()] == expected
            assert (tx.usage.documents_read, tx.usage.ranges) == (COUNT, 1)
            assert len(tx.reads.intervals) == 1

    anything = expression.field("n") >= 0
    play_in_memory(story)


def test_no_more_is_fetched_than_asked_for_and_never_too_much_at_once() -> None:
    async def story(database: Database) -> None:
        await many(database)
        tx = database.snapshot()
        asked = count_fetched(tx)
        take(tx, plan("rows"), 1)
        take(tx, plan("rows"), 20)
        assert asked == [1, 20]
        asked.clear()
        take(tx, plan("rows"))
        assert max(asked) == CHUNK_MAX
        asked.clear()
        first = Plan("rows", operators=(expression.field("n") == 3,))
        take(tx, first, 1)
        assert len(asked) == 1

    play_in_memory(story)


def test_operators_apply_in_their_order() -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", *[{"n": n} for n in range(10)])
        even = expression.field("n") % 2 == 0
        tx = database.snapshot()
        assert [r["n"] for r in take(tx, Plan("rows", operators=(even, Limit(2))))] == [0, 2]
        assert [r["n"] for r in take(tx, Plan("rows", operators=(Limit(2), even)))] == [0]
        assert take(tx, Plan("rows", operators=(Limit(0), even))) == []
        read = tx.usage.documents_read
        take(tx, Plan("rows", operators=(Limit(2),)))
        assert tx.usage.documents_read == read + 2

    play_in_memory(story)


def test_what_a_filter_refuses_to_judge_ends_the_walk_and_was_read() -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", {"n": 1}, {"n": "one"}, {"n": 2})
        tx = database.snapshot()
        scan = open_scan(tx, Plan("rows", operators=(expression.field("n") + 1 > 0,)))
        first = await scan.next()
        assert first is not None
        assert first.document["n"] == 1
        with pytest.raises(InvalidArgumentError, match=r'^Cannot add "one" \(type String\)'):
            await scan.next()
        assert tx.usage.documents_read == 2

    play_in_memory(story)


def test_taking_in_parts_goes_on_where_it_stopped() -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", *[{"n": n} for n in range(10)])
        scan = open_scan(database.snapshot(), plan("rows"))
        parts = [[row["n"] for row in complete(scan.take(4))] for _ in range(4)]
        assert parts == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], []]

    play_in_memory(story)
