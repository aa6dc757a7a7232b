"""What a transaction looked at: single keys, and intervals of index keys.

Reading nothing is reading: a search that found no document leaves its whole interval here, so a
later insert into it is noticed. Both conflict detection and subscriptions ask this set one
question: was any of it written?
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, TypeAlias

from msgspec import Struct, field

from camber.storage.engine import BY_ID, IndexKey, IndexNumber


class Interval(NamedTuple):
    """The keys of one index with `lower <= key < upper`; `upper=None` has no upper bound.

    `prefix` is the part that every key in it begins with, cut at the end of a field: what the
    subscriptions file it under.
    """

    index_number: IndexNumber
    lower: bytes
    upper: bytes | None
    prefix: bytes

    def holds(self, key: bytes) -> bool:
        return self.lower <= key and (self.upper is None or key < self.upper)


Touched: TypeAlias = IndexKey
"""An index key under which a document was, or now is."""


def id_of(touched: Touched) -> str:
    """The document's id, with which its key ends."""
    _, key, parts = touched
    return key[sum(map(len, parts)) :].decode()


def prefixes_of(touched: Touched) -> list[bytes]:
    """The empty prefix of the key, and every one that ends where a field ends."""
    return [b"", *accumulate(touched[2])]


class ReadSet(Struct, eq=False):
    """Points and intervals. Points are document ids, and names of things that are not documents
    (see `Catalog`), which never look like an id."""

    points: set[str] = field(default_factory=set)
    intervals: list[Interval] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.points) + len(self.intervals)


class WriteSet(Struct, frozen=True):
    """The keys that one commit wrote, as `ReadSet` knows them: points, and index keys under which
    a document was, or now is. A written document's id is a point, and a key of the index by id."""

    points: Sequence[str]
    touched: Sequence[Touched]

    def first_overlap(self, reads: ReadSet) -> str | Touched | None:
        """What of `reads` was written: a point, or a key in an interval; None if nothing was."""
        for point in self.points:
            if point in reads.points:
                return point
        for interval in reads.intervals:
            number = interval.index_number
            if number == BY_ID:
                for point in self.points:
                    if interval.holds(point.encode()):
                        return point
                continue
            for touched in self.touched:
                if touched[0] == number and interval.holds(touched[1]):
                    return touched
        return None
