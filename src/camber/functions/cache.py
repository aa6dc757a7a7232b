"""The query cache: results, the read sets that produced them, and who watches them.

An entry is good for as long as no commit touches what its query read; its subscription says when
that ends. Whoever watches an entry is told then, and an entry that is watched is kept; the others
are kept as long as there is room, the least recently used dropped first.

Identity is part of an entry's key only if the query looked at it. A query that looked at the clock
is handed to newcomers for seventeen seconds, because the time it saw goes stale without any write;
who watches it already keeps it until something is written.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from camber.clock import Clock
from camber.database.database import Database
from camber.database.subscription import Subscription
from camber.errors import OutOfRetentionError
from camber.functions.outcome import Outcome
from camber.storage.engine import Timestamp

CLOCK_SECONDS: Final = 17.0
SIZE_MAX: Final = 48 << 20

# Beside its text, what an entry costs: objects, read set, subscription.
_OVERHEAD: Final = 2_400

Key: TypeAlias = tuple[str, str, str | None, str | None]
"""Path, arguments as stored text, identity key (None: did not matter), journal."""


class Watcher(Protocol):
    """Who wants to know when an entry is no longer current."""

    def changed(self) -> None:
        """The watched entry is no longer current. Called once, while the commit is published:
        must not wait, must not raise, and finds its entry unwatched already."""


class Entry:
    """What came of a query, and whether that still holds. Made by the cache alone."""

    __slots__ = (
        "_cache",
        "good_until",
        "is_current",
        "key",
        "outcome",
        "size",
        "subscription",
        "watchers",
    )

    def __init__(
        self, cache: "QueryCache", key: Key | None, outcome: Outcome, good_until: float | None
    ) -> None:
        self._cache = cache
        # A result or a failure. `outcome.ts` is where it was computed.
        self.outcome = outcome
        # True until a commit later than `outcome.ts` touches what was read, or other code is in
        # force, or the cache, having dropped it unwatched, would no longer know.
        self.is_current = True
        # The rest is the cache's own.
        # What others find it by; None: only who asked for it shall have it.
        self.key = key
        # On the monotonic clock; None: until something it read is written.
        self.good_until = good_until
        text = outcome.text
        self.size = _OVERHEAD + (len(text) if text else 0) + 100 * len(outcome.reads)
        self.subscription: Subscription | None = None
        # In the order in which they came; None as long as there is none.
        self.watchers: dict[Watcher, None] | None = None

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` when this is no longer current. If that is so already, nothing is
        told: see `is_current`."""
        if not self.is_current:
            return
        if self.watchers is None:
            self.watchers = {}
            self._cache.pin(self)
        self.watchers[watcher] = None

    def unwatch(self, watcher: Watcher) -> None:
        """Tell `watcher` no more. Safe to call when it does not watch."""
        watchers = self.watchers
        if watchers is None or watcher not in watchers:
            return
        del watchers[watcher]
        if not watchers:
            self.watchers = None
            self._cache.unpin(self)

    def on_change(self, ts: Timestamp) -> None:
        """Something it read was written at `ts`. Its subscription's to call."""
        self.subscription = None
        self._cache.forget(self)
        self.end()

    def end(self) -> None:
        """No longer current: tell those who watch."""
        self.is_current = False
        watchers, self.watchers = self.watchers, None
        for watcher in watchers or ():
            try:
                watcher.changed()
            except Exception as error:  # the edge of the watcher: the others must be told
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "A watcher failed on a change", "exception": error}
                )


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Counts since the start; `size` in bytes, estimated, of the entries that nobody watches."""

    entries: int
    watched: int
    size: int
    hits: int
    misses: int


class QueryCache:
    """Entries: the watched ones, and as many of the others as there is room for."""

    def __init__(self, database: Database, clock: Clock, *, size_max: int = SIZE_MAX) -> None:
        self._database = database
        self._clock = clock
        self._size_max = size_max
        # A current entry is in exactly one of these two.
        self._watched: set[Entry] = set()
        self._unwatched: OrderedDict[Entry, None] = OrderedDict()
        # The newest entry of each key, if it is still current.
        self._by_key: dict[Key, Entry] = {}
        self._size = 0
        self._hits = 0
        self._misses = 0

    def find(self, path: str, arguments: str, identity: str, journal: str | None) -> Entry | None:
        """What holds now, if it is known: a result, or a failure that somebody watches."""
        by_key = self._by_key
        entry = by_key.get((path, arguments, None, journal))
        if entry is None:
            entry = by_key.get((path, arguments, identity, journal))
            if entry is None:
                self._misses += 1
                return None
        if entry.good_until is not None and self._clock.monotonic() > entry.good_until:
            if entry.watchers is None:
                self._drop(entry)
            self._misses += 1
            return None
        if entry.watchers is None:
            self._unwatched.move_to_end(entry)
        self._hits += 1
        return entry

    def add(self, key: Key | None, outcome: Outcome, *, timed: bool = False) -> Entry:
        """Keep an outcome; others find it by `key`. `timed` if the clock was looked at.

        It may be past already when this returns: see `Entry.is_current`.
        """
        good_until = self._clock.monotonic() + CLOCK_SECONDS if timed else None
        entry = Entry(self, key, outcome, good_until)
        self._unwatched[entry] = None
        self._size += entry.size
        try:
            subscription = self._database.subscribe(outcome.reads, outcome.ts, entry.on_change)
        except OutOfRetentionError:  # Nobody can tell any more.
            self._drop(entry)
            return entry
        if not entry.is_current:
            return entry
        entry.subscription = subscription
        if key is not None:
            before = self._by_key.get(key)
            if before is not None and before.watchers is None:
                self._drop(before)
            self._by_key[key] = entry
        self._make_room(entry)
        return entry

    def add_for(self, seconds: float, outcome: Outcome) -> Entry:
        """Keep an outcome that stops being current by itself, for whoever asked for it."""
        entry = self.add(None, outcome)
        asyncio.get_running_loop().call_later(seconds, self._expire, entry)
        return entry

    def _expire(self, entry: Entry) -> None:
        if entry.is_current:
            self._unsubscribe(entry)
            self.forget(entry)
            entry.end()

    def add_past(self, outcome: Outcome) -> Entry:
        """An entry that was never current: other code is in force already."""
        entry = Entry(self, None, outcome, None)
        entry.is_current = False
        return entry

    def is_worth_keeping(self, outcome: Outcome) -> bool:
        """Whether an outcome that nobody watches may push others out: a result, not too large."""
        return outcome.text is not None and len(outcome.text) < self._size_max // 8

    def clear(self) -> None:
        """Forget everything: other code is in force. Those who watch are told."""
        everything = [*self._watched, *self._unwatched]
        for entry in everything:
            self._unsubscribe(entry)
            self.forget(entry)
        for entry in everything:
            entry.end()

    # For entries

    def pin(self, entry: Entry) -> None:
        """Keep a current entry for as long as it is watched."""
        del self._unwatched[entry]
        self._size -= entry.size
        self._watched.add(entry)

    def unpin(self, entry: Entry) -> None:
        """Nobody watches it any more."""
        self._watched.remove(entry)
        self._unwatched[entry] = None
        self._size += entry.size
        key = entry.key
        is_found = key is not None and self._by_key.get(key) is entry
        if is_found and self.is_worth_keeping(entry.outcome):
            self._make_room(entry)
        else:
            self._drop(entry)

    def forget(self, entry: Entry) -> None:
        """Let go of an entry that is no longer current."""
        if entry.watchers is not None:
            self._watched.remove(entry)
        else:
            del self._unwatched[entry]
            self._size -= entry.size
        key = entry.key
        if key is not None and self._by_key.get(key) is entry:
            del self._by_key[key]

    def _make_room(self, newest: Entry) -> None:
        while self._size > self._size_max:
            oldest = next(iter(self._unwatched))
            if oldest is newest:
                return  # Whoever asked for it may watch it in a moment.
            self._drop(oldest)

    def _drop(self, entry: Entry) -> None:
        assert entry.watchers is None, "what is watched is kept"
        self._unsubscribe(entry)
        self.forget(entry)
        entry.is_current = False

    def _unsubscribe(self, entry: Entry) -> None:
        # The subscription leads back to the entry: unless one lets go of the other, both wait for
        # the garbage collector.
        subscription, entry.subscription = entry.subscription, None
        if subscription is not None:
            self._database.unsubscribe(subscription)

    def statistics(self) -> CacheStatistics:
        return CacheStatistics(
            len(self._watched) + len(self._unwatched),
            len(self._watched),
            self._size,
            self._hits,
            self._misses,
        )
