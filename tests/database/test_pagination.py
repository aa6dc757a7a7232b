"""Pages and cursors."""

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from databases import delete, insert, patch, plan, play_in_memory, use_schema

from camber.database import expression
from camber.database import pagination as pagination_module
from camber.database.database import Database, complete
from camber.database.pagination import Cursors, InvalidCursorError, PageRequest, read_page
from camber.database.plan import Plan
from camber.errors import ConvexError, InvalidArgumentError

CURSORS = Cursors(b"the deployment's own secret")
ALL = plan("rows")


def page_of(
    database: Database, items: int, cursor: str | None = None, of: Plan = ALL, **options: Any
) -> Mapping[str, Any]:
    request = PageRequest(items, cursor, **options)
    return complete(read_page(database.snapshot(), of, request, CURSORS))


def numbers(page: Mapping[str, Any]) -> list[int]:
    return [row["n"] for row in page["page"]]


async def ten(database: Database) -> list[str]:
    await use_schema(database, rows={"by_n": ["n"]})
    return await insert(database, "rows", *[{"n": n} for n in range(10)])


def test_ten_rows_by_fives_are_three_pages() -> None:
    """Conformance 7: a page that is filled by the last row does not look further."""

    async def story(database: Database) -> None:
        await ten(database)
        first = page_of(database, 5)
        assert (numbers(first), first["isDone"]) == ([0, 1, 2, 3, 4], False)
        second = page_of(database, 5, first["continueCursor"])
        assert (numbers(second), second["isDone"]) == ([5, 6, 7, 8, 9], False)
        third = page_of(database, 5, second["continueCursor"])
        assert (numbers(third), third["isDone"]) == ([], True)
        fourth = page_of(database, 5, third["continueCursor"])
        assert (numbers(fourth), fourth["isDone"]) == ([], True)
        assert third["splitCursor"] is third["pageStatus"] is None

    play_in_memory(story)


def test_pages_go_down_too() -> None:
    async def story(database: Database) -> None:
        await ten(database)
        down = plan("rows", "by_n", ("gt", "n", 2), desc=True)
        first = page_of(database, 4, None, down)
        second = page_of(database, 4, first["continueCursor"], down)
        assert (numbers(first), numbers(second)) == ([9, 8, 7, 6], [5, 4, 3])
        assert second["isDone"]

    play_in_memory(story)


def test_a_page_with_a_fixed_end_grows_and_shrinks_and_its_neighbour_stays() -> None:
    """Conformance 8."""

    async def story(database: Database) -> None:
        ids = await ten(database)
        by_n = plan("rows", "by_n")
        first = page_of(database, 5, None, by_n)
        end = first["continueCursor"]
        second = page_of(database, 5, end, by_n)
        await insert(database, "rows", {"n": 2.5}, {"n": 4.5})
        await delete(database, ids[0])
        again = page_of(database, 5, None, by_n, end_cursor=end)
        assert numbers(again) == [1, 2, 2.5, 3, 4]
        assert again["continueCursor"] == end
        after = page_of(database, 5, end, by_n, end_cursor=second["continueCursor"])
        assert numbers(after) == [4.5, 5, 6, 7, 8, 9]
        # To the end of everything, however many there are.
        last = page_of(database, 100, second["continueCursor"], by_n)
        await insert(database, "rows", {"n": 11}, {"n": 12})
        rest = page_of(
            database, 1, second["continueCursor"], by_n, end_cursor=last["continueCursor"]
        )
        assert numbers(rest) == [11, 12]
        assert rest["isDone"]

    play_in_memory(story)


def test_a_page_has_read_up_to_its_last_row_or_its_fixed_end() -> None:
    async def story(database: Database) -> None:
        ids = await ten(database)
        by_n = plan("rows", "by_n")
        tx = database.snapshot()
        first = complete(read_page(tx, by_n, PageRequest(5), CURSORS))
        told: list[int] = []
        database.subscribe(tx.reads, tx.begin_ts, told.append)
        await patch(database, ids[5], x=1)
        await insert(database, "rows", {"n": 4.5})
        assert told == []
        await insert(database, "rows", {"n": 3.5})
        assert len(told) == 1
        tx = database.snapshot()
        pinned = PageRequest(1, None, first["continueCursor"])
        complete(read_page(tx, by_n, pinned, CURSORS))
        told.clear()
        database.subscribe(tx.reads, tx.begin_ts, told.append)
        await insert(database, "rows", {"n": 4.6})
        assert told == []
        await delete(database, ids[4])
        assert len(told) == 1

    play_in_memory(story)


def test_a_filter_counts_what_it_lets_through() -> None:
    async def story(database: Database) -> None:
        await ten(database)
        even = Plan("rows", "by_n", operators=(expression.field("n") % 2 == 0,))
        first = page_of(database, 2, None, even)
        second = page_of(database, 2, first["continueCursor"], even)
        assert (numbers(first), numbers(second)) == ([0, 2], [4, 6])

    play_in_memory(story)


def test_a_page_is_cut_where_enough_was_read() -> None:
    async def story(database: Database) -> None:
        await ten(database)
        cut = page_of(database, 9, rows_read_max=3)
        assert (numbers(cut), cut["pageStatus"], cut["isDone"]) == (
            [0, 1, 2],
            "SplitRequired",
            False,
        )
        rest = page_of(database, 100, cut["continueCursor"])
        assert numbers(rest) == [3, 4, 5, 6, 7, 8, 9]
        assert numbers(page_of(database, 9, bytes_read_max=1)) == [0]
        none = Plan("rows", operators=(expression.field("n") > 5,))
        cut = page_of(database, 9, None, none, rows_read_max=4)
        assert (numbers(cut), cut["pageStatus"]) == ([], "SplitRequired")
        assert numbers(page_of(database, 9, cut["continueCursor"], none)) == [6, 7, 8, 9]

    play_in_memory(story)


def test_the_cursor_to_split_at_is_after_the_middle_row(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(database: Database) -> None:
        await ten(database)
        whole = page_of(database, 10)
        halves = (
            numbers(page_of(database, 1, end_cursor=whole["splitCursor"])),
            numbers(page_of(database, 100, whole["splitCursor"])),
        )
        assert halves == ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])
        assert page_of(database, 2)["splitCursor"] is None
        assert whole["pageStatus"] is None
        monkeypatch.setattr(pagination_module, "SPLIT_LENGTH", 9)
        assert page_of(database, 10)["pageStatus"] == "SplitRecommended"
        monkeypatch.setattr(pagination_module, "SPLIT_LENGTH", 6_144)
        monkeypatch.setattr(pagination_module, "ROWS_READ_MAX", 10)
        assert page_of(database, 8)["pageStatus"] == "SplitRecommended"
        assert page_of(database, 7)["pageStatus"] is None

    play_in_memory(story)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (PageRequest(0), "Must request at least 1 document while paginating"),
        (PageRequest(32_001), "Requested too many items: 32001"),
        (
            PageRequest(1, rows_read_max=0),
            "maximumRowsRead and maximumBytesRead must be greater than 0",
        ),
        (
            PageRequest(1, bytes_read_max=-1),
            "maximumRowsRead and maximumBytesRead must be greater than 0",
        ),
    ],
)
def test_requests_out_of_bounds(request_: PageRequest, text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        request_.check()
    assert str(caught.value) == text
    PageRequest(32_000).check()


def test_a_cursor_is_good_for_its_own_query_and_deployment_only() -> None:
    async def story(database: Database) -> None:
        await ten(database)
        cursor = page_of(database, 3)["continueCursor"]
        end = page_of(database, 100)["continueCursor"]
        raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        raw[12] ^= 1
        forged = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        strange: list[Any] = ["", "x", "é", "\ud800", cursor[:-1], forged, cursor + "AAAA", 3, {}]
        others = [plan("rows", desc=True), plan("rows", "by_n"), plan("other")]
        attempts = [(ALL, wrong) for wrong in strange]
        attempts += [(other, good) for other in others for good in (cursor, end)]
        for of, given in attempts:
            for options in ({"cursor": given}, {"cursor": None, "end_cursor": given}):
                if of.table == "other" and "end_cursor" in options:
                    continue  # Of a table that is not there nothing is read.
                with pytest.raises(InvalidCursorError) as caught:
                    page_of(database, 3, of=of, **options)
                assert str(caught.value) == (
                    "InvalidCursor: Tried to run a query starting from a cursor, but it looks "
                    "like this cursor is from a different query."
                )
                assert isinstance(caught.value, ConvexError)
                assert caught.value.data == {
                    "isConvexSystemError": True,
                    "paginationError": "InvalidCursor",
                }
        tx, request = database.snapshot(), PageRequest(3, cursor)
        with pytest.raises(InvalidCursorError):
            complete(read_page(tx, ALL, request, Cursors(b"another")))

    play_in_memory(story)


def test_a_cursor_of_an_index_that_has_other_fields_now_is_refused() -> None:
    async def story(database: Database) -> None:
        await ten(database)
        by_n = plan("rows", "by_n")
        cursor = page_of(database, 3, None, by_n)["continueCursor"]
        assert numbers(page_of(database, 1, cursor, by_n)) == [3]
        await use_schema(database, rows={"by_n": ["n", "m"]})
        with pytest.raises(InvalidCursorError):
            page_of(database, 3, cursor, by_n)

    play_in_memory(story)


def test_a_table_that_is_not_there_has_one_empty_page() -> None:
    async def story(database: Database) -> None:
        tx = database.snapshot()
        page = complete(read_page(tx, plan("absent"), PageRequest(5), CURSORS))
        assert (page["page"], page["isDone"]) == ([], True)
        assert tx.reads.points == {"table:absent"}

    play_in_memory(story)
