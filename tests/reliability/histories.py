"""Recording what clients of a server are told while they append to lists and read them.

A client is one sequential process. It takes the time before the first byte of a request is sent
and after the answer was read. An error that does not prove that nothing was written leaves its
transaction unknown, and ends its process. A key is retired after some 150 appends.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any, Final

from list_append import Op, Txn
from plain_http import CallError, HttpClient, LostError
from served import Served

CLIENTS: Final = 20
LIVE_KEYS: Final = 12
APPENDS_MAX: Final = 150

APP: Final = {
    "schema.py": """
from camber import Schema, Table, index

class lists(Table):
    key: str
    values: list[int]
    by_key = index("key")

class elements(Table):
    key: str
    place: int
    value: int
    by_key = index("key", "place")

schema = Schema(lists, elements)
""",
    "txn.py": '''
"""Transactions over lists: a key that begins with "d" is one document, any other one document
for each element."""

import threading
from typing import Any

from camber import MutationCtx, QueryCtx, mutation, query

async def read(ctx, key):
    if key.startswith("d"):
        found = await ctx.db.query("lists").with_index("by_key", key=key).unique()
        return [] if found is None else list(found["values"])
    rows = await ctx.db.query("elements").with_index("by_key", key=key).collect()
    return [row["value"] for row in rows]

async def append(ctx, key, value):
    if key.startswith("d"):
        found = await ctx.db.query("lists").with_index("by_key", key=key).unique()
        if found is None:
            await ctx.db.insert("lists", {"key": key, "values": [value]})
        else:
            await ctx.db.patch(found["_id"], {"values": [*found["values"], value]})
        return
    rows = ctx.db.query("elements").with_index("by_key", key=key)
    last = await rows.order("desc").first()
    place = 0 if last is None else last["place"] + 1
    await ctx.db.insert("elements", {"key": key, "place": place, "value": value})

async def all_of(ctx, ops):
    results = []
    for kind, key, value in ops:
        if kind == "r":
            results.append(await read(ctx, key))
        else:
            results.append(await append(ctx, key, value))
    return results

def hold_up(asked):
    """For ever on the event loop's thread, and not at all on another."""
    while asked and threading.current_thread() is threading.main_thread():
        pass

@mutation
async def write(ctx: MutationCtx, ops: list[Any]) -> list[Any]:
    return await all_of(ctx, ops)

@mutation
async def write_aside(ctx: MutationCtx, ops: list[Any], slow: bool) -> list[Any]:
    hold_up(slow)
    return await all_of(ctx, ops)

@query
async def look(ctx: QueryCtx, ops: list[Any]) -> list[Any]:
    return await all_of(ctx, ops)

@query
async def look_aside(ctx: QueryCtx, ops: list[Any], slow: bool) -> list[Any]:
    hold_up(slow)
    return await all_of(ctx, ops)
''',
    "http.py": """
from camber import HttpEndpointCtx, Request, Response, http_endpoint, http_router

http = http_router()

@http.route(path="/txn", method="POST")
@http_endpoint
async def txn(ctx: HttpEndpointCtx, request: Request) -> Response:
    return Response.json(await ctx.run_mutation("txn:write", ops=await request.json()))

@http.route(path="/look", method="POST")
@http_endpoint
async def look(ctx: HttpEndpointCtx, request: Request) -> Response:
    return Response.json(await ctx.run_query("txn:look", ops=await request.json()))
""",
}

# How a transaction is sent. Functions whose name ends with "aside" run on side threads.
_WRITERS: Final = ("txn:write", "txn:write", "/txn", "txn:write_aside")
_READERS: Final = ("txn:look", "/look", "txn:look_aside")
_ASIDE: Final = ("txn:write_aside", "txn:look_aside")


class Keys:
    """The keys in use, half of them of each encoding; each retired after enough appends."""

    def __init__(self) -> None:
        self._names = count()
        self._live = [self._new(place) for place in range(LIVE_KEYS)]
        self._appends: Counter[str] = Counter()
        self.all = list(self._live)

    def _new(self, place: int) -> str:
        return f"{'de'[place % 2]}{next(self._names)}"

    def choose(self, chance: random.Random) -> str:
        return chance.choice(self._live)

    def value_for(self, key: str) -> int:
        """The next value to append to `key`: never the same one again."""
        self._appends[key] += 1
        if self._appends[key] == APPENDS_MAX:
            place = self._live.index(key)
            self._live[place] = self._new(place)
            self.all.append(self._live[place])
        return self._appends[key]


class Recorder:
    """Clients that work until enough transactions were sent, and what they were told."""

    def __init__(self, served: Served, transactions: int, seed: int) -> None:
        self.history: list[Txn] = []
        self._served = served
        self._left = transactions
        self._chance = random.Random(seed)
        self._keys = Keys()
        self._processes = count()

    async def record(self) -> list[Txn]:
        """Run all clients to the end, then read every key once more."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._work())
        process = next(self._processes)
        with contextlib.closing(_Wire(self._served)) as wire:
            for key in self._keys.all:
                await self._send(wire, process, "txn:look", [("r", key, None)])
        return self.history

    async def _work(self) -> None:
        process = next(self._processes)
        with contextlib.closing(_Wire(self._served)) as wire:
            await self._make_slow(wire)
            while self._left > 0:
                self._left -= 1
                how, ops = self._next()
                if not await self._send(wire, process, how, ops):
                    process = next(self._processes)

    async def _make_slow(self, wire: "_Wire") -> None:
        """Let the platform see that two functions are slow, so that it runs them aside."""
        for function in _ASIDE:
            await wire.send(function, [], slow=True)

    def _next(self) -> tuple[str, list[Op]]:
        chance = self._chance
        reads_only = chance.random() < 0.3
        ops: list[Op] = []
        for _ in range(chance.randint(1, 4)):
            key = self._keys.choose(chance)
            if reads_only or chance.random() < 0.4:
                ops.append(("r", key, None))
            else:
                ops.append(("append", key, self._keys.value_for(key)))
        return chance.choice(_READERS if reads_only else _WRITERS), ops

    async def _send(self, wire: "_Wire", process: int, how: str, ops: list[Op]) -> bool:
        """Whether the client may go on as the same process."""
        invoke = time.monotonic_ns()
        complete: int | None = None
        try:
            results = await wire.send(how, ops)
            complete = time.monotonic_ns()
            status = "ok"
            ops = [
                ("r", key, [int(v) for v in result]) if kind == "r" else (kind, key, value)
                for (kind, key, value), result in zip(ops, results, strict=True)
            ]
        except LostError:
            status = "unknown"
        except CallError as error:
            complete = time.monotonic_ns()
            # Too many waiting: refused before it was run. Whatever else is not understood.
            status = "fail" if '"Overloaded"' in error.message else "unknown"
        self.history.append(Txn(process, invoke, complete, status, tuple(ops)))
        return status != "unknown"


class _Wire:
    """One client's connections."""

    def __init__(self, served: Served) -> None:
        self._api = HttpClient(served.api_port)
        self._site = HttpClient(served.site_port)

    async def send(self, how: str, ops: list[Op], *, slow: bool = False) -> Any:
        if how.startswith("/"):
            answer = await self._site.post_json(how, ops)
            if answer.status != 200:
                raise CallError(answer.status, answer.body.decode())
            return answer.json()
        kind = "query" if ":look" in how else "mutation"
        arguments: dict[str, Any] = {"ops": ops}
        if how in _ASIDE:
            arguments["slow"] = slow
        return await self._api.call(kind, how, arguments)

    def close(self) -> None:
        self._api.close()
        self._site.close()


async def record_history(folder: Path, *, transactions: int, seed: int) -> list[Txn]:
    """Serve, and record what 20 clients are told."""
    with Served(folder, APP) as served:
        await served.start()
        history = await Recorder(served, transactions, seed).record()
        assert await served.stop() == 0, served.log()
    return history
