"""Mutations that a client has numbered: done once, however often and however they are sent."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from apps import OpenApp, opened, write_app

from camber.clock import ManualClock
from camber.errors import OverloadedError, StorageFullError
from camber.functions.identity import ADMIN, NOBODY, Identity
from camber.functions.outcome import Outcome
from camber.services.receipts import remove_old_receipts
from camber.system.receipts import ClientRequest
from camber.system.tables import RECEIPTS

APP = {
    "m.py": """
        from camber import Int64, mutation, query

        @mutation
        async def add(ctx, n: int):
            print("adding", n)
            await ctx.db.insert("rows", {"n": n})
            rows = await ctx.db.query("rows").collect()
            return {"n": n, "rows": len(rows), "big": Int64(2**60), "raw": b"x"}

        @mutation
        async def slow(ctx, n: int) -> int:
            rows = await ctx.db.query("rows").collect()
            await ctx.db.insert("rows", {"n": n})
            return len(rows)

        @mutation
        async def fail_when_empty(ctx) -> int:
            rows = await ctx.db.query("rows").collect()
            await ctx.db.insert("rows", {"n": 0})
            if not rows:
                raise ValueError("empty")
            return len(rows)

        @mutation
        async def look(ctx) -> int:
            return len(await ctx.db.query("rows").collect())

        @mutation
        async def huge(ctx, size: int) -> str:
            await ctx.db.insert("rows", {"n": 1})
            return '"' * size

        @query
        async def count(ctx) -> int:
            return len(await ctx.db.query("rows").collect())

        @query
        async def read(ctx, id: str):
            return await ctx.db.get(id)

        @query
        async def read_system(ctx, id: str):
            return await ctx.db.system.get(id)

        @mutation
        async def erase(ctx, id: str) -> None:
            await ctx.db.delete(id)

        @query
        async def list_table(ctx, name: str):
            return await ctx.db.query(name).collect()
    """,
}
SESSION = "6e0d8fd4-27a1-4d0c-a0fe-0d3d7e0a4c55"
OTHER_SESSION = "11111111-27a1-4d0c-a0fe-0d3d7e0a4c55"

Tale: TypeAlias = Callable[[OpenApp], Awaitable[None]]


def play(folder: Path, tale: Tale, clock: ManualClock | None = None) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), opened(folder, APP, clock) as app:
            # It is not, but is taken to be, and runs on threads.
            app.runner.slow.note("m:slow")
            await tale(app)

    asyncio.run(main())


async def send(
    app: OpenApp,
    path: str,
    number: int,
    session: str = SESSION,
    identity: Identity = NOBODY,
    **arguments: Any,
) -> Outcome:
    request = ClientRequest(session, number)
    invocation = app.invocation(path, arguments, identity, request=request)
    try:
        return await app.runner.run_mutation(invocation)
    finally:
        assert not request.is_committing


async def ask(
    app: OpenApp, path: str, number: int, identity: Identity = NOBODY, **arguments: Any
) -> Outcome | None:
    """What came of a mutation whose function is not found any more."""
    return await app.runner.done_before(ClientRequest(SESSION, number), path, arguments, identity)


async def change(app: OpenApp, folder: Path, source: str) -> None:
    """Put another version of the app in force."""
    write_app(folder, {"m.py": source})
    await app.deployment.push()


def user(subject: str, **claims: Any) -> Identity:
    issuer = "https://id.example"
    who = {"issuer": issuer, "subject": subject, "tokenIdentifier": f"{issuer}|{subject}"}
    return Identity({**who, **claims}, expires_at=claims.get("exp"))


async def receipts(app: OpenApp) -> int:
    tx = app.runner.database.snapshot()
    table = tx.catalog.find(RECEIPTS)
    assert table is not None
    (index,) = table.maintained
    return len(await tx.rows(index.number, b"", None, reverse=False, limit=10_000))


def said(outcome: Outcome) -> list[str]:
    return [line.wire() for line in outcome.log]


def test_what_is_sent_again_is_answered_and_not_done_again(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        first = await send(app, "m:add", 0, n=5)
        await send(app, "m:add", 1, n=6)
        again = await send(app, "m:add", 0, n=5)
        assert again.text == first.text
        assert again.wire() == first.wire()
        assert again.ts == first.ts
        assert said(again) == said(first) == ["[LOG] adding 5"]
        assert again.log[0].timestamp_ms == first.log[0].timestamp_ms
        assert app.runs("m:add") == 2, "what it said is not told twice"
        assert await app.call("m:count") == 2

    play(tmp_path, tale)


def test_a_receipt_outlives_the_server(tmp_path: Path) -> None:
    outcomes: list[Outcome] = []

    async def tale(app: OpenApp) -> None:
        outcomes.append(await send(app, "m:add", 7, n=5))
        assert await app.call("m:count") == 1

    play(tmp_path, tale)
    play(tmp_path, tale)
    first, again = outcomes
    assert (first.text, first.ts) == (again.text, again.ts)


def test_the_timestamp_in_a_receipt_is_that_of_the_commit(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        first = await send(app, "m:add", 0, n=1)
        assert first.ts == app.runner.database.visible_ts
        await app.call("m:add", n=2)
        assert (await send(app, "m:add", 0, n=1)).ts == first.ts < app.runner.database.visible_ts

    play(tmp_path, tale)


def test_sessions_and_numbers_are_told_apart(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        for session in (SESSION, OTHER_SESSION):
            for number in (0, 1, 255, 256, 2**32 - 1):
                await send(app, "m:add", number, session, n=number)
        assert await app.call("m:count") == 10

    play(tmp_path, tale)


def test_a_number_that_is_given_to_another_mutation_is_refused(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        await send(app, "m:add", 0, n=1)
        others: list[tuple[str, dict[str, Any]]]
        others = [("m:add", {"n": 2}), ("m:slow", {"n": 1}), ("m:look", {})]
        for path, arguments in others:
            refused = await send(app, path, 0, **arguments)
            assert refused.failure is not None
            assert "already sent another mutation" in refused.failure.message
            assert getattr(refused.error, "code", None) == "RequestReused"
        assert await app.call("m:count") == 1

    play(tmp_path, tale)


GONE = """
    from camber import internal_mutation, mutation, query

    @internal_mutation
    async def add(ctx, n: int):
        raise ValueError("never again")

    @query
    async def look(ctx) -> int:
        return 17

    @mutation
    async def slow(ctx, n: str, note: str) -> str:
        return note

    @query
    async def count(ctx) -> int:
        return len(await ctx.db.query("rows").collect())
"""


def test_what_was_done_is_known_when_its_function_is_hidden_or_gone(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        added = await send(app, "m:add", 0, n=5)
        looked = await send(app, "m:look", 1)
        huge = await send(app, "m:huge", 2, size=3)
        await change(app, tmp_path, GONE)
        for path in ("m:add", "m.js:add", "m.py:add"):
            again = await ask(app, path, 0, n=5)
            assert again is not None
            assert (again.text, again.ts, said(again)) == (added.text, added.ts, said(added))
        again = await ask(app, "m:look", 1)
        assert again is not None
        assert (again.text, again.ts) == (looked.text, looked.ts)
        again = await ask(app, "m:huge", 2, size=3)
        assert again is not None
        assert (again.text, again.ts) == (huge.text, huge.ts)
        assert await app.call("m:count") == 2

    play(tmp_path, tale)


def test_what_was_not_done_or_is_another_is_not_taken_for_done(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        await send(app, "m:add", 0, n=5)
        assert await ask(app, "m:add", 1, n=5) is None
        assert await ask(app, "m:add", 0, n=6) is None
        assert await ask(app, "m:look", 0, n=5) is None
        assert await ask(app, "m:add", 0, user("ada"), n=5) is None
        assert await ask(app, "no path at all!", 0, n=5) is None
        assert await ask(app, "m:add", 0, n=object()) is None

    play(tmp_path, tale)


def test_a_function_without_a_name_is_found_however_it_is_spelled(tmp_path: Path) -> None:
    source = """
        from camber import mutation

        @mutation
        async def default(ctx) -> str:
            return "done"
    """

    async def tale(app: OpenApp) -> None:
        await change(app, tmp_path, source)
        await send(app, "m", 0)
        await change(app, tmp_path, GONE)
        for path in ("m", "m:default", "m.js", "m.js:default"):
            again = await ask(app, path, 0)
            assert again is not None
            assert again.value() == "done"

    play(tmp_path, tale)


def test_what_is_being_done_while_it_is_asked_for_is_waited_for(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        first = asyncio.create_task(send(app, "m:add", 0, n=5))
        await asyncio.sleep(0)  # It is in the queue, and nothing of it is durable.
        again = await ask(app, "m:add", 0, n=5)
        assert again is not None
        assert again.ts == (await first).ts

    play(tmp_path, tale)


def test_arguments_that_no_longer_fit_do_not_hide_what_was_done(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        first = await send(app, "m:slow", 0, n=5)
        await change(app, tmp_path, GONE)
        again = await send(app, "m:slow", 0, n=5)
        assert (again.text, again.ts) == (first.text, first.ts)
        assert (await send(app, "m:slow", 1, n=5)).failure is not None

    play(tmp_path, tale)


def test_a_result_is_not_shown_to_another_user(tmp_path: Path) -> None:
    callers = [NOBODY, ADMIN, user("ada"), user("bob"), Identity(user("ada").attributes, True)]

    async def tale(app: OpenApp) -> None:
        for number, owner in enumerate(callers):
            first = await send(app, "m:add", number, SESSION, owner, n=1)
            for other in callers:
                again = await send(app, "m:add", number, SESSION, other, n=1)
                asked = await ask(app, "m:add", number, other, n=1)
                if other is owner:
                    assert asked is not None
                    assert again.text == asked.text == first.text
                else:
                    assert again.failure is not None
                    assert "or the same one as another user" in again.failure.message
                    assert asked is None
        assert await app.call("m:count") == len(callers)

    play(tmp_path, tale)


def test_a_user_with_a_new_token_is_the_same_user(tmp_path: Path) -> None:
    """Clients get another before the one they have ends; what it says besides may differ."""

    async def tale(app: OpenApp) -> None:
        before = user("ada", name="Ada", exp=2e9)
        after = user("ada", name="Ada Lovelace", exp=3e9)
        first = await send(app, "m:add", 0, SESSION, before, n=1)
        again = await send(app, "m:add", 0, SESSION, after, n=1)
        assert (again.text, again.ts) == (first.text, first.ts)
        assert await app.call("m:count") == 1

    play(tmp_path, tale)


def test_what_failed_is_tried_again_when_it_is_sent_again(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        failed = await send(app, "m:fail_when_empty", 0)
        assert failed.failure is not None
        assert await receipts(app) == 0
        await app.call("m:add", n=1)
        assert (await send(app, "m:fail_when_empty", 0)).value() == 1
        assert (await send(app, "m:fail_when_empty", 0)).value() == 1
        assert await app.call("m:count") == 2

    play(tmp_path, tale)


def test_what_wrote_nothing_is_answered_as_of_then(tmp_path: Path) -> None:
    """Else it might do something out of its turn: after those that were sent behind it."""

    async def tale(app: OpenApp) -> None:
        first = await send(app, "m:look", 0)
        await send(app, "m:add", 1, n=1)
        again = await send(app, "m:look", 0)
        assert (first.value(), again.value(), again.ts) == (0, 0, first.ts)

    play(tmp_path, tale)


@pytest.mark.parametrize("path", ["m:add", "m:slow"])
def test_sent_many_times_at_once_it_is_done_once(tmp_path: Path, path: str) -> None:
    """As a client would on two connections. The slow one runs on threads, side by side."""

    async def tale(app: OpenApp) -> None:
        await send(app, path, 100, n=100)
        everything = [send(app, path, number, n=number) for number in range(3) for _ in range(4)]
        outcomes = await asyncio.gather(*everything)
        for start in (0, 4, 8):
            same = outcomes[start : start + 4]
            assert len({(outcome.text, outcome.ts) for outcome in same}) == 1
        assert len({outcome.ts for outcome in outcomes}) == 3
        assert await app.call("m:count") == 4

    play(tmp_path, tale)


def test_in_line_and_aside_at_once_it_is_done_once(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        for number in range(20):
            app.runner.slow.note("m:slow")
            aside = asyncio.create_task(send(app, "m:slow", number, n=number))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            app.runner.slow.clear()
            in_line = await send(app, "m:slow", number, n=number)
            assert ((await aside).text, (await aside).ts) == (in_line.text, in_line.ts)
            assert in_line.value() == number
        assert await app.call("m:count") == 20

    play(tmp_path, tale)


def test_one_that_conflicts_with_everybody_is_done_alone_and_once(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        await send(app, "m:slow", 100, OTHER_SESSION, n=0)
        stop = asyncio.Event()

        async def disturb() -> int:
            n = 0
            while not stop.is_set():
                await app.call("m:add", n=n)
                n += 1
                await asyncio.sleep(0.001)
            return n

        disturbing = asyncio.create_task(disturb())
        try:
            outcomes = [await send(app, "m:slow", 0, n=1) for _ in range(2)]
        finally:
            stop.set()
        disturbed = await disturbing
        assert outcomes[0].ts == outcomes[1].ts
        assert await app.call("m:count") == disturbed + 2

    play(tmp_path, tale)


class Witness:
    """Notes, while a commit is published, whether the request says that it is committing."""

    def __init__(self, request: ClientRequest) -> None:
        self.request = request
        self.seen: list[bool] = []

    def changed(self) -> None:
        self.seen.append(self.request.is_committing)


@pytest.mark.parametrize("path", ["m:add", "m:slow"])
def test_a_request_is_committing_while_its_commit_is_published(tmp_path: Path, path: str) -> None:
    async def tale(app: OpenApp) -> None:
        request = ClientRequest(SESSION, 0)
        witness = Witness(request)
        entry = app.runner.query_now(app.invocation("m:count"))
        assert entry is not None
        entry.watch(witness)
        await app.runner.run_mutation(app.invocation(path, {"n": 1}, request=request))
        assert witness.seen == [True]
        assert not request.is_committing
        # Answered from the receipt, it commits nothing.
        again = app.runner.query_now(app.invocation("m:count"))
        assert again is not None
        again.watch(witness)
        await app.runner.run_mutation(app.invocation(path, {"n": 1}, request=request))
        assert again.is_current
        assert witness.seen == [True]

    play(tmp_path, tale)


def test_a_request_whose_commit_failed_is_not_committing_and_can_be_sent_again(
    tmp_path: Path,
) -> None:
    async def tale(app: OpenApp) -> None:
        engine = app.runner.database.engine
        request = ClientRequest(SESSION, 0)
        invocation = app.invocation("m:add", {"n": 1}, request=request)
        begin, failures = engine.begin, [StorageFullError("full"), OverloadedError("busy")]

        async def fail() -> Any:
            engine.begin = begin  # type: ignore[method-assign]
            batch = await begin()
            error = failures.pop()

            async def commit() -> None:
                assert request.is_committing
                raise error

            batch.commit = commit  # type: ignore[method-assign]
            return batch

        for _ in range(2):
            engine.begin = fail  # type: ignore[method-assign]
            with pytest.raises((StorageFullError, OverloadedError)):
                await app.runner.run_mutation(invocation)
            assert not request.is_committing
        assert (await send(app, "m:add", 0, n=1)).value()["rows"] == 1
        assert (await send(app, "m:add", 0, n=1)).value()["rows"] == 1

    play(tmp_path, tale)


def test_a_result_larger_than_a_document_may_be_is_answered_again_whole(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        size = 7 << 20  # Each of its characters is two in the stored text, and four in a receipt.
        first = await send(app, "m:huge", 0, size=size)
        again = await send(app, "m:huge", 0, size=size)
        assert first.failure is None
        assert first.text == again.text
        assert await app.call("m:count") == 1

    play(tmp_path, tale)


def test_app_code_sees_no_receipts(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        request = ClientRequest(SESSION, 0)
        await app.runner.run_mutation(app.invocation("m:add", {"n": 1}, request=request))
        tx = app.runner.database.snapshot()
        table = tx.catalog.find(RECEIPTS)
        assert table is not None
        ((_, text),) = await tx.rows(table.maintained[0].number, b"", None, reverse=False, limit=10)
        id = text.split('"')[3]
        for path in ("m:read", "m:read_system", "m:erase"):
            assert (await app.outcome(path, id=id)).failure is not None, path
        assert (await app.outcome("m:list_table", name=RECEIPTS)).failure is not None
        assert await receipts(app) == 1

    play(tmp_path, tale)


def test_receipts_are_removed_after_fourteen_days(tmp_path: Path) -> None:
    clock = ManualClock()
    day = 86_400.0

    async def tale(app: OpenApp) -> None:
        database = app.runner.database
        for number in range(450):
            await send(app, "m:look", number)
        clock.advance(10 * day)
        await send(app, "m:add", 1000, n=1)
        assert await remove_old_receipts(database, clock) == 0
        clock.advance(4 * day + 1)
        assert await remove_old_receipts(database, clock) == 450
        assert await receipts(app) == 1
        assert (await send(app, "m:add", 1000, n=1)).value()["rows"] == 1
        clock.advance(10 * day)
        assert await remove_old_receipts(database, clock) == 1
        assert (await send(app, "m:add", 1000, n=1)).value()["rows"] == 2

    play(tmp_path, tale, clock)
