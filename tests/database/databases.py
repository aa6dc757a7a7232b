"""Databases to test on: on either engine, with a clock that is turned by hand, and checked when
the story is over."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from camber.clock import ManualClock
from camber.database.check import check_database
from camber.database.database import Database, complete
from camber.database.plan import Comparison, Order, Plan
from camber.database.scan import open_scan
from camber.database.schema_change import SchemaReport, change_schema
from camber.database.transaction import Transaction
from camber.storage.engine import (
    Batch,
    Commit,
    Engine,
    EngineStatistics,
    IndexNumber,
    LogEntry,
    Reader,
    Snapshot,
    TableView,
    Timestamp,
)
from camber.storage.memory import MemoryEngine
from camber.storage.sqlite import open_sqlite
from camber.system.tables import SYSTEM_TABLES
from camber.values.schema import SchemaDefinition, define_schema, define_table
from camber.values.validator import v
from camber.values.value import Document

T = TypeVar("T")

Story: TypeAlias = Callable[[Database], Awaitable[None]]
Play: TypeAlias = Callable[[Story], None]

SECONDS_MAX = 30.0
"""No story takes so long: one that does is waiting for something that never comes."""


async def tell(engine: Engine, story: Story, clock: ManualClock | None = None) -> None:
    """Play `story` on a database over `engine`, check what it leaves, and close."""
    database = await Database.open(engine, clock or ManualClock(), SYSTEM_TABLES)
    try:
        async with asyncio.timeout(SECONDS_MAX):
            await story(database)
            assert await check_database(database) == []
    finally:
        await database.close()


def play_in_memory(story: Story) -> None:
    asyncio.run(tell(MemoryEngine(), story))


def play_on(kind: str, folder: Path) -> Play:
    """Play stories on a new database of this kind: `memory` or `sqlite`."""

    async def main(story: Story) -> None:
        engine = MemoryEngine() if kind == "memory" else await open_sqlite(folder / "camber.db")
        await tell(engine, story)

    return lambda story: asyncio.run(main(story))


def schema(**tables: Mapping[str, Sequence[str]]) -> SchemaDefinition:
    """A schema of tables that take every document, with these indexes."""
    definitions = {}
    for name, indexes in tables.items():
        table = define_table(v.any())
        for index, fields in indexes.items():
            table = table.index(index, list(fields))
        definitions[name] = table
    return define_schema(definitions)


async def use_schema(database: Database, **tables: Mapping[str, Sequence[str]]) -> SchemaReport:
    return await change_schema(database, schema(**tables))


async def insert(database: Database, table: str, *documents: dict[str, Any]) -> list[str]:
    """Insert documents in one transaction; their ids."""
    done = await database.run(lambda tx: [tx.insert(table, document) for document in documents])
    return done.value


async def patch(database: Database, id: str, **changes: Any) -> Timestamp:
    return (await database.run(lambda tx: complete(tx.patch(id, changes)))).ts


async def delete(database: Database, id: str) -> Timestamp:
    return (await database.run(lambda tx: complete(tx.delete(id)))).ts


def plan(
    table: str,
    index: str = "by_creation_time",
    *comparisons: tuple[str, str, Any],
    desc: bool = False,
) -> Plan:
    """A plan; a comparison is written `("gt", "field", value)`."""
    return Plan(
        table,
        index,
        tuple(Comparison(*comparison) for comparison in comparisons),
        Order.DESC if desc else Order.ASC,
    )


def take(tx: Transaction, what: Plan, count: int = 1 << 40) -> list[Document]:
    """The first documents of a plan, read at once."""
    return complete(open_scan(tx, what).take(count))


def run(body: Coroutine[Any, Any, T]) -> T:
    return complete(body)


class FaultyEngine:
    """A real engine that fails when it is told to.

    `faults` are errors to raise, each once, by the name of the step: `begin`, `apply`, `commit`
    (before anything is durable), `committed` (after it is), `trim`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.faults: dict[str, Exception] = {}
        self._passes = 0
        # Set to hold back every commit until it is set again.
        self.disk = asyncio.Event()
        self.disk.set()
        # Set whenever a commit waits for the disk.
        self.waiting = asyncio.Event()

    def fail_after(self, commits: int, error: Exception) -> None:
        """From now on let `commits` pass, then fail every one, until `faults` is cleared."""
        self.faults["after"] = error
        self._passes = commits

    def check_passes(self) -> None:
        if "after" in self.faults:
            self._passes -= 1
            if self._passes < 0:
                raise self.faults["after"]

    def fail(self, step: str) -> None:
        error = self.faults.pop(step, None)
        if error is not None:
            raise error

    @property
    def local(self) -> bool:
        return self._engine.local

    @property
    def ts(self) -> Timestamp:
        return self._engine.ts

    @property
    def head(self) -> Reader:
        return self._engine.head

    async def snapshot(self) -> Snapshot:
        return await self._engine.snapshot()

    async def begin(self) -> Batch:
        self.fail("begin")
        return FaultyBatch(self, await self._engine.begin())

    async def read_log(self, after: Timestamp, /, *, limit: int) -> list[LogEntry]:
        return await self._engine.read_log(after, limit=limit)

    async def trim_log(self, before: Timestamp, /) -> None:
        self.fail("trim")
        await self._engine.trim_log(before)

    def set_views(self, views: Sequence[TableView], /) -> None:
        self._engine.set_views(views)

    def statistics(self) -> EngineStatistics:
        return dataclasses.replace(self._engine.statistics(), name="faulty")

    async def close(self) -> None:
        await self._engine.close()


class FaultyBatch:
    """A batch of a `FaultyEngine`."""

    def __init__(self, engine: FaultyEngine, batch: Batch) -> None:
        self._engine = engine
        self._batch = batch

    async def get(self, id: str, /) -> str | None:
        return await self._batch.get(id)

    async def scan(
        self,
        index: IndexNumber,
        lower: bytes,
        upper: bytes | None,
        /,
        *,
        reverse: bool,
        limit: int,
    ) -> list[tuple[bytes, str]]:
        return await self._batch.scan(index, lower, upper, reverse=reverse, limit=limit)

    def apply(self, commit: Commit, /) -> None:
        self._engine.fail("apply")
        self._batch.apply(commit)

    def drop_index(self, index: IndexNumber, /) -> None:
        self._batch.drop_index(index)

    async def commit(self) -> None:
        self._engine.waiting.set()
        await self._engine.disk.wait()
        self._engine.fail("commit")
        self._engine.check_passes()
        await self._batch.commit()
        # As an engine's own thread does, the head has moved before the committer hears of it.
        self._engine.fail("committed")
        await asyncio.sleep(0)

    def rollback(self) -> None:
        self._batch.rollback()
