"""Writing the SQLite database: the one connection that does, and the counters it keeps.

A transaction is opened, filled and ended by the batch above; here is what each step is in SQL,
and how a step that fails is told from a store that has failed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from camber.errors import StorageFullError
from camber.storage.engine import IndexNumber, TableView, Timestamp
from camber.storage.sqlite_batch import Pending
from camber.storage.sqlite_file import NO_ROOM, extended_code, translate
from camber.storage.sqlite_views import OUR_VIEWS, view_statements

_INSERT: Final = "INSERT INTO _camber_documents (seq, id, body) VALUES (?, ?, ?)"
_UPDATE: Final = "UPDATE _camber_documents SET body = ? WHERE id = ?"
_DELETE: Final = "DELETE FROM _camber_documents WHERE id = ?"
_ADD_ENTRY: Final = "INSERT INTO _camber_entries (index_number, key, seq) VALUES (?, ?, ?)"
# An entry that one commit of a batch removed and a later one added again is still there.
_ADD_ENTRY_OF: Final = (
    "INSERT OR REPLACE INTO _camber_entries (index_number, key, seq)"
    " SELECT ?, ?, seq FROM _camber_documents WHERE id = ?"
)
_REMOVE_ENTRY: Final = "DELETE FROM _camber_entries WHERE index_number = ? AND key = ?"
_DROP_INDEX: Final = "DELETE FROM _camber_entries WHERE index_number = ?"
_REMEMBER: Final = "INSERT INTO _camber_log (ts, number, documents, changes) VALUES (?, ?, ?, ?)"
_TRIM: Final = (
    "DELETE FROM _camber_log WHERE ts IN"
    " (SELECT ts FROM _camber_log WHERE ts < ? ORDER BY ts LIMIT ?)"
)

LOG_RETENTION_NS: Final = 60_000_000_000
"""How long the log remembers a commit, while others follow."""

_LAST_COMMIT: Final = "SELECT ts, number, documents FROM _camber_log ORDER BY ts DESC LIMIT 1"
_LAST_SEQ: Final = "SELECT max(seq) FROM _camber_documents"

_PASSING: Final = (apsw.BusyError, apsw.LockedError, apsw.SQLError, apsw.ConstraintError)


@dataclass(frozen=True, slots=True)
class Counters:
    """Where the database stands as of the last commit."""

    ts: Timestamp
    # Commits ever logged, and documents now: kept with each commit, so nobody has to count.
    number: int
    documents: int
    last_seq: int


class SqliteWriter:
    """Writes through `connection`, which nobody else uses at the same time."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self.connection = connection
        self._path = path
        cursor = connection.cursor()
        self._execute: Callable[..., Any] = cursor.execute
        self._executemany = cursor.executemany
        ts, number, documents = self._execute(_LAST_COMMIT).get or (0, 0, 0)
        last_seq = self._execute(_LAST_SEQ).get or 0
        self.durable = Counters(ts, number, documents, last_seq)
        # Why nothing may be written any more; None while all is well.
        self.failure: str | None = None

    @property
    def frames_written(self) -> int:
        """Pages that this connection ever appended to the write-ahead log."""
        return self.connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)[0]

    def pending(self) -> Pending:
        """An empty batch on top of what is durable."""
        durable = self.durable
        return Pending(durable.ts, durable.number, durable.documents, durable.last_seq)

    def write(self, pending: Pending) -> None:
        """Open a transaction and write the whole batch into it: all but the commit."""
        many = self._executemany
        self._execute("BEGIN IMMEDIATE")
        if pending.seqs:
            many(_INSERT, pending.inserts())
        if len(pending.after) > len(pending.seqs):
            many(_UPDATE, pending.updates())
            many(_DELETE, pending.deletes())
        removed = pending.removed_entries()
        if removed:
            many(_REMOVE_ENTRY, removed)
        of_new, of_old = pending.added_entries()
        if of_new:
            many(_ADD_ENTRY, of_new)
        if of_old:
            many(_ADD_ENTRY_OF, of_old)
        many(_REMEMBER, pending.log)
        # A few more than came, so that the log shrinks to its retention without a pause.
        self._execute(_TRIM, (pending.ts - LOG_RETENTION_NS, 2 * len(pending.log)))

    def commit(self) -> None:
        """Make the transaction durable. Waits for the disk: call it off the event loop."""
        self._execute("COMMIT")

    def drop_and_commit(self, indexes: Sequence[IndexNumber]) -> None:
        """As `commit`, having removed all entries of `indexes`, however many."""
        self._executemany(_DROP_INDEX, [(index,) for index in indexes])
        self._execute("COMMIT")

    def trim_log(self, before: Timestamp, limit: int) -> None:
        """Forget up to `limit` commits earlier than `before`, in a transaction of its own."""
        self._execute("BEGIN IMMEDIATE")
        self._execute(_TRIM, (before, limit))
        self._execute("COMMIT")

    def set_views(self, views: Sequence[TableView]) -> None:
        """Have exactly these views, in a transaction of its own, if they are not there yet."""
        wanted = view_statements(views)
        present: dict[str, str] = dict(self._execute(OUR_VIEWS).fetchall())
        if present == wanted:
            return
        self._execute("BEGIN IMMEDIATE")
        # All that go before any that come: SQLite takes `Notes` and `notes` for one name.
        for name in present.keys() | wanted.keys():
            quoted = name.replace('"', '""')
            self._execute(f'DROP VIEW IF EXISTS "{quoted}"')
        for statement in wanted.values():
            self._execute(statement)
        self._execute("COMMIT")

    def accept(self, pending: Pending) -> None:
        """The batch is durable."""
        self.durable = Counters(pending.ts, pending.number, pending.documents, pending.last_seq)

    def rollback(self) -> None:
        """Forget the transaction, if there is one."""
        # SQLite has rolled back by itself after some errors.
        if not self.connection.get_autocommit():
            try:
                self._execute("ROLLBACK")
            except apsw.Error as error:
                self.failure = str(translate(error, self._path))

    def report(self, error: Exception) -> Exception:
        """What to raise for `error`, which a step of the transaction raised.

        A full disk and a busy file pass, and so does what SQLite refused before it did anything.
        After the rest, a failed fsync above all, what is on the disk is unknown, and this writer
        must not be used again.
        """
        if self._is_out_of_room(error):
            return StorageFullError("There is no room left on the disk; nothing was written.")
        translated = translate(error, self._path)
        if not isinstance(error, _PASSING):
            self.failure = str(translated)
        return translated

    def _is_out_of_room(self, error: Exception) -> bool:
        """Whether a write failed only because the file could not grow."""
        if isinstance(error, apsw.FullError):
            return True
        return (
            isinstance(error, apsw.IOError)
            and extended_code(error) == apsw.SQLITE_IOERR_WRITE
            and self.connection.system_errno in NO_ROOM
        )
