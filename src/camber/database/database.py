"""The database: snapshots to read, transactions to write, and word of every change.

    tx = database.snapshot()                     # reads the last durable commit
    done = await database.run(attempt)           # in line, in the next batch
    done = await database.run_optimistic(body)   # for a body that may suspend or run elsewhere
    database.subscribe(tx.reads, tx.begin_ts, on_change)

Who may write: the committer alone. Everything else here reads.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from camber.clock import Clock
from camber.database.catalog import (
    TABLES,
    TABLES_NUMBER,
    Catalog,
    Table,
    TableCheck,
    system_table,
    table_of_document,
)
from camber.database.committer import Committer
from camber.database.overlay import OverlaidReader, Overlay
from camber.database.read_set import ReadSet, Touched
from camber.database.subscription import Subscription, Subscriptions
from camber.database.transaction import Transaction, index_keys
from camber.database.work import Committed
from camber.errors import ConflictError, InternalError
from camber.storage.engine import BY_ID, Engine, IndexNumber, Reader, Snapshot, TableView, Timestamp
from camber.values.id import id_range, table_number_of
from camber.values.wire import unpack

T = TypeVar("T")

RETRIES_MAX: Final = 4
BACKOFF_SECONDS: Final = 0.1
BACKOFF_SECONDS_MAX: Final = 2.0


class Database:
    """An open database."""

    def __init__(self, engine: Engine, clock: Clock, catalog: Catalog) -> None:
        self.engine = engine
        self.clock = clock
        self._subscriptions = Subscriptions()
        self._committer = Committer(engine, clock, catalog, self._subscriptions)

    @staticmethod
    async def open(engine: Engine, clock: Clock, system_tables: Sequence[Table] = ()) -> "Database":
        """The database that `engine` holds, with these tables of the platform's own."""
        builtin = {table.name: table for table in system_tables}
        builtin[TABLES] = system_table(TABLES_NUMBER, TABLES, {})
        first, last = id_range(TABLES_NUMBER)
        rows = await engine.head.scan(
            BY_ID, first.encode(), last.encode(), reverse=False, limit=1_000_000
        )
        tables = [table_of_document(unpack(text), None) for _, text in rows]
        return Database(engine, clock, Catalog({**builtin, **{t.name: t for t in tables}}))

    # Reading

    @property
    def visible_ts(self) -> Timestamp:
        """The last commit that everybody may see."""
        self._committer.catch_up()
        return self._committer.visible_ts

    @property
    def catalog(self) -> Catalog:
        """The tables and indexes as of `visible_ts`."""
        self._committer.catch_up()
        return self._committer.catalog

    def snapshot(self) -> Transaction:
        """A transaction over the last durable commit, to be used up before the next `await`
        that really waits."""
        return self._transaction(self.engine.head, self.visible_ts)

    def snapshot_at(self, ts: Timestamp, newer: Snapshot | None = None) -> Transaction:
        """A transaction over an older commit; as `snapshot`, or over a snapshot that is `newer`.

        Raises:
            OutOfRetentionError: `ts` is older than the history that is kept.
        """
        catalog = self.catalog
        overlay = Overlay()
        before: dict[str, str | None] = {}
        for commit in reversed(self._committer.log.since(ts)):
            overlay.hide(commit.written.touched)
            before.update(commit.before)  # Of several, the oldest stays.
        for id, text in before.items():
            now: Touched = (BY_ID, id.encode(), ())
            overlay.put(id, text, (now,), _keys_of(catalog, id, text))
        return self._transaction(OverlaidReader(newer or self.engine.head, overlay), ts)

    async def run_alone(
        self, attempt: Callable[[], Awaitable[tuple[Transaction, T]]]
    ) -> Committed[T]:
        """Commit a transaction that `attempt` makes while nobody else commits (see
        `Committer.run_alone`)."""
        return await self._committer.run_alone(attempt)

    def transaction_on(self, reader: Reader, ts: Timestamp) -> Transaction:
        """A transaction over a reader of its own, such as `Engine.snapshot`."""
        return self._transaction(reader, ts)

    def _transaction(self, reader: Reader, ts: Timestamp) -> Transaction:
        committer = self._committer
        committer.catch_up()
        return Transaction(
            reader, committer.catalog, ts, self.clock.now_ns(), committer.creation, committer.mint
        )

    # Writing

    async def run(self, attempt: Callable[[Transaction], T]) -> Committed[T]:
        """Run `attempt` in line (see `Committer.run`). The engine must be a local one."""
        assert self.engine.local, "the in-line executor needs an engine that never suspends"
        return await self._committer.run(attempt)

    async def write(self, body: Callable[[Transaction], Coroutine[Any, Any, T]]) -> Committed[T]:
        """Run the platform's own coroutine in a transaction, whatever the engine."""
        if self.engine.local:
            return await self._committer.run(lambda tx: complete(body(tx)))
        return await self.run_optimistic(body)

    async def run_optimistic(
        self, body: Callable[[Transaction], Coroutine[Any, Any, T]]
    ) -> Committed[T]:
        """Run `body` on a snapshot, then commit it if nothing that it read has changed.

        On a conflict it is run again from the start after a random pause; after four conflicts
        it is run while nobody else commits, so that it does not starve.

        Raises:
            ConflictError: even so it conflicted: others write to the store, or it is too slow.
        """

        async def attempt() -> tuple[Transaction, T]:
            snapshot = await self.engine.snapshot()
            try:
                tx = self._transaction(snapshot, snapshot.ts)
                return tx, await body(tx)
            finally:
                snapshot.close()

        for retry in range(RETRIES_MAX):
            tx, value = await attempt()
            try:
                return Committed(value, await self._committer.commit(tx))
            except ConflictError:
                await asyncio.sleep(backoff_seconds(retry))
        return await self._committer.run_alone(attempt)

    async def commit(self, tx: Transaction) -> Timestamp:
        """Commit a transaction made with `transaction_on` (see `Committer.commit`)."""
        return await self._committer.commit(tx)

    async def drop_entries(self, indexes: Sequence[IndexNumber]) -> None:
        """Remove every entry of indexes that no table has any more."""
        await self._committer.drop_entries(indexes)

    async def show_tables(self, views: Sequence[TableView]) -> None:
        """Show these tables to tools that look at the store from outside."""
        await self._committer.maintain(lambda: self.engine.set_views(views))

    def use_checks(self, checks: Mapping[str, TableCheck | None]) -> None:
        """From now on, refuse documents that these do not allow."""
        self._committer.use_checks(dict(checks))

    # Change

    def subscribe(
        self, reads: ReadSet, ts: Timestamp, on_change: Callable[[Timestamp], None]
    ) -> Subscription:
        """Wait on `reads`, observed at `ts`: `on_change` is called once, with the timestamp of the
        first later commit that overlaps them. It must not wait and must not raise.

        If something was written already, `on_change` is called before this returns.
        """
        self._committer.catch_up()
        subscription = Subscription(reads, ts, on_change)
        overlap = self._committer.log.first_overlap(reads, ts)
        if overlap is not None:
            subscription.spent = True
            on_change(overlap.commit.ts)
            return subscription
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop waiting. Safe to call on one that was told."""
        self._subscriptions.unsubscribe(subscription)

    def statistics(self) -> dict[str, Any]:
        """Frozen values of every part that queues or caches."""
        return {
            "engine": self.engine.statistics(),
            "committer": self._committer.statistics(),
            "subscriptions": self._subscriptions.statistics(),
        }

    async def close(self) -> None:
        """Finish what waits, then close the engine."""
        try:
            await self._committer.close()
        finally:
            await self.engine.close()


def backoff_seconds(attempt: int) -> float:
    """A random pause that doubles from attempt to attempt, so that rivals spread out."""
    return random.random() * min(BACKOFF_SECONDS * 2.0**attempt, BACKOFF_SECONDS_MAX)


def complete(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends to its end."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise InternalError("A transaction's own coroutine waited for something outside of it.")


def _keys_of(catalog: Catalog, id: str, text: str | None) -> tuple[Touched, ...]:
    """The index keys that a document with this content has."""
    table = catalog.numbered(table_number_of(id) or 0)
    return () if text is None or table is None else index_keys(table, id, unpack(text))
