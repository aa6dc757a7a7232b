"""The consistency check: that documents, index entries and catalog agree (invariant 9).

Every document must be of a known table and carry its own id. Every index that can be read must
hold exactly one entry for each document of its table, under the key that the document's fields
give, and nothing else. What indexes had that are gone must be gone too.
"""

from collections.abc import AsyncIterator
from typing import Final

from camber.database.catalog import TABLES_NUMBER, Catalog, Index, Table, index_number
from camber.database.catalog import table_of_document as read_table
from camber.database.database import Database
from camber.database.transaction import index_key
from camber.storage.engine import BY_ID, IndexNumber, Reader
from camber.values.id import id_range, table_number_of
from camber.values.wire import unpack

_PAGE: Final = 1_000


async def check_database(database: Database) -> list[str]:
    """Everything that is wrong with the last durable commit, a sentence each; empty if all is
    well. Reads everything there is, while the database goes on working."""
    snapshot = await database.engine.snapshot()
    try:
        return await _Check(snapshot, database.catalog).run()
    finally:
        snapshot.close()


class _Check:
    """One check under way."""

    def __init__(self, reader: Reader, catalog: Catalog) -> None:
        self._reader = reader
        self._catalog = catalog
        self._problems: list[str] = []

    async def run(self) -> list[str]:
        await self._check_ids()
        await self._check_catalog()
        for table in (*self._catalog.system_tables(), *self._catalog.user_tables()):
            documents = await self._documents_of(table)
            for index in table.maintained:
                await self._check_index(table, index, documents)
            await self._check_dropped(table)
        return self._problems

    async def _entries(
        self, index: IndexNumber, lower: bytes = b"", upper: bytes | None = None
    ) -> AsyncIterator[tuple[bytes, str]]:
        while True:
            rows = await self._reader.scan(index, lower, upper, reverse=False, limit=_PAGE)
            for row in rows:
                yield row
            if len(rows) < _PAGE:
                return
            lower = rows[-1][0] + b"\0"

    async def _documents_of(self, table: Table) -> dict[str, str]:
        lower, upper = id_range(table.number)
        entries = self._entries(BY_ID, lower.encode(), upper.encode())
        return {key.decode(): text async for key, text in entries}

    async def _check_ids(self) -> None:
        async for key, text in self._entries(BY_ID):
            id = key.decode("ascii", "backslashreplace")
            own = unpack(text).get("_id")
            if own != id:
                self._problems.append(f"The document {id} says that its id is {own}.")
            number = table_number_of(id)
            if number is None or self._catalog.numbered(number) is None:
                self._problems.append(f"The document {id} is of no table.")

    async def _check_catalog(self) -> None:
        """The tables that are known are those that were written down."""
        lower, upper = id_range(TABLES_NUMBER)
        written: dict[str, Table] = {}
        async for _, text in self._entries(BY_ID, lower.encode(), upper.encode()):
            table = read_table(unpack(text), None)
            if table.name in written:
                self._problems.append(f"There are two tables {table.name}.")
            written[table.name] = table
        known = {table.name: table for table in self._catalog.user_tables()}
        self._problems += [
            f"The table {name} is not what was written down of it."
            for name in sorted(known.keys() | written.keys())
            if known.get(name) != written.get(name)
        ]

    async def _check_index(self, table: Table, index: Index, documents: dict[str, str]) -> None:
        where = f"Index {table.name}.{index.name} (number {index.number})"
        missing = {index_key(index, id, unpack(text))[1]: id for id, text in documents.items()}
        async for key, text in self._entries(index.number):
            id = missing.pop(key, None)
            if id is None:
                self._problems.append(f"{where} has an entry {key!r} that no document has.")
            elif text != documents[id]:
                self._problems.append(f"{where} leads from {key!r} to another document.")
        if index.ready:
            self._problems += [f"{where} lacks the entry of {id}." for id in missing.values()]

    async def _check_dropped(self, table: Table) -> None:
        known = {index.number for index in table.maintained}
        for serial in range(table.next_serial + 1):
            number = index_number(table.number, serial)
            if number in known:
                continue
            count = len([key async for key, _ in self._entries(number)])
            if count:
                self._problems.append(
                    f"Table {table.name} has no index with the number {number}, which has "
                    f"{count} entries."
                )
