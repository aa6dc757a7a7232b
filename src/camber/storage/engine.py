"""The promise of an engine: it keeps documents and index entries durable.

An engine knows documents by their id (text) and content (text), and index entries by an index
number and an order-preserving key (bytes). It knows no validators, no transactions' logic and no
clock. It is read at two places: its `head`, which is the last durable commit, and a `Batch`,
which is the head plus what was applied to the batch so far.

Reads are coroutines, so that an engine may wait for a network. A local engine never does: `get`,
`scan` and `read_log` run to their end without suspending, and the in-line executor relies on it
(`Engine.local`). What waits on every engine: `Batch.commit`, `Engine.trim_log` and
`Engine.close`, for the disk; and, rarely, `Engine.begin` and `Engine.snapshot`.

Threads: everything here is called from the thread of the event loop, but for the methods of a
`Snapshot`, which may be used from one other thread at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from msgspec import Struct

Timestamp: TypeAlias = int
"""A place in the order of commits: unique, growing, also across restarts (nanoseconds)."""

IndexNumber: TypeAlias = int
"""What an engine knows an index by. Numbers are never used twice."""

BY_ID: Final[IndexNumber] = 0
"""The index that every document is in, its key the id's own text (ASCII). Kept by the engine
itself: no write names it."""


IndexKey: TypeAlias = tuple[IndexNumber, bytes, tuple[bytes, ...]]
"""What an index entry is found by: its index, its key, and the parts of the key, which are the
encodings of its fields, before the document's id. Engines do not look at the parts."""


# Structs, because these are made for every write: a frozen dataclass takes ten times as long.


class Write(Struct, frozen=True):
    """One document before and after a commit, with the index entries that go and come.

    `before is None` inserts, `after is None` deletes, `before == after` changes entries only
    (an index that is being built). Every key ends in the document's id, so keys are unique.
    """

    id: str
    before: str | None
    after: str | None
    removed: Sequence[IndexKey | tuple[IndexNumber, bytes]]
    added: Sequence[IndexKey | tuple[IndexNumber, bytes]]


class Commit(Struct, frozen=True):
    """All that one transaction changed. Applied whole or not at all."""

    ts: Timestamp
    writes: Sequence[Write]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One commit as the log remembers it: each written document's content before it."""

    ts: Timestamp
    before: Sequence[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class TableView:
    """A user's table as a tool outside sees it: the documents with `lower_id <= id < upper_id`,
    the named top-level `fields` as columns."""

    name: str
    lower_id: str
    upper_id: str
    fields: Sequence[str] = ()


class Reader(Protocol):
    """Documents and index entries as of one moment."""

    async def get(self, id: str, /) -> str | None:
        """The content of the document `id`, or None."""

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
        """The first `limit` entries with `lower <= key < upper`, with the content of each one's
        document, in key order (`reverse`: from the greatest). `upper=None` is no upper bound."""


class Snapshot(Reader, Protocol):
    """A reader of its own that stays at `ts` until closed, usable from another thread."""

    @property
    def ts(self) -> Timestamp: ...

    def close(self) -> None:
        """Let go of the moment. Safe to call twice."""


class Batch(Reader, Protocol):
    """Commits on their way to the disk. At most one batch is open at a time.

    Reads see the head and everything applied so far. A batch ends with `commit`, whatever its
    outcome, or with `rollback`, and is not used after that.
    """

    def apply(self, commit: Commit, /) -> None:
        """Add one commit. Timestamps arrive in increasing order, above the engine's `ts`.

        Raises:
            StorageFullError: the disk is full. The batch can only be rolled back.
            StorageError: the store failed. The batch can only be rolled back.
        """

    def drop_index(self, index: IndexNumber, /) -> None:
        """Remove every entry of `index`, now and for good: none is ever added to it again."""

    async def commit(self) -> None:
        """Make everything applied durable; then, and not before, `Engine.head` shows it.

        Waits for the disk without holding the event loop. Cancelling the wait does not cancel
        the commit. A batch to which nothing was applied does not touch the disk.

        Raises:
            StorageFullError: nothing was made durable; the next batch may succeed.
            StorageError: what was made durable is unknown; the engine refuses all further
                batches until it is opened anew.
        """

    def rollback(self) -> None:
        """Forget the batch. Does nothing once the batch has ended, or while it commits."""


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """What an engine can say of itself, as of its `ts`. Sizes in bytes."""

    name: str
    documents: int
    file_size: int
    log_entries: int


class Engine(Protocol):
    """A store that is open."""

    @property
    def local(self) -> bool:
        """Whether reads and `apply` never suspend."""

    @property
    def ts(self) -> Timestamp:
        """The last durable commit; 0 when there is none."""

    @property
    def head(self) -> Reader:
        """The state as of `ts`. Always the same object; it moves only when a batch commits."""

    async def snapshot(self) -> Snapshot:
        """A reader that stays at the `ts` of the moment this returns.

        Waits for the commit that is on its way to the disk, if there is one.
        """

    async def begin(self) -> Batch:
        """Open the next batch. Waits, rarely, for the engine to tidy up behind earlier ones.

        Raises:
            StorageError: the engine failed earlier and must be opened anew.
        """

    async def read_log(self, after: Timestamp, /, *, limit: int) -> list[LogEntry]:
        """The first `limit` commits later than `after` that the log still remembers."""

    async def trim_log(self, before: Timestamp, /) -> None:
        """Let the log forget commits earlier than `before`, but never the last one. May do a
        part; call it again later. Never called while a batch is open."""

    def set_views(self, views: Sequence[TableView], /) -> None:
        """Show exactly these tables to tools outside, where the store has a way to. Durable on
        return; views that are there already cost nothing. Never called while a batch is open."""

    def statistics(self) -> EngineStatistics: ...

    async def close(self) -> None:
        """Flush and let go of the files. Safe to call twice."""
