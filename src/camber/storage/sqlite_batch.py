"""A batch on its way into the SQLite database: what was applied, kept in memory until it commits.

Nothing reaches SQLite before the commit, when everything is written at once, in as few statements
as there are kinds of row: a document that sixty transactions of the batch changed is written once.
Reads of the batch look here first, and at the last durable commit below.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from camber.storage.engine import BY_ID, Commit, IndexNumber, Timestamp, Write
from camber.storage.sqlite_log import encode_changes
from camber.storage.sqlite_reader import SqliteReader

_NONE: Final[dict[bytes, str | None]] = {}

_Scan: TypeAlias = tuple[IndexNumber, bytes, bytes | None, bool, int]
_SEEN_ROWS_MAX: Final = 4


class Pending:
    """The net of a batch's commits.

    `last_seq`, `number` and `documents` are where the database stands without it.
    """

    __slots__ = (
        "after",
        "before",
        "documents",
        "entries",
        "last_seq",
        "log",
        "number",
        "seen",
        "seqs",
        "ts",
    )

    def __init__(self, ts: Timestamp, number: int, documents: int, last_seq: int) -> None:
        self.ts = ts
        # Commits ever logged, and documents there are: kept with each commit, so nobody counts.
        self.number = number
        self.documents = documents
        self.last_seq = last_seq
        # Content by document, as the batch leaves it and as it was below; None: not there.
        self.after: dict[str, str | None] = {}
        self.before: dict[str, str | None] = {}
        # The `seq` of documents that the batch inserts.
        self.seqs: dict[str, int] = {}
        # Changed entries by index and key: to a document's id, or gone.
        self.entries: dict[IndexNumber, dict[bytes, str | None]] = {}
        self.log: list[tuple[Timestamp, int, int, str]] = []
        # Short scans of what lies below, which stands still as long as the batch is open: what
        # many transactions ask for, such as a counter's document, is asked of SQLite once.
        self.seen: dict[_Scan, list[tuple[bytes, str, str]]] = {}

    def add(self, commit: Commit) -> None:
        """Add one commit, later than all before it."""
        assert commit.ts > self.ts, f"{commit.ts} does not come after {self.ts}"
        for write in commit.writes:
            self._add_write(write)
        self.ts = commit.ts
        self.number += 1
        changes = encode_changes(commit.writes)
        self.log.append((commit.ts, self.number, self.documents, changes))

    def _add_write(self, write: Write) -> None:
        id, before, after = write.id, write.before, write.after
        if before != after:
            if id not in self.before:
                self.before[id] = before
            self.after[id] = after
            if before is None:
                self.documents += 1
                self.last_seq = self.seqs[id] = self.last_seq + 1
            elif after is None:
                self.documents -= 1
        entries = self.entries
        for entry in write.removed:
            entries.setdefault(entry[0], {})[entry[1]] = None
        for entry in write.added:
            of_index = entries.get(entry[0])
            if of_index is None:
                of_index = entries[entry[0]] = {}
            of_index[entry[1]] = id

    async def scan(
        self,
        below: SqliteReader,
        index: IndexNumber,
        lower: bytes,
        upper: bytes | None,
        *,
        reverse: bool,
        limit: int,
    ) -> list[tuple[bytes, str]]:
        """As `Reader.scan`, of `below` with the batch on top."""
        entries = self._entries_by_id() if index == BY_ID else self.entries.get(index, _NONE)
        if not entries and not self.after:
            return await below.scan(index, lower, upper, reverse=reverse, limit=limit)
        # Every entry of the batch may hide one below, so that many more are needed at most.
        rows = self._below(below, (index, lower, upper, reverse, limit + len(entries)))
        after = self.after
        found: list[tuple[bytes, str]] = []
        for key, text, id in rows:
            if key not in entries:
                now = after.get(id, text)
                assert now is not None, "the entries of a deleted document are gone"
                found.append((key, now))
        for key, entry in entries.items():
            if entry is not None and lower <= key and (upper is None or key < upper):
                content = after.get(entry) or await below.get(entry)
                assert content is not None, "an entry leads to a document"
                found.append((key, content))
        found.sort(reverse=reverse)
        return found[:limit]

    def _below(self, below: SqliteReader, scan: _Scan) -> list[tuple[bytes, str, str]]:
        rows = self.seen.get(scan)
        if rows is None:
            index, lower, upper, reverse, limit = scan
            rows = below.scan_with_ids(index, lower, upper, reverse=reverse, limit=limit)
            if len(rows) <= _SEEN_ROWS_MAX:
                self.seen[scan] = rows
        return rows

    def _entries_by_id(self) -> dict[bytes, str | None]:
        return {id.encode(): None if text is None else id for id, text in self.after.items()}

    # What is to be written

    def inserts(self) -> list[tuple[int, str, str]]:
        """New documents, as `(seq, id, body)`."""
        after = self.after
        return [
            (seq, id, text)
            for id, seq in self.seqs.items()
            if self.before[id] is None and (text := after[id]) is not None
        ]

    def updates(self) -> list[tuple[str, str]]:
        """Changed documents, as `(body, id)`."""
        return [
            (text, id)
            for id, text in self.after.items()
            if text is not None and self.before[id] is not None
        ]

    def deletes(self) -> list[tuple[str]]:
        """Deleted documents."""
        return [
            (id,) for id, text in self.after.items() if text is None and self.before[id] is not None
        ]

    def removed_entries(self) -> list[tuple[IndexNumber, bytes]]:
        return [
            (index, key)
            for index, entries in self.entries.items()
            for key, id in entries.items()
            if id is None
        ]

    def added_entries(
        self,
    ) -> tuple[Sequence[tuple[IndexNumber, bytes, int]], Sequence[tuple[IndexNumber, bytes, str]]]:
        """Entries of new documents by `seq`, and of documents that are there by id."""
        of_new: list[tuple[IndexNumber, bytes, int]] = []
        of_old: list[tuple[IndexNumber, bytes, str]] = []
        for index, entries in self.entries.items():
            for key, id in entries.items():
                if id is None:
                    continue
                if id in self.seqs and self.before[id] is None:
                    of_new.append((index, key, self.seqs[id]))
                else:
                    of_old.append((index, key, id))
        return of_new, of_old
