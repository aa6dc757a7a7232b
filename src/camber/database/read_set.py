"""What a transaction looked at: single keys, and intervals of index keys.

Reading nothing is reading: a search that found no document leaves its whole interval here, so a
later insert into it is noticed. Both conflict detection and subscriptions ask this set one
question: was any of it written?
"""

from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from camber.storage.engine import IndexNumber


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


class Touched(NamedTuple):
    """An index key under which a document was, or now is: `parts` are its fields' encodings,
    after which comes the document's id."""

    index_number: IndexNumber
    key: bytes
    parts: tuple[bytes, ...]

    @property
    def id(self) -> str:
        """The document's id."""
        return self.key[sum(map(len, self.parts)) :].decode()

    def prefixes(self) -> list[bytes]:
        """Every prefix that an interval holding this key may be filed under."""
        return [b"", *accumulate(self.parts)]


@dataclass(slots=True)
class ReadSet:
    """Points and intervals. Points are document ids, and names of things that are not documents
    (see `Catalog`), which never look like an id."""

    points: set[str] = field(default_factory=set)
    intervals: list[Interval] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.points) + len(self.intervals)


@dataclass(frozen=True, slots=True)
class WriteSet:
    """The keys that one commit wrote, as `ReadSet` knows them."""

    points: frozenset[str]
    touched: tuple[Touched, ...]

    def first_overlap(self, reads: ReadSet) -> str | Touched | None:
        """What of `reads` was written: a point, or a key in an interval; None if nothing was."""
        for point in self.points:
            if point in reads.points:
                return point
        for interval in reads.intervals:
            for touched in self.touched:
                if touched[0] == interval.index_number and interval.holds(touched[1]):
                    return touched
        return None
