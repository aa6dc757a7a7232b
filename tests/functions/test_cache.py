"""Queries that are watched: run once per change, whoever watches, and told of in time."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from apps import OpenApp, opened, write_app

from camber.clock import ManualClock
from camber.database.commit_log import RETENTION_NS
from camber.errors import OutOfRetentionError
from camber.functions.cache import Entry, QueryCache
from camber.functions.conduct import RefusedError
from camber.functions.identity import ADMIN, Identity

APP = {
    "m.py": """
        import time
        from camber import mutation, query

        @query
        async def total(ctx, room: str = "a") -> int:
            print("total", room)
            rows = await ctx.db.query("rows").collect()
            return len([row for row in rows if row["room"] == room])

        @query
        async def one(ctx, id: str):
            print("one")
            return await ctx.db.get(id)

        @query
        async def quiet(ctx) -> int:
            return len(await ctx.db.query("rows").collect())

        @query
        async def whoever(ctx):
            print("whoever")
            user = await ctx.auth.get_user_identity()
            return None if user is None else user["tokenIdentifier"] + user.get("role", "")

        @query
        async def now(ctx) -> float:
            print("now")
            await ctx.db.query("rows").first()
            return time.time()

        @query
        async def fails(ctx):
            n = len(await ctx.db.query("rows").collect())
            if n < 2:
                raise ValueError(f"only {n}")
            return n

        @query
        async def slow(ctx) -> int:
            n = len(await ctx.db.query("rows").collect())
            print("slow", n)
            return n

        @query
        async def endless(ctx):
            await ctx.db.query("rows").first()
            while True:
                pass

        @query
        async def large(ctx, size: int) -> str:
            await ctx.db.query("rows").first()
            return "x" * size

        @mutation
        async def add(ctx, room: str = "a") -> str:
            return await ctx.db.insert("rows", {"room": room})

        @mutation
        async def touch(ctx, id: str, n: int) -> None:
            await ctx.db.patch(id, {"n": n})

        @mutation
        async def elsewhere(ctx) -> None:
            await ctx.db.insert("others", {})
    """,
}

Tale: TypeAlias = Callable[[OpenApp], Awaitable[None]]
ANN = Identity({"tokenIdentifier": "ann", "role": "admin"})
ANN_AS_GUEST = Identity({"tokenIdentifier": "ann", "role": "guest"})
BOB = Identity({"tokenIdentifier": "bob"})


class Told:
    """A watcher that counts."""

    def __init__(self) -> None:
        self.times = 0

    def changed(self) -> None:
        self.times += 1


def play(folder: Path, tale: Tale, clock: ManualClock | None = None) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), opened(folder, APP, clock) as app:
            await tale(app)

    asyncio.run(main())


def now(app: OpenApp, path: str, identity: Identity | None = None, **arguments: object) -> Entry:
    invocation = app.invocation(path, arguments)
    if identity is not None:
        invocation = invocation._replace(identity=identity)
    entry = app.runner.query_now(invocation)
    assert entry is not None, "this query was to run at once"
    return entry


def test_a_watcher_is_told_once_when_what_was_read_is_written(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        id = await app.call("m:add")
        entry, told = now(app, "m:one", id=id), Told()
        entry.watch(told)
        await app.call("m:elsewhere")
        assert entry.is_current
        assert told.times == 0
        await app.call("m:touch", id=id, n=1)
        assert not entry.is_current
        assert told.times == 1
        await app.call("m:touch", id=id, n=2)
        assert told.times == 1

    play(tmp_path, tale)


def test_however_many_watch_a_query_it_runs_once_per_change(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        watchers = [Told() for _ in range(1000)]
        for change in range(3):
            app.told.clear()
            for watcher in watchers:
                now(app, "m:total").watch(watcher)
                now(app, "m:total", room="b").watch(watcher)
            assert app.runs("m:total") == 2
            await app.call("m:add")
            assert {watcher.times for watcher in watchers} == {2 * (change + 1)}

    play(tmp_path, tale)


def test_one_who_stopped_watching_is_told_nothing(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        entry, stays, leaves = now(app, "m:total"), Told(), Told()
        entry.watch(stays)
        entry.watch(leaves)
        entry.unwatch(leaves)
        entry.unwatch(leaves)
        await app.call("m:add")
        assert (stays.times, leaves.times) == (1, 0)
        entry.unwatch(stays)
        entry.watch(leaves)
        assert not entry.is_current
        assert leaves.times == 0

    play(tmp_path, tale)


def test_a_watcher_that_fails_keeps_no_other_from_being_told(tmp_path: Path) -> None:
    class Broken:
        def changed(self) -> None:
            raise ValueError("broken")

    async def tale(app: OpenApp) -> None:
        reported: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: reported.append(context["message"])
        )
        entry, told = now(app, "m:total"), Told()
        entry.watch(Broken())
        entry.watch(told)
        await app.call("m:add")
        assert told.times == 1
        assert reported == ["A watcher failed on a change"]

    play(tmp_path, tale)


def test_http_and_watchers_share_results(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        assert await app.call("m:total", room="a") == 0
        entry = now(app, "m:total", room="a")
        entry.watch(Told())
        assert await app.call("m:total", room="a") == 0
        assert app.runs("m:total") == 1

    play(tmp_path, tale)


def test_other_code_ends_every_entry(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        entry, unwatched, told = now(app, "m:total"), now(app, "m:quiet"), Told()
        entry.watch(told)
        write_app(
            tmp_path, {"m.py": "from camber import query\n\n@query\nasync def total(ctx): return 9"}
        )
        await app.deployment.push()
        assert told.times == 1
        assert not entry.is_current
        assert not unwatched.is_current
        assert now(app, "m:total").outcome.value() == 9

    play(tmp_path, tale)


def test_a_failure_is_shared_among_watchers_and_ends_like_a_result(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        entry, told = now(app, "m:fails"), Told()
        entry.watch(told)
        assert now(app, "m:fails") is entry
        assert app.runs("m:fails") == 1
        with pytest.raises(ValueError, match="only 0"):
            await app.call("m:fails")
        assert app.runs("m:fails") == 2, "over HTTP a failure is always found out anew"
        for _ in range(2):
            await app.call("m:add")
        assert told.times == 1
        assert now(app, "m:fails").outcome.value() == 2

    play(tmp_path, tale)


def test_a_failure_that_nobody_watches_any_more_is_forgotten(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        entry, told = now(app, "m:fails"), Told()
        entry.watch(told)
        entry.unwatch(told)
        assert now(app, "m:fails") is not entry

    play(tmp_path, tale)


def test_an_overrun_is_shared_with_nobody(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        invocation = app.invocation("m:endless")
        assert app.runner.query_now(invocation) is None
        ts = app.runner.database.visible_ts
        entry, told = await app.runner.query_at(invocation, ts), Told()
        assert entry.outcome.failure is not None
        entry.watch(told)
        assert await app.runner.query_at(invocation, ts) is not entry
        await app.call("m:add")
        assert told.times == 1

    play(tmp_path, tale)


def test_refused_arguments_are_a_failure_until_other_code_is_in_force(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        entry, told = now(app, "m:total", room=3), Told()
        wrong = now(app, "m:total", room=object())
        assert entry.outcome.failure is not None
        assert wrong.outcome.failure is not None
        entry.watch(told)
        wrong.watch(told)
        await app.call("m:add")
        assert told.times == 0
        await app.deployment.push()
        assert told.times == 2

    play(tmp_path, tale)


def test_users_share_what_did_not_look_at_them_and_nothing_else(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        assert now(app, "m:total", ANN) is now(app, "m:total", BOB)
        seen = [now(app, "m:whoever", who) for who in (ANN, ANN_AS_GUEST, BOB, ADMIN)]
        assert [entry.outcome.value() for entry in seen] == ["annadmin", "annguest", "bob", None]
        same = Identity({"role": "admin", "tokenIdentifier": "ann"})
        assert now(app, "m:whoever", same) is seen[0]

    play(tmp_path, tale)


def test_what_read_the_clock_is_handed_to_newcomers_for_seventeen_seconds(tmp_path: Path) -> None:
    clock = ManualClock()

    async def tale(app: OpenApp) -> None:
        first, told = now(app, "m:now"), Told()
        first.watch(told)
        clock.advance(16.9)
        assert now(app, "m:now") is first
        clock.advance(0.2)
        second, other = now(app, "m:now"), Told()
        assert second is not first
        second.watch(other)
        assert first.is_current
        assert now(app, "m:now") is second
        assert second.outcome.value() - first.outcome.value() == pytest.approx(17.1)
        await app.call("m:add")
        assert (told.times, other.times) == (1, 1), "the first one kept what it had until now"

    play(tmp_path, tale, clock)


def test_a_query_that_holds_the_loop_too_long_is_not_tried_there_again(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        assert app.runner.query_now(app.invocation("m:endless")) is None
        assert app.runner.slow.holds("m:endless")
        assert app.runner.query_now(app.invocation("m:endless")) is None

    play(tmp_path, tale)


def test_a_query_that_is_too_slow_for_the_loop_runs_aside_at_the_asked_timestamp(
    tmp_path: Path,
) -> None:
    async def tale(app: OpenApp) -> None:
        await app.call("m:add")
        app.runner.slow.note("m:slow")
        invocation = app.invocation("m:slow")
        ts = app.runner.database.visible_ts
        assert app.runner.query_now(invocation) is None
        running = asyncio.create_task(app.runner.query_at(invocation, ts))
        await app.call("m:add")
        entry = await running
        assert (entry.outcome.value(), entry.outcome.ts) == (1, ts)
        assert not entry.is_current, "it was written to while it ran"
        told = Told()
        entry.watch(told)
        await app.call("m:add")
        assert told.times == 0

    play(tmp_path, tale)


def test_equal_queries_at_one_timestamp_share_a_run_that_outlives_whoever_began_it(
    tmp_path: Path,
) -> None:
    async def tale(app: OpenApp) -> None:
        app.runner.slow.note("m:slow")
        invocation = app.invocation("m:slow")
        ts = app.runner.database.visible_ts
        waiting = [asyncio.create_task(app.runner.query_at(invocation, ts)) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        entries = await asyncio.gather(*waiting[1:])
        assert waiting[0].cancelled()
        assert len(set(entries)) == 1
        assert app.runs("m:slow") == 1
        assert app.runner.query_now(invocation) is entries[0]

    play(tmp_path, tale)


def test_a_timestamp_that_is_out_of_memory_is_refused(tmp_path: Path) -> None:
    clock = ManualClock()

    async def tale(app: OpenApp) -> None:
        ts = app.runner.database.visible_ts
        clock.advance(2 * RETENTION_NS / 1e9)
        await app.call("m:add")
        clock.advance(2 * RETENTION_NS / 1e9)
        await app.call("m:add")
        with pytest.raises(OutOfRetentionError):
            await app.runner.query_at(app.invocation("m:total"), ts)

    play(tmp_path, tale, clock)


def test_an_older_timestamp_gets_what_was_seen_then(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        invocation = app.invocation("m:total", {"room": "a"})
        first = await app.call("m:add")
        ts = app.runner.database.visible_ts
        await app.call("m:add")
        now_entry = now(app, "m:total", room="a")
        then = await app.runner.query_at(invocation, ts)
        assert (then.outcome.value(), now_entry.outcome.value()) == (1, 2)
        assert not then.is_current
        assert now_entry.is_current
        # What still holds, and was known then, is not run again.
        one = now(app, "m:one", id=first)
        await app.call("m:elsewhere")
        later = app.runner.database.visible_ts
        invocation = app.invocation("m:one", {"id": first})
        assert await app.runner.query_at(invocation, later) is one

    play(tmp_path, tale)


def test_what_is_watched_is_kept_and_the_rest_as_long_as_there_is_room(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        app.runner.cache = QueryCache(app.runner.database, ManualClock(), size_max=50_000)
        watched, told = now(app, "m:large", size=20_000), Told()
        watched.watch(told)
        unwatched = now(app, "m:total")
        for size in range(4_000, 4_100):
            await app.call("m:large", size=size)
        assert not unwatched.is_current
        assert now(app, "m:large", size=20_000) is watched
        statistics = app.runner.cache.statistics()
        assert statistics.size <= 50_000
        assert statistics.watched == 1
        watched.unwatch(told)
        assert not watched.is_current, "too large to keep for nobody"
        # What was just made is there for who asked, however large.
        huge = now(app, "m:large", size=200_000)
        huge.watch(told)
        assert huge.is_current
        await app.call("m:add")
        assert told.times == 1
        assert app.runner.cache.statistics().entries == 0

    play(tmp_path, tale)


def test_nothing_is_left_of_entries_that_ended(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        for n in range(50):
            entry, told = now(app, "m:large", size=n), Told()
            entry.watch(told)
            if n % 2:
                entry.unwatch(told)
        await app.call("m:add")
        assert app.runner.cache.statistics().entries == 0
        assert app.runner.cache.statistics().size == 0
        waiting = app.runner.database.statistics()["subscriptions"]
        assert waiting.intervals <= 1, "but that of the environment variables"

    play(tmp_path, tale)


def test_who_watches_a_query_that_is_refused_is_told_when_it_may_run_again(tmp_path: Path) -> None:
    class Waiting:
        def __init__(self) -> None:
            self.told = asyncio.Event()

        def changed(self) -> None:
            self.told.set()

    async def tale(app: OpenApp) -> None:
        app.runner.conduct.note_overrun("m:quiet", 0.005, "it looped at m.py:3.")
        refused, waiting = now(app, "m:quiet"), Waiting()
        assert isinstance(refused.outcome.error, RefusedError)
        refused.watch(waiting)
        # Its end may come a moment before the conduct agrees; then it is refused a moment longer.
        while (entry := now(app, "m:quiet")).outcome.failure is not None:
            waiting.told.clear()
            entry.watch(waiting)
            await waiting.told.wait()
        assert entry.outcome.value() == 0

    play(tmp_path, tale)
