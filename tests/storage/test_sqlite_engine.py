"""What the SQLite engine promises beyond the contract: files, locks, damage, checkpoints."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw
import pytest

from camber.errors import (
    CamberError,
    ConfigError,
    StorageCorruptError,
    StorageError,
    StorageFormatError,
    StorageFullError,
    StorageLockedError,
)
from camber.storage.engine import BY_ID, Commit, TableView, Write
from camber.storage.sqlite import SqliteEngine, open_sqlite

NAME = "camber.db"


def play(folder: Path, story: Callable[[SqliteEngine], Awaitable[None]], **options: int) -> None:
    """Run `story` on the database in `folder`."""

    async def main() -> None:
        engine = await open_sqlite(folder / NAME, **options)
        try:
            await story(engine)
        finally:
            await engine.close()

    asyncio.run(main())


def fill(folder: Path, documents: int = 100) -> None:
    async def story(engine: SqliteEngine) -> None:
        writes = [document(f"id{n:04}", n, 300) for n in range(documents)]
        await write(engine, 1, *writes)

    play(folder, story)


def document(id: str, n: int, size: int = 0) -> Write:
    body = f'{{"_creationTime": {n}, "text": "{"x" * size}", "n": {n}}}'
    return Write(id, None, body, [], [(1, b"%08d " % n + id.encode())])


async def write(engine: SqliteEngine, ts: int, *writes: Write) -> None:
    batch = await engine.begin()
    try:
        batch.apply(Commit(ts, writes))
        await batch.commit()
    except BaseException:
        batch.rollback()
        raise


async def write_until_full(engine: SqliteEngine) -> int:
    """The last timestamp that there was room for."""
    try:
        for ts in range(engine.ts + 1, 10_000):
            await write(engine, ts, document(f"id{ts}", ts, 10_000))
    except StorageFullError:
        return ts - 1
    raise AssertionError("it is never full")


async def count(engine: SqliteEngine) -> int:
    return len(await engine.head.scan(BY_ID, b"", None, reverse=False, limit=100_000))


@contextmanager
def looking(folder: Path) -> Iterator[apsw.Connection]:
    """The database as a tool sees it.

    Through the same SQLite library as the engine's: the locks of another one in this process
    would not be told apart, and closing its connection would take the engine's away.
    """
    with closing(apsw.Connection(str(folder / NAME), flags=apsw.SQLITE_OPEN_READONLY)) as tool:
        yield tool


def refusal(folder: Path) -> CamberError:
    """The error that opening the database in `folder` ends with."""
    with pytest.raises(CamberError) as caught:
        asyncio.run(open_sqlite(folder / NAME))
    assert str(folder) in str(caught.value)
    return caught.value


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    fill(tmp_path)

    async def story(engine: SqliteEngine) -> None:
        assert engine.ts == 1
        assert await count(engine) == engine.statistics().documents == 100
        assert engine.statistics().file_size > 100 * 300
        await write(engine, 2, document("id5000", 5000))

    play(tmp_path, story)
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, f"{NAME}.lock"]
    assert os.stat(tmp_path / NAME).st_mode & 0o777 == 0o600


def test_commits_are_synced_in_wal_mode(tmp_path: Path) -> None:
    async def story(engine: SqliteEngine) -> None:
        await write(engine, 1, document("a", 1))
        connection = engine._writer.connection
        assert connection.execute("PRAGMA journal_mode").get == "wal"
        assert connection.execute("PRAGMA synchronous").get == 2
        assert connection.execute("PRAGMA page_size").get == 4096

    play(tmp_path, story)


def test_a_second_opener_is_told_who_has_it(tmp_path: Path) -> None:
    async def story(_: SqliteEngine) -> None:
        with pytest.raises(StorageLockedError, match=rf"{tmp_path} .*pid {os.getpid()}"):
            await open_sqlite(tmp_path / NAME)

    play(tmp_path, story)
    play(tmp_path, story)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path / "missing")
    assert isinstance(error, ConfigError)
    assert "does not exist" in str(error)


@pytest.mark.skipif(os.geteuid() != 0, reason="has to become somebody with fewer rights")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o555)
    os.seteuid(65534)
    try:
        error = refusal(tmp_path)
    finally:
        os.seteuid(0)
    assert isinstance(error, ConfigError)
    assert "Permission denied" in str(error)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    assert isinstance(refusal(tmp_path), StorageFormatError)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = "Dear diary, " * 50
    (tmp_path / NAME).write_text(text)
    error = refusal(tmp_path)
    assert isinstance(error, StorageFormatError)
    assert "not a SQLite database" in str(error)
    assert (tmp_path / NAME).read_text() == text


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.execute("CREATE TABLE t (x)")
    error = refusal(tmp_path)
    assert isinstance(error, StorageFormatError)
    assert "not one of Camber's" in str(error)


def test_another_format_version_is_refused_with_both_numbers(tmp_path: Path) -> None:
    fill(tmp_path)
    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.execute("PRAGMA user_version = 7")
    error = refusal(tmp_path)
    assert isinstance(error, StorageFormatError)
    assert "is of format 7" in str(error)
    assert "reads format 1" in str(error)


@pytest.mark.parametrize("keep", [0, 10, 50, 99, 100, 4095, 4096, 20_000])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    fill(tmp_path)
    os.truncate(tmp_path / NAME, keep)
    assert isinstance(refusal(tmp_path), StorageCorruptError)


def test_a_log_without_its_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}-wal").write_bytes(b"x" * 5000)
    assert isinstance(refusal(tmp_path), StorageCorruptError)
    assert not (tmp_path / NAME).exists()


def test_a_database_that_lost_a_table_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.execute("DROP TABLE _camber_entries")
    assert isinstance(refusal(tmp_path), StorageCorruptError)


def test_a_half_made_database_of_an_earlier_start_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.new").write_bytes(b"half")
    fill(tmp_path)
    assert not (tmp_path / f"{NAME}.new").exists()


def test_a_refused_open_lets_go_of_the_lock(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"x" * 200)
    refusal(tmp_path)
    (tmp_path / NAME).unlink()
    fill(tmp_path)


@pytest.mark.parametrize("table", ["_camber_documents", "_camber_entries"])
def test_a_damaged_page_is_noticed_when_it_is_read(tmp_path: Path, table: str) -> None:
    fill(tmp_path, 400)

    async def find(engine: SqliteEngine) -> None:
        pages = engine.head.connection.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'", (table,)
        )
        (page,) = pages.fetchall()[1]
        assert isinstance(page, int)
        damaged.append(page)

    async def read(engine: SqliteEngine) -> None:
        with pytest.raises(StorageCorruptError, match=NAME):
            await engine.head.scan(1, b"", None, reverse=False, limit=1000)
        assert await engine.head.get("id0000") is not None

    damaged: list[int] = []
    play(tmp_path, find)
    with (tmp_path / NAME).open("r+b") as file:
        file.seek((damaged[0] - 1) * 4096)
        file.write(b"\xa5" * 4096)
    play(tmp_path, read)


def test_text_that_is_no_text_any_more_counts_as_damage(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    with closing(sqlite3.connect(tmp_path / NAME)) as connection, connection:
        connection.execute("UPDATE _camber_documents SET body = CAST(x'c328' AS TEXT)")
        connection.execute("UPDATE _camber_log SET changes = '[7]'")

    async def story(engine: SqliteEngine) -> None:
        with pytest.raises(StorageCorruptError):
            await engine.head.get("id0001")
        with pytest.raises(StorageCorruptError):
            await count(engine)
        with pytest.raises(StorageCorruptError):
            await engine.read_log(0, limit=9)

    play(tmp_path, story)


def test_while_a_commit_is_on_its_way_nobody_sees_it(tmp_path: Path) -> None:
    async def story(engine: SqliteEngine) -> None:
        await write(engine, 1, document("a", 1))
        batch = await engine.begin()
        batch.apply(Commit(2, [document("b", 2)]))
        committing = asyncio.create_task(batch.commit())
        await asyncio.sleep(0)
        with looking(tmp_path) as outside:
            # Without giving the loop a turn: wait until the commit is in the file.
            while outside.execute("SELECT count(*) FROM _camber_documents").get != 2:
                pass
        assert engine.ts == 1
        assert await engine.head.get("b") is None
        assert len(await engine.read_log(0, limit=9)) == 1
        # A snapshot asked for now waits, and is of the commit.
        snapshot = await engine.snapshot()
        assert snapshot.ts == engine.ts == 2
        assert await snapshot.get("b") is not None
        snapshot.close()
        await committing

    play(tmp_path, story)


def test_a_cancelled_wait_does_not_cancel_the_commit(tmp_path: Path) -> None:
    async def story(engine: SqliteEngine) -> None:
        batch = await engine.begin()
        batch.apply(Commit(1, [document("a", 1)]))
        committing = asyncio.create_task(batch.commit())
        waiting = asyncio.create_task(engine.snapshot())
        await asyncio.sleep(0)
        committing.cancel()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await committing
        batch.rollback()
        await write(engine, 2, document("b", 2))
        assert engine.ts == 2
        assert await count(engine) == 2

    play(tmp_path, story)


def test_snapshots_share_a_few_connections(tmp_path: Path) -> None:
    fill(tmp_path)

    async def story(engine: SqliteEngine) -> None:
        snapshots = [await engine.snapshot() for _ in range(12)]
        for snapshot in snapshots:
            assert await snapshot.get("id0001") is not None
            snapshot.close()
        before = len(os.listdir("/proc/self/fd"))
        for ts in range(2, 30):
            snapshot = await engine.snapshot()
            await write(engine, ts, document(f"new{ts}", ts))
            assert await snapshot.get(f"new{ts}") is None
            snapshot.close()
        assert len(os.listdir("/proc/self/fd")) == before

    play(tmp_path, story)


def wal_size(folder: Path) -> int:
    return (folder / f"{NAME}-wal").stat().st_size


def test_the_log_stays_bounded_under_steady_writes(tmp_path: Path) -> None:
    async def story(engine: SqliteEngine) -> None:
        for ts in range(1, 301):
            await write(engine, ts, *[document(f"{ts}-{n}", ts, 2000) for n in range(8)])
            assert await engine.head.get(f"{ts}-7") is not None
        assert (tmp_path / NAME).stat().st_size > 4_000_000
        assert wal_size(tmp_path) < 1_000_000
        assert await count(engine) == 2400

    play(tmp_path, story, checkpoint_bytes=64 * 1024, restart_bytes=512 * 1024)


def test_a_snapshot_held_open_stops_the_log_from_restarting_only_until_it_closes(
    tmp_path: Path,
) -> None:
    async def story(engine: SqliteEngine) -> None:
        async def go_on(start: int, stop: int) -> None:
            for ts in range(start, stop):
                await write(engine, ts, *[document(f"{ts}-{n}", ts, 2000) for n in range(8)])

        await go_on(1, 20)
        snapshot = await engine.snapshot()
        await go_on(20, 120)
        assert wal_size(tmp_path) > 1_000_000
        rows = await snapshot.scan(BY_ID, b"", None, reverse=False, limit=10_000)
        assert len(rows) == 19 * 8
        snapshot.close()
        await go_on(120, 130)
        longest = wal_size(tmp_path)
        await go_on(130, 230)
        assert wal_size(tmp_path) <= longest + 600_000

    play(tmp_path, story, checkpoint_bytes=64 * 1024, restart_bytes=512 * 1024)


def test_queries_go_on_while_the_log_is_restarted(tmp_path: Path) -> None:
    async def story(engine: SqliteEngine) -> None:
        reads_meanwhile = 0
        for ts in range(1, 60):
            beginning = asyncio.create_task(engine.begin())
            await asyncio.sleep(0)
            while not beginning.done():
                assert await count(engine) == engine.ts == ts - 1
                snapshot = await engine.snapshot()
                assert snapshot.ts == ts - 1
                snapshot.close()
                reads_meanwhile += 1
                await asyncio.sleep(0)
            batch = beginning.result()
            batch.apply(Commit(ts, [document(f"id{ts}", ts)]))
            await batch.commit()
        assert reads_meanwhile > 0

    # So short that the log is restarted before every batch.
    play(tmp_path, story, checkpoint_bytes=4096, restart_bytes=4096)


def test_a_reader_from_outside_does_not_stop_commits(tmp_path: Path) -> None:
    async def story(engine: SqliteEngine) -> None:
        await write(engine, 1, document("first", 1))
        with looking(tmp_path) as outside:
            rows = outside.execute("BEGIN; SELECT id FROM _camber_documents")
            for ts in range(2, 30):
                await write(engine, ts, document(f"id{ts}", ts))
            assert rows.fetchall() == [("first",)]
        assert await count(engine) == 29

    play(tmp_path, story, checkpoint_bytes=4096, restart_bytes=8192)


HOLD_THE_WRITE_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


def test_another_writer_is_waited_for_and_then_named(tmp_path: Path) -> None:
    @contextmanager
    def another_writer() -> Iterator[None]:
        command = [sys.executable, "-c", HOLD_THE_WRITE_LOCK, str(tmp_path / NAME)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            yield
            other.communicate()

    async def story(engine: SqliteEngine) -> None:
        with another_writer(), pytest.raises(StorageError, match="Another program"):
            await write(engine, 1, document("a", 1))
        await write(engine, 1, document("a", 1))
        assert engine.ts == 1

    play(tmp_path, story)


def test_a_full_database_refuses_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async def story(engine: SqliteEngine) -> None:
        ts = await write_until_full(engine)
        assert ts > 10
        assert engine.ts == await count(engine) == engine.statistics().documents == ts
        body = await engine.head.get("id1")
        await write(engine, ts + 1, Write("id1", body, None, [(1, b"00000001 id1")], []))
        await write(engine, ts + 2, document("small", ts + 2))
        assert await count(engine) == ts

    play(tmp_path, story, size_max=500_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "camber-test", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    """Leave no room on the file system of `folder`. The file that takes it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


def test_a_full_disk_refuses_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    async def story(engine: SqliteEngine) -> None:
        for _ in range(3):
            filler = fill_up(small_disk)
            ts = await write_until_full(engine)
            assert engine.ts == await count(engine) == ts
            filler.unlink()
            for _ in range(5):
                ts += 1
                await write(engine, ts, document(f"id{ts}", ts, 10_000))
            assert engine.ts == await count(engine) == ts

    play(small_disk, story, checkpoint_bytes=64 * 1024)


def test_there_is_no_room_for_a_new_database(small_disk: Path) -> None:
    filler = fill_up(small_disk)
    assert isinstance(refusal(small_disk), StorageFullError)
    filler.unlink()
    fill(small_disk)


def test_a_database_on_a_full_disk_is_opened_or_says_so(small_disk: Path) -> None:
    fill(small_disk)
    filler = fill_up(small_disk)
    assert isinstance(refusal(small_disk), StorageFullError)
    filler.unlink()
    assert asyncio.run(open_and_count(small_disk)) == 100


async def open_and_count(folder: Path) -> int:
    engine = await open_sqlite(folder / NAME)
    try:
        return await count(engine)
    finally:
        await engine.close()


def test_any_sqlite_tool_can_look_at_the_tables(tmp_path: Path) -> None:
    views = [
        TableView("notes", "a", "b", ["n", "text", "N", "_id", "it's", 'a"b', "a.b", "document"]),
        TableView("Notes", "b", "c", []),
        TableView("_camber_documents", "c", "d", []),
        TableView("sqlite_master", "d", "e", []),
        TableView('x"; DROP TABLE _camber_log; --', "e'", "f", ["n"]),
    ]

    async def story(engine: SqliteEngine) -> None:
        writes = [document(id, n) for n, id in enumerate(["a1", "a2", "b1", "c1", "d1", "e1"])]
        await write(engine, 1, *writes)
        body = '{"it\'s": "quoted", "a.b": [1]}'
        await write(engine, 2, Write("a3", None, body, [], []))
        engine.set_views(views)
        schema = engine.head.connection.execute("PRAGMA schema_version").get
        engine.set_views(views)
        assert engine.head.connection.execute("PRAGMA schema_version").get == schema
        await write(engine, 3, document("a4", 4))
        with looking(tmp_path) as outside:
            cursor = outside.execute("SELECT * FROM notes ORDER BY _id")
            columns = [name for name, _ in cursor.get_description()]
            assert columns == ["_id", "_creationTime", "n", "text", "it's", "a.b", "document"]
            rows = [dict(zip(columns, row, strict=True)) for row in cursor]
            assert [row["_id"] for row in rows] == ["a1", "a2", "a3", "a4"]
            assert [row["n"] for row in rows] == [0, 1, None, 4]
            assert (rows[2]["it's"], rows[2]["a.b"]) == ("quoted", "[1]")
            for name, id in [("Notes_", "b1"), ("table_camber_documents", "c1")]:
                assert outside.execute(f"SELECT _id FROM {name}").get == id
            assert outside.execute("SELECT count(*) FROM _camber_log").get == 3
            assert outside.execute("SELECT _id FROM tablesqlite_master").get == "d1"
        engine.set_views(views[1:2])
        with looking(tmp_path) as outside:
            names = outside.execute("SELECT name FROM sqlite_schema WHERE type = 'view'")
            assert names.get == "Notes"

    play(tmp_path, story)


def test_a_view_somebody_made_is_kept(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    with closing(sqlite3.connect(tmp_path / NAME)) as connection:
        connection.execute("CREATE VIEW mine AS SELECT count(*) AS n FROM _camber_documents")

    async def story(engine: SqliteEngine) -> None:
        engine.set_views([TableView("notes", "a", "z", [])])
        engine.set_views([])

    play(tmp_path, story)
    with looking(tmp_path) as outside:
        assert outside.execute("SELECT n FROM mine").get == 3


def test_a_long_log_is_trimmed_in_parts(tmp_path: Path) -> None:
    async def story(engine: SqliteEngine) -> None:
        batch = await engine.begin()
        for ts in range(1, 1201):
            batch.apply(Commit(ts, []))
        await batch.commit()
        await engine.trim_log(1150)
        assert 50 < engine.statistics().log_entries < 1200
        for _ in range(3):
            await engine.trim_log(1150)
        assert engine.statistics().log_entries == 51
        assert (await engine.read_log(0, limit=1))[0].ts == 1150

    play(tmp_path, story)
