"""Code in C that keeps the interpreter lock where nothing can stop it: the server ends, loses
nothing that it acknowledged, and does not do the same again when it is back."""

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest
from plain_http import CallError, HttpClient, LostError, request_once
from served import Served

APP = {
    "schema.py": """
from camber import Schema, Table, index

class notes(Table):
    text: str
    by_text = index("text")

schema = Schema(notes)
""",
    "notes.py": """
import re
from camber import MutationCtx, QueryCtx, mutation, query

@mutation
async def add(ctx: MutationCtx, text: str) -> None:
    await ctx.db.insert("notes", {"text": text})

@query
async def texts(ctx: QueryCtx) -> list[str]:
    return [note["text"] for note in await ctx.db.query("notes").collect()]

@query
async def search(ctx: QueryCtx, text: str) -> int:
    # Slow enough to be moved to a side thread, and quick enough to end there.
    return sum(1 for _ in range(3_000_000)) if text == "slow" else _match(text)

def _match(text: str) -> int:
    for _ in range(3_000_000):
        pass
    return re.match(r"(a+)+$", text) is not None

@query
async def adds(ctx: QueryCtx) -> int:
    return sum(range(10**12))
""",
}


async def end_by(served: Served, path: str, arguments: dict[str, str]) -> None:
    """Call what freezes the server; both end, the caller's connection at once."""
    with contextlib.closing(HttpClient(served.api_port)) as client:
        async with asyncio.timeout(15):
            with pytest.raises(LostError):
                await client.call("query", path, arguments)
    assert await served.wait_end() == -signal.SIGPROF


@pytest.mark.parametrize(
    ("path", "text", "place"),
    [("notes:search", "a" * 60 + "b", "convex/notes.py:21"), ("notes:adds", "", "notes.py:25")],
)
def test_a_frozen_server_ends_and_refuses_the_function_when_it_is_back(
    tmp_path: Path, path: str, text: str, place: str
) -> None:
    arguments = {"text": text} if text else {}

    async def main(served: Served) -> None:
        await served.start()
        with contextlib.closing(HttpClient(served.api_port)) as client:
            await client.mutation("notes:add", text="acknowledged")
            if text:
                assert await client.query("notes:search", text="slow") == 3_000_000
        await end_by(served, path, arguments)
        await served.start()
        assert place in served.log()
        with contextlib.closing(HttpClient(served.api_port)) as client:
            assert await client.query("notes:texts") == ["acknowledged"]
            for _ in range(3):
                with pytest.raises(CallError):
                    await client.call("query", path, arguments)
            assert await client.query("notes:texts") == ["acknowledged"]
        assert (await request_once(served.api_port, "GET", "/version")).status == 200
        assert await served.stop() == 0
        assert f"{path} held up every other client: it froze the server" in served.log()

    with Served(tmp_path / "app", APP) as served:
        asyncio.run(main(served))
