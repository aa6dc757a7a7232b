"""Pages on view: read again with their journals, they stay a partition of what there is."""

from dataclasses import dataclass
from typing import Any

import pytest
from databases import delete, insert, plan, play_in_memory, take, use_schema
from hypothesis import given, settings
from hypothesis import strategies as st

from camber.database.database import Database, complete
from camber.database.pagination import Cursors, InvalidCursorError, PageRequest, read_page
from camber.database.plan import Plan
from camber.database.transaction import Transaction

CURSORS = Cursors(b"the deployment's own secret")
UP = plan("rows", "by_n")
DOWN = plan("rows", "by_n", desc=True)


@dataclass
class Page:
    """A page as a client holds it: what it asked for, and the journal it was given."""

    cursor: str | None
    end_cursor: str | None = None
    journal: str | None = None

    def read(self, tx: Transaction, of: Plan, items: int = 3) -> dict[str, Any]:
        """Read it anew, as a server does when something in it changed."""
        request = PageRequest(items, self.cursor, self.end_cursor)
        page = complete(read_page(tx, of, request, CURSORS, self.journal))
        self.journal = page["continueCursor"]
        return page


def read_on(tx: Transaction, of: Plan, pages: list[Page]) -> list[dict[str, Any]]:
    """All the pages, and new ones after them until there are no more."""
    found = [page.read(tx, of) for page in pages]
    while not found or not found[-1]["isDone"]:
        pages.append(Page(found[-1]["continueCursor"] if found else None))
        found.append(pages[-1].read(tx, of))
    return found


def split(pages: list[Page], number: int, page: dict[str, Any]) -> None:
    """Two in the place of one, as `usePaginatedQuery` does."""
    middle = page["splitCursor"]
    whole = pages[number]
    halves = Page(whole.cursor, middle), Page(middle, page["continueCursor"])
    pages[number : number + 1] = halves


steps = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, 40)),
        st.tuples(st.just("delete"), st.integers(0, 40)),
        st.tuples(st.just("split"), st.integers(0, 10)),
        st.tuples(st.just("forget"), st.integers(0, 10)),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=15), steps, st.booleans())
def test_pages_with_journals_have_no_gap_and_no_repeat_whatever_is_written(
    start: list[int], changes: list[tuple[str, int]], goes_down: bool
) -> None:
    of = DOWN if goes_down else UP

    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        ids = await insert(database, "rows", *[{"n": n} for n in start])
        pages: list[Page] = []
        found = read_on(database.snapshot(), of, pages)
        for what, number in changes:
            if what == "insert":
                ids += await insert(database, "rows", {"n": number})
            elif what == "delete" and ids:
                await delete(database, ids.pop(number % len(ids)))
            elif what == "split" and found[number % len(found)]["splitCursor"]:
                split(pages, number % len(found), found[number % len(found)])
            elif what == "forget":
                # A client that connects anew without its last journals begins these pages anew.
                del pages[number % len(pages) :]
            tx = database.snapshot()
            found = read_on(tx, of, pages)
            everything = [row["_id"] for row in take(tx, of)]
            assert [row["_id"] for page in found for row in page["page"]] == everything
            assert [page["isDone"] for page in found][:-1] == [False] * (len(found) - 1)

    play_in_memory(story)


def test_a_page_grows_and_shrinks_and_its_neighbour_is_not_touched() -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        ids = await insert(database, "rows", *[{"n": n} for n in range(10)])
        first, second = Page(None), Page(None)
        second.cursor = first.read(database.snapshot(), UP)["continueCursor"]
        before = second.read(database.snapshot(), UP)
        await insert(database, "rows", *[{"n": n} for n in (0.5, 1.5, 1.7)])
        grown = first.read(database.snapshot(), UP)
        assert [row["n"] for row in grown["page"]] == [0, 0.5, 1, 1.5, 1.7, 2]
        for id in ids[:3]:
            await delete(database, id)
        shrunk = first.read(database.snapshot(), UP)
        assert [row["n"] for row in shrunk["page"]] == [0.5, 1.5, 1.7]
        assert second.read(database.snapshot(), UP) == before

    play_in_memory(story)


def test_the_first_rule_that_applies_ends_a_page() -> None:
    """The end cursor that is asked for, else the journal's, else the number of items."""

    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        await insert(database, "rows", *[{"n": n} for n in range(10)])
        tx = database.snapshot()
        four = Page(None).read(tx, UP, 4)["continueCursor"]
        two = Page(None).read(tx, UP, 2)["continueCursor"]

        def length(page: Page) -> int:
            return len(page.read(tx, UP, 7)["page"])

        assert length(Page(None, two, four)) == 2
        assert length(Page(None, None, four)) == 4
        assert length(Page(None, None, None)) == 7

    play_in_memory(story)


def test_the_last_page_goes_on_to_the_end_as_it_grows() -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        await insert(database, "rows", {"n": 1})
        page = Page(None)
        assert page.read(database.snapshot(), UP)["isDone"]
        await insert(database, "rows", *[{"n": n} for n in range(2, 9)])
        again = page.read(database.snapshot(), UP)
        assert (len(again["page"]), again["isDone"]) == (8, True)

    play_in_memory(story)


@pytest.mark.parametrize("index", ["by_creation_time", "by_id"])
def test_a_page_of_a_table_that_is_not_there_yet_grows_when_it_comes(index: str) -> None:
    async def story(database: Database) -> None:
        page = Page(None)
        assert page.read(database.snapshot(), plan("rows", index))["page"] == []
        await insert(database, "rows", {"n": 1})
        assert len(page.read(database.snapshot(), plan("rows", index))["page"]) == 1

    play_in_memory(story)


@pytest.mark.parametrize("journal", ["", "nonsense", "é", "AAAA" * 20])
def test_a_journal_that_is_none_is_an_invalid_cursor(journal: str) -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        with pytest.raises(InvalidCursorError):
            Page(None, None, journal).read(database.snapshot(), UP)

    play_in_memory(story)


def test_a_journal_of_another_query_is_an_invalid_cursor() -> None:
    async def story(database: Database) -> None:
        await use_schema(database, rows={"by_n": ["n"]})
        await insert(database, "rows", *[{"n": n} for n in range(10)])
        up = Page(None)
        up.read(database.snapshot(), UP)
        with pytest.raises(InvalidCursorError):
            Page(None, None, up.journal).read(database.snapshot(), DOWN)

    play_in_memory(story)
