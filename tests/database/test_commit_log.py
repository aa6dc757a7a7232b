"""The commit log: what has changed since, and reads at an older timestamp."""

import asyncio

import pytest
from databases import Play, delete, insert, patch, plan, play_in_memory, take, use_schema

from camber.clock import ManualClock
from camber.database import commit_log as commit_log_module
from camber.database.commit_log import CommitLog, LoggedCommit
from camber.database.database import Database, complete
from camber.database.read_set import ReadSet, WriteSet
from camber.errors import OutOfRetentionError

SECOND = 1_000_000_000


def commit(ts: int, *points: str, size: int = 0) -> LoggedCommit:
    return LoggedCommit(ts, WriteSet(frozenset(points), ()), ((points[0], "x" * size),))  # type: ignore[arg-type]  # any collection of points


def reading(*points: str) -> ReadSet:
    reads = ReadSet()
    reads.points.update(points)
    return reads


def test_the_first_commit_later_than_the_timestamp_is_found() -> None:
    log = CommitLog(10)
    for ts, point in ((20, "a"), (30, "b"), (40, "a")):
        log.append(commit(ts, point))
    assert [each.ts for each in log.since(10)] == [20, 30, 40]
    assert [each.ts for each in log.since(20)] == [30, 40]
    assert list(log.since(40)) == []
    for since, expected in ((10, 20), (20, 40), (39, 40)):
        overlap = log.first_overlap(reading("a", "c"), since)
        assert overlap is not None
        assert (overlap.commit.ts, overlap.what) == (expected, "a")
    assert log.first_overlap(reading("a"), 40) is None
    assert log.first_overlap(reading("c"), 10) is None


def test_before_the_process_began_nothing_is_known() -> None:
    log = CommitLog(10)
    assert list(log.since(10)) == []
    with pytest.raises(OutOfRetentionError, match="older than the history that is kept"):
        log.since(9)


def test_old_commits_are_forgotten_by_age_and_by_size() -> None:
    log = CommitLog(0)
    log.append(commit(1 * SECOND, "a"))
    log.append(commit(2 * SECOND, "a"))
    log.append(commit(61 * SECOND + 1, "a"))
    assert (len(log), log.complete_since) == (2, 1 * SECOND)
    with pytest.raises(OutOfRetentionError):
        log.first_overlap(reading("a"), SECOND - 1)
    log.append(commit(62 * SECOND, "a", size=commit_log_module.RETENTION_BYTES_MAX))
    assert (len(log), log.complete_since) == (1, 61 * SECOND + 1)
    log.append(commit(63 * SECOND, "a"))
    assert (len(log), log.complete_since) == (1, 62 * SECOND)


def test_what_inserts_take_in_memory_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_log_module, "RETENTION_BYTES_MAX", 50_000)

    async def story(database: Database) -> None:
        for _ in range(200):
            await insert(database, "rows", {"n": 1})
        assert 10 < len(database._committer.log) < 100

    play_in_memory(story)


def test_a_read_at_an_older_timestamp_sees_what_was_there(play: Play) -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        [one, two] = await insert(database, "rows", {"n": 1}, {"n": 2})
        before = database.visible_ts
        await patch(database, one, n=5)
        await patch(database, one, n=6)
        await delete(database, two)
        between = database.visible_ts
        [three] = await insert(database, "rows", {"n": 3})
        await insert(database, "later", {"n": 1})

        then = database.snapshot_at(before)
        assert then.begin_ts == before
        assert [r["n"] for r in take(then, plan("rows", "by_n"))] == [1, 2]
        assert sorted(r["n"] for r in take(then, plan("rows", "by_id"))) == [1, 2]
        assert [r["n"] for r in take(then, plan("rows", desc=True), 1)] == [2]
        assert complete(then.get(three)) is None
        assert complete(then.get(two)) is not None
        assert take(then, plan("later")) == []
        now = database.snapshot_at(between)
        assert [r["n"] for r in take(now, plan("rows", "by_n"))] == [6]
        assert [r["n"] for r in take(now, plan("rows", "by_id"))] == [6]

    play(story)


def test_a_read_at_an_older_timestamp_is_subscribed_from_there() -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {"n": 1})
        before = database.visible_ts
        changed = await patch(database, id, n=2)
        then = database.snapshot_at(before)
        complete(then.get(id))
        told: list[int] = []
        database.subscribe(then.reads, then.begin_ts, told.append)
        assert told == [changed]

    play_in_memory(story)


def test_a_transaction_that_began_before_what_is_remembered_is_refused() -> None:
    async def story(database: Database) -> None:
        clock = database.clock
        assert isinstance(clock, ManualClock)
        [id] = await insert(database, "rows", {"n": 1})
        tx = database.snapshot()
        await tx.patch(id, {"n": 2})
        for _ in range(3):
            clock.advance(61)
            await insert(database, "other", {})
        with pytest.raises(OutOfRetentionError):
            await database.commit(tx)
        with pytest.raises(OutOfRetentionError):
            database.snapshot_at(tx.begin_ts)

    play_in_memory(story)


def test_many_commits_of_one_batch_are_each_a_moment(play: Play) -> None:
    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {"n": -1})
        done = await asyncio.gather(*[patch(database, id, n=n) for n in range(10)])
        for n, ts in enumerate(done):
            document = complete(database.snapshot_at(ts).get(id))
            assert document is not None
            assert document["n"] == n

    play(story)
