"""The recent past, in memory: which keys each commit wrote, and what was there before.

It answers the one question that both conflict detection and reads at an older timestamp ask:
what has changed since then?
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, cast

from camber.database.read_set import ReadSet, Touched, WriteSet
from camber.errors import OutOfRetentionError
from camber.storage.engine import Commit, IndexKey, Timestamp

RETENTION_NS = 60_000_000_000
"""How long a commit is remembered: longer than any client keeps reading at one timestamp."""

RETENTION_BYTES_MAX = 32 << 20
"""How much memory the log may take, estimated."""

_COMMIT_SIZE = 400
_TOUCHED_SIZE = 200


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


_Flat: TypeAlias = tuple[
    Timestamp, tuple[str, ...], tuple[bytes | int, ...], tuple[str | None, ...]
]


def _flat(commit: LoggedCommit) -> _Flat:
    """A commit as the log keeps it: nothing but plain tuples of plain values, which the garbage
    collector leaves alone. There may be a hundred thousand of them."""
    keys: list[bytes | int] = []
    for number, key, parts in commit.written.touched:
        keys += (number, key, sum(map(len, parts)))
    before: list[str | None] = []
    for write in commit.before:
        before += write
    return commit.ts, tuple(commit.written.points), tuple(keys), tuple(before)


def _unflat(flat: _Flat) -> LoggedCommit:
    """The commit again. Of the parts of a key it is only known where they end, together."""
    ts, points, keys, before = flat
    touched = [
        IndexKey(number, key, (key[:end],))
        for number, key, end in zip(*[iter(cast(Any, keys))] * 3, strict=True)
    ]
    pairs = zip(*[iter(cast(Any, before))] * 2, strict=True)
    return LoggedCommit(ts, WriteSet(points, touched), tuple(pairs))


class CommitLog:
    """Commits in order, youngest last. Written by the committer alone."""

    def __init__(self, start_ts: Timestamp) -> None:
        self._commits: deque[tuple[_Flat, int]] = deque()
        self._size = 0
        # Everything later than this is in the log; older snapshots can no longer be rebuilt.
        self.complete_since = start_ts

    def __len__(self) -> int:
        return len(self._commits)

    def append(self, commit: LoggedCommit) -> None:
        commits = self._commits
        assert not commits or commit.ts > commits[-1][0][0], "commits come in order"
        size = commit.size()
        commits.append((_flat(commit), size))
        self._size += size
        horizon = commit.ts - RETENTION_NS
        while commits[0][0][0] < horizon or self._size > RETENTION_BYTES_MAX:
            if len(commits) == 1:
                break
            oldest, size = commits.popleft()
            self._size -= size
            self.complete_since = oldest[0]

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
        if not commits or commits[-1][0][0] <= ts:
            return ()
        start = bisect_right(commits, ts, key=lambda entry: entry[0][0])
        return [_unflat(commits[i][0]) for i in range(start, len(commits))]

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
