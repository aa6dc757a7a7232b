"""Writing the SQLite database: the one connection that does, and the counters it keeps.

A transaction is opened, filled and ended by the batch above; here is what each step is in SQL,
and how a step that fails is told from a store that has failed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import apsw

from camber.errors import StorageFullError
from camber.storage.engine import Commit, IndexNumber, TableView, Timestamp, Write
from camber.storage.sqlite_file import NO_ROOM, extended_code, translate
from camber.storage.sqlite_log import encode_changes
from camber.storage.sqlite_views import OUR_VIEWS, view_statements

_INSERT: Final = "INSERT INTO _camber_documents (seq, id, body) VALUES (?, ?, ?)"
_UPDATE: Final = "UPDATE _camber_documents SET body = ? WHERE id = ?"
_UPDATE_SEQ: Final = _UPDATE + " RETURNING seq"
_SELECT_SEQ: Final = "SELECT seq FROM _camber_documents WHERE id = ?"
_DELETE: Final = "DELETE FROM _camber_documents WHERE id = ?"
_ADD_ENTRY: Final = "INSERT INTO _camber_entries (index_number, key, seq) VALUES (?, ?, ?)"
_REMOVE_ENTRY: Final = "DELETE FROM _camber_entries WHERE index_number = ? AND key = ?"
_DROP_INDEX: Final = "DELETE FROM _camber_entries WHERE index_number = ?"
_REMEMBER: Final = "INSERT INTO _camber_log (ts, number, documents, changes) VALUES (?, ?, ?, ?)"
_TRIM: Final = (
    "DELETE FROM _camber_log WHERE ts IN"
    " (SELECT ts FROM _camber_log WHERE ts < ? ORDER BY ts LIMIT ?)"
)

_LAST_COMMIT: Final = "SELECT ts, number, documents FROM _camber_log ORDER BY ts DESC LIMIT 1"
_LAST_SEQ: Final = "SELECT max(seq) FROM _camber_documents"

_PASSING: Final = (apsw.BusyError, apsw.LockedError, apsw.SQLError, apsw.ConstraintError)


@dataclass(slots=True)
class Counters:
    """Where the writer stands: as of the last commit, or within the open transaction."""

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
        self._counters = replace(self.durable)
        self._remembered: list[tuple[Timestamp, int, int, str]] = []
        # Why nothing may be written any more; None while all is well.
        self.failure: str | None = None

    @property
    def frames_written(self) -> int:
        """Pages that this connection ever appended to the write-ahead log."""
        return self.connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)[0]

    def begin(self) -> None:
        self._execute("BEGIN IMMEDIATE")

    def apply(self, commit: Commit) -> None:
        counters = self._counters
        assert commit.ts > counters.ts, f"{commit.ts} does not come after {counters.ts}"
        for write in commit.writes:
            self._write(write)
        counters.ts = commit.ts
        counters.number += 1
        changes = encode_changes(commit.writes)
        self._remembered.append((commit.ts, counters.number, counters.documents, changes))

    def _write(self, write: Write) -> None:
        seq = self._write_document(write)
        if write.removed:
            self._executemany(_REMOVE_ENTRY, write.removed)
        if write.added:
            self._executemany(_ADD_ENTRY, [(index, key, seq) for index, key in write.added])

    def _write_document(self, write: Write) -> int | None:
        """Write the document alone. Its `seq`, where entries will need it."""
        seq: int | None = None
        if write.before is None:
            assert write.after is not None, "a write of nothing"
            self._counters.documents += 1
            self._counters.last_seq = seq = self._counters.last_seq + 1
            self._execute(_INSERT, (seq, write.id, write.after))
            return seq
        if write.after is None:
            self._counters.documents -= 1
            self._execute(_DELETE, (write.id,))
        elif write.before == write.after:
            seq = self._execute(_SELECT_SEQ, (write.id,)).get
            assert seq is not None, f"{write.id} is not there"
            return seq
        elif write.added:
            seq = self._execute(_UPDATE_SEQ, (write.after, write.id)).get
        else:
            self._execute(_UPDATE, (write.after, write.id))
        assert self.connection.changes() == 1, f"{write.id} is not there"
        return seq

    def remember(self) -> None:
        """Log the commits of this transaction: its last step before `commit`."""
        self._executemany(_REMEMBER, self._remembered)
        self._remembered.clear()

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

    def accept(self) -> None:
        """The transaction is durable."""
        self.durable = replace(self._counters)

    def rollback(self) -> None:
        """Forget the transaction, if there is one."""
        self._remembered.clear()
        self._counters = replace(self.durable)
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
            return StorageFullError(f"There is no room left for {self._path}; nothing was written.")
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
