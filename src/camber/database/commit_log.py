"""The recent past, in memory: which keys each commit wrote, and what was there before.

It answers the one question that both conflict detection and reads at an older timestamp ask:
what has changed since then?
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

from camber.database.read_set import ReadSet, Touched, WriteSet
from camber.errors import OutOfRetentionError
from camber.storage.engine import Timestamp

RETENTION_NS = 60_000_000_000
"""How long a commit is remembered: longer than any client keeps reading at one timestamp."""

RETENTION_BYTES_MAX = 32 << 20
"""How much memory the log may take, estimated."""

_COMMIT_SIZE = 400
_TOUCHED_SIZE = 300

Before: TypeAlias = tuple[tuple[str, str | None], ...]
"""Documents by id, as they were before they were written; None: not there."""


class LoggedCommit(Struct, frozen=True):
    """One commit, as the log keeps it."""

    ts: Timestamp
    written: WriteSet
    before: Before

    def size(self) -> int:
        """What it takes in memory, in bytes, estimated."""
        size = _COMMIT_SIZE + _TOUCHED_SIZE * len(self.written.touched)
        for _, text in self.before:
            if text is not None:
                size += len(text)
        return size


class Overlap(Struct, frozen=True):
    """The first commit that wrote what a read set holds: a point, or a key in an interval."""

    commit: LoggedCommit
    what: str | Touched


# The fields of a commit, and its size. There may be a hundred thousand of them: nothing but plain
# tuples of plain values, which the garbage collector learns to leave alone.
_Kept: TypeAlias = tuple[Timestamp, Sequence[str], Sequence[Touched], Before, int]


class CommitLog:
    """Commits in order, youngest last. Written by the committer alone."""

    def __init__(self, start_ts: Timestamp) -> None:
        self._commits: deque[_Kept] = deque()
        self._size = 0
        # Everything later than this is in the log; older snapshots can no longer be rebuilt.
        self.complete_since = start_ts

    def __len__(self) -> int:
        return len(self._commits)

    def append(self, commit: LoggedCommit) -> None:
        commits = self._commits
        ts, written, size = commit.ts, commit.written, commit.size()
        assert not commits or ts > commits[-1][0], "commits come in order"
        commits.append((ts, written.points, written.touched, commit.before, size))
        self._size += size
        horizon = ts - RETENTION_NS
        while commits[0][0] < horizon or self._size > RETENTION_BYTES_MAX:
            if len(commits) == 1:
                break
            self.complete_since, _, _, _, size = commits.popleft()
            self._size -= size

    def since(self, ts: Timestamp) -> Sequence[LoggedCommit]:
        """The commits later than `ts`, oldest first.

        Raises:
            OutOfRetentionError: the log no longer remembers everything since `ts`.
        """
        if ts < self.complete_since:
            raise OutOfRetentionError(
                "This timestamp is older than the history that is kept. Read at a newer one."
            )
        commits = self._commits
        if not commits or commits[-1][0] <= ts:
            return ()
        start = bisect_right(commits, ts, key=lambda kept: kept[0])
        return [
            LoggedCommit(ts, WriteSet(points, touched), before)
            for ts, points, touched, before, _ in map(
                commits.__getitem__, range(start, len(commits))
            )
        ]

    def first_overlap(self, reads: ReadSet, since: Timestamp) -> Overlap | None:
        """The first commit after `since` that wrote something in `reads`."""
        for commit in self.since(since):
            overlap = overlap_of(commit, reads)
            if overlap is not None:
                return overlap
        return None


def overlap_of(commit: LoggedCommit, reads: ReadSet) -> Overlap | None:
    """Where `commit` wrote what `reads` holds, if it did."""
    found = commit.written.first_overlap(reads)
    return None if found is None else Overlap(commit, found)
