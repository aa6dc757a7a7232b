"""Cutting the connections of official clients at random bytes, and counting what they were told.

JavaScript clients write numbered documents without pause, through a wire that is cut within what
they say, within what they hear, or after an answer was swallowed; now and then the server is killed
too. Each write that a client was told of is there once, each that was rejected is not, and those
of one client are there in the order in which they were sent. So that some are rejected, every so
manieth is refused after it has written.
"""

import asyncio
import json
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from plain_http import HttpClient
from served import Served

NPM: Final = Path(__file__).parent.parent / "clients" / "npm"
CLIENTS: Final = 10
PATIENCE_SECONDS: Final = 90.0
# The server is killed with every so manieth cut.
_KILL_EVERY: Final = 20
# The app below refuses every so manieth write of a client.
_REFUSE_EVERY: Final = 5
_BYTES_MAX: Final = 900

APP: Final = {
    "schema.py": """
from camber import Schema, Table, index

class appended(Table):
    client: int
    number: int
    by_client = index("client")

schema = Schema(appended)
""",
    "appends.py": """
from camber import ConvexError, MutationCtx, QueryCtx, mutation, query

@mutation
async def append(ctx: MutationCtx, client: int, number: int) -> int:
    await ctx.db.insert("appended", {"client": client, "number": number})
    if number % 5 == 0:
        raise ConvexError("refused")
    return number

@query
async def of(ctx: QueryCtx, client: int) -> list[int]:
    rows = await ctx.db.query("appended").with_index("by_client", client=client).collect()
    return [row["number"] for row in rows]
""",
}


@dataclass(eq=False)
class Link:
    """One connection through the wire, and when it is to be cut."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    # Bytes that still pass in each direction; None: all. At 0 both sides are cut.
    to_server: int | None = None
    to_client: int | None = None
    # Whether the next thing that the server says is swallowed, and the link cut.
    swallows: bool = False
    # Whether an answer has come through: then the client waits only shortly to connect again.
    has_answered: bool = False
    is_cut: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_doomed(self) -> bool:
        return self.swallows or self.to_server is not None or self.to_client is not None

    def suits(self, is_young: bool) -> bool:
        return not self.is_doomed and (is_young or self.has_answered)

    def cut(self) -> None:
        self.near.transport.abort()
        self.far.transport.abort()
        self.is_cut.set()


class Wire:
    """Carries the clients' connections to wherever the server is."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._links: dict[Link, None] = {}
        self._has_news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        # All that ever were.
        self.connections = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for link in list(self._links):
            link.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def wait_healthy(self, *, is_young: bool) -> list[Link]:
        """The links that are not to be cut yet, of which there is at least one; unless it is
        `is_young`, only those with an answer behind them."""
        while not (healthy := [link for link in self._links if link.suits(is_young)]):
            self._has_news.clear()
            await self._has_news.wait()
        return healthy

    async def _carry(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            answers, far = await asyncio.open_connection("127.0.0.1", self._served.api_port)
        except OSError:
            near.transport.abort()
            return
        link = Link(near, far)
        self.connections += 1
        self._links[link] = None
        self._has_news.set()
        try:
            await asyncio.gather(self._speak(link, reader), self._answer(link, answers))
        finally:
            link.cut()
            del self._links[link]

    async def _speak(self, link: Link, reader: asyncio.StreamReader) -> None:
        while data := await _read(reader):
            if link.to_server is not None:
                data, link.to_server = data[: link.to_server], link.to_server - len(data)
            link.far.write(data)
            if link.to_server is not None and link.to_server <= 0:
                break
        link.cut()

    async def _answer(self, link: Link, reader: asyncio.StreamReader) -> None:
        while data := await _read(reader):
            if link.swallows:
                break
            if link.to_client is not None:
                data, link.to_client = data[: link.to_client], link.to_client - len(data)
            link.near.write(data)
            if not link.has_answered and b"MutationResponse" in data:
                link.has_answered = True
                self._has_news.set()
            if link.to_client is not None and link.to_client <= 0:
                break
        link.cut()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1 << 16)
    except ConnectionError:
        return b""


@dataclass
class Told:
    """What clients were told, by client and number."""

    resolved: set[tuple[int, int]] = field(default_factory=set)
    rejected: set[tuple[int, int]] = field(default_factory=set)
    has_stopped: bool = False


@dataclass
class Tally:
    """What a run came to."""

    cuts: int = 0
    kills: int = 0
    resolved: int = 0
    rejected: int = 0
    unknown: int = 0

    def __str__(self) -> str:
        return (
            f"{self.cuts} cuts, {self.kills} kills: {self.resolved} writes resolved and there "
            f"once, {self.rejected} rejected and not there, {self.unknown} there or not"
        )


async def cut_connections(folder: Path, count: int, seed: int) -> Tally:
    """Cut `count` connections while clients write; then hold what is there against what they
    were told.

    Raises:
        AssertionError: something is lost, twice, there though it was rejected, or out of order.
    """
    chance, told, tally = random.Random(seed), Told(), Tally()
    with Served(folder, APP) as served:
        await served.start()
        wire = Wire(served)
        await wire.open()
        clients = await _start_clients(wire.port)
        listening = asyncio.create_task(_listen(clients, told))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS + count):
                while tally.cuts < count:
                    await _cut_one(served, wire, chance, tally)
                assert clients.stdin is not None
                clients.stdin.close()
                await listening
                await _check(served, told, tally)
        finally:
            if clients.returncode is None:
                clients.kill()
            await clients.wait()
            await listening
            await wire.close()
    return tally


async def _start_clients(port: int) -> asyncio.subprocess.Process:
    node = shutil.which("node")
    assert node is not None, "the JavaScript client needs node"
    return await asyncio.create_subprocess_exec(
        node,
        "cuts.mjs",
        f"http://127.0.0.1:{port}",
        str(CLIENTS),
        cwd=NPM,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def _listen(clients: asyncio.subprocess.Process, told: Told) -> None:
    assert clients.stdout is not None
    async for line in clients.stdout:
        said = json.loads(line)
        if "stopped" in said:
            told.has_stopped = True
        else:
            write = (said["client"], said["number"])
            (told.resolved if said["ended"] == "resolved" else told.rejected).add(write)


async def _cut_one(served: Served, wire: Wire, chance: random.Random, tally: Tally) -> None:
    # Some are cut in their handshake.
    is_young = chance.randrange(8) == 0
    link = chance.choice(await wire.wait_healthy(is_young=is_young))
    match chance.randrange(3):
        case 0:
            link.to_server = chance.randrange(_BYTES_MAX)
        case 1:
            link.to_client = chance.randrange(_BYTES_MAX)
        case 2:
            link.swallows = True
    await link.is_cut.wait()
    tally.cuts += 1
    if tally.cuts % _KILL_EVERY == 0:
        served.kill()
        tally.kills += 1
        await served.start()


async def _check(served: Served, told: Told, tally: Tally) -> None:
    assert told.has_stopped, "the clients came to their end"
    assert not told.resolved & told.rejected
    client = HttpClient(served.api_port)
    written: Counter[tuple[int, int]] = Counter()
    for name in range(CLIENTS):
        numbers = [
            int(number) for number in await client.call("query", "appends:of", {"client": name})
        ]
        assert numbers == sorted(numbers), f"client {name}: out of order"
        written.update((name, number) for number in numbers)
    client.close()
    twice = [write for write, times in written.items() if times > 1]
    assert not twice, f"done twice: {twice}"
    lost = [write for write in told.resolved if write not in written]
    assert not lost, f"resolved and lost: {lost}"
    undead = [write for write in told.rejected if write in written]
    assert not undead, f"rejected and done: {undead}"
    wrong = [write for write in told.rejected if write[1] % _REFUSE_EVERY]
    assert not wrong, f"rejected for no reason of the app's: {wrong}"
    tally.resolved, tally.rejected = len(told.resolved), len(told.rejected)
    tally.unknown = len(written) - len(told.resolved)
