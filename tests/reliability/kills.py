"""Killing the server under load, again and again, and counting what it had promised.

Clients write pairs of documents and files without pause. A write that was answered must be there
after the next start, once and whole; one that was not may be there or not, but never in part. Each
pair also counts itself in one document that all of them share, so that nothing is there twice.
"""

import asyncio
import base64
import contextlib
import hashlib
import random
import sqlite3
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from plain_http import CallError, HttpClient, LostError
from served import Served

from camber.clock import SystemClock
from camber.database.check import check_database
from camber.database.database import Database
from camber.deployment import DATABASE_NAME
from camber.storage.sqlite import open_sqlite
from camber.system.tables import SYSTEM_TABLES

CLIENTS: Final = 20
# A file after so many pairs.
_FILE_EVERY: Final = 5

APP: Final = {
    "schema.py": """
from camber import Id, Schema, Table, index

class lefts(Table):
    round: int
    key: str
    text: str
    by_round = index("round")

class rights(Table):
    round: int
    key: str
    left: Id["lefts"]
    by_round = index("round")

class uploads(Table):
    round: int
    key: str
    file: Id["_storage"]
    by_round = index("round")

class totals(Table):
    pairs: int

schema = Schema(lefts, rights, uploads, totals)
""",
    "pairs.py": '''
import threading

from camber import MutationCtx, QueryCtx, internal_mutation, mutation, query

async def insert(ctx, round, key, text):
    left = await ctx.db.insert("lefts", {"round": round, "key": key, "text": text})
    total = await ctx.db.query("totals").first()
    if total is None:
        await ctx.db.insert("totals", {"pairs": 1})
    else:
        await ctx.db.patch(total["_id"], {"pairs": total["pairs"] + 1})
    await ctx.db.insert("rights", {"round": round, "key": key, "left": left})

@mutation
async def add(ctx: MutationCtx, round: int, key: str, text: str) -> None:
    await insert(ctx, round, key, text)

@mutation
async def add_aside(ctx: MutationCtx, round: int, key: str, text: str, slow: bool) -> None:
    """The same, too slow for the event loop once, and so run aside from then on."""
    # For ever on the event loop's thread, and not at all on another.
    while slow and threading.current_thread() is threading.main_thread():
        pass
    await insert(ctx, round, key, text)

@query
async def total(ctx: QueryCtx) -> int:
    total = await ctx.db.query("totals").first()
    return 0 if total is None else total["pairs"]

@query
async def of_round(ctx: QueryCtx, round: int) -> list[list[str]]:
    """Key and text of each pair, and whose right half it has."""
    lefts = await ctx.db.query("lefts").with_index("by_round", round=round).collect()
    rights = await ctx.db.query("rights").with_index("by_round", round=round).collect()
    keys = {right["left"]: right["key"] for right in rights}
    assert len(keys) == len(rights) == len(lefts), (len(keys), len(rights), len(lefts))
    return [[left["key"], left["text"], keys[left["_id"]]] for left in lefts]
''',
    "files.py": '''
from typing import Any

from camber import Id, MutationCtx, QueryCtx, mutation, query

@mutation
async def upload_url(ctx: MutationCtx) -> str:
    return await ctx.storage.generate_upload_url()

@mutation
async def record(ctx: MutationCtx, round: int, key: str, file: Id["_storage"]) -> None:
    await ctx.db.insert("uploads", {"round": round, "key": key, "file": file})

@query
async def of_round(ctx: QueryCtx, round: int) -> list[list[str]]:
    rows = await ctx.db.query("uploads").with_index("by_round", round=round).collect()
    return [[row["key"], await ctx.storage.get_url(row["file"])] for row in rows]

@query
async def stored(ctx: QueryCtx, cursor: str | None = None) -> dict[str, Any]:
    """Every stored file, a page at a time: URL, size, hash."""
    page = await ctx.db.system.query("_storage").paginate(num_items=200, cursor=cursor)
    files = [[await ctx.storage.get_url(f["_id"]), f["size"], f["sha256"]] for f in page["page"]]
    return {"files": files, "cursor": None if page["isDone"] else page["continueCursor"]}
''',
    "http.py": """
from camber import HttpEndpointCtx, Request, Response, http_endpoint, http_router

http = http_router()

@http.route(path="/pair", method="POST")
@http_endpoint
async def pair(ctx: HttpEndpointCtx, request: Request) -> Response:
    await ctx.run_mutation("pairs:add", await request.json())
    return Response(None, status=200)

@http.route(path="/file", method="POST")
@http_endpoint
async def file(ctx: HttpEndpointCtx, request: Request) -> Response:
    asked = request.url.search_params
    file = await ctx.storage.store(request)
    await ctx.run_mutation(
        "files:record", round=int(asked.get("round")), key=asked.get("key"), file=file
    )
    return Response(None, status=200)
""",
}


@dataclass(slots=True)
class Promises:
    """What one round's clients sent, and what of it was answered: keys."""

    sent_pairs: set[str] = field(default_factory=set)
    acknowledged_pairs: set[str] = field(default_factory=set)
    sent_files: set[str] = field(default_factory=set)
    acknowledged_files: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class KillReport:
    """What a run came to."""

    kills: int
    acknowledged_pairs: int
    acknowledged_files: int
    start_seconds_median: float
    start_seconds_max: float


def text_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def bytes_of(key: str) -> bytes:
    """The content of a file: from nothing to some 300 kB, told by its key."""
    seed = hashlib.sha256(key.encode()).digest()
    return seed * (int.from_bytes(seed[:2]) * (seed[2] % 8) // 48)


class _Client:
    """One that writes for as long as it is answered."""

    def __init__(self, served: Served, round: int, number: int, promises: Promises) -> None:
        self._api = HttpClient(served.api_port)
        self._site = HttpClient(served.site_port)
        self._round = round
        self._number = number
        self._promises = promises

    async def write_for_ever(self) -> None:
        """Ends when the server does."""
        try:
            for count in range(10**9):
                key = f"{self._round}-{self._number}-{count}"
                if (count + self._number) % _FILE_EVERY == _FILE_EVERY - 1:
                    await self._write_file(key, by_url=bool(count & 1))
                else:
                    await self._write_pair(key, count)
        except LostError:
            return
        finally:
            self._api.close()
            self._site.close()

    async def _write_pair(self, key: str, count: int) -> None:
        self._promises.sent_pairs.add(key)
        pair = {"round": self._round, "key": key, "text": text_of(key)}
        if self._number == 0:
            await self._api.mutation("pairs:add_aside", **pair, slow=count == 0)
        elif self._number % 2:
            await self._api.mutation("pairs:add", **pair)
        else:
            answer = await self._site.post_json("/pair", pair)
            if answer.status != 200:
                raise CallError(answer.status, answer.body.decode())
        self._promises.acknowledged_pairs.add(key)

    async def _write_file(self, key: str, *, by_url: bool) -> None:
        self._promises.sent_files.add(key)
        if by_url:
            url = urlsplit(await self._api.mutation("files:upload_url"))
            answer = await self._api.request("POST", f"{url.path}?{url.query}", bytes_of(key))
            if answer.status != 200:
                raise CallError(answer.status, answer.body.decode())
            file = answer.json()["storageId"]
            await self._api.mutation("files:record", round=self._round, key=key, file=file)
        else:
            path = f"/file?round={self._round}&key={key}"
            answer = await self._site.request("POST", path, bytes_of(key))
            if answer.status != 200:
                raise CallError(answer.status, answer.body.decode())
        self._promises.acknowledged_files.add(key)


async def run_kills(folder: Path, *, count: int, seed: int) -> KillReport:
    """Start, load, kill, `count` times; check each round after the next start, all at the end.

    Raises:
        AssertionError: the server broke a promise.
    """
    chance = random.Random(seed)
    rounds: list[Promises] = []
    starts: list[float] = []
    with Served(folder, APP) as served:
        for round in range(count):
            await served.start()
            starts.append(served.start_seconds)
            if rounds:
                await check_round(served, round - 1, rounds[-1])
            rounds.append(await _load_and_kill(served, round, chance.uniform(0.1, 0.35)))
        await served.start()
        pairs = 0
        for number, promises in enumerate(rounds):
            pairs += await check_round(served, number, promises)
        with contextlib.closing(HttpClient(served.api_port)) as client:
            total = await client.query("pairs:total")
        assert total == pairs, f"{pairs} pairs are there, counted {total} times"
        await check_files(served)
        assert await served.stop() == 0
        await check_state(served.state)
    return KillReport(
        count,
        sum(len(promises.acknowledged_pairs) for promises in rounds),
        sum(len(promises.acknowledged_files) for promises in rounds),
        statistics.median(starts),
        max(starts),
    )


async def _load_and_kill(served: Served, round: int, seconds: float) -> Promises:
    promises = Promises()
    clients = [_Client(served, round, number, promises) for number in range(CLIENTS)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.write_for_ever())
        await asyncio.sleep(seconds)  # The load, not a wait for something.
        served.kill()
    return promises


async def check_round(served: Served, round: int, promises: Promises) -> int:
    """Hold one round's writes against its promises; returns how many pairs are there."""
    with contextlib.closing(HttpClient(served.api_port)) as client:
        pairs = await client.query("pairs:of_round", round=round)
        keys = [key for key, _, _ in pairs]
        _check_keys(keys, promises.acknowledged_pairs, promises.sent_pairs)
        for key, text, other in pairs:
            assert text == text_of(key), f"pair {key} has another's text"
            assert other == key, f"pair {key} has another's half"
        files = await client.query("files:of_round", round=round)
        keys_of_files = [key for key, _ in files]
        _check_keys(keys_of_files, promises.acknowledged_files, promises.sent_files)
        for key, url in files:
            assert url is not None, f"file {key} has no row"
            answer = await client.request("GET", urlsplit(url).path)
            assert answer.status == 200, f"file {key} has no bytes"
            assert answer.body == bytes_of(key), f"file {key} has other bytes"
    return len(keys)


async def check_files(served: Served) -> None:
    """That each row of a file, whoever knows of it, has its bytes."""
    with contextlib.closing(HttpClient(served.api_port)) as client:
        page = await client.query("files:stored")
        while True:
            for url, size, sha256 in page["files"]:
                body = (await client.request("GET", urlsplit(url).path)).body
                assert len(body) == size
                assert base64.b64encode(hashlib.sha256(body).digest()).decode() == sha256
            if page["cursor"] is None:
                return
            page = await client.query("files:stored", cursor=page["cursor"])


def _check_keys(found: list[str], acknowledged: set[str], sent: set[str]) -> None:
    assert len(set(found)) == len(found), "something is there twice"
    assert acknowledged <= set(found), f"lost: {sorted(acknowledged - set(found))[:5]}"
    assert set(found) <= sent, f"never sent: {sorted(set(found) - sent)[:5]}"


async def check_state(state: Path) -> None:
    """That what lies in the folder of a server that has ended is sound."""
    engine = await open_sqlite(state / DATABASE_NAME)
    database = await Database.open(engine, SystemClock(), SYSTEM_TABLES)
    try:
        assert await check_database(database) == []
    finally:
        await database.close()
    with contextlib.closing(sqlite3.connect(state / DATABASE_NAME)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    drafts = [path.name for path in (state / "files").iterdir() if path.is_file()]
    assert drafts == [], "parts of files that were never stored whole"
