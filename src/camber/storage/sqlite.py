"""The engine on one SQLite database: what a single node keeps its documents in.

Four kinds of connections share the file. One writes. One is the head, which queries read from:
it stays pinned at the last commit that was acknowledged, so while a thread waits for the next
one to reach the disk, nobody sees it early. One checkpoints. The others are snapshots.

The write-ahead log is synced with every commit. Whatever a commit acknowledged is there again
after a crash of the process, of the machine, or of its power supply.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Final

import apsw

from camber.errors import StorageCorruptError, StorageError
from camber.storage.disk_thread import DiskThread
from camber.storage.engine import (
    BY_ID,
    Commit,
    EngineStatistics,
    IndexNumber,
    LogEntry,
    TableView,
    Timestamp,
)
from camber.storage.sqlite_checkpoints import Checkpoints
from camber.storage.sqlite_file import (
    PAGE_SIZE,
    FileLock,
    opening_error,
    prepare,
    size_on_disk,
    translate,
    wal_size,
)
from camber.storage.sqlite_reader import SqliteReader, SqliteSnapshot
from camber.storage.sqlite_writer import SqliteWriter

_MIB: Final = 1024 * 1024

# Page caches fill as pages are used; an idle engine holds next to nothing.
_HEAD_CACHE: Final = 16 * _MIB
_WRITE_CACHE: Final = 8 * _MIB
_SNAPSHOT_CACHE: Final = 2 * _MIB

# How long to wait for another program that writes to our file, which none should.
_BUSY_MS: Final = 1000

_IDLE_SNAPSHOTS_MAX: Final = 4
_TRIM_ROWS_MAX: Final = 500

_TABLES: Final = ["_camber_documents", "_camber_entries", "_camber_log"]


async def open_sqlite(
    path: Path,
    *,
    checkpoint_bytes: int = 4 * _MIB,
    restart_bytes: int = 64 * _MIB,
    size_max: int | None = None,
) -> "SqliteEngine":
    """Open the database at `path`, or make a new one there.

    Args:
        path: the database file. `<path>-wal`, `-shm` and `.lock` belong to it.
        checkpoint_bytes: how much of the write-ahead log may wait to be copied into the file.
        restart_bytes: how long the write-ahead log may grow before it is started again.
        size_max: the size in bytes beyond which the database counts as full; None for no limit.

    Raises:
        ConfigError: the folder is missing, or cannot be written to.
        StorageLockedError: another process has the database open.
        StorageFormatError: not a database of Camber's, or one of another format version.
        StorageCorruptError: the file is damaged.
        StorageFullError: there is no room for the files that belong to it.
        StorageError: the file cannot be read.
    """
    lock = FileLock.take(path)
    try:
        prepare(path)
        writer = SqliteWriter(_connect(path, _WRITE_CACHE), path)
        _check_schema(writer.connection, path)
        if size_max is not None:
            pages = max(size_max // PAGE_SIZE, 1)
            writer.connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
        checkpoints = Checkpoints(
            _connect(path, _SNAPSHOT_CACHE),
            due_frames=max(checkpoint_bytes // PAGE_SIZE, 1),
            overdue_frames=max(restart_bytes // PAGE_SIZE, 1),
            # What an earlier process left. A log that was started again holds fewer: harmless.
            frames=wal_size(path) // PAGE_SIZE,
        )
        return SqliteEngine(path, lock, writer, checkpoints)
    except apsw.Error as error:
        lock.release()
        raise opening_error(error, path) from error
    except BaseException:
        lock.release()
        raise


def _connect(path: Path, cache_size: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(_BUSY_MS)
    connection.wal_autocheckpoint(0)
    # Plans must not depend on the values bound: SQLite would prepare a statement with ORDER BY
    # anew for each execution, which costs more than the execution.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = {-(cache_size // 1024)}")
    # Damage is then noticed when a page is read, not when its cells are.
    connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _connect_to_read(path: Path, cache_size: int) -> apsw.Connection:
    connection = _connect(path, cache_size)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _check_schema(connection: apsw.Connection, path: Path) -> None:
    # It is in that mode from the start, unless a tool has taken it out of it.
    if connection.execute("PRAGMA journal_mode = WAL").get != "wal":
        raise StorageError(f"The database {path} cannot be put into WAL mode.")
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema")]
    for table in _TABLES:
        if table not in names:
            raise StorageCorruptError(f"The database {path} is damaged: {table} is missing.")


class BatchState(Enum):
    """A batch goes through these in order, and may skip the second."""

    OPEN = "open"  # In memory: the database knows nothing of it.
    COMMITTING = "committing"  # Written, and a thread waits for the disk.
    ENDED = "ended"


class SqliteBatch:
    """Commits that become one write transaction."""

    def __init__(self, engine: "SqliteEngine", writer: SqliteWriter) -> None:
        self._engine = engine
        self._writer = writer
        # The head stands still as long as the batch is open.
        self._below = engine.head
        self._pending = writer.pending()
        self._dropped: list[IndexNumber] = []
        self.state = BatchState.OPEN

    async def get(self, id: str, /) -> str | None:
        after = self._pending.after
        if id in after:
            return after[id]
        return await self._below.get(id)

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
        if index in self._dropped:
            return []
        return await self._pending.scan(
            self._below, index, lower, upper, reverse=reverse, limit=limit
        )

    def apply(self, commit: Commit, /) -> None:
        assert self.state is BatchState.OPEN, f"the batch is {self.state.value}"
        self._pending.add(commit)

    def drop_index(self, index: IndexNumber, /) -> None:
        assert index != BY_ID, "the index by id cannot be dropped"
        assert self.state is BatchState.OPEN, f"the batch is {self.state.value}"
        # The entries are removed on the thread that commits: there may be millions of them.
        self._dropped.append(index)

    async def commit(self) -> None:
        assert self.state is BatchState.OPEN, f"the batch is {self.state.value}"
        if not self._pending.log and not self._dropped:
            self._end()
            return
        try:
            # On this thread, because it is mostly work for the interpreter; only the disk is
            # waited for on the other.
            self._writer.write(self._pending)
        except apsw.Error as error:
            raise self._settle(error) or error from error
        self.state = BatchState.COMMITTING
        work = self._drop_and_commit if self._dropped else self._writer.commit
        await self._engine.commit(work, self._settle)

    def _drop_and_commit(self) -> None:
        self._writer.drop_and_commit(self._dropped)

    def _settle(self, error: Exception | None) -> Exception | None:
        """The commit has ended, on the event loop; the error is SQLite's, the result ours."""
        if error is not None:
            error = self._writer.report(error)
            self._writer.rollback()
        else:
            self._writer.accept(self._pending)
        self._end()
        return error

    def rollback(self) -> None:
        if self.state is BatchState.OPEN:
            self._end()

    def _end(self) -> None:
        self.state = BatchState.ENDED
        self._engine.batch = None


class SqliteEngine:
    """The database at `path`, open in this process and in no other. See `open_sqlite`."""

    local = True

    def __init__(
        self, path: Path, lock: FileLock, writer: SqliteWriter, checkpoints: Checkpoints
    ) -> None:
        self._path = path
        self._lock = lock
        self._writer = writer
        self._checkpoints = checkpoints
        self.head = SqliteReader(_connect_to_read(path, _HEAD_CACHE), path)
        self.head.pin()
        # The batch that is open, from `begin` until it has committed or is rolled back.
        self.batch: SqliteBatch | None = None
        # Done when the write connection, in use by a thread, is free again; None while it is.
        self._busy: asyncio.Future[None] | None = None
        # Whether the file may be ahead of the head: from the moment a thread has the commit.
        self._committing = False
        self._checkpointing = False
        self._snapshot_waiters: list[asyncio.Future[SqliteSnapshot]] = []
        self._idle_connections: deque[apsw.Connection] = deque()
        self._closed = False
        self._commit_thread = DiskThread("camber-commit")
        self._checkpoint_thread = DiskThread("camber-checkpoint")

    @property
    def ts(self) -> Timestamp:
        return self._writer.durable.ts

    async def begin(self) -> SqliteBatch:
        await self._wait_until_free()
        self._check_writable()
        if self._checkpoints.is_overdue(self._writer.frames_written):
            await self._restart_log()
            self._check_writable()
        assert self.batch is None, "a batch is open already"
        self.batch = SqliteBatch(self, self._writer)
        return self.batch

    async def commit(
        self,
        work: Callable[[], None],
        settle: Callable[[Exception | None], Exception | None],
    ) -> None:
        """Let the thread do `work`, which ends in COMMIT; `settle` it before the head moves."""
        self._committing = True

        def finish(error: Exception | None) -> Exception | None:
            self._committing = False
            error = settle(error)
            self._move_head()
            self._serve_snapshot_waiters()
            self._checkpoint_if_due()
            return error

        await self._occupy(self._commit_thread, work, finish)

    async def _occupy(
        self,
        thread: DiskThread,
        work: Callable[[], None],
        settle: Callable[[Exception | None], Exception | None],
    ) -> None:
        """Do `work` on a thread, with the write connection out of bounds until it is done."""

        def finish(error: Exception | None) -> Exception | None:
            self._busy = None
            return settle(error)

        self._busy = thread.start(work, finish)
        # Whoever waits may be cancelled; the disk is not.
        await asyncio.shield(self._busy)

    async def _wait_until_free(self) -> None:
        while self._busy is not None:
            await asyncio.wait([self._busy])

    def _move_head(self) -> None:
        try:
            self.head.move()
        except apsw.Error as error:
            # Unpinned it would see later commits too soon: see to it that there are none.
            self._writer.failure = str(translate(error, self._path))

    async def snapshot(self) -> SqliteSnapshot:
        self._check_open()
        if not self._committing:
            return self._take_snapshot()
        waiter: asyncio.Future[SqliteSnapshot] = asyncio.get_running_loop().create_future()
        self._snapshot_waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                waiter.result().close()
            raise

    def _take_snapshot(self) -> SqliteSnapshot:
        assert not self._committing, "the file may be ahead of the head"
        try:
            if self._idle_connections:
                connection = self._idle_connections.pop()
            else:
                connection = _connect_to_read(self._path, _SNAPSHOT_CACHE)
            return SqliteSnapshot(connection, self._path, self.ts, self._take_back)
        except apsw.Error as error:
            raise translate(error, self._path) from error

    def _serve_snapshot_waiters(self) -> None:
        waiters, self._snapshot_waiters = self._snapshot_waiters, []
        for waiter in waiters:
            if waiter.done():
                continue
            try:
                waiter.set_result(self._take_snapshot())
            except Exception as error:
                waiter.set_exception(error)

    def _take_back(self, connection: apsw.Connection) -> None:
        """Keep the connection of a snapshot for the next one. Called from any thread."""
        if self._closed or len(self._idle_connections) >= _IDLE_SNAPSHOTS_MAX:
            connection.close()
            return
        connection.execute("COMMIT")
        self._idle_connections.append(connection)

    def _checkpoint_if_due(self) -> None:
        written = self._writer.frames_written
        if self._checkpointing or self._closed or not self._checkpoints.is_due(written):
            return
        self._checkpointing = True

        def finish(error: Exception | None) -> None:
            self._checkpointing = False
            if error is None:
                self._checkpoints.copied(written)
            else:
                self._checkpoints.postpone_copy(written)
                self._note_checkpoint_error(error)

        self._checkpoint_thread.start(self._checkpoints.copy, finish)

    async def _restart_log(self) -> None:
        # The head lets go of the log. Nobody commits meanwhile, so it still reads the same.
        self.head.unpin()

        def finish(error: Exception | None) -> None:
            written = self._writer.frames_written
            if error is None:
                self._checkpoints.restarted(written)
            else:
                self._checkpoints.postpone_restart(written)
                self._note_checkpoint_error(error)
            self._move_head()

        await self._occupy(self._checkpoint_thread, self._checkpoints.restart, finish)

    def _note_checkpoint_error(self, error: Exception) -> None:
        """A reader in the way or a full disk pass: the commits are safe in the log. Any other
        error may have been a failed fsync."""
        if not isinstance(error, apsw.BusyError | apsw.LockedError | apsw.FullError):
            self._writer.failure = str(translate(error, self._path))

    async def read_log(self, after: Timestamp, /, *, limit: int) -> list[LogEntry]:
        return self.head.read_log(after, limit)

    async def trim_log(self, before: Timestamp, /) -> None:
        await self._wait_until_free()
        self._check_writable()
        assert self.batch is None, "a batch is open"
        before = min(before, self.ts)
        oldest = self.head.oldest_in_log()
        if oldest is None or oldest[0] >= before:
            return

        def work() -> None:
            self._writer.trim_log(before, _TRIM_ROWS_MAX)

        def finish(error: Exception | None) -> Exception | None:
            if error is not None:
                error = self._writer.report(error)
                self._writer.rollback()
            self._move_head()
            return error

        await self._occupy(self._commit_thread, work, finish)

    def set_views(self, views: Sequence[TableView], /) -> None:
        self._check_writable()
        assert self.batch is None, "a batch is open"
        assert self._busy is None, "the write connection is in use"
        try:
            self._writer.set_views(views)
        except apsw.Error as error:
            raise self._writer.report(error) from error
        finally:
            self._writer.rollback()
        self._move_head()

    def statistics(self) -> EngineStatistics:
        durable = self._writer.durable
        oldest = self.head.oldest_in_log()
        return EngineStatistics(
            name="sqlite",
            documents=durable.documents,
            file_size=size_on_disk(self._path),
            log_entries=0 if oldest is None else durable.number - oldest[1] + 1,
        )

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._wait_until_free()
        if self.batch is not None:
            self.batch.rollback()
        # The last connection to close checkpoints, which may take a while. Behind a checkpoint
        # that is under way, because both are done by the same thread.
        await asyncio.shield(self._checkpoint_thread.start(self._close_connections, _as_it_is))
        self._commit_thread.stop()
        self._checkpoint_thread.stop()
        self._lock.release()

    def _close_connections(self) -> None:
        connections = [self.head.connection, *self._idle_connections, self._writer.connection]
        for connection in [*connections, self._checkpoints.connection]:
            if self._writer.failure is not None:
                # What is in the log may not be on the disk: leave it for the next to recover.
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("The store is closed.")

    def _check_writable(self) -> None:
        self._check_open()
        if self._writer.failure is not None:
            raise StorageError(
                f"The store failed earlier and takes no more writes: {self._writer.failure}"
            )


def _as_it_is(error: Exception | None) -> Exception | None:
    return error
