"""The engine in memory: the reference for all others, and what tests run on.

Every key holds its versions, each stamped with the moment of the batch that wrote it. Reading is
reading at a moment: the head's, a snapshot's, or a batch's own, which is one past the head.
Versions that no reader can reach are dropped by the next commit, or by the snapshot that closes.
"""

import bisect
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from camber.errors import StorageError
from camber.storage.engine import (
    BY_ID,
    Commit,
    EngineStatistics,
    IndexNumber,
    LogEntry,
    TableView,
    Timestamp,
    Write,
)

Moment: TypeAlias = int
"""How many batches had been committed."""


@dataclass(slots=True)
class _Map:
    """An ordered map with a past: for each key its versions, oldest first, None for absent."""

    keys: list[bytes] = field(default_factory=list)
    versions: dict[bytes, list[tuple[Moment, str | None]]] = field(default_factory=dict)

    def read(self, key: bytes, moment: Moment) -> str | None:
        for written, value in reversed(self.versions.get(key, ())):
            if written <= moment:
                return value
        return None

    def write(self, key: bytes, value: str | None, moment: Moment) -> None:
        versions = self.versions.get(key)
        if versions is None:
            bisect.insort(self.keys, key)
            versions = self.versions[key] = []
        if versions and versions[-1][0] == moment:
            versions.pop()
        versions.append((moment, value))

    def forget(self, key: bytes, *, after: Moment) -> None:
        """Drop the versions of `key` that were written after the moment `after`."""
        versions = self.versions[key]
        while versions and versions[-1][0] > after:
            versions.pop()
        self._drop_if_empty(key)

    def prune(self, key: bytes, *, oldest: Moment) -> bool:
        """Drop what no reader at `oldest` or later can see. Whether `key` still has a past."""
        versions = self.versions.get(key)
        if versions is None:
            return False
        while len(versions) > 1 and versions[1][0] <= oldest:
            versions.pop(0)
        if versions[0][1] is None and versions[0][0] <= oldest:
            versions.pop(0)
        self._drop_if_empty(key)
        return len(versions) > 1 or (bool(versions) and versions[0][1] is None)

    def _drop_if_empty(self, key: bytes) -> None:
        if not self.versions[key]:
            del self.versions[key]
            del self.keys[bisect.bisect_left(self.keys, key)]


class MemoryReader:
    """Reads `engine` at one moment."""

    def __init__(self, engine: "MemoryEngine", moment: Moment) -> None:
        self._engine = engine
        self.moment = moment

    async def get(self, id: str, /) -> str | None:
        with self._engine.lock:
            return self._engine.documents.read(id.encode(), self.moment)

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
        found: list[tuple[bytes, str]] = []
        with self._engine.lock:
            entries = self._engine.map_of(index)
            start = bisect.bisect_left(entries.keys, lower)
            stop = len(entries.keys) if upper is None else bisect.bisect_left(entries.keys, upper)
            order = range(stop - 1, start - 1, -1) if reverse else range(start, stop)
            for position in order:
                if len(found) >= limit:
                    break
                key = entries.keys[position]
                value = entries.read(key, self.moment)
                if value is not None:
                    found.append((key, self._body(index, value)))
        return found

    def _body(self, index: IndexNumber, value: str) -> str:
        if index == BY_ID:
            return value
        body = self._engine.documents.read(value.encode(), self.moment)
        assert body is not None, f"index {index} names the document {value}, which is not there"
        return body


class MemorySnapshot(MemoryReader):
    """The past, kept readable until `close`."""

    def __init__(self, engine: "MemoryEngine", ts: Timestamp, moment: Moment) -> None:
        super().__init__(engine, moment)
        self.ts = ts
        self._open = True

    def close(self) -> None:
        if self._open:
            self._open = False
            self._engine.release(self)


class MemoryBatch(MemoryReader):
    """Versions written at the moment after the head's, where the head does not see them."""

    def __init__(self, engine: "MemoryEngine") -> None:
        super().__init__(engine, engine.head.moment + 1)
        self.ts = engine.ts
        self.log: list[LogEntry] = []
        self.touched: list[tuple[IndexNumber, bytes]] = []

    def apply(self, commit: Commit, /) -> None:
        assert self._engine.batch is self, "the batch has ended"
        assert commit.ts > self.ts, f"{commit.ts} does not come after {self.ts}"
        self.ts = commit.ts
        with self._engine.lock:
            for write in commit.writes:
                self._write(write)
        self.log.append(LogEntry(commit.ts, [(write.id, write.before) for write in commit.writes]))

    def _write(self, write: Write) -> None:
        document = write.id.encode()
        present = self._engine.documents.read(document, self.moment)
        assert present == write.before, f"{write.id} is not what the write says it was"
        self._put(BY_ID, document, write.after)
        for index, key, *_ in write.removed:
            self._put(index, key, None)
        for index, key, *_ in write.added:
            self._put(index, key, write.id)

    def _put(self, index: IndexNumber, key: bytes, value: str | None) -> None:
        self._engine.map_of(index).write(key, value, self.moment)
        self.touched.append((index, key))

    def drop_index(self, index: IndexNumber, /) -> None:
        assert self._engine.batch is self, "the batch has ended"
        assert index != BY_ID, "the index by id cannot be dropped"
        with self._engine.lock:
            for key in tuple(self._engine.map_of(index).keys):
                self._put(index, key, None)

    async def commit(self) -> None:
        assert self._engine.batch is self, "the batch has ended"
        self._engine.accept(self)

    def rollback(self) -> None:
        if self._engine.batch is self:
            self._engine.discard(self)


class MemoryEngine:
    """A store that lives as long as the object."""

    local = True

    def __init__(self) -> None:
        # Guards everything below: a snapshot may be read from another thread.
        self.lock = threading.RLock()
        self.documents = _Map()
        self.ts: Timestamp = 0
        self.head = MemoryReader(self, 0)
        # The batch that is open, from `begin` until it commits or is rolled back.
        self.batch: MemoryBatch | None = None
        self._indexes: dict[IndexNumber, _Map] = {BY_ID: self.documents}
        self._log: list[LogEntry] = []
        self._snapshots: list[MemorySnapshot] = []
        # Keys that have a past, which somebody may have to drop one day.
        self._aged: set[tuple[IndexNumber, bytes]] = set()
        self._closed = False

    def map_of(self, index: IndexNumber) -> _Map:
        """The entries of `index`: for each key the document's id, for BY_ID its content."""
        return self._indexes.setdefault(index, _Map())

    async def snapshot(self) -> MemorySnapshot:
        self._check_open()
        with self.lock:
            snapshot = MemorySnapshot(self, self.ts, self.head.moment)
            self._snapshots.append(snapshot)
        return snapshot

    async def begin(self) -> MemoryBatch:
        self._check_open()
        assert self.batch is None, "a batch is open already"
        self.batch = MemoryBatch(self)
        return self.batch

    def accept(self, batch: MemoryBatch) -> None:
        """Let the head see what `batch` wrote."""
        with self.lock:
            self.batch = None
            self.ts = batch.ts
            self.head.moment = batch.moment
            self._log.extend(batch.log)
            self._aged.update(batch.touched)
            if not self._snapshots:
                self._prune()

    def discard(self, batch: MemoryBatch) -> None:
        """Undo what `batch` wrote."""
        with self.lock:
            self.batch = None
            for index, key in set(batch.touched):
                self.map_of(index).forget(key, after=self.head.moment)

    def release(self, snapshot: MemorySnapshot) -> None:
        """Drop what only `snapshot` could still see."""
        with self.lock:
            self._snapshots.remove(snapshot)
            self._prune()

    def _prune(self) -> None:
        oldest = min((each.moment for each in self._snapshots), default=self.head.moment)
        self._aged = {
            (index, key)
            for index, key in self._aged
            if self.map_of(index).prune(key, oldest=oldest)
        }

    async def read_log(self, after: Timestamp, /, *, limit: int) -> list[LogEntry]:
        start = bisect.bisect_right(self._log, after, key=lambda entry: entry.ts)
        return self._log[start : start + limit]

    async def trim_log(self, before: Timestamp, /) -> None:
        assert self.batch is None, "a batch is open"
        stop = bisect.bisect_left(self._log, min(before, self.ts), key=lambda entry: entry.ts)
        del self._log[:stop]

    def set_views(self, views: Sequence[TableView], /) -> None:
        """Nothing: no tool outside can look into this process."""

    def statistics(self) -> EngineStatistics:
        with self.lock:
            present = sum(
                self.documents.read(key, self.head.moment) is not None
                for key in self.documents.keys
            )
            return EngineStatistics("memory", present, 0, len(self._log))

    async def close(self) -> None:
        if self.batch is not None:
            self.batch.rollback()
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("The store is closed.")
