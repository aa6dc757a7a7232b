"""One transaction: own writes, nested calls, what is refused, and the limits."""

from collections.abc import Callable
from typing import Any

import pytest
from databases import Play, insert, patch, plan, play_in_memory, schema, take, use_schema

from camber.database import catalog as catalog_module
from camber.database import usage as usage_module
from camber.database.database import Database, complete
from camber.database.scan import open_scan
from camber.database.schema_change import change_schema
from camber.database.transaction import CreationClock, Transaction
from camber.errors import (
    CamberError,
    InvalidArgumentError,
    InvalidValueError,
    LimitError,
    ValidationError,
)
from camber.values.id import encode_id
from camber.values.schema import define_schema, define_table
from camber.values.validator import v
from camber.values.value import UNDEFINED, Int64

ADVICE = (
    "Consider using smaller limits in your queries, paginating your queries, or using indexed "
    "queries with a selective index range expressions."
)


def refused(tx: Transaction, write: Callable[[], Any], error: type[CamberError], text: str) -> None:
    """`write` is refused with this text, and nothing was written."""
    before = tx.has_writes(), tx.usage.writes()
    with pytest.raises(error) as caught:
        write()
    assert str(caught.value) == text
    assert (tx.has_writes(), tx.usage.writes()) == before


# Documents


def test_a_document_gets_an_id_and_a_creation_time_first() -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={})
        database.clock.advance(1)  # type: ignore[attr-defined]  # a ManualClock
        tx = database.snapshot()
        id = tx.insert("rows", {"a": 1})
        document = complete(tx.get(id))
        assert document is not None
        assert list(document) == ["_id", "_creationTime", "a"]
        assert document["_creationTime"] == database.clock.now_ns() / 1e6

    play_in_memory(story)


def test_creation_times_of_one_transaction_are_one_float_apart() -> None:
    async def story(database: Database) -> None:
        tx = database.snapshot()
        times = [complete(tx.get(tx.insert("rows", {})))["_creationTime"] for _ in range(3)]  # type: ignore[index]  # it is there
        assert times[0] < times[1] < times[2] < times[0] + 0.001

    play_in_memory(story)


def test_creation_times_are_unique_whichever_way_the_clock_goes() -> None:
    clock = CreationClock()
    given = [clock.next(base) for base in (5.0, 5.0, 4.0, 6.0, 6.0, 1.0)]
    assert given == sorted(set(given))


def test_patch_merges_the_top_level_and_undefined_removes() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {"a": 1, "o": {"x": 1, "y": 2}, "gone": True})
        await patch(database, id, o={"x": 5}, gone=UNDEFINED, absent=UNDEFINED, new="n")
        document = complete(database.snapshot().get(id))
        assert document is not None
        assert {k: document[k] for k in document if not k.startswith("_")} == {
            "a": 1,
            "o": {"x": 5},
            "new": "n",
        }

    play_in_memory(story)


def test_replace_keeps_id_and_creation_time_and_takes_them_if_they_are_the_same() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {"a": 1, "b": 1})
        tx = database.snapshot()
        document = complete(tx.get(id))
        assert document is not None
        complete(tx.replace(id, {**document, "a": 2}))
        complete(tx.replace(id, {"c": 3, "_id": id}))
        assert complete(tx.get(id)) == {
            "_id": id,
            "_creationTime": document["_creationTime"],
            "c": 3,
        }

    play_in_memory(story)


def test_system_fields_cannot_be_chosen() -> None:
    async def story(database: Database) -> None:
        [id, other] = await insert(database, "rows", {}, {})
        tx = database.snapshot()
        for write in (tx.patch, tx.replace):
            refused(
                tx,
                lambda write=write: complete(write(id, {"_id": other})),  # type: ignore[misc]  # a lambda's default
                InvalidArgumentError,
                f"Provided document ID {other} doesn't match '_id' field {id}",
            )
            refused(
                tx,
                lambda write=write: complete(write(id, {"_creationTime": 5.0})),  # type: ignore[misc]  # a lambda's default
                InvalidArgumentError,
                f"Provided creation time 5.0 doesn't match '_creationTime' field in {id}",
            )
        document = complete(tx.get(id))
        assert document is not None
        with pytest.raises(InvalidArgumentError, match=f"^Provided document ID {id} doesn't match"):
            tx.insert("rows", {**document})
        with pytest.raises(InvalidValueError):
            tx.insert("rows", {"_mine": 1})
        assert not tx.has_writes()

    play_in_memory(story)


def test_what_is_not_an_object_or_not_there_is_refused() -> None:
    async def story(database: Database) -> None:
        [id, gone] = await insert(database, "rows", {}, {})
        tx = database.snapshot()
        complete(tx.delete(gone))
        unknown = encode_id(12_345, bytes(16))
        argument: Any = ["not", "an", "object"]
        for write in (
            lambda: tx.insert("rows", argument),
            lambda: complete(tx.patch(id, argument)),
            lambda: complete(tx.replace(id, argument)),
        ):
            refused(tx, write, InvalidArgumentError, "Value must be an Object")
        for method, verb in ((tx.patch, "Update"), (tx.replace, "Replace")):
            refused(
                tx,
                lambda method=method: complete(method(gone, {})),  # type: ignore[misc]  # a lambda's default
                InvalidArgumentError,
                f"{verb} on nonexistent document ID {gone}",
            )
        refused(
            tx,
            lambda: complete(tx.delete(gone)),
            InvalidArgumentError,
            f"Delete on nonexistent document ID {gone}",
        )
        for delete in (lambda: tx.delete(unknown), lambda: tx.patch(unknown, {})):
            refused(
                tx,
                lambda delete=delete: complete(delete()),  # type: ignore[misc]  # a lambda's default
                InvalidArgumentError,
                f'Table for ID "{unknown}" not found',
            )
        assert complete(tx.get(unknown)) is None

    play_in_memory(story)


def test_a_table_is_made_by_the_first_insert_and_its_name_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(database: Database) -> None:
        tx = database.snapshot()
        tx.insert("first", {})
        tx.insert("second", {})
        assert [table.number for table in tx.catalog.user_tables()] == [10_001, 10_002]
        assert tx.usage.documents_written == 2
        refused(
            tx,
            lambda: tx.insert("_mine", {}),
            InvalidArgumentError,
            "Invalid table name _mine starts with metadata prefix '_'",
        )
        for name in ("", "1a", "a-b", "ä", "a" * 65):
            with pytest.raises(InvalidArgumentError, match="Identifier"):
                tx.insert(name, {})
        monkeypatch.setattr(catalog_module, "TABLES_MAX", 2)
        refused(
            tx,
            lambda: tx.insert("third", {}),
            InvalidArgumentError,
            "Number of tables cannot exceed 2.",
        )

    play_in_memory(story)


def test_ten_thousand_tables_are_the_most_there_are() -> None:
    assert catalog_module.TABLES_MAX == 10_000


def test_a_write_of_what_is_there_already_is_no_write(play: Play) -> None:
    async def story(database: Database) -> None:
        await change_schema(
            database, define_schema({"rows": define_table(v.object({"a": v.any()}))})
        )
        value = {"a": [1, 1.5, Int64(3), b"x", "s", None, True, {"k": float("nan")}]}
        [id] = await insert(database, "rows", value)
        tx = database.snapshot()
        document = complete(tx.get(id))
        assert document is not None
        complete(tx.patch(id, {}))
        complete(tx.patch(id, value))
        complete(tx.patch(id, {"absent": UNDEFINED}))
        complete(tx.replace(id, document))
        assert not tx.has_writes()
        assert tx.usage.writes() == (0, 0)
        before = database.visible_ts
        await patch(database, id, **value)
        assert database.visible_ts == before

    play(story)


def test_what_is_changed_and_changed_back_is_not_committed() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {"n": 1})
        before = database.visible_ts

        def there_and_back(tx: Transaction) -> None:
            complete(tx.patch(id, {"n": 2}))
            complete(tx.patch(id, {"n": 1}))
            complete(tx.delete(tx.insert("rows", {})))

        assert (await database.run(there_and_back)).ts == before
        assert database.visible_ts == before

    play_in_memory(story)


# Own writes


def test_own_writes_are_seen_through_every_index(play: Play) -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        ids = await insert(database, "rows", *[{"n": n} for n in range(6)])

        def body(tx: Transaction) -> None:
            complete(tx.delete(ids[0]))
            complete(tx.patch(ids[1], {"n": 10}))
            complete(tx.patch(ids[5], {"n": -1}))
            tx.insert("rows", {"n": 3})
            assert [r["n"] for r in take(tx, plan("rows", "by_n"))] == [-1, 2, 3, 3, 4, 10]
            assert [r["n"] for r in take(tx, plan("rows", "by_n", desc=True), 2)] == [10, 4]
            assert [r["n"] for r in take(tx, plan("rows", "by_n"), 1)] == [-1]
            assert [r["n"] for r in take(tx, plan("rows"))] == [10, 2, 3, 4, -1, 3]
            assert [r["n"] for r in take(tx, plan("rows", "by_n", ("eq", "n", 0)))] == []
            complete(tx.patch(ids[1], {"n": 2}))
            assert [r["n"] for r in take(tx, plan("rows", "by_n", ("gt", "n", 3)))] == [4]

        await database.run(body)
        assert [r["n"] for r in take(database.snapshot(), plan("rows", "by_n"))] == [
            -1,
            2,
            2,
            3,
            3,
            4,
        ]

    play(story)


def test_a_nested_call_that_fails_takes_back_its_own_writes_only(play: Play) -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        [id] = await insert(database, "rows", {"n": 0})

        def body(tx: Transaction) -> None:
            tx.insert("rows", {"n": 1})
            complete(tx.patch(id, {"x": 1}))
            outer = tx.savepoint()
            complete(tx.patch(id, {"n": 5}))
            inner = tx.savepoint()
            tx.insert("rows", {"n": 2})
            tx.insert("made_within", {})
            complete(tx.delete(id))
            assert [r["n"] for r in take(tx, plan("rows", "by_n"))] == [1, 2]
            written = tx.usage.documents_written
            tx.roll_back(inner)
            assert tx.usage.documents_written == written - 3
            assert tx.catalog.find("made_within") is None
            assert [r["n"] for r in take(tx, plan("rows", "by_n"))] == [1, 5]
            kept = tx.savepoint()
            tx.insert("rows", {"n": 3})
            tx.release(kept)
            assert [r["n"] for r in take(tx, plan("rows", "by_n"))] == [1, 3, 5]
            tx.roll_back(outer)
            assert [r["n"] for r in take(tx, plan("rows", "by_n"))] == [0, 1]
            tx.insert("rows", {"n": 4})

        await database.run(body)
        found = take(database.snapshot(), plan("rows", "by_n"))
        assert [(r["n"], r.get("x")) for r in found] == [(0, 1), (1, None), (4, None)]
        assert database.catalog.find("made_within") is None

    play(story)


def test_what_a_failed_nested_call_read_stays_read() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {})
        tx = database.snapshot()
        savepoint = tx.savepoint()
        complete(tx.get(id))
        take(tx, plan("rows"))
        read = tx.usage.documents_read
        tx.roll_back(savepoint)
        assert id in tx.reads.points
        assert len(tx.reads.intervals) == 1
        assert tx.usage.documents_read == read == 2

    play_in_memory(story)


# Schema


def test_the_schema_is_held_against_what_is_written_whole() -> None:
    async def story(database: Database) -> None:
        table = define_table({"n": v.number(), "tag": v.optional(v.string())})
        await change_schema(database, define_schema({"rows": table}))
        [id] = await insert(database, "rows", {"n": 1, "tag": "a"})
        tx = database.snapshot()
        intro = (
            'Failed to insert or update a document in table "rows" because it does not match the '
            "schema: "
        )
        with pytest.raises(ValidationError) as caught:
            complete(tx.patch(id, {"n": UNDEFINED}))
        assert str(caught.value).startswith(
            intro + "Object is missing the required field `n`. Consider wrapping the field "
            "validator in `v.optional(...)` if this is expected.\n"
        )
        complete(tx.patch(id, {"tag": UNDEFINED}))
        with pytest.raises(ValidationError):
            complete(tx.replace(id, {"n": "1"}))
        with pytest.raises(ValidationError):
            tx.insert("rows", {"n": Int64(1)})
        tx.insert("undeclared", {"anything": b"goes"})

    play_in_memory(story)


# Limits


def test_the_limits_of_an_execution_are_the_documented_ones() -> None:
    assert usage_module.DOCUMENTS_READ_MAX == 32_000
    assert usage_module.BYTES_READ_MAX == 16_777_216
    assert usage_module.RANGES_MAX == 4_096
    assert usage_module.DOCUMENTS_WRITTEN_MAX == 16_000
    assert usage_module.BYTES_WRITTEN_MAX == 16_777_216


def for_ever(
    body: Callable[[Transaction, list[str]], object], tx: Transaction, ids: list[str]
) -> None:
    while True:
        body(tx, ids)


def limited(
    body: Callable[[Transaction, list[str]], object], text: str, rows: int = 20, **fields: Any
) -> None:
    """`body` works until a limit ends it; the text, again and again after that."""

    async def story(database: Database) -> None:
        ids = await insert(database, "rows", *[{"n": n, **fields} for n in range(rows)])
        tx = database.snapshot()
        for _ in range(2):
            with pytest.raises(LimitError) as caught:
                for_ever(body, tx, ids)
            assert str(caught.value) == text

    play_in_memory(story)


def test_documents_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_module, "DOCUMENTS_READ_MAX", 30)
    text = f"Too many documents read in a single function execution (limit: 30). {ADVICE}"
    limited(lambda tx, ids: take(tx, plan("rows")), text)
    limited(lambda tx, ids: complete(tx.get(ids[0])), text)


def test_bytes_read_and_a_document_read_twice_counts_twice() -> None:
    text = f"Too many bytes read in a single function execution (limit: 16777216 bytes). {ADVICE}"
    limited(lambda tx, ids: take(tx, plan("rows")), text, rows=10, x="x" * 1_000_000)
    limited(lambda tx, ids: complete(tx.get(ids[0])), text, rows=1, x="x" * 1_000_000)


def test_ranges() -> None:
    text = f"Too many reads in a single function execution (limit: 4096). {ADVICE}"

    def look(tx: Transaction, ids: list[str]) -> None:
        complete(tx.get(encode_id(10_001, bytes(16))))
        complete(open_scan(tx, plan("absent")).take(1))

    limited(look, text)


def test_writes_and_the_same_document_twice_counts_twice() -> None:
    text = "Too many writes in a single function execution (limit: 16000)"
    turn = iter(range(1_000_000))
    limited(lambda tx, ids: tx.insert("rows", {}), text)

    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {})
        tx = database.snapshot()
        tx.usage.documents_written = 15_999
        complete(tx.patch(id, {"n": next(turn)}))
        with pytest.raises(LimitError):
            complete(tx.delete(id))

    play_in_memory(story)


def test_bytes_written() -> None:
    text = "Too many bytes written in a single function execution (limit: 16 MiB)"
    limited(lambda tx, ids: tx.insert("rows", {"x": "x" * 1_000_000}), text)


def test_a_delete_is_a_write_of_no_size() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {"x": "x" * 1000})
        tx = database.snapshot()
        complete(tx.delete(id))
        assert tx.usage.writes() == (1, 0)

    play_in_memory(story)


def test_many_own_writes_do_not_make_each_search_longer(play: Play) -> None:
    """A body that searches before each insert reads from the store what it asks for, not as many
    rows as it has written."""

    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        await insert(database, "rows", *[{"n": n} for n in range(50)])

        def body(tx: Transaction) -> int:
            asked: list[int] = []
            scan = tx._reader.scan

            class Counting:
                get = tx._reader.get

                async def scan(self, *arguments: Any, limit: int, reverse: bool) -> Any:
                    asked.append(limit)
                    return await scan(*arguments, limit=limit, reverse=reverse)

            tx._reader = Counting()
            for n in range(100, 200):
                assert take(tx, plan("rows", "by_n", ("eq", "n", n)), 1) == []
                tx.insert("rows", {"n": n})
                assert take(tx, plan("rows", "by_n", desc=True), 1)[0]["n"] == n
            return max(asked)

        assert (await database.run(body)).value <= 2

    play(story)


def test_an_empty_schema_changes_nothing() -> None:
    async def story(database: Database) -> None:
        report = await change_schema(database, schema())
        assert (report.indexes_added, report.indexes_dropped, report.documents_checked) == (
            (),
            (),
            0,
        )

    play_in_memory(story)
