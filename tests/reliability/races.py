"""Races that broke other databases: money that must stay, rows that must stay alone, counts that
must not stand still or go back.

Every race is run by 20 clients, half of whose mutations run in line and half aside. None of them
may fail: conflicts are the platform's to resolve.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from plain_http import HttpClient
from served import Served

CLIENTS: Final = 20
ACCOUNTS: Final = 8
START_BALANCE: Final = 100

APP: Final = {
    "schema.py": """
from camber import Schema, Table, index

class accounts(Table):
    number: int
    balance: int
    by_number = index("number")

class claims(Table):
    pair: int
    side: str
    by_pair = index("pair", "side")

class counters(Table):
    value: int

class names(Table):
    name: str
    owner: int
    by_name = index("name")

schema = Schema(accounts, claims, counters, names)
""",
    "bodies.py": '''
import threading

def hold_up(asked):
    """For ever on the event loop's thread, and not at all on another."""
    while asked and threading.current_thread() is threading.main_thread():
        pass

async def account(ctx, number):
    return await ctx.db.query("accounts").with_index("by_number", number=number).unique()

async def transfer(ctx, source, target, amount):
    """Whether there was enough."""
    one, other = await account(ctx, source), await account(ctx, target)
    if one["balance"] < amount:
        return False
    await ctx.db.patch(one["_id"], {"balance": one["balance"] - amount})
    await ctx.db.patch(other["_id"], {"balance": other["balance"] + amount})
    return True

async def claim(ctx, pair, side):
    """Take one side of a pair, if nobody has taken the other: two looks at two ranges."""
    for taken in ("left", "right"):
        rows = ctx.db.query("claims").with_index("by_pair", pair=pair, side=taken)
        if await rows.first() is not None:
            return False
    await ctx.db.insert("claims", {"pair": pair, "side": side})
    return True

async def increment(ctx):
    counter = await ctx.db.query("counters").first()
    value = counter["value"] + 1
    await ctx.db.patch(counter["_id"], {"value": value})
    return value

async def take_name(ctx, name, owner):
    """Whether it was free."""
    if await ctx.db.query("names").with_index("by_name", name=name).first() is not None:
        return False
    await ctx.db.insert("names", {"name": name, "owner": owner})
    return True
''',
    "line.py": """
from camber import MutationCtx, QueryCtx, mutation, query

from . import bodies

@mutation
async def begin(ctx: MutationCtx, accounts: int, balance: int) -> None:
    for number in range(accounts):
        await ctx.db.insert("accounts", {"number": number, "balance": balance})
    await ctx.db.insert("counters", {"value": 0})

@mutation
async def transfer(ctx: MutationCtx, source: int, target: int, amount: int) -> bool:
    return await bodies.transfer(ctx, source, target, amount)

@mutation
async def claim(ctx: MutationCtx, pair: int, side: str) -> bool:
    return await bodies.claim(ctx, pair, side)

@mutation
async def increment(ctx: MutationCtx) -> int:
    return await bodies.increment(ctx)

@mutation
async def take_name(ctx: MutationCtx, name: str, owner: int) -> bool:
    return await bodies.take_name(ctx, name, owner)

@query
async def balances(ctx: QueryCtx) -> list[int]:
    return [account["balance"] for account in await ctx.db.query("accounts").collect()]

@query
async def claims(ctx: QueryCtx) -> list[int]:
    return [claim["pair"] for claim in await ctx.db.query("claims").collect()]

@query
async def counter(ctx: QueryCtx) -> int:
    return (await ctx.db.query("counters").first())["value"]

@query
async def names(ctx: QueryCtx) -> list[str]:
    return [name["name"] for name in await ctx.db.query("names").collect()]
""",
    "aside.py": '''
"""The same, too slow for the event loop when asked to be, and so run aside from then on."""

from camber import MutationCtx, mutation

from . import bodies

@mutation
async def transfer(
    ctx: MutationCtx, source: int, target: int, amount: int, slow: bool = False
) -> bool:
    bodies.hold_up(slow)
    return await bodies.transfer(ctx, source, target, amount)

@mutation
async def claim(ctx: MutationCtx, pair: int, side: str, slow: bool = False) -> bool:
    bodies.hold_up(slow)
    return await bodies.claim(ctx, pair, side)

@mutation
async def increment(ctx: MutationCtx, slow: bool = False) -> int:
    bodies.hold_up(slow)
    return await bodies.increment(ctx)

@mutation
async def take_name(ctx: MutationCtx, name: str, owner: int, slow: bool = False) -> bool:
    bodies.hold_up(slow)
    return await bodies.take_name(ctx, name, owner)
''',
}

Work = Callable[[HttpClient, int, int], Awaitable[None]]
"""What one client does in its n-th turn: `(client, number of the client, n)`."""


def way(client: int, turn: int) -> str:
    """The module whose functions are called: half of all calls run aside."""
    return "aside" if (client + turn) % 2 else "line"


async def race(served: Served, turns: int, work: Work) -> None:
    """Let all clients do `work` at once, `turns` times each."""

    async def one(number: int) -> None:
        with contextlib.closing(HttpClient(served.api_port)) as client:
            for turn in range(turns):
                await work(client, number, turn)

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(one(number))


async def make_slow(served: Served, function: str, **arguments: Any) -> None:
    """Let the platform see that `aside:function` is slow, so that it runs it aside."""
    with contextlib.closing(HttpClient(served.api_port)) as client:
        await client.mutation(f"aside:{function}", **arguments, slow=True)


async def check_bank(served: Served, turns: int) -> None:
    """Whoever looks, at whatever moment, sees the same sum, and nobody in debt."""
    await make_slow(served, "transfer", source=0, target=1, amount=1)
    chance = random.Random(turns)

    async def work(client: HttpClient, number: int, turn: int) -> None:
        if number % 4 == 0:
            balances = await client.query("line:balances")
            assert sum(balances) == ACCOUNTS * START_BALANCE, balances
            assert min(balances) >= 0, balances
            return
        source, target = chance.sample(range(ACCOUNTS), 2)
        amount = chance.randrange(1, 60)
        path = f"{way(number, turn)}:transfer"
        await client.mutation(path, source=source, target=target, amount=amount)

    await race(served, turns, work)


async def check_write_skew(served: Served, turns: int) -> None:
    """Of those who take a side of a pair at the same time, one gets it (Adya's G2)."""
    await make_slow(served, "claim", pair=-1, side="left")
    won: list[int] = []

    async def work(client: HttpClient, number: int, turn: int) -> None:
        side = ("left", "right")[number % 2]
        pair = turn * CLIENTS // 4 + number // 4
        path = f"{way(number, number // 2 + turn)}:claim"
        if await client.mutation(path, pair=pair, side=side):
            won.append(pair)

    await race(served, turns, work)
    with contextlib.closing(HttpClient(served.api_port)) as client:
        claims = await client.query("line:claims")
    assert len(set(won)) == len(won) == turns * CLIENTS // 4
    assert sorted(claims) == sorted([-1, *won])


async def check_counter(served: Served, turns: int) -> None:
    """Nobody's increment is lost, and nobody sees the count go back."""
    await make_slow(served, "increment")
    values: list[int] = []
    last_seen = [0] * CLIENTS

    async def work(client: HttpClient, number: int, turn: int) -> None:
        if number % 4 == 0:
            value = await client.query("line:counter")
            assert value >= last_seen[number], "the count went back"
        else:
            value = await client.mutation(f"{way(number, turn)}:increment")
            assert value > last_seen[number], "the count went back"
            values.append(value)
        last_seen[number] = value

    await race(served, turns, work)
    assert sorted(values) == list(range(2, len(values) + 2)), "an increment was lost"


async def check_names(served: Served, turns: int) -> None:
    """A name that everybody wants at the same moment is somebody's once."""
    await make_slow(served, "take_name", name="mine", owner=0)
    owners: list[str] = []

    async def work(client: HttpClient, number: int, turn: int) -> None:
        name = f"name {turn}"
        path = f"{way(number, turn)}:take_name"
        if await client.mutation(path, name=name, owner=number):
            owners.append(name)

    await race(served, turns, work)
    with contextlib.closing(HttpClient(served.api_port)) as client:
        names = await client.query("line:names")
    assert sorted(owners) == sorted(f"name {turn}" for turn in range(turns))
    assert sorted(names) == sorted([*owners, "mine"])


CHECKS: Final = (check_bank, check_write_skew, check_counter, check_names)


async def run_races(served: Served, turns: int) -> None:
    """Every race, one after the other, on a server that is started here."""
    await served.start()
    with contextlib.closing(HttpClient(served.api_port)) as client:
        await client.mutation("line:begin", accounts=ACCOUNTS, balance=START_BALANCE)
    for check in CHECKS:
        await check(served, turns)
    assert await served.stop() == 0, served.log()
