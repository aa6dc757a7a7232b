"""The recent past, in memory: which keys each commit wrote, and what was there before.

It answers the one question that both conflict detection and reads at an older timestamp ask:
what has changed since then?
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from camber.database.read_set import ReadSet, WriteSet
from camber.errors import OutOfRetentionError
from camber.storage.engine import IndexNumber, Timestamp, Write

RETENTION_NS = 60_000_000_000
"""How long a commit is remembered: longer than any client keeps reading at one timestamp."""

RETENTION_BYTES_MAX = 64 << 20
"""How much content of before may be remembered, in characters of stored text."""


@dataclass(frozen=True, slots=True)
class LoggedCommit:
    """One commit, as the log keeps it."""

    ts: Timestamp
    written: WriteSet
    writes: tuple[Write, ...]

    def size(self) -> int:
        return 200 + sum(len(write.before or "") for write in self.writes)


@dataclass(frozen=True, slots=True)
class Overlap:
    """The first commit that wrote what a read set holds: the `point` or the `index`."""

    commit: LoggedCommit
    point: str | None
    index: IndexNumber | None


class CommitLog:
    """Commits in order, youngest last. Written by the committer alone."""

    def __init__(self, start_ts: Timestamp) -> None:
        self._commits: deque[LoggedCommit] = deque()
        self._size = 0
        # Everything later than this is in the log; older snapshots can no longer be rebuilt.
        self.complete_since = start_ts

    def __len__(self) -> int:
        return len(self._commits)

    def append(self, commit: LoggedCommit) -> None:
        assert not self._commits or commit.ts > self._commits[-1].ts, "commits come in order"
        self._commits.append(commit)
        self._size += commit.size()
        horizon = commit.ts - RETENTION_NS
        while self._commits[0].ts < horizon or self._size > RETENTION_BYTES_MAX:
            if len(self._commits) == 1:
                break
            oldest = self._commits.popleft()
            self._size -= oldest.size()
            self.complete_since = oldest.ts

    def since(self, ts: Timestamp) -> Iterable[LoggedCommit]:
        """The commits later than `ts`, oldest first.

        Raises:
            OutOfRetentionError: the log no longer remembers everything since `ts`.
        """
        if ts < self.complete_since:
            raise OutOfRetentionError(
                "This timestamp is older than the history that is kept. Read at a newer one."
            )
        commits = self._commits
        if not commits or commits[-1].ts <= ts:
            return ()
        start = bisect_right(commits, ts, key=lambda commit: commit.ts)
        return [commits[i] for i in range(start, len(commits))]

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
    if found is None:
        return None
    if isinstance(found, str):
        return Overlap(commit, found, None)
    return Overlap(commit, None, found)
