"""docs/formats.md says what is in the file."""

import asyncio
import json
import re
from pathlib import Path

import apsw

from camber.storage.engine import Commit, Write
from camber.storage.sqlite import SqliteEngine, open_sqlite

FORMATS = Path(__file__).parents[2] / "docs" / "formats.md"


def section(title: str) -> str:
    text = FORMATS.read_text()
    start = text.index(f"\n## {title}\n")
    return text[start : text.find("\n## ", start + 1)]


async def one_document_comes_changes_and_goes(engine: SqliteEngine) -> None:
    one, two = '{"n":1}', '{"n":2}'
    for ts, before, after in [(10, None, one), (20, one, two), (30, two, None)]:
        batch = await engine.begin()
        batch.apply(Commit(ts, [Write("k5", before, after, [], [])]))
        await batch.commit()
    await engine.close()


def database(folder: Path) -> apsw.Connection:
    async def main() -> None:
        await one_document_comes_changes_and_goes(await open_sqlite(folder / "camber.db"))

    asyncio.run(main())
    return apsw.Connection(str(folder / "camber.db"), flags=apsw.SQLITE_OPEN_READONLY)


def test_the_tables_are_those_of_the_manual(tmp_path: Path) -> None:
    match = re.search(r"```sql\n(.*?)```", section("Tables on disk"), re.DOTALL)
    assert match is not None
    with database(tmp_path) as connection:
        statements = connection.execute(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid"
        )
        assert [f"{sql};" for (sql,) in statements] == [
            f"{sql.strip()};" for sql in match[1].split(";\n") if sql.strip()
        ]
        assert connection.execute("PRAGMA application_id").get == 0x434D4252
        assert connection.execute("PRAGMA user_version").get == 1


def test_the_log_is_that_of_the_manual(tmp_path: Path) -> None:
    documented = [
        (int(cells[0]), int(cells[1]), int(cells[2]), json.loads(cells[3].strip("`")))
        for line in section("Commit log").splitlines()
        if (cells := [cell.strip() for cell in line.strip("|").split("|")])[0].isdigit()
    ]
    assert len(documented) == 3
    with database(tmp_path) as connection:
        rows = connection.execute("SELECT ts, number, documents, changes FROM _camber_log")
        assert [(*row[:3], json.loads(str(row[3]))) for row in rows] == documented
