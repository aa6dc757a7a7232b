"""Environment variables as rows, and what may be one."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from camber.clock import ManualClock
from camber.database.database import Database, complete
from camber.database.read_set import ReadSet
from camber.errors import InvalidArgumentError, InvalidValueError
from camber.storage.memory import MemoryEngine
from camber.system.tables import SYSTEM_TABLES
from camber.system.variables import (
    change_variables,
    check_variable,
    read_variables,
    variable_interval,
)


def play(story: Callable[[Database], Awaitable[None]]) -> None:
    async def main() -> None:
        database = await Database.open(MemoryEngine(), ManualClock(), SYSTEM_TABLES)
        try:
            await story(database)
        finally:
            await database.close()

    asyncio.run(main())


async def change(database: Database, changes: dict[str, str | None]) -> None:
    await database.run(lambda tx: complete(change_variables(tx, changes)))


def variables(database: Database) -> dict[str, str]:
    return complete(read_variables(database.snapshot()))


def test_variables_are_set_changed_and_removed() -> None:
    async def story(database: Database) -> None:
        await change(database, {"A": "1", "_b2": ""})
        assert variables(database) == {"A": "1", "_b2": ""}
        await change(database, {"A": "2", "_b2": None, "absent": None})
        assert variables(database) == {"A": "2"}

    play(story)


def test_all_changes_or_none() -> None:
    async def story(database: Database) -> None:
        with pytest.raises(InvalidArgumentError):
            await change(database, {"GOOD": "1", "not good": "2"})
        with pytest.raises(InvalidValueError):
            await change(database, {"GOOD": "1", "SURROGATE": "\ud800"})
        assert variables(database) == {}

    play(story)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "1A",
            "",
            "The environment variable name 1A is invalid. Environment variable names must begin "
            "with a letter and may only include characters a-z, A-Z, 0-9, and underscores.",
        ),
        (
            "A\n",
            "",
            "The environment variable name A\n is invalid. Environment variable names must begin "
            "with a letter and may only include characters a-z, A-Z, 0-9, and underscores.",
        ),
        (
            "A" * 257,
            "",
            f"The environment variable name {'A' * 257} is too long. Environment variable names "
            "must be less than 256.",
        ),
        (
            "CONVEX_SITE_URL",
            "x",
            'Environment variable with name "CONVEX_SITE_URL" is built-in and cannot be overridden',
        ),
        (
            "A",
            "ä" * 4097,
            "The environment variable value is 8194 bytes, which is too large. (max size: 8192",
        ),
    ],
)
def test_what_cannot_be_a_variable(name: str, value: str, text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_variable(name, value)
    assert str(caught.value) == text


def test_the_longest_name_and_value_are_good() -> None:
    check_variable("A" * 256, "x" * 8192)
    check_variable("A", None)


def test_there_are_limits_for_all_together() -> None:
    async def story(database: Database) -> None:
        await change(database, {f"V{n}": "" for n in range(512)})
        with pytest.raises(InvalidArgumentError) as caught:
            await change(database, {"ONE_MORE": ""})
        assert str(caught.value) == "The environment variable limit (512) has been met."
        await change(database, {"ONE_MORE": "", "V0": None})
        with pytest.raises(InvalidArgumentError) as caught:
            await change(database, {f"V{n}": "x" * 8192 for n in range(1, 65)})
        assert str(caught.value).startswith("The total size of all environment variables (")
        assert str(caught.value).endswith(" bytes) exceeds the limit (524288 bytes).")

    play(story)


def test_whoever_read_a_variable_is_told_of_it_and_of_no_other_also_when_it_was_not_set() -> None:
    async def story(database: Database) -> None:
        told: list[int] = []
        reads = ReadSet()
        reads.intervals.append(variable_interval(database.catalog, "A"))
        database.subscribe(reads, database.visible_ts, told.append)
        await change(database, {"B": "1", "AA": "1"})
        assert told == []
        await change(database, {"A": "1"})
        assert len(told) == 1

    play(story)
