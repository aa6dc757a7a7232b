"""Pages through functions: their options, and the journals that keep their boundaries."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from apps import OpenApp, opened

from camber.errors import ConvexError
from camber.functions.cache import Entry

APP = {
    "m.py": """
        from camber import mutation, query

        @query
        async def page(ctx, options):
            return await ctx.db.query("rows").paginate(options)

        @query
        async def page_then_fail(ctx, options, fail_from: int):
            page = await ctx.db.query("rows").paginate(options)
            if len(page["page"]) >= fail_from:
                raise ValueError("too many")
            return page

        @query
        async def nested(ctx, options):
            return await ctx.run_query("m:page", options=options)

        @query
        async def plain(ctx) -> int:
            return 1

        @mutation
        async def add(ctx, n: int) -> str:
            return await ctx.db.insert("rows", {"n": n})
    """,
}

Tale: TypeAlias = Callable[[OpenApp], Awaitable[None]]


def play(folder: Path, tale: Tale) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), opened(folder, APP) as app:
            for n in range(5):
                await app.call("m:add", n=n)
            await tale(app)

    asyncio.run(main())


def view(app: OpenApp, path: str, journal: str | None = None, **arguments: Any) -> Entry:
    options = {"numItems": 3.0, "cursor": None}
    invocation = app.invocation(path, {"options": options, **arguments}, journal=journal)
    entry = app.runner.query_now(invocation)
    assert entry is not None
    return entry


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numItems": 0}, "Must request at least 1 document while paginating"),
        ({"numItems": 0.5}, "Must request at least 1 document while paginating"),
        ({"numItems": -1}, "`options.numItems` must be a positive number. Received `-1`."),
        ({"numItems": -0.5}, "must be a positive number"),
        ({"numItems": math.nan}, "`options.numItems` must be a positive number. Received `nan`."),
        ({"numItems": math.inf}, "Requested too many items: inf"),
        ({"numItems": 1e300}, "Requested too many items: 1"),
        ({"numItems": 32_001.0}, "Requested too many items: 32001"),
        ({"numItems": "3"}, "must be a positive number. Received `3`."),
        ({"numItems": True}, "must be a positive number"),
        ({"numItems": None}, "must be a positive number"),
        ({"maximumRowsRead": 0}, "maximumRowsRead and maximumBytesRead must be greater than 0"),
        ({"maximumBytesRead": 0.0}, "maximumRowsRead and maximumBytesRead must be greater than 0"),
        ({"maximumRowsRead": -3}, "maximumRowsRead and maximumBytesRead must be greater than 0"),
        ({"maximumRowsRead": math.nan}, "`options.maximumRowsRead` must be a positive number."),
        ({"maximumBytesRead": "x"}, "`options.maximumBytesRead` must be a positive number."),
        ({"cursor": 5}, "`options.cursor` must be a cursor, which is a string, or None."),
        ({"endCursor": {"a": 1}}, "`options.endCursor` must be a cursor"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    async def tale(app: OpenApp) -> None:
        outcome = await app.outcome("m:page", options={"numItems": 3, "cursor": None, **options})
        assert outcome.failure is not None
        assert message in outcome.failure.message

    play(tmp_path, tale)


def test_bounds_above_what_may_be_read_at_most_are_as_good_as_none(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        for bound in (None, 1e300, math.inf, 2**50):
            options = {"numItems": 3, "maximumRowsRead": bound, "maximumBytesRead": bound}
            assert len((await app.call("m:page", options=options))["page"]) == 3
        few = await app.call("m:page", options={"numItems": 3, "maximumRowsRead": 1.9})
        assert (len(few["page"]), few["pageStatus"]) == (1, "SplitRequired")

    play(tmp_path, tale)


@pytest.mark.parametrize("path", ["m:page", "m:nested"])
def test_the_journal_of_a_page_is_where_it_ends(tmp_path: Path, path: str) -> None:
    async def tale(app: OpenApp) -> None:
        first = view(app, path)
        assert first.outcome.journal == first.outcome.value()["continueCursor"]
        rest = {"numItems": 9, "cursor": first.outcome.journal}
        assert len((await app.call("m:page", options=rest))["page"]) == 2
        assert view(app, path, journal=first.outcome.journal).outcome.text == first.outcome.text

    play(tmp_path, tale)


def test_a_query_without_pages_has_no_journal(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        entry = app.runner.query_now(app.invocation("m:plain"))
        assert entry is not None
        assert entry.outcome.journal is None

    play(tmp_path, tale)


def test_results_with_one_journal_are_not_taken_for_those_with_another(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        options = {"numItems": 1, "cursor": None}
        one = (await app.call("m:page", options=options))["continueCursor"]
        pages = [view(app, "m:page", journal) for journal in (None, one)]
        assert [len(page.outcome.value()["page"]) for page in pages] == [3, 1]
        assert [view(app, "m:page", journal) for journal in (None, one)] == pages

    play(tmp_path, tale)


def test_a_journal_that_fits_no_query_fails_it_as_clients_understand(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        outcome = view(app, "m:page", journal="made up").outcome
        assert isinstance(outcome.error, ConvexError)
        assert outcome.error.data == {
            "isConvexSystemError": True,
            "paginationError": "InvalidCursor",
        }
        assert outcome.journal is None, "so that it can recover"

    play(tmp_path, tale)


def test_a_page_keeps_its_end_while_its_query_fails(tmp_path: Path) -> None:
    async def tale(app: OpenApp) -> None:
        good = view(app, "m:page_then_fail", fail_from=4)
        failed = view(app, "m:page_then_fail", good.outcome.journal, fail_from=2)
        assert failed.outcome.failure is not None
        assert failed.outcome.journal == good.outcome.journal

    play(tmp_path, tale)
