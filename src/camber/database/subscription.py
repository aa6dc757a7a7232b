"""Who waits for which keys: a read set goes in, and the first commit that overlaps it comes out.

Points are found by hash. An interval is filed under its index and its fixed prefix (the fields
that an equality pins), so a written key looks up one bucket per field instead of asking every
interval: ten thousand subscriptions to ten thousand authors cost one author's bucket.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Struct

from camber.database.read_set import Interval, ReadSet, WriteSet, prefixes_of
from camber.storage.engine import BY_ID, IndexNumber, Timestamp


class Subscription(Struct, eq=False):
    """A read set, observed at `ts`, and who is told of the first later commit that overlaps it.
    Told once; then it is spent."""

    reads: ReadSet
    ts: Timestamp
    on_change: Callable[[Timestamp], None]
    # False until it was told of a commit, or was unsubscribed.
    spent: bool = False


@dataclass(frozen=True, slots=True)
class SubscriptionStatistics:
    subscriptions: int
    points: int
    intervals: int


class Subscriptions:
    """All that wait. Told by the committer, once per commit, in the order of commits."""

    def __init__(self) -> None:
        self._points: dict[str, set[Subscription]] = {}
        self._intervals: dict[IndexNumber, dict[bytes, dict[Subscription, list[Interval]]]] = {}
        self._count = 0

    def add(self, subscription: Subscription) -> None:
        for point in subscription.reads.points:
            self._points.setdefault(point, set()).add(subscription)
        for interval in subscription.reads.intervals:
            buckets = self._intervals.setdefault(interval.index_number, {})
            bucket = buckets.setdefault(interval.prefix, {})
            bucket.setdefault(subscription, []).append(interval)
        self._count += 1

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget it. Safe to call on a spent one."""
        if subscription.spent:
            return
        subscription.spent = True
        self._count -= 1
        for point in subscription.reads.points:
            waiting = self._points[point]
            waiting.discard(subscription)
            if not waiting:
                del self._points[point]
        for interval in subscription.reads.intervals:
            # Gone already when two intervals of one read set lie in the same bucket.
            buckets = self._intervals.get(interval.index_number, {})
            bucket = buckets.get(interval.prefix, {})
            bucket.pop(subscription, None)
            if not bucket:
                buckets.pop(interval.prefix, None)
            if not buckets:
                self._intervals.pop(interval.index_number, None)

    def overlapping(self, written: WriteSet) -> list[Subscription]:
        """Those whose read set `written` touches, each once."""
        found: dict[Subscription, None] = {}
        if self._points:
            for point in written.points:
                found.update(dict.fromkeys(self._points.get(point, ())))
        by_id = self._intervals.get(BY_ID)
        if by_id:
            ids = [point.encode() for point in written.points]
            for subscription, intervals in by_id.get(b"", _EMPTY).items():
                if any(interval.holds(id) for interval in intervals for id in ids):
                    found[subscription] = None
        for touched in written.touched:
            buckets = self._intervals.get(touched[0])
            if buckets:
                for prefix in prefixes_of(touched):
                    for subscription, intervals in buckets.get(prefix, _EMPTY).items():
                        if subscription not in found and any(
                            interval.holds(touched[1]) for interval in intervals
                        ):
                            found[subscription] = None
        return list(found)

    def announce(self, ts: Timestamp, written: WriteSet) -> None:
        """Tell everyone whom the commit at `ts` concerns."""
        if not self._count:
            return
        for subscription in self.overlapping(written):
            # Somebody told before it may have unsubscribed it, or made it only now, having read
            # the whole batch.
            if subscription.spent or subscription.ts >= ts:
                continue
            self.unsubscribe(subscription)
            try:
                subscription.on_change(ts)
            except Exception as error:  # the edge of the subscriber: the others must be told
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "A subscriber failed on a change", "exception": error}
                )

    def statistics(self) -> SubscriptionStatistics:
        return SubscriptionStatistics(
            self._count,
            len(self._points),
            sum(len(bucket) for b in self._intervals.values() for bucket in b.values()),
        )


_EMPTY: dict[Subscription, list[Interval]] = {}
