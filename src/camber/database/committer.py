"""The one that makes writes visible, and only after the engine made them durable.

Mutations wait in one queue. The committer takes all that wait, runs them one after the other in
one engine batch, each seeing those before it, and then lets the engine commit while the event loop
goes on; meanwhile the next batch gathers by itself. Then all of them are answered. So there is one
fsync for the whole batch, no conflict however hot a document is, and no lock.

A transaction that ran elsewhere (on another thread, later in another process) enters the same
queue: its read set is held against everything committed since it began, and if nothing overlaps,
its writes join the batch.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

from camber.clock import Clock
from camber.database.catalog import Catalog, TableCheck, table_of_document
from camber.database.commit_log import (
    RETENTION_NS,
    CommitLog,
    LoggedCommit,
    Overlap,
    overlap_of,
)
from camber.database.subscription import Subscriptions
from camber.database.transaction import CreationClock, Transaction
from camber.errors import ConflictError, InternalError, OverloadedError, TransientError
from camber.storage.engine import Batch, Engine, IndexNumber, Timestamp
from camber.values.id import IdMint, table_number_of
from camber.values.wire import unpack

T = TypeVar("T")

WAITING_MAX: Final = 10_000
"""How many mutations may wait. More are refused at once rather than answered too late."""

BATCH_SECONDS: Final = 0.005
"""How long a batch may run bodies before it commits what it has."""

TRIM_SECONDS: Final = 10.0
"""How often the engine is asked to forget old log entries."""


@dataclass(frozen=True, slots=True)
class Committed(Generic[T]):
    """What a transaction returned, and the timestamp from which it can be seen."""

    value: T
    ts: Timestamp


@dataclass(frozen=True, slots=True)
class CommitterStatistics:
    """Counts since the start."""

    waiting: int
    batches: int
    commits: int
    conflicts: int


class _DroppedIndexes(tuple[IndexNumber, ...]):
    """Indexes that no table has any more, and whose entries are to go."""

    __slots__ = ()


class _Maintenance(NamedTuple):
    """Something to do to the engine while no batch is open."""

    run: Callable[[], None]


_Work = Callable[[Transaction], Any] | Transaction | _DroppedIndexes | _Maintenance


class _Entry:
    """One that waits: a body to run in line, a transaction that ran already, or indexes to drop."""

    __slots__ = ("future", "work")

    def __init__(self, future: "asyncio.Future[Committed[Any]]", work: "_Work") -> None:
        self.future = future
        self.work = work


class Committer:
    """The queue and its one task."""

    def __init__(
        self, engine: Engine, clock: Clock, catalog: Catalog, subscriptions: Subscriptions
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._subscriptions = subscriptions
        self.mint = IdMint(lambda: clock.now_ns() // 1_000_000)
        self.creation = CreationClock()
        self.log = CommitLog(engine.ts)
        # What everybody may see: moved only by `_publish`.
        self.catalog = catalog
        self.visible_ts: Timestamp = engine.ts
        # What the present schema says of each table, for tables that come to be.
        self.checks: dict[str, TableCheck | None] = {}
        self._waiting: deque[_Entry] = deque()
        self._filled = asyncio.Event()
        self._trimmed_at = clock.monotonic()
        self._batches = 0
        self._commits = 0
        self._conflicts = 0
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._serve())

    # Entering the queue

    async def run(self, attempt: Callable[[Transaction], T]) -> Committed[T]:
        """Run `attempt` in the next batch; return once what it wrote is durable.

        `attempt` runs on this thread, to its end. If it raises, nothing of it is written.

        Raises:
            OverloadedError: too many wait already.
            StorageFullError, StorageError: the batch could not be made durable.
        """
        return await self._enter(attempt)

    async def commit(self, transaction: Transaction) -> Timestamp:
        """Commit a transaction that ran on a snapshot; return once it is durable.

        Raises:
            ConflictError: something it read was written since it began.
            OverloadedError, StorageFullError, StorageError: as `run`.
        """
        committed = await self._enter(transaction)
        return committed.ts

    async def drop_entries(self, indexes: Sequence[IndexNumber]) -> None:
        """Remove every entry of `indexes`, which no table has any more."""
        await self._enter(_DroppedIndexes(indexes))

    async def maintain(self, run: Callable[[], None]) -> None:
        """Do something to the engine while no batch is open."""
        await self._enter(_Maintenance(run))

    def _enter(self, work: _Work) -> "asyncio.Future[Committed[Any]]":
        if self._closed:
            raise InternalError("The database is closed.")
        if len(self._waiting) >= WAITING_MAX:
            raise OverloadedError(
                f"Too many mutations are waiting (limit: {WAITING_MAX}). Try again later."
            )
        future: asyncio.Future[Committed[Any]] = self._task.get_loop().create_future()
        self._waiting.append(_Entry(future, work))
        self._filled.set()
        return future

    # The task

    async def _serve(self) -> None:
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._waiting:
                work = self._waiting[0].work
                if isinstance(work, _Maintenance):
                    _maintain(self._waiting.popleft(), work)
                else:
                    await self._run_batch()
            if self._clock.monotonic() - self._trimmed_at > TRIM_SECONDS:
                self._trimmed_at = self._clock.monotonic()
                await self._engine.trim_log(self.visible_ts - RETENTION_NS)

    async def _run_batch(self) -> None:
        ran = _Ran(self.visible_ts, self.catalog)
        batch: Batch | None = None
        try:
            batch = await self._engine.begin()
            self._run_waiting(batch, ran)
            if ran.has_changes:
                await batch.commit()
            else:
                batch.rollback()
        except Exception as error:  # the edge of the batch: whatever failed, all of it failed
            if batch is not None:
                batch.rollback()
            ran.fail(error if ran.entries else self._fail_all(error))
            return
        self._publish(ran)
        ran.answer()

    def _fail_all(self, error: Exception) -> Exception:
        """No batch could be opened: nobody who waits can be served."""
        while self._waiting:
            entry = self._waiting.popleft()
            if not entry.future.done():
                entry.future.set_exception(error)
        return error

    def _run_waiting(self, batch: Batch, ran: "_Ran") -> None:
        """Run what waits, until the queue is empty or the batch has taken its time."""
        monotonic = self._clock.monotonic
        deadline = monotonic() + BATCH_SECONDS
        waiting = self._waiting
        while waiting and not isinstance(waiting[0].work, _Maintenance):
            entry = waiting.popleft()
            if entry.future.done():
                continue  # Its caller went away before it began.
            try:
                work = entry.work
                assert not isinstance(work, _Maintenance)
                if isinstance(work, Transaction):
                    self._validate(batch, ran, entry, work)
                elif isinstance(work, _DroppedIndexes):
                    self._drop(batch, ran, entry, work)
                else:
                    self._run_in_line(batch, ran, entry, work)
            except Exception as error:  # the engine failed: the batch is lost, this one with it
                ran.entries.append((entry, None, error))
                raise
            if monotonic() > deadline:
                break

    def _run_in_line(
        self,
        batch: Batch,
        ran: "_Ran",
        entry: _Entry,
        attempt: Callable[[Transaction], Any],
    ) -> None:
        tx = Transaction(batch, ran.catalog, ran.ts, self._clock.now_ns(), self.creation, self.mint)
        try:
            value = attempt(tx)
        except Exception as error:  # the edge of the body: its failure is its caller's
            ran.entries.append((entry, None, error))
            return
        self._apply(batch, ran, tx)
        ran.entries.append((entry, Committed(value, ran.ts), None))

    def _validate(self, batch: Batch, ran: "_Ran", entry: _Entry, tx: Transaction) -> None:
        overlap = self._overlap(tx, ran)
        if isinstance(overlap, TransientError):
            ran.entries.append((entry, None, overlap))
            return
        if overlap is not None:
            self._conflicts += 1
            error = conflict_error(overlap, self.catalog)
            ran.entries.append((entry, None, error))
            return
        self._apply(batch, ran, tx)
        ran.entries.append((entry, Committed(None, ran.ts), None))

    def _drop(self, batch: Batch, ran: "_Ran", entry: _Entry, indexes: _DroppedIndexes) -> None:
        for index in indexes:
            batch.drop_index(index)
        ran.has_changes = ran.has_changes or bool(indexes)
        ran.entries.append((entry, Committed(None, ran.ts), None))

    def _overlap(self, tx: Transaction, ran: "_Ran") -> Overlap | TransientError | None:
        """What was written since `tx` began, and read by it, in the log or in this batch."""
        try:
            overlap = self.log.first_overlap(tx.reads, tx.begin_ts)
        except TransientError as error:
            return error
        if overlap is not None:
            return overlap
        for commit in ran.commits:
            overlap = overlap_of(commit, tx.reads)
            if overlap is not None:
                return overlap
        return None

    def _apply(self, batch: Batch, ran: "_Ran", tx: Transaction) -> None:
        ts = max(self._clock.now_ns(), ran.ts + 1)
        sealed = tx.seal(ts)
        if sealed is None:
            return
        batch.apply(sealed.commit)
        ran.has_changes = True
        ran.commits.append(LoggedCommit(ts, sealed.written, tuple(sealed.commit.writes)))
        ran.ts = ts
        if tx.catalog is not ran.catalog:
            ran.catalog = self._changed_catalog(ran.catalog, tx)

    def _changed_catalog(self, catalog: Catalog, tx: Transaction) -> Catalog:
        for before, after in tx.changed_tables():
            text = after or before
            if text is None:
                continue
            document = unpack(text)
            catalog = catalog.with_table(
                table_of_document(document, self.checks.get(document["name"]))
            )
        return catalog

    def _publish(self, ran: "_Ran") -> None:
        """Let everybody see the batch, and tell those whom it concerns. No await in here: a
        subscription made before it is told, one made after it has read it."""
        self._batches += 1
        if not ran.commits:
            return
        self._commits += len(ran.commits)
        self.visible_ts = ran.ts
        if ran.catalog is not ran.start_catalog:
            # The checks may have changed while the batch was under way.
            self.catalog = ran.catalog.with_checks(self.checks)
        assert self._engine.ts == ran.ts, "the engine shows what was committed (invariant 3)"
        for commit in ran.commits:
            self.log.append(commit)
            self._subscriptions.announce(commit.ts, commit.written)

    def use_checks(self, checks: dict[str, TableCheck | None]) -> None:
        """From now on, hold documents against these."""
        self.checks = checks
        self.catalog = self.catalog.with_checks(checks)

    def statistics(self) -> CommitterStatistics:
        return CommitterStatistics(
            len(self._waiting), self._batches, self._commits, self._conflicts
        )

    async def close(self) -> None:
        """Finish what waits, then stop."""
        self._closed = True
        while self._waiting and not self._task.done():
            await asyncio.wait([entry.future for entry in self._waiting])
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


def _maintain(entry: _Entry, work: _Maintenance) -> None:
    try:
        work.run()
    except Exception as error:  # the edge of the work: its failure is its caller's
        entry.future.set_exception(error)
    else:
        entry.future.set_result(Committed(None, 0))


class _Ran:
    """A batch under way: where it stands, what it will commit, whom it will answer."""

    __slots__ = ("catalog", "commits", "entries", "has_changes", "start_catalog", "ts")

    def __init__(self, ts: Timestamp, catalog: Catalog) -> None:
        self.ts = ts
        self.start_catalog = catalog
        self.catalog = catalog
        # Whether the engine's batch holds anything to make durable.
        self.has_changes = False
        self.commits: list[LoggedCommit] = []
        self.entries: list[tuple[_Entry, Committed[Any] | None, Exception | None]] = []

    def answer(self) -> None:
        for entry, committed, error in self.entries:
            if entry.future.done():
                continue
            if error is not None:
                entry.future.set_exception(error)
            else:
                assert committed is not None
                entry.future.set_result(committed)

    def fail(self, error: Exception) -> None:
        """The batch is lost. A body that failed by itself still says so."""
        for entry, _, own in self.entries:
            if not entry.future.done():
                entry.future.set_exception(own or error)


def conflict_error(overlap: Overlap, catalog: Catalog) -> ConflictError:
    """What the caller is told once its retries are used up."""
    id = overlap.point
    if id is None:
        index = overlap.index
        id = next(
            (
                touched.key[-32:].decode("ascii", "replace")
                for touched in overlap.commit.written.touched
                if touched.index_number == index
            ),
            None,
        )
    number = None if id is None else table_number_of(id)
    table = None if number is None else catalog.name_of(number)
    where = "some table" if table is None else f'the "{table}" table'
    which = "" if table is None else f' Another call changed the document with ID "{id}".'
    return ConflictError(
        f"Documents read from or written to {where} changed while this mutation was being run "
        f"and on every subsequent retry.{which} See https://docs.convex.dev/error#1",
        table=table,
        id=id,
    )
