"""The catalog: a value, written down as documents of its own table."""

import pytest
from databases import insert, play_in_memory, use_schema

from camber.database.catalog import (
    FIRST_USER_TABLE,
    Catalog,
    index_number,
    make_index,
    new_table,
    system_table,
    table_document,
    table_of_document,
    table_of_point,
    table_point,
)
from camber.database.database import Database
from camber.storage.engine import BY_ID
from camber.values.id import encode_id
from camber.values.wire import pack, unpack


def test_a_table_is_what_was_written_down_of_it() -> None:
    table = new_table(FIRST_USER_TABLE, "rows", encode_id(1, bytes(16)))
    ready = make_index(index_number(table.number, 1), "by_n", ("n", "o.x"), ready=True)
    begun = make_index(index_number(table.number, 2), "by_n", ("n",), ready=False)
    table = table.with_indexes({**table.indexes, "by_n": ready, "by_n (new)": begun}, 3)
    written = {"_id": table.document_id, "_creationTime": 1.0, **table_document(table)}
    assert table_of_document(unpack(pack(written, plain=False)), None) == table


def test_index_numbers_are_never_shared_between_tables_nor_with_the_index_by_id() -> None:
    numbers = {index_number(table, serial) for table in (1, 2, 10_001) for serial in (0, 1, 99)}
    assert len(numbers) == 9
    assert BY_ID not in numbers
    assert make_index(index_number(10_001, 7), "by_n", ("n",), ready=True).table_number == 10_001


def test_a_catalog_is_a_value() -> None:
    empty = Catalog({})
    table = new_table(10_001, "rows", "")
    catalog = empty.with_table(table)
    assert empty.find("rows") is None
    assert catalog.find("rows") is catalog.numbered(10_001) is table
    assert (catalog.number_of("rows"), catalog.name_of(10_001)) == (10_001, "rows")
    assert (catalog.number_of("absent"), catalog.name_of(5)) == (None, None)
    assert (empty.next_user_number(), catalog.next_user_number()) == (10_001, 10_002)


def test_names_are_case_sensitive_and_emptied_tables_remain() -> None:
    async def story(database: Database) -> None:
        await insert(database, "rows", {})
        await insert(database, "Rows", {})
        assert [table.name for table in database.catalog.user_tables()] == ["rows", "Rows"]

    play_in_memory(story)


def test_a_dropped_index_number_is_not_given_again() -> None:
    async def story(database: Database) -> None:
        seen: list[int] = []
        for _ in range(3):
            await use_schema(database, rows={"by_n": ["n"]})
            table = database.catalog.find("rows")
            assert table is not None
            seen.append(table.indexes["by_n"].number)
            await use_schema(database, rows={})
        assert len(set(seen)) == 3

    play_in_memory(story)


def test_system_tables_are_known_by_their_underscore() -> None:
    with pytest.raises(AssertionError):
        system_table(5, "rows", {})
    with pytest.raises(AssertionError):
        system_table(FIRST_USER_TABLE, "_rows", {})


def test_the_point_of_a_table_is_no_document() -> None:
    assert table_of_point(table_point("rows")) == "rows"
    assert table_of_point("catalog") is None
    assert table_of_point(encode_id(10_001, bytes(16))) is None
