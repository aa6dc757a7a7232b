"""The query cache: results, the read sets that produced them, and who waits for them.

An entry is good for as long as no commit touches what its query read: a subscription removes it.
Identity is part of an entry's key only if the query looked at it. A query that looked at the
clock is good for seventeen seconds, because the time it saw goes stale without any write.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Final

from camber.clock import Clock
from camber.database.database import Database
from camber.database.subscription import Subscription
from camber.functions.outcome import Outcome
from camber.storage.engine import Timestamp

CLOCK_SECONDS: Final = 17.0
SIZE_MAX: Final = 48 << 20

# Beside its text, what an entry costs: objects, read set, subscription.
_OVERHEAD: Final = 2_400

Key = tuple[str, str, str | None]
"""Path, arguments as stored text, identity key (None: did not matter)."""


class _Entry:
    __slots__ = ("good_until", "outcome", "size", "subscription")

    def __init__(self, outcome: Outcome, good_until: float | None) -> None:
        self.outcome = outcome
        # On the monotonic clock; None: until something it read is written.
        self.good_until = good_until
        self.size = _OVERHEAD + len(outcome.text or "") + 100 * len(outcome.reads)
        self.subscription: Subscription | None = None


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counts since the start; `size` in bytes, estimated."""

    entries: int
    size: int
    hits: int
    misses: int


class QueryCache:
    """Results of successful queries, the least recently used dropped first."""

    def __init__(self, database: Database, clock: Clock, *, size_max: int = SIZE_MAX) -> None:
        self._database = database
        self._clock = clock
        self._size_max = size_max
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._size = 0
        self._hits = 0
        self._misses = 0

    def find(self, path: str, arguments: str, identity: str) -> Outcome | None:
        """The result that holds now, if there is one."""
        entries = self._entries
        key: Key = (path, arguments, None)
        entry = entries.get(key)
        if entry is None:
            key = (path, arguments, identity)
            entry = entries.get(key)
            if entry is None:
                self._misses += 1
                return None
        if entry.good_until is not None and self._clock.monotonic() > entry.good_until:
            self._remove(key)
            self._misses += 1
            return None
        entries.move_to_end(key)
        self._hits += 1
        return entry.outcome

    def put(
        self, path: str, arguments: str, identity: str | None, outcome: Outcome, *, timed: bool
    ) -> None:
        """Keep a result. `identity=None` if it did not matter, `timed` if the clock did."""
        key: Key = (path, arguments, identity)
        self._remove(key)
        good_until = self._clock.monotonic() + CLOCK_SECONDS if timed else None
        entry = _Entry(outcome, good_until)
        if entry.size > self._size_max // 8:
            return
        self._entries[key] = entry
        self._size += entry.size
        entry.subscription = self._database.subscribe(
            outcome.reads, outcome.ts, partial(self._on_change, key, entry)
        )
        while self._size > self._size_max:
            self._remove(next(iter(self._entries)))

    def _on_change(self, key: Key, entry: _Entry, ts: Timestamp) -> None:
        entry.subscription = None
        if self._entries.get(key) is entry:
            del self._entries[key]
            self._size -= entry.size

    def _remove(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        self._size -= entry.size
        # The subscription leads back to the entry: unless one lets go of the other, both wait for
        # the garbage collector.
        subscription, entry.subscription = entry.subscription, None
        if subscription is not None:
            self._database.unsubscribe(subscription)

    def clear(self) -> None:
        """Forget everything: other code is in force."""
        for key in list(self._entries):
            self._remove(key)

    def statistics(self) -> CacheStatistics:
        return CacheStatistics(len(self._entries), self._size, self._hits, self._misses)
