"""A state folder that cannot be used: said plainly, with exit code 1, however often it is tried."""

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest
from plain_http import request_once
from served import Served, can_mount, in_mounts
from state_app import APP


async def refuse(served: Served) -> str:
    """Start the server twice; both times it must end with 1 and the same few lines."""
    told = []
    for _ in range(2):
        served.spawn()
        assert await served.wait_end() == 1, served.log()
        told.append(served.log())
    assert told[0] == told[1]
    assert "Traceback" not in told[0]
    assert len(told[0].splitlines()) <= 5
    return told[0]


async def make_state(served: Served) -> Path:
    """A sound database with something in it."""
    await served.start()
    for number in range(200):
        key = str(number).encode()
        assert (await request_once(served.site_port, "POST", "/note", key)).status == 200
    assert await served.stop() == 0
    return served.state / "camber.sqlite3"


def test_a_database_of_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    async def run(served: Served) -> None:
        path = await make_state(served)
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        before = path.read_bytes()
        assert "is of format 99" in await refuse(served)
        assert path.read_bytes() == before

    with Served(tmp_path / "app", APP) as served:
        asyncio.run(run(served))


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_a_database_that_was_cut_short_is_said_to_be_damaged(tmp_path: Path, kept: float) -> None:
    async def run(served: Served) -> None:
        path = await make_state(served)
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * kept)] or b"\0")
        told = await refuse(served)
        assert "camber.sqlite3" in told

    with Served(tmp_path / "app", APP) as served:
        asyncio.run(run(served))


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    async def run(served: Served) -> None:
        served.state.mkdir()
        (served.state / "camber.sqlite3").write_bytes(os.urandom(50_000))
        assert "camber.sqlite3" in await refuse(served)

    with Served(tmp_path / "app", APP) as served:
        asyncio.run(run(served))


def test_a_state_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    async def run(served: Served) -> None:
        served.state.write_text("not a folder")
        assert str(served.state) in await refuse(served)

    with Served(tmp_path / "app", APP) as served:
        asyncio.run(run(served))


@pytest.mark.skipif(not can_mount(), reason="needs the right to mount")
@pytest.mark.parametrize("is_new", [True, False])
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, is_new: bool) -> None:
    async def run(served: Served) -> None:
        if is_new:
            served.state.mkdir()
        else:
            await make_state(served)
        read_only = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"'
        served.runs_in = in_mounts(read_only, served.state)
        assert str(served.state) in await refuse(served)

    with Served(tmp_path / "app", APP) as served:
        asyncio.run(run(served))


def test_a_folder_that_is_served_already_is_refused_and_the_other_goes_on(tmp_path: Path) -> None:
    async def run(served: Served, other: Served) -> None:
        await served.start()
        other.state = served.state
        other.spawn()
        assert await other.wait_end() == 1, other.log()
        assert "served already" in other.log()
        assert (await request_once(served.site_port, "POST", "/note", b"still")).status == 200

    with Served(tmp_path / "one", APP) as served, Served(tmp_path / "two", APP) as other:
        asyncio.run(run(served, other))
