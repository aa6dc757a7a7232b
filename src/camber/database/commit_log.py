"""The recent past, in memory: which keys each commit wrote, and what was there before.

It answers the one question that both conflict detection and reads at an older timestamp ask:
what has changed since then?
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from camber.database.read_set import ReadSet, Touched, WriteSet
from camber.errors import OutOfRetentionError
from camber.storage.engine import Commit, Timestamp

RETENTION_NS = 60_000_000_000
"""How long a commit is remembered: longer than any client keeps reading at one timestamp."""

RETENTION_BYTES_MAX = 64 << 20
"""How much memory the log may take, estimated."""

_COMMIT_SIZE = 500
_TOUCHED_SIZE = 350


class LoggedCommit(NamedTuple):
    """One commit, as the log keeps it. `before` holds the written documents as they were."""

    ts: Timestamp
    written: WriteSet
    before: tuple[tuple[str, str | None], ...]

    @staticmethod
    def of(commit: Commit, written: WriteSet) -> "LoggedCommit":
        before = tuple([(write.id, write.before) for write in commit.writes])
        return LoggedCommit(commit.ts, written, before)

    def size(self) -> int:
        """What it takes in memory, in bytes, estimated."""
        texts = sum([len(text) for _, text in self.before if text is not None])
        return _COMMIT_SIZE + _TOUCHED_SIZE * len(self.written.touched) + texts


@dataclass(frozen=True, slots=True)
class Overlap:
    """The first commit that wrote what a read set holds: a point, or a key in an interval."""

    commit: LoggedCommit
    what: str | Touched


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
    return None if found is None else Overlap(commit, found)
