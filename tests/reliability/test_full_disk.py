"""A disk that is full: writes are refused and say so, reads go on, and nothing is forgotten."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from kills import check_state
from plain_http import Answer, HttpClient
from served import Served, can_mount, in_mounts
from state_app import APP

BIG = b"x" * 200_000


async def keys_of(served: Served) -> list[str]:
    with contextlib.closing(HttpClient(served.api_port)) as client:
        keys: list[str] = await client.query("notes:keys")
        return sorted(keys)


async def write_until_refused(client: HttpClient, kept: list[str]) -> Answer:
    for number in range(10_000):
        key = f"{len(kept)}"
        answer = await client.request("POST", "/note", key.encode())
        if answer.status != 200:
            return answer
        kept.append(key)
        assert number < 9_999, "the disk is never full"
    raise AssertionError


async def write_and_check(client: HttpClient, key: str, kept: list[str]) -> None:
    kept.append(key)
    answer = await client.request("POST", "/note", key.encode())
    assert answer.status == 200, answer


async def fill_and_free(served: Served) -> None:
    await served.start()
    kept: list[str] = []
    with contextlib.closing(HttpClient(served.site_port)) as client:
        for fills in range(3):
            served.limit_file_sizes(400_000 + 200_000 * fills)
            refused = await write_until_refused(client, kept)
            assert (refused.status, refused.json()["code"]) == (503, "StorageFull")
            upload = await client.request("POST", "/file", BIG * (4 + fills))
            assert (upload.status, upload.json()["code"]) == (503, "StorageFull")
            assert await keys_of(served) == sorted(kept)
            served.limit_file_sizes(None)
            await write_and_check(client, f"after {fills}", kept)
    assert await served.stop() == 0, served.log()
    await check_state(served.state)
    await served.start()
    assert await keys_of(served) == sorted(kept)


def test_a_full_disk_refuses_writes_serves_reads_and_recovers(tmp_path: Path) -> None:
    with Served(tmp_path / "app", APP) as served:
        asyncio.run(fill_and_free(served))


async def fill_a_small_disk(served: Served) -> None:
    await served.start()
    # The disk as the server sees it; what is written here takes its room.
    disk = Path(f"/proc/{served.process.pid}/root{served.state}")
    kept: list[str] = []
    with contextlib.closing(HttpClient(served.site_port)) as client:
        for fills in range(3):
            await write_and_check(client, f"before {fills}", kept)
            ballast = disk / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while file.write(b"x" * 4096):
                    pass
            refused = await write_until_refused(client, kept)
            assert (refused.status, refused.json()["code"]) == (503, "StorageFull")
            upload = await client.request("POST", "/file", BIG)
            assert (upload.status, upload.json()["code"]) == (503, "StorageFull")
            assert await keys_of(served) == sorted(kept)
            ballast.unlink()
            await write_and_check(client, f"after {fills}", kept)
            upload = await client.request("POST", "/file", BIG)
            assert upload.status == 200, upload
    assert await keys_of(served) == sorted(kept)
    assert await served.stop() == 0, served.log()


@pytest.mark.skipif(not can_mount(), reason="needs the right to mount")
def test_a_small_disk_is_filled_and_freed_again_and_again(tmp_path: Path) -> None:
    with Served(tmp_path / "app", APP) as served:
        served.state.mkdir()
        served.runs_in = in_mounts('mount -t tmpfs -o size=6m none "$0"', served.state)
        asyncio.run(fill_a_small_disk(served))
