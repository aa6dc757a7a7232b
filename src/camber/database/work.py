"""What waits for the committer, and what has become of it: the entries of its queue, and the batch
under way.

Nobody is told anything that could still be lost: an answer waits for the batch to be durable as
soon as there is something in it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec import Struct, field

from camber.database.catalog import Catalog
from camber.database.commit_log import LoggedCommit
from camber.database.transaction import Transaction
from camber.storage.engine import IndexNumber, Timestamp

T = TypeVar("T")


class Committed(Struct, Generic[T], frozen=True):
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


class Entry(Struct, eq=False):
    """One that waits, and for what; then what became of it."""

    future: "asyncio.Future[Committed[Any]]"
    work: Work
    outcome: Committed[Any] | Exception | None = None

    def answer(self) -> None:
        """Tell its caller, unless he went away."""
        if self.future.done():
            return
        outcome = self.outcome
        if type(outcome) is Committed:
            self.future.set_result(outcome)
        else:
            assert isinstance(outcome, Exception), "it was run, or has failed"
            self.future.set_exception(outcome)


class Ran(Struct, eq=False):
    """A batch under way: where it stands, what it will commit, whom it will answer."""

    ts: Timestamp
    catalog: Catalog
    # The catalog that the batch began with.
    start_catalog: Catalog
    # Whether the engine's batch holds anything to make durable.
    has_changes: bool = False
    is_published: bool = False
    commits: list[LoggedCommit] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def note(self, entry: Entry, outcome: Committed[Any] | Exception) -> None:
        """What became of an entry. Told at once if it saw, and wrote, nothing that could still
        be lost; else when the batch is durable."""
        entry.outcome = outcome
        if self.has_changes:
            self.entries.append(entry)
        else:
            entry.answer()

    def answer(self) -> None:
        for entry in self.entries:
            entry.answer()

    def fail(self, error: Exception) -> None:
        """The batch is lost, and with it whatever a body that failed had seen in it."""
        for entry in self.entries:
            entry.outcome = error
            entry.answer()
