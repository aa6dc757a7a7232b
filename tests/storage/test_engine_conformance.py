"""What every engine promises (`camber.storage.engine`), checked on each of them."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from camber.errors import StorageError
from camber.storage.engine import BY_ID, Commit, Engine, LogEntry, Reader, TableView, Write
from camber.storage.memory import MemoryEngine
from camber.storage.sqlite import open_sqlite

Story: TypeAlias = Callable[[Engine], Awaitable[None]]
Play: TypeAlias = Callable[[Story], None]


@pytest.fixture(params=["memory", "sqlite"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Run a story on a new engine."""

    async def main(story: Story) -> None:
        engine: Engine = MemoryEngine()
        if request.param == "sqlite":
            engine = await open_sqlite(tmp_path / "camber.db")
        try:
            await story(engine)
        finally:
            await engine.close()

    return lambda story: asyncio.run(main(story))


def insert(id: str, body: str, *keys: tuple[int, bytes]) -> Write:
    return Write(id, None, body, [], keys)


async def write(engine: Engine, ts: int, *writes: Write) -> None:
    batch = await engine.begin()
    batch.apply(Commit(ts, writes))
    await batch.commit()


async def entries(
    reader: Reader,
    index: int,
    lower: bytes = b"",
    upper: bytes | None = None,
    *,
    reverse: bool = False,
    limit: int = 100,
) -> list[tuple[bytes, str]]:
    return await reader.scan(index, lower, upper, reverse=reverse, limit=limit)


def test_a_new_engine_is_empty(play: Play) -> None:
    async def story(engine: Engine) -> None:
        assert engine.local
        assert engine.ts == 0
        assert await engine.head.get("a") is None
        assert await entries(engine.head, BY_ID) == []
        assert await entries(engine.head, 1) == []
        assert await engine.read_log(0, limit=10) == []
        await engine.trim_log(5)
        statistics = engine.statistics()
        assert (statistics.documents, statistics.log_entries) == (0, 0)

    play(story)


def test_a_batch_sees_its_writes_at_once_and_the_head_after_the_commit(play: Play) -> None:
    async def story(engine: Engine) -> None:
        head = engine.head
        batch = await engine.begin()
        batch.apply(Commit(7, [insert("a", "{}", (1, b"k a"))]))
        assert await batch.get("a") == "{}"
        assert await entries(batch, 1) == [(b"k a", "{}")]
        assert await head.get("a") is None
        assert await entries(head, 1) == []
        assert engine.ts == 0
        await batch.commit()
        assert await head.get("a") == "{}"
        assert await entries(head, 1) == [(b"k a", "{}")]
        assert engine.ts == 7
        assert engine.head is head

    play(story)


def test_a_rolled_back_batch_leaves_nothing(play: Play) -> None:
    async def story(engine: Engine) -> None:
        await write(engine, 1, insert("a", "1", (1, b"x a")))
        batch = await engine.begin()
        batch.apply(Commit(2, [Write("a", "1", "2", [(1, b"x a")], [(1, b"y a")])]))
        batch.apply(Commit(3, [insert("b", "3", (1, b"x b"))]))
        batch.apply(Commit(4, [Write("a", "2", None, [(1, b"y a")], [])]))
        batch.rollback()
        batch.rollback()
        assert await entries(engine.head, 1) == [(b"x a", "1")]
        assert await entries(engine.head, BY_ID) == [(b"a", "1")]
        assert [entry.ts for entry in await engine.read_log(0, limit=10)] == [1]
        assert engine.ts == 1
        await write(engine, 2, insert("b", "4"))
        assert await engine.head.get("b") == "4"
        assert engine.statistics().documents == 2

    play(story)


def test_an_update_and_a_delete_move_the_entries_they_name(play: Play) -> None:
    async def story(engine: Engine) -> None:
        await write(engine, 1, insert("a", "1", (1, b"x a"), (2, b"z a")), insert("b", "1"))
        await write(engine, 2, Write("a", "1", "2", [(1, b"x a")], [(1, b"y a")]))
        assert await entries(engine.head, 1) == [(b"y a", "2")]
        assert await entries(engine.head, 2) == [(b"z a", "2")]
        await write(engine, 3, Write("a", "2", None, [(1, b"y a"), (2, b"z a")], []))
        assert await entries(engine.head, 1) == []
        assert await entries(engine.head, 2) == []
        assert await engine.head.get("a") is None
        assert engine.statistics().documents == 1
        await write(engine, 4, insert("a", "3", (1, b"x a")))
        assert await entries(engine.head, 1) == [(b"x a", "3")]

    play(story)


def test_a_write_that_leaves_the_document_alone_can_change_its_entries(play: Play) -> None:
    async def story(engine: Engine) -> None:
        await write(engine, 1, insert("a", "1"))
        await write(engine, 2, Write("a", "1", "1", [], [(5, b"k a")]))
        assert await entries(engine.head, 5) == [(b"k a", "1")]
        await write(engine, 3, Write("a", "1", "1", [(5, b"k a")], [(5, b"l a")]))
        assert await entries(engine.head, 5) == [(b"l a", "1")]

    play(story)


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (b"", None, "abcd"),
        (b"b", None, "bcd"),
        (b"b", b"d", "bc"),
        (b"b\x00", b"d\x00", "cd"),
        (b"b", b"b", ""),
        (b"d", b"a", ""),
        (b"\xff", None, ""),
        (b"", b"\xff", "abcd"),
        (b"", b"", ""),
    ],
)
def test_a_scan_is_half_open_and_goes_either_way(
    play: Play, lower: bytes, upper: bytes | None, expected: str
) -> None:
    async def story(engine: Engine) -> None:
        writes = [insert(id, id.upper(), (3, id.encode())) for id in "badc"]
        writes += [insert("other", "O", (2, b"a"), (4, b"a"))]
        await write(engine, 1, *writes[:4])
        await write(engine, 2, writes[4])
        wanted = [(id.encode(), id.upper()) for id in expected]
        assert await entries(engine.head, 3, lower, upper) == wanted
        assert await entries(engine.head, 3, lower, upper, reverse=True) == wanted[::-1]
        for limit in range(5):
            assert await entries(engine.head, 3, lower, upper, limit=limit) == wanted[:limit]
            last = await entries(engine.head, 3, lower, upper, reverse=True, limit=limit)
            assert last == wanted[::-1][:limit]

    play(story)


def test_documents_are_scanned_by_id_with_any_bytes_as_bounds(play: Play) -> None:
    async def story(engine: Engine) -> None:
        await write(engine, 1, *[insert(id, id) for id in ("k2", "k1", "j9", "k10")])
        ids = [key.decode() for key, _ in await entries(engine.head, BY_ID)]
        assert ids == ["j9", "k1", "k10", "k2"]
        assert await entries(engine.head, BY_ID, b"k", b"k\xff", limit=1) == [(b"k1", "k1")]
        assert await entries(engine.head, BY_ID, b"k1\x00", b"k2") == [(b"k10", "k10")]
        assert await entries(engine.head, BY_ID, b"k\x80\xc3\xbf", None) == []
        last = await entries(engine.head, BY_ID, b"", b"\xff\xff", reverse=True, limit=1)
        assert last == [(b"k2", "k2")]

    play(story)


def test_keys_and_content_are_kept_to_the_byte(play: Play) -> None:
    async def story(engine: Engine) -> None:
        keys = [b"\x00", b"\x00\x00", b"\x00\xff", b"'\"", b"\x7f", b"\x80", b"\xff", b"\xff\xff"]
        bodies = ['"\x00"', "ü", "𝄞", "'; DROP TABLE x", "", "a" * 1_500_000, "\ufffe", "7"]
        writes = [
            insert(f"id{n}", body, (1, key))
            for n, (key, body) in enumerate(zip(keys, bodies, strict=True))
        ]
        await write(engine, 1, *writes)
        assert await entries(engine.head, 1) == list(zip(keys, bodies, strict=True))
        await write(engine, 2, Write("id5", bodies[5], None, [(1, keys[5])], []))
        (entry,) = await engine.read_log(1, limit=1)
        assert entry == LogEntry(2, [("id5", bodies[5])])

    play(story)


def test_a_snapshot_stays_where_it_was_taken(play: Play) -> None:
    async def story(engine: Engine) -> None:
        await write(engine, 1, insert("a", "1", (1, b"x a")), insert("b", "1", (1, b"x b")))
        first = await engine.snapshot()
        await write(engine, 2, Write("a", "1", "2", [(1, b"x a")], [(1, b"y a")]))
        second = await engine.snapshot()
        batch = await engine.begin()
        batch.apply(Commit(3, [Write("b", "1", None, [(1, b"x b")], [])]))
        batch.drop_index(1)
        third = await engine.snapshot()
        await batch.commit()
        await write(engine, 4, insert("c", "4"))
        assert (first.ts, second.ts, third.ts) == (1, 2, 2)
        assert await entries(first, 1) == [(b"x a", "1"), (b"x b", "1")]
        for snapshot in (second, third):
            assert await entries(snapshot, 1) == [(b"x b", "1"), (b"y a", "2")]
            assert await snapshot.get("b") == "1"
            assert await snapshot.get("c") is None
        first.close()
        first.close()
        assert await second.get("a") == "2"
        second.close()
        third.close()
        assert await entries(engine.head, BY_ID) == [(b"a", "2"), (b"c", "4")]

    play(story)


def test_a_snapshot_can_be_read_on_another_thread_while_commits_go_on(play: Play) -> None:
    async def story(engine: Engine) -> None:
        await write(engine, 1, *[insert(f"id{n:02}", "1", (1, b"%02d" % n)) for n in range(50)])
        snapshot = await engine.snapshot()
        failures: list[object] = []

        def read_again_and_again() -> None:
            for _ in range(100):
                found = asyncio.run(entries(snapshot, 1))
                if [body for _, body in found] != ["1"] * 50:
                    failures.append(found)

        thread = threading.Thread(target=read_again_and_again)
        thread.start()
        for n in range(50):
            removed, added = [(1, b"%02d" % n)], [(1, b"%02d+" % n)]
            await write(engine, 2 + n, Write(f"id{n:02}", "1", "2", removed, added))
        await asyncio.to_thread(thread.join)
        snapshot.close()
        assert failures == []
        assert len(await entries(engine.head, 1)) == 50

    play(story)


def test_a_dropped_index_is_gone_for_the_batch_at_once_and_for_the_head_later(play: Play) -> None:
    async def story(engine: Engine) -> None:
        await write(engine, 1, insert("a", "1", (1, b"k a"), (2, b"k a")))
        for ending in ("rollback", "commit"):
            batch = await engine.begin()
            batch.drop_index(1)
            assert await entries(batch, 1) == []
            assert await entries(batch, 2) == [(b"k a", "1")]
            assert await entries(engine.head, 1) == [(b"k a", "1")]
            if ending == "rollback":
                batch.rollback()
                assert await entries(engine.head, 1) == [(b"k a", "1")]
            else:
                await batch.commit()
        assert await entries(engine.head, 1) == []
        assert await entries(engine.head, 2) == [(b"k a", "1")]
        assert engine.ts == 1

    play(story)


def test_an_empty_batch_changes_nothing(play: Play) -> None:
    async def story(engine: Engine) -> None:
        await write(engine, 3, insert("a", "1"))
        batch = await engine.begin()
        assert await batch.get("a") == "1"
        assert await entries(batch, BY_ID) == [(b"a", "1")]
        await batch.commit()
        assert engine.ts == 3
        assert len(await engine.read_log(0, limit=10)) == 1

    play(story)


def test_the_log_remembers_each_commit_with_the_content_before_it(play: Play) -> None:
    async def story(engine: Engine) -> None:
        batch = await engine.begin()
        batch.apply(Commit(10, [insert("a", '"ä"'), insert("b", "1")]))
        batch.apply(Commit(20, [Write("a", '"ä"', "2", [], [])]))
        await batch.commit()
        await write(engine, 30, Write("b", "1", None, [], []))
        first = LogEntry(10, [("a", None), ("b", None)])
        second = LogEntry(20, [("a", '"ä"')])
        third = LogEntry(30, [("b", "1")])
        assert await engine.read_log(0, limit=10) == [first, second, third]
        assert await engine.read_log(10, limit=10) == [second, third]
        assert await engine.read_log(15, limit=1) == [second]
        assert await engine.read_log(30, limit=10) == []
        assert engine.statistics().log_entries == 3

    play(story)


def test_a_trimmed_log_forgets_earlier_commits_but_never_the_last(play: Play) -> None:
    async def story(engine: Engine) -> None:
        for ts in (10, 20, 30):
            await write(engine, ts, insert(f"id{ts}", "1"))
        snapshot = await engine.snapshot()
        await engine.trim_log(20)
        assert [entry.ts for entry in await engine.read_log(0, limit=10)] == [20, 30]
        await engine.trim_log(1000)
        assert [entry.ts for entry in await engine.read_log(0, limit=10)] == [30]
        statistics = engine.statistics()
        assert (statistics.documents, statistics.log_entries) == (3, 1)
        assert await snapshot.get("id10") == await engine.head.get("id10") == "1"
        snapshot.close()

    play(story)


def test_reads_never_suspend(play: Play) -> None:
    async def story(engine: Engine) -> None:
        await write(engine, 1, insert("a", "1", (1, b"k a")))
        batch = await engine.begin()
        for reader in (engine.head, batch):
            for read in (reader.get("a"), entries(reader, 1), entries(reader, BY_ID)):
                with pytest.raises(StopIteration):
                    read.send(None)
        batch.rollback()

    play(story)


def test_views_are_taken_by_every_engine(play: Play) -> None:
    async def story(engine: Engine) -> None:
        await write(engine, 1, insert("a", "1"))
        engine.set_views([TableView("notes", "a", "b", ["title"])])
        engine.set_views([])
        assert await engine.head.get("a") == "1"

    play(story)


def test_a_closed_engine_refuses_and_closes_again(play: Play) -> None:
    async def story(engine: Engine) -> None:
        batch = await engine.begin()
        batch.apply(Commit(1, [insert("a", "1")]))
        await engine.close()
        await engine.close()
        with pytest.raises(StorageError, match="closed"):
            await engine.begin()
        with pytest.raises(StorageError, match="closed"):
            await engine.snapshot()

    play(story)
