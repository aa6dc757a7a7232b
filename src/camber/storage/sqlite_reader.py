"""Reading the SQLite database: a connection that stands at one commit until it is moved.

A reader that is pinned holds a read transaction, so it goes on seeing the commit it was pinned at
while others write and check-point. One that is not pinned sees the newest commit in the file.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import apsw

from camber.storage.engine import BY_ID, IndexNumber, LogEntry, Timestamp
from camber.storage.sqlite_file import FAILURES, translate
from camber.storage.sqlite_log import decode_changes

_GET: Final = "SELECT body FROM _camber_documents WHERE id = ?"

# CROSS JOIN keeps SQLite to this order: entries in key order, for each its document. `LIMIT ?`
# alone would be compiled anew for every value that is bound, to be planned by it, which takes three
# times as long as a short scan; the plus sign hides it.
_SCAN: Final = (
    "SELECT e.key, d.body{id}"
    " FROM _camber_entries e CROSS JOIN _camber_documents d ON d.seq = e.seq"
    " WHERE e.index_number = ? AND e.key >= ?{upper} ORDER BY e.key{direction} LIMIT +?"
)
_SCAN_IDS: Final = (
    "SELECT CAST(id AS BLOB), body{id} FROM _camber_documents"
    " WHERE id >= ?{upper} ORDER BY id{direction} LIMIT +?"
)


def _both_ways(statement: str, upper: str, id: str = "") -> tuple[str, str]:
    """The statement for `reverse=False` and for `reverse=True`."""
    return (
        statement.format(upper=upper, direction="", id=id),
        statement.format(upper=upper, direction=" DESC", id=id),
    )


_SCAN_BELOW: Final = _both_ways(_SCAN, " AND e.key < ?")
_SCAN_ON: Final = _both_ways(_SCAN, "")
_SCAN_IDS_BELOW: Final = _both_ways(_SCAN_IDS, " AND id < ?")
_SCAN_IDS_ON: Final = _both_ways(_SCAN_IDS, "")

# The same, with each document's id.
_SCAN_BELOW_ID: Final = _both_ways(_SCAN, " AND e.key < ?", ", d.id")
_SCAN_ON_ID: Final = _both_ways(_SCAN, "", ", d.id")
_SCAN_IDS_BELOW_ID: Final = _both_ways(_SCAN_IDS, " AND id < ?", ", id")
_SCAN_IDS_ON_ID: Final = _both_ways(_SCAN_IDS, "", ", id")

_READ_LOG: Final = "SELECT ts, changes FROM _camber_log WHERE ts > ? ORDER BY ts LIMIT +?"
_OLDEST: Final = "SELECT ts, number FROM _camber_log ORDER BY ts LIMIT 1"

# A transaction takes hold of its moment at the first read, not at BEGIN.
_PIN: Final = "BEGIN; SELECT 1 FROM _camber_log LIMIT 1"
_MOVE: Final = "COMMIT; " + _PIN


class SqliteReader:
    """Reads through `connection`, which nobody else uses at the same time."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self.connection = connection
        self._path = path
        # One cursor for all: every method here takes its rows out before it returns. Any, because
        # what a statement returns is only known where the statement is.
        self._execute: Callable[..., Any] = connection.cursor().execute

    async def get(self, id: str, /) -> str | None:
        try:
            body: str | None = self._execute(_GET, (id,)).get
        except FAILURES as error:
            raise translate(error, self._path) from error
        return body

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
        if index == BY_ID:
            return self._scan_ids(lower, upper, reverse, limit)
        try:
            if upper is None:
                rows = self._execute(_SCAN_ON[reverse], (index, lower, limit))
            else:
                rows = self._execute(_SCAN_BELOW[reverse], (index, lower, upper, limit))
            found: list[tuple[bytes, str]] = rows.fetchall()
        except FAILURES as error:
            raise translate(error, self._path) from error
        return found

    def scan_with_ids(
        self,
        index: IndexNumber,
        lower: bytes,
        upper: bytes | None,
        *,
        reverse: bool,
        limit: int,
    ) -> list[tuple[bytes, str, str]]:
        """As `scan`, but with the id of each document as well."""
        parameters: tuple[Any, ...]
        if index == BY_ID:
            on, below = _SCAN_IDS_ON_ID, _SCAN_IDS_BELOW_ID
            parameters = (lower.decode("latin-1"),)
            end: bytes | str | None = None if upper is None else upper.decode("latin-1")
        else:
            on, below = _SCAN_ON_ID, _SCAN_BELOW_ID
            parameters = (index, lower)
            end = upper
        try:
            if end is None:
                rows = self._execute(on[reverse], (*parameters, limit))
            else:
                rows = self._execute(below[reverse], (*parameters, end, limit))
            found: list[tuple[bytes, str, str]] = rows.fetchall()
        except FAILURES as error:
            raise translate(error, self._path) from error
        return found

    def _scan_ids(
        self, lower: bytes, upper: bytes | None, reverse: bool, limit: int
    ) -> list[tuple[bytes, str]]:
        # Ids are ASCII, bounds may be any bytes. As Latin-1, a bound's bytes below 0x80 stay as
        # they are and the others sort after every ASCII character, in UTF-8 too.
        above = lower.decode("latin-1")
        try:
            if upper is None:
                rows = self._execute(_SCAN_IDS_ON[reverse], (above, limit))
            else:
                below = upper.decode("latin-1")
                rows = self._execute(_SCAN_IDS_BELOW[reverse], (above, below, limit))
            found: list[tuple[bytes, str]] = rows.fetchall()
        except FAILURES as error:
            raise translate(error, self._path) from error
        return found

    def read_log(self, after: Timestamp, limit: int) -> list[LogEntry]:
        try:
            rows = self._execute(_READ_LOG, (after, limit)).fetchall()
            return [LogEntry(ts, decode_changes(changes)) for ts, changes in rows]
        except FAILURES as error:
            raise translate(error, self._path) from error

    def oldest_in_log(self) -> tuple[Timestamp, int] | None:
        """The oldest commit that is remembered, and its number; None before the first."""
        try:
            row: tuple[Timestamp, int] | None = self._execute(_OLDEST).get
        except FAILURES as error:
            raise translate(error, self._path) from error
        return row

    def pin(self) -> None:
        """Stay at the newest commit in the file."""
        self._execute(_PIN).fetchall()

    def unpin(self) -> None:
        if not self.connection.get_autocommit():
            self._execute("COMMIT")

    def move(self) -> None:
        """Leave the present moment, if pinned to one, for the newest commit in the file."""
        self._execute(_PIN if self.connection.get_autocommit() else _MOVE).fetchall()


class SqliteSnapshot(SqliteReader):
    """A pinned reader of its own. `release` takes the connection back."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        ts: Timestamp,
        release: Callable[[apsw.Connection], None],
    ) -> None:
        super().__init__(connection, path)
        self.ts = ts
        self._release: Callable[[apsw.Connection], None] | None = release
        self.pin()

    def close(self) -> None:
        if self._release is None:
            return
        release, self._release = self._release, None
        self._execute = _refuse
        release(self.connection)


def _refuse(*_: object) -> None:
    raise AssertionError("the snapshot is closed")
