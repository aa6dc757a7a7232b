"""Stored files on a local folder."""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camber.clock import ManualClock
from camber.errors import ConfigError, StorageError
from camber.storage.blobs import READ_SIZE, BlobNotFoundError, Blobs, DirectoryBlobs

Story: TypeAlias = Callable[[DirectoryBlobs], Coroutine[Any, Any, None]]


def play(folder: Path, story: Story, clock: ManualClock | None = None) -> None:
    async def main() -> None:
        blobs = DirectoryBlobs(folder, clock=clock)
        try:
            await story(blobs)
        finally:
            await blobs.close()

    asyncio.run(main())


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def content(blobs: Blobs, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(key, start=start, end=end)])


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, READ_SIZE, READ_SIZE + 1, 3_000_000])
def test_what_was_put_is_read(tmp_path: Path, size: int) -> None:
    body = os.urandom(size)

    async def story(blobs: DirectoryBlobs) -> None:
        stored = await blobs.put(pieces(body[: size // 3], b"", body[size // 3 :]))
        assert stored.size == size
        assert stored.sha256 == hashlib.sha256(body).digest()
        assert len(bytes.fromhex(stored.key)) >= 16
        assert await content(blobs, stored.key) == body
        assert all([0 < len(c) <= READ_SIZE async for c in blobs.read(stored.key)])

    play(tmp_path / "files", story)


@given(start=st.integers(0, 400_000), end=st.none() | st.integers(0, 400_000))
@settings(max_examples=40, deadline=None)
def test_a_range_is_a_slice(
    tmp_path_factory: pytest.TempPathFactory, start: int, end: int | None
) -> None:
    body = bytes(range(256)) * 1200

    async def story(blobs: DirectoryBlobs) -> None:
        stored = await blobs.put(pieces(body))
        assert await content(blobs, stored.key, start, end) == body[start:end]

    play(tmp_path_factory.mktemp("blobs"), story)


def test_blobs_outlive_the_process_and_drafts_do_not(tmp_path: Path) -> None:
    keys: list[str] = []

    async def first(blobs: DirectoryBlobs) -> None:
        keys.append((await blobs.put(pieces(b"kept"))).key)

    async def second(blobs: DirectoryBlobs) -> None:
        assert await content(blobs, keys[0]) == b"kept"

    play(tmp_path, first)
    (tmp_path / "draft-0123").write_bytes(b"half")
    play(tmp_path, second)
    assert [path.name for path in files(tmp_path)] == keys
    assert files(tmp_path)[0].parent.name == keys[0][:2]


def test_only_the_owner_can_look(tmp_path: Path) -> None:
    async def story(blobs: DirectoryBlobs) -> None:
        await blobs.put(pieces(b"secret"))

    umask = os.umask(0)
    try:
        play(tmp_path / "files", story)
    finally:
        os.umask(umask)
    for path in [tmp_path / "files", *(tmp_path / "files").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if path.is_file() else 0o700)


def test_deleting_is_idempotent_and_spares_whoever_reads(tmp_path: Path) -> None:
    body = os.urandom(READ_SIZE * 3)

    async def story(blobs: DirectoryBlobs) -> None:
        stored = await blobs.put(pieces(body))
        reading = blobs.read(stored.key)
        got = await anext(reading)
        await blobs.delete(stored.key)
        await blobs.delete(stored.key)
        got += b"".join([chunk async for chunk in reading])
        assert got == body
        with pytest.raises(BlobNotFoundError, match=stored.key):
            await content(blobs, stored.key)
        assert files(tmp_path) == []

    play(tmp_path, story)


def test_an_error_of_the_source_leaves_nothing(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 200_000
        raise ConnectionResetError

    async def story(blobs: DirectoryBlobs) -> None:
        with pytest.raises(ConnectionResetError):
            await blobs.put(broken())
        assert files(tmp_path) == []

    play(tmp_path, story)


@pytest.mark.parametrize("turns", range(12))
def test_a_cancelled_put_leaves_nothing(tmp_path: Path, turns: int) -> None:
    """Cancelled after so many turns of the loop: before, during and after each step."""
    full = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 100_000
        full.set()
        yield b"x" * 100_000

    async def story(blobs: DirectoryBlobs) -> None:
        task = asyncio.create_task(blobs.put(endless()))
        if turns > 5:
            await full.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await blobs.delete((await task).key)

    play(tmp_path, story)
    assert files(tmp_path) == []


def test_a_put_asks_for_the_next_piece_only_when_the_last_is_written(tmp_path: Path) -> None:
    async def story(blobs: DirectoryBlobs) -> None:
        async def watched() -> AsyncIterator[bytes]:
            for n in range(8):
                on_disk = sum(path.stat().st_size for path in files(tmp_path))
                assert on_disk == n * 70_000
                yield b"x" * 70_000

        await blobs.put(watched())

    play(tmp_path, story)


def test_many_at_once_do_not_meet(tmp_path: Path) -> None:
    async def story(blobs: DirectoryBlobs) -> None:
        bodies = [bytes([n]) * (n * 3000 + 1) for n in range(60)]
        stored = await asyncio.gather(*[blobs.put(pieces(body, body)) for body in bodies])
        assert len({each.key for each in stored}) == 60
        read = await asyncio.gather(*[content(blobs, each.key) for each in stored])
        assert read == [body * 2 for body in bodies]
        assert sorted(await blobs.keys(older_than_seconds=-60)) == sorted(s.key for s in stored)

    play(tmp_path, story)


def test_keys_are_those_stored_long_enough_ago_on_both_clocks(tmp_path: Path) -> None:
    clock = ManualClock()

    async def story(blobs: DirectoryBlobs) -> None:
        old = await blobs.put(pieces(b"old"))
        clock.advance(100)
        new = await blobs.put(pieces(b"new"))
        (tmp_path / "notes.txt").write_text("not ours")
        assert await blobs.keys(older_than_seconds=50) == [old.key]
        clock.jump(3600)
        assert await blobs.keys(older_than_seconds=50) == [old.key]
        clock.advance(51)
        assert set(await blobs.keys(older_than_seconds=50)) == {old.key, new.key}

    async def later(blobs: DirectoryBlobs) -> None:
        assert len(await blobs.keys(older_than_seconds=50)) == 2

    play(tmp_path, story, clock)
    play(tmp_path, later, clock)


def hostile_keys() -> list[str]:
    """Some 300 ways to ask for another file."""
    targets = ["secret", "etc/passwd", "../secret", "a" * 40]
    ways_up = ["../", "..\\", "%2e%2e/", "%2e%2e%2f", "%252e%252e%252f", "..;/", "....//", "./"]
    ways_up += [
        "..%c0%af",
        "..%ef%bc%8f",
        "\uff0e\uff0e/",
        "\u2025/",
        "\x00../",
        "..\x00/",
        "~/",
        "//",
    ]
    keys = [way * n + target for way in ways_up for n in (1, 2, 5) for target in targets]
    key = "0123456789abcdef0123456789abcdef01234567"
    keys += [
        "",
        ".",
        "..",
        "/",
        "\x00",
        "-",
        "\n",
        " ",
        "draft-",
        "C:\\secret",
        "/etc/passwd",
        "//x",
    ]
    keys += [key + tail for tail in ["\n", "\x00", " ", "/", "0", "/..", ".", "%00", "\u200b"]]
    keys += [
        head + key[1:] for head in ["/", ".", "\x00", "A", "g", "٣", "０", "Ａ", "%", "-", " "]
    ]
    keys += [key[:n] for n in range(1, 40)] + [key.upper(), key.replace("a", "á"), key * 2]
    keys += [key[:n] + bad + key[n + 1 :] for n in (0, 1, 2, 20, 39) for bad in "/.\\%\x00\n:G"]
    return keys


def test_hostile_keys_find_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    keys = hostile_keys()
    assert len(set(keys)) >= 300

    async def story(blobs: DirectoryBlobs) -> None:
        stored = await blobs.put(pieces(b"mine"))
        for key in keys:
            with pytest.raises(BlobNotFoundError):
                await content(blobs, key)
            await blobs.delete(key)
        assert await content(blobs, stored.key) == b"mine"

    play(tmp_path / "files", story)
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    key = "ab" + "0" * 38
    (tmp_path / "secret").write_text("secret")

    async def story(blobs: DirectoryBlobs) -> None:
        (tmp_path / "files" / "ab").mkdir()
        (tmp_path / "files" / "ab" / key).symlink_to(tmp_path / "secret")
        with pytest.raises(StorageError):
            await content(blobs, key)

    play(tmp_path / "files", story)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "missing" / "files", tmp_path / "file"):
        with pytest.raises(ConfigError, match=str(folder)):
            DirectoryBlobs(folder)


def test_a_closed_store_refuses(tmp_path: Path) -> None:
    async def story(blobs: DirectoryBlobs) -> None:
        await blobs.close()
        with pytest.raises(StorageError, match="closed"):
            await blobs.put(pieces(b"x"))

    play(tmp_path, story)
