"""Memory: bounded while it is asked for much, and flat. The long form: scripts/soak memory."""

import asyncio
import contextlib
from pathlib import Path

from memories import BODY, MEBI, growth, send_many_large_bodies
from plain_http import HttpClient, request_once
from served import Served
from state_app import APP


def test_fifty_large_bodies_at_once_take_bounded_memory(tmp_path: Path) -> None:
    async def run(served: Served) -> None:
        await served.start()
        before = served.resident_bytes()
        told = await send_many_large_bodies(served, 50)
        assert set(told) <= {200, 413, 503}
        assert served.peak_bytes() - before < 3 * 50 * BODY
        assert (await request_once(served.api_port, "GET", "/version")).status == 200
        assert served.resident_bytes() - before < 10 * BODY

    with Served(tmp_path / "app", APP) as served:
        asyncio.run(run(served))


def test_many_requests_leave_memory_as_it_was(tmp_path: Path) -> None:
    async def run(served: Served) -> None:
        await served.start()
        assert await growth(served, 5_000) < 8 * MEBI

    with Served(tmp_path / "app", APP) as served:
        asyncio.run(run(served))


MAPS = """
import mmap

from camber import ActionCtx, action

@action
async def eight_gigabytes(ctx: ActionCtx) -> int:
    with mmap.mmap(-1, 8 << 30, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as mapped:
        return len(mapped)
"""


def test_the_servers_ceiling_on_address_space_is_not_that_of_actions(tmp_path: Path) -> None:
    async def run(served: Served) -> None:
        await served.start()
        with contextlib.closing(HttpClient(served.api_port)) as client:
            assert await client.call("action", "maps:eight_gigabytes", {}) == 8 << 30

    with Served(tmp_path / "app", {**APP, "maps.py": MAPS}) as served:
        asyncio.run(run(served))
