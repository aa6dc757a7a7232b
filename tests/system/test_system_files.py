"""Stored files as rows: found by either form of their id, written and deleted whole."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from camber.clock import ManualClock
from camber.database.check import check_database
from camber.database.database import Database, complete
from camber.database.transaction import Transaction
from camber.errors import InvalidArgumentError
from camber.storage.blobs import StoredBlob
from camber.storage.memory import MemoryEngine
from camber.system.files import (
    FileNotFoundInStorageError,
    delete_file,
    find_file,
    find_file_by_uuid,
    insert_file,
    unknown_blobs,
)
from camber.system.tables import PUBLIC_TABLES, SYSTEM_TABLES
from camber.values.id import encode_id

BLOB = StoredBlob("abc", 5, hashlib.sha256(b"hello").digest())


def play(story: Callable[[Database], Awaitable[None]]) -> None:
    async def main() -> None:
        database = await Database.open(MemoryEngine(), ManualClock(), SYSTEM_TABLES)
        try:
            await story(database)
            assert await check_database(database) == []
        finally:
            await database.close()

    asyncio.run(main())


async def store(database: Database, blob: StoredBlob = BLOB, type: str | None = "image/png") -> str:
    return (await database.run(lambda tx: insert_file(tx, blob, type))).value


def test_a_file_is_found_by_its_id_and_by_its_uuid() -> None:
    async def story(database: Database) -> None:
        id = await store(database)
        tx = database.snapshot()
        file = complete(find_file(tx, id))
        assert file is not None
        assert (file.id, file.blob, file.size, file.content_type) == (id, "abc", 5, "image/png")
        assert file.sha256 == BLOB.sha256
        assert complete(find_file(tx, file.uuid)) == file
        assert complete(find_file_by_uuid(tx, file.uuid)) == file
        assert complete(find_file_by_uuid(tx, "0" * 36)) is None

    play(story)


def test_apps_see_the_metadata_and_not_where_the_bytes_lie() -> None:
    async def story(database: Database) -> None:
        id = await store(database)
        document = complete(database.snapshot().get(id))
        assert document is not None
        assert {name: document[name] for name in document if name[0] != "_"} == {
            "sha256": base64.b64encode(BLOB.sha256).decode(),
            "size": 5.0,
            "contentType": "image/png",
        }
        assert isinstance(document["size"], float)
        untyped = complete(database.snapshot().get(await store(database, type=None)))
        assert untyped is not None
        assert "contentType" not in untyped
        assert frozenset({"_storage"}) == PUBLIC_TABLES

    play(story)


def test_a_deleted_file_is_gone_with_both_rows_and_deleting_it_again_fails() -> None:
    async def story(database: Database) -> None:
        id, other = await store(database), await store(database)
        file = complete(find_file(database.snapshot(), other))
        assert file is not None
        await database.run(lambda tx: complete(delete_file(tx, id)))
        await database.run(lambda tx: complete(delete_file(tx, file.uuid)))
        assert complete(find_file(database.snapshot(), other)) is None
        assert complete(find_file_by_uuid(database.snapshot(), file.uuid)) is None
        with pytest.raises(FileNotFoundInStorageError) as caught:
            await database.run(lambda tx: complete(delete_file(tx, id)))
        assert str(caught.value) == f"storage id {id} not found"
        assert caught.value.code == "StorageIdNotFound"

    play(story)


def test_a_delete_that_is_rolled_back_leaves_the_file() -> None:
    async def story(database: Database) -> None:
        id = await store(database)

        def change_of_mind(tx: Transaction) -> None:
            savepoint = tx.savepoint()
            complete(delete_file(tx, id))
            tx.roll_back(savepoint)

        await database.run(change_of_mind)
        assert complete(find_file(database.snapshot(), id)) is not None

    play(story)


def test_whoever_looked_for_a_file_is_told_when_it_goes() -> None:
    async def story(database: Database) -> None:
        id = await store(database)
        tx = database.snapshot()
        complete(find_file(tx, id))
        told: list[int] = []
        database.subscribe(tx.reads, tx.begin_ts, told.append)
        await store(database)
        assert told == []
        await database.run(lambda tx: complete(delete_file(tx, id)))
        assert len(told) == 1

    play(story)


@pytest.mark.parametrize("wrong", ["", "abc", "j5", 3, None])
def test_what_is_not_a_storage_id_is_refused(wrong: Any) -> None:
    async def story(database: Database) -> None:
        with pytest.raises(InvalidArgumentError) as caught:
            await find_file(database.snapshot(), wrong)
        assert str(caught.value) == (
            f'Invalid storage ID: "{wrong}". Storage ID should be an\n'
            " Id of '_storage' table, or a UUID string."
        )

    play(story)


def test_the_id_of_another_table_is_refused() -> None:
    async def story(database: Database) -> None:
        for act in (find_file, delete_file):
            with pytest.raises(InvalidArgumentError) as caught:
                await act(database.snapshot(), encode_id(10_001, bytes(16)))
            assert str(caught.value) == (
                "Invalid storage ID. Storage ID cannot be an ID on any table other than '_storage'."
            )

    play(story)


def test_blobs_that_no_row_names_are_told_apart() -> None:
    async def story(database: Database) -> None:
        id = await store(database)
        tx = database.snapshot()
        assert complete(unknown_blobs(tx, ["abc", "lost"])) == ["lost"]
        await database.run(lambda tx: complete(delete_file(tx, id)))
        assert complete(unknown_blobs(database.snapshot(), ["abc"])) == ["abc"]

    play(story)
