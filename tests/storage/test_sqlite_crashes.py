"""The SQLite engine when the process is killed, or the disk fails under it."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from camber.storage.engine import BY_ID
from camber.storage.sqlite import SqliteEngine, open_sqlite

NAME = "camber.db"

# Writes batches of commits for ever, and prints each timestamp once its commit has returned.
# Every commit inserts three documents, each with two entries, and counts itself in a fourth.
WRITE_FOR_EVER = """
import asyncio, json, sys
from pathlib import Path
from camber.storage.engine import Commit, Write
from camber.storage.sqlite import open_sqlite

def commit(ts, counter):
    writes = []
    for n in range(3):
        id = f"d{ts:08}-{n}"
        keys = [(1, b"%03d " % (ts * 7919 % 1000) + id.encode()), (2, b"%d " % n + id.encode())]
        body = json.dumps({"ts": ts, "n": n, "text": "x" * (ts * 31 % 900)})
        writes.append(Write(id, None, body, [], keys))
    after = str(int(counter or "0") + 1)
    writes.append(Write("counter", counter, after, [], []))
    return Commit(ts, writes), after

async def main():
    engine = await open_sqlite(Path(sys.argv[1]), checkpoint_bytes=40_000, restart_bytes=200_000)
    ts = engine.ts
    print("open", flush=True)
    while True:
        batch = await engine.begin()
        counter = await batch.get("counter")
        for _ in range(1 + ts % 5):
            ts += 1
            one, counter = commit(ts, counter)
            batch.apply(one)
        await batch.commit()
        print(ts, flush=True)
        if ts % 3 == 0:
            await engine.trim_log(ts - 40)

asyncio.run(main())
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **more}


def acknowledged_before_a_kill(path: Path, lines: int) -> int:
    """Let the writer run for `lines` lines of its output, kill it, and see how far it got."""
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as writer:
        assert writer.stdout is not None
        for _ in range(lines):
            assert writer.stdout.readline(), "the writer ended by itself"
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
    return max([int(line) for line in rest if line.isdigit()], default=0)


async def check_whole(path: Path, acknowledged: int) -> int:
    """That what was acknowledged is there, once and whole, and nothing is there in part."""
    engine = await open_sqlite(path)
    assert engine.ts >= acknowledged
    documents = dict(await engine.head.scan(BY_ID, b"", None, reverse=False, limit=10**9))
    count = int(documents.pop(b"counter", "0"))
    assert count == engine.ts
    assert set(documents) == {b"d%08d-%d" % (t, n) for t in range(1, count + 1) for n in range(3)}
    for id, body in documents.items():
        content = json.loads(body)
        assert id == b"d%08d-%d" % (content["ts"], content["n"])
    for index in (1, 2):
        entries = await engine.head.scan(index, b"", None, reverse=False, limit=10**9)
        assert sorted((key.split(b" ")[1], body) for key, body in entries) == list(
            documents.items()
        )
    statistics = engine.statistics()
    assert statistics.documents == len(documents) + (count > 0)
    log = await engine.read_log(0, limit=10**9)
    assert [entry.ts for entry in log] == list(range(count - len(log) + 1, count + 1))
    assert statistics.log_entries == len(log)
    assert check_integrity(engine) == "ok"
    ts = engine.ts
    await engine.close()
    return ts


def check_integrity(engine: SqliteEngine) -> str:
    return str(engine.head.connection.execute("PRAGMA integrity_check").get)


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    chance = random.Random(20)
    path = tmp_path / NAME
    reached = 0
    for _ in range(15):
        acknowledged = acknowledged_before_a_kill(path, chance.randrange(1, 40))
        reached = asyncio.run(check_whole(path, max(acknowledged, reached)))
    assert reached > 100


# Once a file exists, syncing fails: what a dying disk does.
BROKEN_SYNC = """
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int sync_or_fail(void) {
    if (access(getenv("BROKEN_SYNC"), F_OK) == 0) { errno = EIO; return -1; }
    return 0;
}
int fsync(int fd) { (void)fd; return sync_or_fail(); }
int fdatasync(int fd) { (void)fd; return sync_or_fail(); }
"""

WRITE_WHILE_SYNC_FAILS = """
import asyncio, os, sys
from pathlib import Path
from camber.errors import StorageError
from camber.storage.engine import Commit, Write
from camber.storage.sqlite import open_sqlite

async def write(engine, ts):
    batch = await engine.begin()
    batch.apply(Commit(ts, [Write(f"id{ts}", None, str(ts), [], [])]))
    await batch.commit()

async def expect_failure(engine, ts, words):
    try:
        await write(engine, ts)
    except StorageError as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"{ts} was acknowledged")

async def main():
    engine = await open_sqlite(Path(sys.argv[1]))
    await write(engine, 1)
    snapshot = await engine.snapshot()
    Path(os.environ["BROKEN_SYNC"]).touch()
    await expect_failure(engine, 2, "disk I/O error")
    os.unlink(os.environ["BROKEN_SYNC"])
    await expect_failure(engine, 3, "failed earlier")
    assert engine.ts == 1
    assert await engine.head.get("id1") == await snapshot.get("id1") == "1"
    assert await engine.head.get("id2") is None
    snapshot.close()
    await engine.close()
    engine = await open_sqlite(Path(sys.argv[1]))
    await write(engine, engine.ts + 1)
    assert await engine.head.get("id1") == "1"
    await engine.close()
    print("done")

asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_after_a_failed_sync_nothing_is_acknowledged_until_reopened(tmp_path: Path) -> None:
    source, library = tmp_path / "broken.c", tmp_path / "broken.so"
    source.write_text(BROKEN_SYNC)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    env = environment(LD_PRELOAD=str(library), BROKEN_SYNC=str(tmp_path / "broken"))
    command = [sys.executable, "-c", WRITE_WHILE_SYNC_FAILS, str(tmp_path / NAME)]
    ended = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("done\n", "")


WRITE_UP_TO_A_LIMIT = """
import asyncio, resource, sys
from pathlib import Path
from camber.errors import StorageFullError
from camber.storage.engine import Commit, Write
from camber.storage.sqlite import open_sqlite

async def write(engine, ts):
    batch = await engine.begin()
    batch.apply(Commit(ts, [Write(f"id{ts}", None, "x" * 5000, [], [])]))
    await batch.commit()

async def main():
    engine = await open_sqlite(Path(sys.argv[1]))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    ts = 0
    try:
        while True:
            await write(engine, ts + 1)
            ts += 1
    except StorageFullError:
        assert ts > 10
    assert engine.ts == ts
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await write(engine, ts + 1)
    assert engine.ts == engine.statistics().documents == ts + 1
    await engine.close()
    print("done")

asyncio.run(main())
"""


def test_a_limit_on_file_sizes_counts_as_a_full_disk(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE_UP_TO_A_LIMIT, str(tmp_path / NAME)]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("done\n", "")


def test_a_database_is_never_half_made(tmp_path: Path) -> None:
    """Killed right after starting, again and again: the next start always works."""
    path = tmp_path / NAME
    for n in range(4):
        command = [sys.executable, "-c", WRITE_FOR_EVER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as writer:
            # Wait for the first trace of it, which comes before the database is made.
            while not (tmp_path / f"{NAME}.lock").exists():
                assert writer.poll() is None
            for _ in range(n * 30_000):
                pass
            writer.kill()
        asyncio.run(check_whole(path, 0))
        for leftover in tmp_path.iterdir():
            leftover.unlink()
