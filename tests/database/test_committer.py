"""The queue of the committer: who is answered, when, and what happens when the engine fails."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from databases import (
    FaultyEngine,
    Play,
    insert,
    patch,
    plan,
    play_in_memory,
    take,
    tell,
    use_schema,
)

from camber.clock import ManualClock
from camber.database import committer as committer_module
from camber.database.database import Database, complete
from camber.database.schema_change import NO_SCHEMA, table_views
from camber.database.transaction import Transaction
from camber.errors import (
    ConflictError,
    InternalError,
    InvalidArgumentError,
    OverloadedError,
    StorageError,
    StorageFullError,
)
from camber.storage.memory import MemoryEngine
from camber.storage.sqlite import open_sqlite

FULL = StorageFullError("The disk is full.")
BROKEN = StorageError("The disk is broken.")


def add(n: int) -> Callable[[Transaction], str]:
    return lambda tx: tx.insert("rows", {"n": n})


def numbers(database: Database) -> list[int]:
    return sorted(row["n"] for row in take(database.snapshot(), plan("rows")))


def on_faulty(story: Callable[[Database, FaultyEngine], Awaitable[None]]) -> None:
    async def main() -> None:
        engine = FaultyEngine(MemoryEngine())
        await tell(engine, lambda database: story(database, engine))

    asyncio.run(main())


def test_what_waits_together_is_one_batch_and_each_sees_those_before(play: Play) -> None:
    async def story(database: Database) -> None:
        def count_and_add(tx: Transaction) -> int:
            count = len(take(tx, plan("rows")))
            tx.insert("rows", {"n": count})
            return count

        done = await asyncio.gather(*[database.run(count_and_add) for _ in range(20)])
        assert [each.value for each in done] == list(range(20))
        assert database.statistics()["committer"].batches == 1

    play(story)


def test_commit_timestamps_are_unique_and_grow_with_the_clock_set_back(play: Play) -> None:
    async def story(database: Database) -> None:
        clock = database.clock
        assert isinstance(clock, ManualClock)
        stamps = [database.visible_ts]
        for seconds in (0, 10, -3600, 0, -1e6, 1e6):
            clock.jump(seconds)
            done = await asyncio.gather(*[database.run(add(n)) for n in range(3)])
            stamps += [each.ts for each in done]
        assert stamps == sorted(set(stamps))
        rows = take(database.snapshot(), plan("rows"))
        times = [row["_creationTime"] for row in rows]
        assert times == sorted(set(times))

    play(story)


def test_timestamps_and_creation_times_grow_across_a_restart_with_the_clock_set_back(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        stamps: list[int] = []

        async def story(database: Database) -> None:
            assert not stamps or database.visible_ts == stamps[-1]
            stamps.append((await database.run(add(len(stamps)))).ts)

        clock = ManualClock()
        for _ in range(4):
            await tell(await open_sqlite(tmp_path / "camber.db"), story, clock)
            clock.jump(-86_400)
        assert stamps == sorted(set(stamps))

        async def times_grow(database: Database) -> None:
            rows = take(database.snapshot(), plan("rows"))
            assert [row["n"] for row in rows] == [0, 1, 2, 3]

        await tell(await open_sqlite(tmp_path / "camber.db"), times_grow, clock)

    asyncio.run(main())


def test_a_body_that_fails_writes_nothing_and_the_others_are_not_disturbed(play: Play) -> None:
    async def story(database: Database) -> None:
        def failing(tx: Transaction) -> None:
            tx.insert("rows", {"n": 99})
            raise ValueError("no")

        done = await asyncio.gather(
            database.run(add(1)),
            database.run(failing),
            database.run(add(2)),
            return_exceptions=True,
        )
        assert isinstance(done[1], ValueError)
        assert numbers(database) == [1, 2]

    play(story)


@pytest.mark.parametrize(
    "error", [SystemExit(3), asyncio.CancelledError(), StopIteration(), GeneratorExit()]
)
def test_a_body_cannot_take_the_committer_with_it(error: BaseException) -> None:
    async def story(database: Database) -> None:
        def leaving(tx: Transaction) -> None:
            raise error

        with pytest.raises(InternalError, match=type(error).__name__):
            await database.run(leaving)
        await database.run(add(1))
        assert numbers(database) == [1]

    play_in_memory(story)


def test_nothing_is_visible_or_answered_before_it_is_durable() -> None:
    async def story(database: Database, engine: FaultyEngine) -> None:
        await database.run(add(1))
        engine.disk.clear()
        engine.waiting.clear()
        before = database.visible_ts
        second = asyncio.create_task(database.run(add(2)))
        await engine.waiting.wait()
        # Meanwhile the next batch gathers: it must not be told of the second row either.
        late = asyncio.create_task(database.run(lambda tx: len(take(tx, plan("rows")))))
        await asyncio.sleep(0)
        assert not second.done()
        assert not late.done()
        assert database.visible_ts == before
        assert numbers(database) == [1]
        engine.disk.set()
        assert (await second).ts == database.visible_ts
        assert (await late).value == 2

    on_faulty(story)


def test_head_timestamp_catalog_and_log_are_of_one_moment(play: Play) -> None:
    """Also in the moment in which the engine has moved its head, but the committer has not yet
    had its turn on the event loop."""

    async def story(database: Database) -> None:
        over = False
        await database.run(add(0))

        async def watch() -> None:
            while not over:
                tx = database.snapshot()
                rows = take(tx, plan("rows"))
                assert tx.begin_ts == database.visible_ts == database.engine.ts
                assert stamps.get(len(rows), tx.begin_ts) == tx.begin_ts
                stamps[len(rows)] = tx.begin_ts
                again = database.snapshot_at(tx.begin_ts)
                assert len(take(again, plan("rows"))) == len(rows)
                name = f"table{len(rows) - 1}"
                assert len(rows) == 1 or tx.catalog.find(name) is not None
                told: list[int] = []
                database.subscribe(tx.reads, tx.begin_ts, told.append)
                assert told == []
                await asyncio.sleep(0)

        def add_with_table(n: int) -> Callable[[Transaction], None]:
            def attempt(tx: Transaction) -> None:
                tx.insert("rows", {"n": n})
                tx.insert(f"table{n}", {})

            return attempt

        stamps: dict[int, int] = {}
        watchers = [asyncio.create_task(watch()) for _ in range(2)]
        for n in range(1, 30):
            await database.run(add_with_table(n))
        over = True
        await asyncio.gather(*watchers)

    play(story)


# A failing engine


@pytest.mark.parametrize("step", ["begin", "apply", "commit"])
def test_a_full_disk_is_told_to_all_who_wait_and_passes(step: str) -> None:
    async def story(database: Database, engine: FaultyEngine) -> None:
        await database.run(add(1))
        engine.faults[step] = FULL
        done = await asyncio.gather(
            *[database.run(add(n)) for n in (2, 3, 4)], return_exceptions=True
        )
        # Those that had not yet begun are run in the next batch.
        failed = [each for each in done if isinstance(each, BaseException)]
        assert failed
        assert all(error is FULL for error in failed)
        assert isinstance(done[0], StorageFullError)
        assert len(numbers(database)) == 1 + 3 - len(failed)
        await database.run(add(5))
        assert 5 in numbers(database)

    on_faulty(story)


@pytest.mark.parametrize("step", ["apply", "commit", "committed"])
def test_after_a_broken_disk_everybody_is_refused_and_reads_go_on(step: str) -> None:
    async def main() -> None:
        engine = FaultyEngine(MemoryEngine())
        database = await Database.open(engine, ManualClock())
        await database.run(add(1))
        engine.faults[step] = BROKEN
        first = asyncio.create_task(database.run(add(2)))
        second = asyncio.create_task(database.run(add(3)))
        for task in (first, second):
            with contextlib.suppress(StorageError):
                await task
        for _ in range(3):
            engine.faults["begin"] = BROKEN
            with pytest.raises(StorageError):
                await database.run(add(4))
        assert numbers(database)[0] == 1
        assert 4 not in numbers(database)
        await database.close()

    asyncio.run(main())


def test_who_saw_a_batch_that_was_lost_is_not_told_what_it_saw() -> None:
    async def story(database: Database, engine: FaultyEngine) -> None:
        def once(tx: Transaction) -> None:
            if take(tx, plan("rows")):
                raise InvalidArgumentError("There is one already.")
            tx.insert("rows", {"n": 1})

        engine.faults["commit"] = FULL
        done = await asyncio.gather(database.run(once), database.run(once), return_exceptions=True)
        assert list(done) == [FULL, FULL]

    on_faulty(story)


def test_who_failed_before_anything_was_written_is_told_so_at_once() -> None:
    async def story(database: Database, engine: FaultyEngine) -> None:
        engine.disk.clear()

        def refuse(tx: Transaction) -> None:
            raise InvalidArgumentError("No.")

        refused = asyncio.create_task(database.run(refuse))
        waits = asyncio.create_task(database.run(add(1)))
        with pytest.raises(InvalidArgumentError):
            await refused
        assert not waits.done()
        engine.disk.set()
        await waits

    on_faulty(story)


def test_a_log_that_cannot_be_trimmed_stops_nobody() -> None:
    async def story(database: Database, engine: FaultyEngine) -> None:
        clock = database.clock
        assert isinstance(clock, ManualClock)
        for error in (FULL, BROKEN):
            engine.faults["trim"] = error
            clock.advance(60)
            await database.run(add(1))
            await database.run(add(2))
            assert "trim" not in engine.faults

    on_faulty(story)


def test_the_engine_forgets_old_commits_while_the_queue_is_never_empty(play: Play) -> None:
    async def story(database: Database) -> None:
        clock = database.clock
        assert isinstance(clock, ManualClock)
        for _ in range(6):
            await asyncio.gather(*[database.run(add(n)) for n in range(300)])
            clock.advance(120)
        assert database.engine.statistics().log_entries < 1_000

    play(story)


# Callers that go away, and closing


def test_a_caller_that_goes_away_before_its_turn_has_no_effect() -> None:
    async def story(database: Database, engine: FaultyEngine) -> None:
        engine.disk.clear()
        first = asyncio.create_task(database.run(add(1)))
        await engine.waiting.wait()
        gone = asyncio.create_task(database.run(add(2)))
        stays = asyncio.create_task(database.run(add(3)))
        await asyncio.sleep(0)
        gone.cancel()
        engine.disk.set()
        await asyncio.gather(first, stays)
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert numbers(database) == [1, 3]

    on_faulty(story)


def test_a_caller_that_goes_away_later_changes_nothing_for_the_others() -> None:
    async def story(database: Database, engine: FaultyEngine) -> None:
        engine.disk.clear()
        gone = asyncio.create_task(database.run(add(1)))
        stays = asyncio.create_task(database.run(add(2)))
        await engine.waiting.wait()
        gone.cancel()
        await asyncio.sleep(0)
        engine.disk.set()
        await stays
        assert gone.cancelled()
        assert numbers(database) == [1, 2]

    on_faulty(story)


def test_whatever_waits_may_be_cancelled(play: Play) -> None:
    async def story(database: Database) -> None:
        async def slow(tx: Transaction) -> None:
            tx.insert("rows", {"n": 0})
            await asyncio.sleep(0)

        views = table_views(database.catalog, NO_SCHEMA)
        for turns in range(6):
            tasks = [
                asyncio.create_task(database.show_tables(views)),
                asyncio.create_task(database.drop_entries([])),
                asyncio.create_task(database.run_optimistic(slow)),
                asyncio.create_task(database._committer.run_alone(lambda: alone(database))),
                asyncio.create_task(database.run(add(1))),
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await database.run(add(7))
        assert 7 in numbers(database)

    async def alone(database: Database) -> tuple[Transaction, None]:
        tx = database.snapshot()
        await asyncio.sleep(0)
        tx.insert("rows", {"n": 9})
        return tx, None

    play(story)


def test_one_whose_turn_it_is_does_not_hold_up_the_others_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(committer_module, "TURN_SECONDS", 0.01)

    async def story(database: Database) -> None:
        [id] = await insert(database, "rows", {"n": 1})

        async def stubborn() -> tuple[Transaction, None]:
            tx = database.snapshot()
            await tx.patch(id, {"n": 3})
            # It waits for somebody who waits for it.
            await patch(database, id, n=2)
            return tx, None

        with pytest.raises(ConflictError):
            await database._committer.run_alone(stubborn)
        assert numbers(database) == [2]

    play_in_memory(story)


def test_closing_finishes_what_waits_and_what_is_under_way() -> None:
    async def main() -> None:
        engine = FaultyEngine(MemoryEngine())
        database = await Database.open(engine, ManualClock())
        engine.disk.clear()
        first = asyncio.create_task(database.run(add(1)))
        await engine.waiting.wait()
        second = asyncio.create_task(database.run(add(2)))
        await asyncio.sleep(0)
        closing = asyncio.create_task(database.close())
        await asyncio.sleep(0)
        with pytest.raises(InternalError, match="The database is closed"):
            await database.run(add(3))
        engine.disk.set()
        async with asyncio.timeout(5):
            await closing
        assert (await first).ts < (await second).ts

    asyncio.run(main())


def test_a_database_may_be_closed_twice() -> None:
    async def story(database: Database) -> None:
        other = await Database.open(MemoryEngine(), ManualClock())
        await other.close()
        await other.close()

    play_in_memory(story)


def test_too_many_waiting_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "WAITING_MAX", 3)

    async def story(database: Database) -> None:
        done = await asyncio.gather(
            *[database.run(add(n)) for n in range(5)], return_exceptions=True
        )
        refused = [each for each in done if isinstance(each, OverloadedError)]
        assert len(refused) == 2
        assert str(refused[0]) == ("Too many mutations are waiting (limit: 3). Try again later.")
        assert numbers(database) == [0, 1, 2]

    play_in_memory(story)


def test_a_long_queue_is_committed_in_several_batches() -> None:
    async def story(database: Database) -> None:
        clock = database.clock
        assert isinstance(clock, ManualClock)

        def slow(tx: Transaction) -> None:
            clock.advance(0.6 * committer_module.BATCH_SECONDS)
            tx.insert("rows", {"n": 1})

        await asyncio.gather(*[database.run(slow) for _ in range(6)])
        assert database.statistics()["committer"].batches == 3

    play_in_memory(story)


# Transactions that ran under another catalog


def test_a_document_written_under_the_old_indexes_is_written_again_under_the_new(
    play: Play,
) -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={})
        attempts = 0

        async def body(tx: Transaction) -> None:
            nonlocal attempts
            attempts += 1
            tx.insert("rows", {"n": 5})
            if attempts == 1:
                await use_schema(database, rows={"by_n": ["n"]})

        await database.run_optimistic(body)
        assert attempts == 2
        assert len(take(database.snapshot(), plan("rows", "by_n", ("eq", "n", 5)))) == 1

    play(story)


def test_a_document_written_under_dropped_indexes_leaves_no_entry_in_them(play: Play) -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})

        async def body(tx: Transaction) -> None:
            tx.insert("rows", {"n": 5})
            rows = tx.catalog.find("rows")
            if rows is not None and "by_n" in rows.indexes:
                await use_schema(database, rows={})

        await database.run_optimistic(body)
        assert numbers(database) == [5]

    play(story)


def test_a_read_by_an_index_conflicts_when_the_index_goes() -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        attempts = 0

        async def body(tx: Transaction) -> None:
            nonlocal attempts
            attempts += 1
            index = "by_n" if attempts == 1 else "by_creation_time"
            take(tx, plan("rows", index))
            tx.insert("results", {})
            if attempts == 1:
                await use_schema(database, rows={})
                await insert(database, "rows", {"n": 1})

        await database.run_optimistic(body)
        assert attempts == 2

    play_in_memory(story)


def test_two_that_make_one_table_make_it_once(play: Play) -> None:
    async def story(database: Database) -> None:
        async def make(tx: Transaction) -> None:
            await asyncio.sleep(0)
            tx.insert("fresh", {})
            tx.insert("other", {})

        await asyncio.gather(*[database.run_optimistic(make) for _ in range(5)])
        assert len(take(database.snapshot(), plan("fresh"))) == 5
        assert sorted(t.name for t in database.catalog.user_tables()) == ["fresh", "other"]

    play(story)


def test_a_table_made_by_a_body_that_fails_is_not_made() -> None:
    async def story(database: Database) -> None:
        def failing(tx: Transaction) -> None:
            tx.insert("fresh", {})
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await database.run(failing)
        assert database.catalog.find("fresh") is None

    play_in_memory(story)


def test_the_platforms_own_coroutines_must_not_wait() -> None:
    async def story(database: Database) -> None:
        async def waits(tx: Transaction) -> None:
            await asyncio.sleep(0)

        with pytest.raises(InternalError, match="waited for something outside of it"):
            await database.run(lambda tx: complete(waits(tx)))

    play_in_memory(story)
