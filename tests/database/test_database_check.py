"""The consistency check finds what tests, and operators, would not see."""

from collections.abc import Sequence
from typing import Any

from databases import Play, insert, plan, take, use_schema

from camber.database.check import check_database
from camber.database.database import Database
from camber.database.transaction import index_keys
from camber.storage.engine import Commit, Write
from camber.values.id import encode_id
from camber.values.wire import pack


async def write_past(database: Database, *writes: Write) -> None:
    """Write to the engine what no transaction would."""
    batch = await database.engine.begin()
    batch.apply(Commit(database.engine.ts + 1, writes))
    await batch.commit()


def entries_of(database: Database, id: str, document: dict[str, Any]) -> Sequence[Any]:
    table = database.catalog.find("rows")
    assert table is not None
    return index_keys(table, id, document)


def test_all_is_well_with_what_transactions_wrote(play: Play) -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"], "by_m": ["o.m"]})
        await insert(database, "rows", *[{"n": n} for n in range(5)])
        assert await check_database(database) == []

    play(story)


def test_what_is_wrong_is_said(play: Play) -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        [id] = await insert(database, "rows", {"n": 1})
        row = dict(take(database.snapshot(), plan("rows"))[0])
        text = pack(row, plain=True)
        keys = entries_of(database, id, row)
        by_n = next(key for key in keys if key[0] & 0xFF == 1)

        async def problems(*writes: Write) -> list[str]:
            await write_past(database, *writes)
            found = await check_database(database)
            undo = [Write(w.id, w.after, w.before, w.added, w.removed) for w in writes]
            await write_past(database, *undo)
            assert await check_database(database) == []
            return found

        [lacking] = await problems(Write(id, text, text, [by_n[:2]], []))
        assert lacking == f"Index rows.by_n (number {by_n[0]}) lacks the entry of {id}."
        stale = (by_n[0], b"\x0e" + id.encode())
        [extra] = await problems(Write(id, text, text, [], [stale]))
        assert "has an entry b'\\x0e" in extra
        assert extra.endswith("that no document has.")
        unknown = (by_n[0] + 1, b"\x0e" + id.encode())
        [leftover] = await problems(Write(id, text, text, [], [unknown]))
        assert leftover == (
            f"Table rows has no index with the number {unknown[0]}, which has 1 entries."
        )
        stray = encode_id(12_000, bytes(16))
        body = pack({"_id": stray, "_creationTime": 1.0}, plain=True)
        assert await problems(Write(stray, None, body, [], [])) == [
            f"The document {stray} is of no table."
        ]
        other = encode_id(10_001, bytes(16))
        mistaken = await problems(Write(other, None, text, [], []))
        assert f"The document {other} says that its id is {id}." in mistaken

    play(story)
