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
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from camber.clock import Clock
from camber.database.catalog import Catalog, TableCheck, table_of_document
from camber.database.commit_log import (
    RETENTION_NS,
    CommitLog,
    Overlap,
    overlap_of,
)
from camber.database.conflict import conflict, conflict_of
from camber.database.subscription import Subscriptions
from camber.database.transaction import CreationClock, Transaction
from camber.database.work import (
    Attempt,
    Committed,
    DroppedIndexes,
    Entry,
    Maintenance,
    Ran,
    Turn,
    Work,
)
from camber.errors import (
    InternalError,
    OverloadedError,
    TransientError,
)
from camber.storage.engine import Batch, Engine, IndexNumber, Timestamp
from camber.values.id import IdMint
from camber.values.wire import unpack

T = TypeVar("T")

WAITING_MAX: Final = 10_000
"""How many mutations may wait. More are refused at once rather than answered too late."""

BATCH_SECONDS: Final = 0.01
"""How long a batch may run bodies before it commits what it has."""

TURN_SECONDS: Final = 5.0
"""How long one transaction may keep all others from committing."""

TRIM_SECONDS: Final = 10.0
"""How often the engine is asked to forget log entries that commits have left."""


@dataclass(frozen=True, slots=True)
class CommitterStatistics:
    """Counts since the start."""

    waiting: int
    batches: int
    commits: int
    conflicts: int


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
        # What everybody may see: moved only by `_publish`. Whoever reads these, or the log, from
        # outside calls `catch_up` first.
        self.catalog = catalog
        self.visible_ts: Timestamp = engine.ts
        # What the present schema says of each table, for tables that come to be.
        self.checks: dict[str, TableCheck | None] = {}
        # The batch that the engine is making durable, until it is published.
        self.under_way: Ran | None = None
        self._waiting: deque[Entry] = deque()
        self._filled = asyncio.Event()
        self._trimmed_at = clock.monotonic()
        self._batches = 0
        self._commits = 0
        self._conflicts = 0
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._serve())

    # Entering the queue

    def run(self, attempt: Callable[[Transaction], T]) -> "asyncio.Future[Committed[T]]":
        """Run `attempt` in the next batch; the future ends once what it wrote is durable.

        `attempt` runs on this thread, to its end. If it raises, nothing of it is written.

        Raises:
            OverloadedError: too many wait already.
            StorageFullError, StorageError: by the future; the batch could not be made durable.
        """
        return self._enter(attempt)

    async def commit(self, transaction: Transaction) -> Timestamp:
        """Commit a transaction that ran on a snapshot; return once it is durable. One that
        wrote nothing is as good as its snapshot, and never conflicts.

        Raises:
            ConflictError: something it read was written since it began.
            OverloadedError, StorageFullError, StorageError: as `run`.
        """
        if not transaction.has_writes():
            return transaction.begin_ts
        committed = await self._enter(transaction)
        return committed.ts

    async def run_alone(
        self, attempt: Callable[[], Awaitable[tuple[Transaction, T]]]
    ) -> Committed[T]:
        """Run `attempt`, which may suspend and makes a transaction on a snapshot, while nobody
        else commits: for one that has conflicted too often.

        Raises:
            ConflictError: it took longer than 5 seconds, and others went on without it.
            OverloadedError, StorageFullError, StorageError: as `run`.
        """
        turn = Turn()
        try:
            await self._enter(turn)
            transaction, value = await attempt()
            if not transaction.has_writes():
                return Committed(value, transaction.begin_ts)
            # Before all that wait: the turn ends here.
            ended = self._queue(transaction, self._waiting.appendleft)
        finally:
            turn.set()
        return Committed(value, (await ended).ts)

    async def drop_entries(self, indexes: Sequence[IndexNumber]) -> None:
        """Remove every entry of `indexes`, which no table has any more."""
        await self._enter(DroppedIndexes(indexes))

    async def maintain(self, run: Callable[[], None]) -> None:
        """Do something to the engine while no batch is open."""
        await self._enter(Maintenance(run))

    def _enter(self, work: Work) -> "asyncio.Future[Committed[Any]]":
        if self._closed:
            raise InternalError("The database is closed.")
        if len(self._waiting) >= WAITING_MAX:
            raise OverloadedError(
                f"Too many mutations are waiting (limit: {WAITING_MAX}). Try again later."
            )
        return self._queue(work, self._waiting.append)

    def _queue(self, work: Work, put: Callable[[Entry], None]) -> "asyncio.Future[Committed[Any]]":
        future: asyncio.Future[Committed[Any]] = self._task.get_loop().create_future()
        put(Entry(future, work))
        self._filled.set()
        return future

    # The task

    async def _serve(self) -> None:
        try:
            while self._waiting or not self._closed:
                await self._filled.wait()
                self._filled.clear()
                while self._waiting:
                    await self._serve_next(self._waiting[0])
                    await self._trim_if_due()
        finally:
            # Ended early, by a mistake of ours: nobody shall wait for it for ever.
            self._closed = True
            self._fail_all(InternalError("The database has stopped."))

    async def _serve_next(self, entry: Entry) -> None:
        if entry.future.done():
            self._waiting.popleft()  # Its caller went away before it began.
        elif isinstance(entry.work, Maintenance):
            _maintain(self._waiting.popleft(), entry.work)
        elif isinstance(entry.work, Turn):
            await self._give_turn(self._waiting.popleft(), entry.work)
        else:
            await self._run_batch()

    async def _give_turn(self, entry: Entry, turn: Turn) -> None:
        entry.future.set_result(Committed(None, self.visible_ts))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TURN_SECONDS):
                await turn.wait()

    async def _trim_if_due(self) -> None:
        now = self._clock.monotonic()
        if self._waiting or now - self._trimmed_at < TRIM_SECONDS:
            return
        self._trimmed_at = now
        # What stands in the way of this will stand in the way of the next batch, and be told.
        with contextlib.suppress(TransientError, InternalError):
            await self._engine.trim_log(self.visible_ts - RETENTION_NS)

    async def _run_batch(self) -> None:
        batch: Batch | None = None
        ran: Ran | None = None
        try:
            batch = await self._engine.begin()
            ran = Ran(self.visible_ts, self.catalog, self.catalog)
            self._run_waiting(batch, ran)
            if ran.has_changes:
                self.under_way = ran
                await batch.commit()
            else:
                batch.rollback()
        except Exception as error:  # the edge of the batch: whatever failed, all of it failed
            self.under_way = None
            if batch is None or ran is None:
                self._fail_all(error)  # No batch could be opened: nobody can be served.
                return
            batch.rollback()
            ran.fail(error)
            return
        except BaseException:  # The loop is being torn down.
            if ran is not None:
                ran.fail(InternalError("The database has stopped."))
            raise
        try:
            self._publish(ran)
        finally:
            ran.answer()

    def _fail_all(self, error: Exception) -> None:
        while self._waiting:
            entry = self._waiting.popleft()
            if not entry.future.done():
                entry.future.set_exception(error)

    def _run_waiting(self, batch: Batch, ran: Ran) -> None:
        """Run what waits, until the queue is empty or the batch has taken its time."""
        monotonic = self._clock.monotonic
        deadline = monotonic() + BATCH_SECONDS
        waiting = self._waiting
        while waiting:
            entry = waiting[0]
            work = entry.work
            kind = type(work)
            if kind is Maintenance or kind is Turn:
                break
            waiting.popleft()
            if entry.future.done():
                continue  # Its caller went away before it began.
            try:
                if kind is Transaction:
                    self._validate(batch, ran, entry, cast(Transaction, work))
                elif kind is DroppedIndexes:
                    self._drop(batch, ran, entry, cast(DroppedIndexes, work))
                else:
                    self._run_in_line(batch, ran, entry, cast(Attempt, work))
            except Exception:  # the engine failed: the batch is lost, this one with it
                ran.entries.append(entry)
                raise
            if monotonic() > deadline:
                break

    def _run_in_line(
        self,
        batch: Batch,
        ran: Ran,
        entry: Entry,
        attempt: Callable[[Transaction], Any],
    ) -> None:
        tx = Transaction(batch, ran.catalog, ran.ts, self._clock.now_ns(), self.creation, self.mint)
        try:
            value = attempt(tx)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the edge of the body: its failure is its caller's
            ran.note(entry, _bearable(error))
            return
        self._apply(batch, ran, tx)
        ran.note(entry, Committed(value, ran.ts))

    def _validate(self, batch: Batch, ran: Ran, entry: Entry, tx: Transaction) -> None:
        error = self._objection(tx, ran)
        if error is not None:
            ran.note(entry, error)
            return
        self._apply(batch, ran, tx)
        ran.note(entry, Committed(None, ran.ts))

    def _objection(self, tx: Transaction, ran: Ran) -> TransientError | None:
        """Why `tx`, which ran on a snapshot, cannot be committed after all; None if it can."""
        try:
            overlap = self._overlap(tx, ran)
        except TransientError as error:
            return error
        if overlap is not None:
            self._conflicts += 1
            return conflict_of(overlap, ran.catalog)
        for table in tx.written_tables():
            now = ran.catalog.numbered(table.number)
            # Its documents were checked, and given their index entries, by what was in force.
            if now is not None and (now != table or now.check is not table.check):
                self._conflicts += 1
                return conflict(table.name, None)
        return None

    def _drop(self, batch: Batch, ran: Ran, entry: Entry, indexes: DroppedIndexes) -> None:
        for index in indexes:
            batch.drop_index(index)
        ran.has_changes = ran.has_changes or bool(indexes)
        ran.note(entry, Committed(None, ran.ts))

    def _overlap(self, tx: Transaction, ran: Ran) -> Overlap | None:
        """What was written since `tx` began, and read by it, in the log or in this batch."""
        overlap = self.log.first_overlap(tx.reads, tx.begin_ts)
        if overlap is not None:
            return overlap
        for commit in ran.commits:
            overlap = overlap_of(commit, tx.reads)
            if overlap is not None:
                return overlap
        return None

    def _apply(self, batch: Batch, ran: Ran, tx: Transaction) -> None:
        ts = max(self._clock.now_ns(), ran.ts + 1, self.creation.floor_ts())
        sealed = tx.seal(ts)
        if sealed is None:
            return
        batch.apply(sealed.commit)
        ran.has_changes = True
        ran.commits.append(sealed.logged)
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

    def catch_up(self) -> None:
        """Publish the batch that the engine shows already.

        The engine's head moves when the disk has answered; the committer's task runs again only
        a moment later. Whoever looks in between calls this, so that the head, the timestamp, the
        catalog and the log are always of one moment.
        """
        ran = self.under_way
        if ran is not None and ran.commits and self._engine.ts == ran.ts:
            self._publish(ran)

    def _publish(self, ran: Ran) -> None:
        """Let everybody see the batch, and tell those whom it concerns. No await in here: a
        subscription made before it is told, one made after it has read it."""
        if ran.is_published:
            return
        ran.is_published = True
        self.under_way = None
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
        for commit in ran.commits:
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
        self._filled.set()
        await asyncio.wait([self._task])
        self._task.result()


def _maintain(entry: Entry, work: Maintenance) -> None:
    try:
        work.run()
    except Exception as error:  # the edge of the work: its failure is its caller's
        entry.future.set_exception(error)
    else:
        entry.future.set_result(Committed(None, 0))


def _bearable(error: BaseException) -> Exception:
    """`error` in a form that a future can carry to the caller without ending his task."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = InternalError(f"The body ended with {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
