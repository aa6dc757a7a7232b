"""What waits for the committer, and what has become of it: the entries of its queue, and the batch
under way.

Nobody is told anything that could still be lost: an answer waits for the batch to be durable as
soon as there is something in it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from camber.database.catalog import Catalog
from camber.database.commit_log import LoggedCommit
from camber.database.transaction import Transaction
from camber.storage.engine import IndexNumber, Timestamp

T = TypeVar("T")


class Committed(NamedTuple, Generic[T]):
    """What a transaction returned, and the timestamp from which it can be seen."""

    value: T
    ts: Timestamp


class DroppedIndexes(tuple[IndexNumber, ...]):
    """Indexes that no table has any more, and whose entries are to go."""

    __slots__ = ()


class Maintenance(NamedTuple):
    """Something to do to the engine while no batch is open."""

    run: Callable[[], None]


class Turn(asyncio.Event):
    """Somebody's time to commit alone; set once it is over."""


Attempt = Callable[[Transaction], Any]
"""A body to run in line."""

Work = Attempt | Transaction | DroppedIndexes | Maintenance | Turn


class Entry:
    """One that waits, and for what."""

    __slots__ = ("future", "work")

    def __init__(self, future: "asyncio.Future[Committed[Any]]", work: Work) -> None:
        self.future = future
        self.work = work


class Ran:
    """A batch under way: where it stands, what it will commit, whom it will answer."""

    __slots__ = (
        "catalog",
        "commits",
        "entries",
        "has_changes",
        "is_published",
        "start_catalog",
        "ts",
    )

    def __init__(self, ts: Timestamp, catalog: Catalog) -> None:
        self.ts = ts
        self.start_catalog = catalog
        self.catalog = catalog
        # Whether the engine's batch holds anything to make durable.
        self.has_changes = False
        self.is_published = False
        self.commits: list[LoggedCommit] = []
        self.entries: list[tuple[Entry, Committed[Any] | None, Exception | None]] = []

    def note(self, entry: Entry, committed: Committed[Any] | None, error: Exception | None) -> None:
        """What became of an entry. Told at once if it saw, and wrote, nothing that could still
        be lost; else when the batch is durable."""
        if self.has_changes:
            self.entries.append((entry, committed, error))
        else:
            _answer(entry, committed, error)

    def answer(self) -> None:
        for entry, committed, error in self.entries:
            _answer(entry, committed, error)

    def fail(self, error: Exception) -> None:
        """The batch is lost, and with it whatever a body that failed had seen in it."""
        for entry, _, _ in self.entries:
            _answer(entry, None, error)


def _answer(entry: Entry, committed: Committed[Any] | None, error: Exception | None) -> None:
    if entry.future.done():
        return  # Its caller went away.
    if error is not None:
        entry.future.set_exception(error)
    else:
        assert committed is not None
        entry.future.set_result(committed)
