"""Changing the schema beside running traffic: indexes filled, documents checked, no half."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from databases import (
    FaultyEngine,
    Play,
    delete,
    insert,
    patch,
    plan,
    play_in_memory,
    schema,
    take,
    tell,
    use_schema,
)

from camber.clock import ManualClock
from camber.database import schema_change as schema_change_module
from camber.database.check import check_database
from camber.database.database import Database
from camber.database.schema_change import NO_SCHEMA, change_schema, table_views
from camber.database.transaction import Transaction
from camber.errors import InvalidArgumentError, SchemaError, StorageFullError, ValidationError
from camber.storage.engine import TableView
from camber.storage.memory import MemoryEngine
from camber.storage.sqlite import open_sqlite
from camber.values.schema import SchemaDefinition, define_schema, define_table
from camber.values.validator import Validator, v


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of some documents is filled in several steps."""
    monkeypatch.setattr(schema_change_module, "CHUNK", 4)


def typed(
    fields: dict[str, Validator] | None = None, *, validate: bool = True, **indexes: Sequence[str]
) -> SchemaDefinition:
    """A schema of one table `rows`, whose `n` is a number unless `fields` say otherwise."""
    table = define_table(v.object(fields or {"n": v.number()}))
    for name, paths in indexes.items():
        table = table.index(name, list(paths))
    return define_schema({"rows": table}, schema_validation=validate)


def by_n(database: Database, n: Any) -> int:
    return len(take(database.snapshot(), plan("rows", "by_n", ("eq", "n", n))))


def index_names(database: Database) -> list[str]:
    table = database.catalog.find("rows")
    assert table is not None
    return sorted(table.indexes)


def test_an_index_is_filled_with_what_was_there_before(play: Play) -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", *[{"n": n % 3} for n in range(30)])
        report = await use_schema(database, rows={"by_n": ["n"]}, fresh={})
        assert report.indexes_added == ("rows.by_n",)
        assert report.indexes_dropped == ()
        assert by_n(database, 0) == 10
        assert database.catalog.find("fresh") is not None
        report = await use_schema(database, rows={"by_n": ["n"]}, fresh={})
        assert report.indexes_added == ()

    play(story)


def test_an_index_that_is_being_filled_cannot_be_read_yet() -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", *[{"n": n} for n in range(30)])
        change = asyncio.create_task(use_schema(database, rows={"by_n": ["n"]}))
        texts = set()
        while not change.done():
            try:
                found = by_n(database, 5)
            except InvalidArgumentError as error:
                texts.add(str(error))
            else:
                assert found == 1
            await asyncio.sleep(0)
        assert texts == {
            "Index rows.by_n not found.",
            "Index rows.by_n is currently backfilling and not available to query yet.",
        }
        await change

    play_in_memory(story)


def test_documents_written_while_an_index_is_filled_are_in_it(play: Play) -> None:
    async def story(database: Database) -> None:
        ids = await insert(database, "rows", *[{"n": n, "old": True} for n in range(40)])
        change = asyncio.create_task(use_schema(database, rows={"by_n": ["n"]}))
        expected = dict(enumerate(ids))
        step = 0
        while not change.done():
            n = step % 40
            if step % 3 == 0 and n in expected:
                await delete(database, expected.pop(n))
            elif step % 3 == 1 and n in expected:
                await patch(database, expected[n], n=1000 + n, touched=step)
                expected[1000 + n] = expected.pop(n)
            else:
                [expected[2000 + step]] = await insert(database, "rows", {"n": 2000 + step})
            step += 1
        await change
        assert step > 5
        found = take(database.snapshot(), plan("rows", "by_n"))
        assert [(row["n"], row["_id"]) for row in found] == sorted(expected.items())

    play(story)


def test_a_document_changed_apart_from_the_index_while_it_is_filled_is_in_it_once() -> None:
    async def story(database: Database) -> None:
        ids = await insert(database, "rows", *[{"n": n} for n in range(12)])
        change = asyncio.create_task(use_schema(database, rows={"by_n": ["n"]}))
        step = 0
        while not change.done():
            await patch(database, ids[-1 - step % 12], x=step)
            step += 1
        await change
        assert len(take(database.snapshot(), plan("rows", "by_n"))) == 12

    play_in_memory(story)


def test_two_indexes_of_one_table_are_filled(play: Play) -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", *[{"n": n, "m": -n} for n in range(10)])
        report = await use_schema(database, rows={"by_n": ["n"], "by_m": ["m"], "by_x": ["o.x"]})
        assert report.indexes_added == ("rows.by_n", "rows.by_m", "rows.by_x")
        assert [r["n"] for r in take(database.snapshot(), plan("rows", "by_m"), 3)] == [9, 8, 7]

    play(story)


def test_an_index_with_other_fields_under_the_same_name_takes_its_place(play: Play) -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", *[{"n": n, "m": -n} for n in range(10)])
        await use_schema(database, rows={"by_n": ["n"]})
        change = asyncio.create_task(use_schema(database, rows={"by_n": ["m"]}))
        seen = set()
        while not change.done():
            seen.add(take(database.snapshot(), plan("rows", "by_n"), 1)[0]["n"])
            await asyncio.sleep(0)
        report = await change
        assert report.indexes_added == ("rows.by_n",)
        assert report.indexes_dropped == ("rows.by_n",)
        # The old one until the new one is full.
        assert seen == {0, 9}
        assert take(database.snapshot(), plan("rows", "by_n"), 1)[0]["n"] == 9

    play(story)


def test_an_index_that_is_no_longer_declared_is_dropped_with_its_entries(play: Play) -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", {"n": 1})
        await use_schema(database, rows={"by_n": ["n"]})
        report = await change_schema(database, NO_SCHEMA)
        assert report.indexes_dropped == ("rows.by_n",)
        with pytest.raises(InvalidArgumentError, match=r"Index rows\.by_n not found\."):
            by_n(database, 1)
        assert len(take(database.snapshot(), plan("rows"))) == 1
        # And it is made anew, not found again.
        await use_schema(database, rows={"by_n": ["n"]})
        assert by_n(database, 1) == 1

    play(story)


# Documents that do not fit


def test_a_document_that_does_not_fit_is_named_and_nothing_changes(play: Play) -> None:
    async def story(database: Database) -> None:
        await change_schema(database, typed({"n": v.any()}, by_m=["n"]))
        await insert(database, "rows", *[{"n": n} for n in range(9)])
        [bad] = await insert(database, "rows", {"n": "nine"})
        with pytest.raises(SchemaError) as caught:
            await change_schema(database, typed(by_n=["n"]))
        assert str(caught.value).startswith(
            f'Document with ID "{bad}" in table "rows" does not match the schema: Value does not '
            "match validator.\nPath: .n\n"
        )
        assert index_names(database) == ["by_creation_time", "by_m"]
        await insert(database, "rows", {"n": "still allowed"})
        with pytest.raises(ValidationError):
            await insert(database, "rows", {"m": 1})
        await delete(database, bad)

    play(story)


def test_what_fits_is_checked_from_then_on() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {"n": 1})
        report = await change_schema(database, typed())
        assert report.documents_checked == 1
        with pytest.raises(ValidationError) as caught:
            await patch(database, id, n="two")
        assert str(caught.value).startswith(
            'Failed to insert or update a document in table "rows" because it does not match the '
            "schema: Value does not match validator.\n"
        )
        with pytest.raises(ValidationError, match="contains extra field `m`"):
            await insert(database, "rows", {"n": 1, "m": 2})
        # A schema that is the same reads nothing again.
        assert (await change_schema(database, typed(by_n=["n"]))).documents_checked == 0
        assert (await change_schema(database, typed(validate=False))).documents_checked == 0
        await insert(database, "rows", {"n": "unchecked"})
        with pytest.raises(SchemaError):
            await change_schema(database, typed())

    play_in_memory(story)


def test_a_document_written_meanwhile_that_only_the_next_schema_refuses_ends_the_change() -> None:
    async def story(database: Database) -> None:
        await change_schema(database, typed({"n": v.any()}))
        await insert(database, "rows", *[{"n": n} for n in range(20)])
        change = asyncio.create_task(change_schema(database, typed(by_n=["n"])))
        await asyncio.sleep(0)
        while database.catalog.find("rows").check is not None and not change.done():  # type: ignore[union-attr]  # it is there
            try:
                await insert(database, "rows", {"n": "misfit"})
            except ValidationError:
                break
            await asyncio.sleep(0)
        with pytest.raises(SchemaError) as caught:
            await change
        text = str(caught.value)
        assert text.startswith(
            'New document in table "rows" does not match the schema: Value does not match'
        ) or text.startswith("Document with ID")
        await insert(database, "rows", {"n": "the old schema is in force"})
        assert index_names(database) == ["by_creation_time"]

    play_in_memory(story)


def test_a_misfit_written_after_its_place_was_checked_is_told_as_new() -> None:
    async def story(database: Database) -> None:
        await change_schema(database, typed({"n": v.any()}))
        await insert(database, "rows", {"n": 1})
        change = schema_change_module._SchemaChange(database, typed())
        database.use_checks(change._checks_of_both())
        assert await change._check_documents() == 1
        await insert(database, "rows", {"n": "late"})
        with pytest.raises(SchemaError) as caught:
            await change._bring_into_force()
        assert str(caught.value) == (
            'New document in table "rows" does not match the schema: Value does not match '
            'validator.\nPath: .n\nValue: "late"\nValidator: v.float64()'
        )

    play_in_memory(story)


def test_no_misfit_slips_in_while_the_next_schema_comes_into_force(play: Play) -> None:
    """Writers that never rest: whatever they managed to write fits, or the change has failed."""

    async def story(database: Database) -> None:
        await change_schema(database, typed({"n": v.any()}))
        over = False
        refused = 0

        async def writer(start: int) -> None:
            nonlocal refused
            n = start
            while not over:
                n += 1
                # A misfit only when the change is about to come to its end.
                table = database.catalog.find("rows")
                value = "misfit" if refused or n > start + 3 else n
                assert table is not None
                try:
                    await insert(database, "rows", {"n": value})
                except ValidationError:
                    refused += 1
                    return

        async def slow(tx: Transaction) -> None:
            tx.insert("rows", {"n": "slow misfit"})
            for _ in range(200):
                await asyncio.sleep(0)

        for start in (0, 3, 6):
            late = asyncio.create_task(database.run_optimistic(slow))
            writers = [asyncio.create_task(writer(start)) for _ in range(2)]
            try:
                await change_schema(database, typed())
            except SchemaError:
                in_force = False
            else:
                in_force = True
            over = True
            await asyncio.gather(*writers, late, return_exceptions=True)
            rows = take(database.snapshot(), plan("rows"))
            misfits = [row for row in rows if isinstance(row["n"], str)]
            assert not (in_force and misfits)
            for row in misfits:
                await delete(database, row["_id"])
            await change_schema(database, typed({"n": v.any()}))
            over = False
            refused = 0

    play(story)


# Interrupted


def test_a_change_that_is_cancelled_leaves_the_old_schema_or_the_new(play: Play) -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", *[{"n": n} for n in range(10)])
        for turns in range(0, 60, 3):
            await change_schema(database, typed({"n": v.any()}, by_m=["n"]))
            change = asyncio.create_task(change_schema(database, typed(by_n=["n"])))
            for _ in range(turns):
                await asyncio.sleep(0)
            change.cancel()
            await asyncio.gather(change, return_exceptions=True)
            assert await check_database(database) == []
            try:
                [id] = await insert(database, "rows", {"n": "text"})
            except ValidationError:
                assert index_names(database) == ["by_creation_time", "by_n"]
            else:
                assert index_names(database) == ["by_creation_time", "by_m"]
                await delete(database, id)

    play(story)


@pytest.mark.parametrize("commits", range(9))
def test_a_full_disk_in_the_middle_leaves_the_old_schema_or_the_new(commits: int) -> None:
    async def main() -> None:
        engine = FaultyEngine(MemoryEngine())

        async def story(database: Database) -> None:
            await change_schema(database, typed({"n": v.any()}, by_m=["n"]))
            await insert(database, "rows", *[{"n": n} for n in range(10)])
            engine.fail_after(commits, StorageFullError("The disk is full."))
            try:
                await change_schema(database, typed(by_n=["n"]))
                names = ["by_creation_time", "by_n"]
            except StorageFullError:
                names = ["by_creation_time", "by_m"]
            engine.faults.clear()
            ready = [name for name in index_names(database) if "(new)" not in name]
            assert ready == names
            await change_schema(database, typed(by_k=["n"]))
            assert index_names(database) == ["by_creation_time", "by_k"]

        await tell(engine, story)

    asyncio.run(main())


@pytest.mark.parametrize("steps", range(0, 40, 4))
def test_a_process_that_dies_in_the_middle_leaves_nothing_for_good(
    steps: int, tmp_path: Path
) -> None:
    """The database is opened anew over what was durable when the process died."""

    async def main() -> None:
        path = tmp_path / "camber.db"
        engine = await open_sqlite(path)
        database = await Database.open(engine, ManualClock())
        await change_schema(database, typed({"n": v.any()}, by_m=["n"]))
        await insert(database, "rows", *[{"n": n} for n in range(10)])
        change = asyncio.create_task(change_schema(database, typed(by_n=["n"])))
        for _ in range(steps):
            await asyncio.sleep(0)
        copied = tmp_path / "copied.db"
        for suffix in ("", "-wal"):
            copied.with_name(copied.name + suffix).write_bytes(
                path.with_name(path.name + suffix).read_bytes()
            )
        await change
        await database.close()

        async def story(database: Database) -> None:
            rows = take(database.snapshot(), plan("rows"))
            assert len(rows) == 10
            ready = [name for name in index_names(database) if "(new)" not in name]
            assert len(ready) == 2
            await change_schema(database, typed(by_n=["n"]))
            assert index_names(database) == ["by_creation_time", "by_n"]
            assert by_n(database, 3) == 1

        await tell(await open_sqlite(copied), story)

    asyncio.run(main())


def test_catalog_and_indexes_are_the_same_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        tables: list[Any] = []

        async def first(database: Database) -> None:
            await insert(database, "rows", {"n": 1, "o": {"x": 5}})
            await change_schema(database, typed({"n": v.any(), "o": v.any()}, by_n=["n", "o.x"]))
            tables.append(database.catalog.find("rows"))

        async def second(database: Database) -> None:
            assert database.catalog.find("rows") == tables[0]
            found = plan("rows", "by_n", ("eq", "n", 1), ("eq", "o.x", 5))
            assert len(take(database.snapshot(), found)) == 1
            schema = typed({"n": v.any(), "o": v.any()}, by_n=["n", "o.x"])
            report = await change_schema(database, schema)
            assert (report.indexes_added, report.documents_checked) == ((), 0)

        await tell(await open_sqlite(tmp_path / "camber.db"), first)
        await tell(await open_sqlite(tmp_path / "camber.db"), second)

    asyncio.run(main())


# Views


def test_views_list_the_declared_fields_of_every_user_table() -> None:
    async def story(database: Database) -> None:
        await insert(database, "loose", {"a": 1})
        definition = typed({"n": v.number(), "text": v.string()})
        await change_schema(database, definition)
        views = {view.name: view for view in table_views(database.catalog, definition)}
        assert views["rows"].fields == ("n", "text")
        assert views["loose"].fields == ()
        assert all(isinstance(view, TableView) for view in views.values())
        assert set(views) == {"rows", "loose"}

    play_in_memory(story)


def test_any_sqlite_tool_can_look_at_a_table(tmp_path: Path) -> None:
    async def story(database: Database) -> None:
        definition = typed({"n": v.number(), "text": v.string()})
        await change_schema(database, definition)
        await insert(database, "rows", {"n": 1, "text": "one"}, {"n": 2, "text": "zwei"})
        await insert(database, "other", {"x": 1})
        await database.show_tables(table_views(database.catalog, definition))
        connection = sqlite3.connect(f"file:{tmp_path / 'camber.db'}?mode=ro", uri=True)
        try:
            found = connection.execute("SELECT n, text FROM rows ORDER BY n DESC").fetchall()
            assert found == [(2, "zwei"), (1, "one")]
            assert connection.execute("SELECT count(*) FROM other").fetchone() == (1,)
        finally:
            connection.close()

    async def main() -> None:
        await tell(await open_sqlite(tmp_path / "camber.db"), story)

    asyncio.run(main())


def test_a_schema_with_many_tables_comes_into_force() -> None:
    async def story(database: Database) -> None:
        await use_schema(database, **{f"table{n}": {"by_n": ["n"]} for n in range(50)})
        assert len(database.catalog.user_tables()) == 50
        await change_schema(database, schema())

    play_in_memory(story)
