"""Messages of the sync protocol that no client should send, by the thousand.

Each connection says what chance makes it say until it is closed or has said enough. Whatever it
was, it is answered or the connection is closed with a code that says why; the log stays empty, one
who behaves beside them is not disturbed, and once they are gone nothing of them is left.
"""

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from serving import Backend

APP: Final = {
    "m.py": """
        from camber import ConvexError, MutationCtx, QueryCtx
        from camber import action, internal_query, mutation, query

        @query
        async def count(ctx: QueryCtx, room: str = "a") -> int:
            found = ctx.db.query("lines").with_index("by_room", room=room)
            return len(await found.collect())

        @query
        async def page(ctx: QueryCtx, paginationOpts: dict):
            return await ctx.db.query("lines").paginate(paginationOpts)

        @query
        async def fails(ctx: QueryCtx, data=None):
            raise ConvexError(data)

        @mutation
        async def add(ctx: MutationCtx, room: str) -> None:
            await ctx.db.insert("lines", {"room": room})

        @action
        async def act(ctx, value=None):
            return value

        @internal_query
        async def secret(ctx: QueryCtx) -> str:
            return "secret"
    """,
    "schema.py": """
        from camber import Schema, Table, index

        class lines(Table):
            room: str
            by_room = index("room")

        schema = Schema(lines)
    """,
}
CONNECTIONS: Final = 20
_MESSAGES_MAX: Final = 25
# 1005: a message said why. 1013: too much at a time. 1011: the states of both do not fit, such as
# a query id used twice. The rest is what the RFC names.
EXPECTED_CODES: Final = {1000, 1003, 1005, 1007, 1009, 1011, 1013}
_OUT_OF_STEP: Final = "InternalServerError: "

_PATHS: Final = ("m:count", "m:page", "m:fails", "m:secret", "m:add", "no:such", "m", "", "a:b:c")
_ODD: Final[tuple[Any, ...]] = (
    None, True, -1, 0, 1, 2**32, 2**64, -0.0, 1e308, "", "x" * 5000, "\x00", "é" * 99, [], {}, [[]],
    {"$integer": "AQ=="}, {"$integer": "AAAAAAAAAIA="}, {"$float": "AAAAAAAA+H8="}, {"$bytes": "*"},
    {"$x": 1}, {"a": {"$set": []}}, [{}, {}], [None], [{"room": "a"}], "AAAAAAAAAAA=",
    "//////////8=",
)  # fmt: skip
_RAW: Final = (
    b"", b"{", b"null", b"[]", b"7", b'"Connect"', b"{}", b'{"type":null}', b'{"type":"Nothing"}',
    b'{"type":"Mutation","requestId":NaN}', b'{"type":"Connect","sessionId":"\\ud800"}',
    b'{"type":"Event","event":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"a":1' + b',"a":1' * 9999 + b"}",
)  # fmt: skip


@dataclass
class Toll:
    """What a run came to."""

    messages: int = 0
    connections: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    # How often the one who behaves saw what it had just written.
    seen: int = 0
    # What the server logged.
    logged: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        codes = ", ".join(f"{code}: {number}" for code, number in sorted(self.codes.items()))
        return (
            f"{self.messages} messages on {self.connections} connections, {len(self.logged)} lines "
            f"of log; {self.seen} updates for the one beside them; ends by code {codes}"
        )


class _Ear(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("camber"):
            self._lines.append(record.getMessage())


async def pester(backend: Backend, count: int, seed: int) -> Toll:
    """Send `count` hostile messages.

    Raises:
        AssertionError: a connection ended otherwise than it should.
    """
    toll = Toll()
    ear = _Ear(toll.logged)
    logging.getLogger().addHandler(ear)
    url = backend.api.replace("http", "ws", 1) + "/api/sync"
    try:
        async with asyncio.TaskGroup() as group:
            done = asyncio.Event()
            beside = group.create_task(_behave(url, toll, done))
            chances = [random.Random(f"{seed} {number}") for number in range(CONNECTIONS)]
            await asyncio.gather(*[_pester(url, toll, count, chance) for chance in chances])
            done.set()
            await beside
    finally:
        logging.getLogger().removeHandler(ear)
    return toll


async def is_empty(backend: Backend) -> bool:
    """Whether no session, task or watcher is left."""
    room, cache = backend.deployment.sync.statistics(), backend.deployment.runner.cache.statistics()
    return not (room.sessions or room.tasks or cache.watched)


async def _pester(url: str, toll: Toll, count: int, chance: random.Random) -> None:
    while toll.messages < count:
        toll.connections += 1
        async with connect(url, max_size=None, ping_interval=None) as socket:
            reading = asyncio.create_task(_read_on(socket))
            if chance.random() < 0.7:
                await socket.send(json.dumps(_connect()))
            for _ in range(chance.randrange(1, _MESSAGES_MAX)):
                toll.messages += 1
                if not await _say(socket, _message(chance)):
                    break
            await socket.close()
            await reading
        code = socket.close_code or 1006
        toll.codes[code] += 1
        reason = socket.close_reason or ""
        assert code in EXPECTED_CODES, f"{code} {reason}"
        assert code != 1011 or reason.startswith(_OUT_OF_STEP), reason


async def _say(socket: ClientConnection, message: bytes | str) -> bool:
    try:
        # Bytes as text: what is no UTF-8 is to be found out by the server.
        is_text = isinstance(message, str) or message[:1] != b"\x01"
        await socket.send(message, text=is_text)
    except ConnectionClosed:
        return False
    return True


async def _read_on(socket: ClientConnection) -> None:
    try:
        async for message in socket:
            json.loads(message)
    except ConnectionClosed:
        pass


def _connect() -> dict[str, Any]:
    return {
        "type": "Connect",
        "sessionId": str(uuid4()),
        "connectionCount": 0,
        "lastCloseReason": "InitialConnect",
        "clientTs": 0,
    }


def _message(chance: random.Random) -> bytes | str:
    """A message of some kind, more or less spoilt."""
    make: Callable[[random.Random], Any] = chance.choice(
        (
            _query_set,
            _query_set,
            _request,
            _request,
            _authenticate,
            _event,
            _raw,
            lambda _: _connect(),
        )
    )
    made = make(chance)
    if isinstance(made, bytes):
        return made
    if chance.random() < 0.5:
        made[chance.choice(list(made))] = chance.choice(_ODD)
    if chance.random() < 0.2:
        del made[chance.choice(list(made))]
    text = json.dumps(made).encode()
    if chance.random() < 0.1:
        place = chance.randrange(len(text) + 1)
        text = text[:place] + chance.randbytes(chance.randrange(4)) + text[place:]
    return text


def _connect_again(_: random.Random) -> dict[str, Any]:
    return _connect()


def _args(chance: random.Random) -> Any:
    return chance.choice(([{}], [{"room": "a"}], [{"paginationOpts": {}}], [chance.choice(_ODD)]))


def _query_set(chance: random.Random) -> dict[str, Any]:
    base = chance.choice((0, 0, 0, 1, 2))
    modifications: list[Any] = []
    for _ in range(chance.choice((0, 1, 1, 3, 1100))):
        query_id = chance.randrange(4) if len(modifications) < 3 else len(modifications)
        if chance.random() < 0.2:
            modifications.append({"type": "Remove", "queryId": query_id})
            continue
        added = {"type": "Add", "queryId": query_id, "udfPath": chance.choice(_PATHS)}
        added["args"] = _args(chance)
        if chance.random() < 0.3:
            added["journal"] = chance.choice(("", "nonsense", None))
        modifications.append(added)
    versions = {"baseVersion": base, "newVersion": base + chance.choice((1, 1, 1, 0, 5))}
    return {"type": "ModifyQuerySet", **versions, "modifications": modifications}


def _request(chance: random.Random) -> dict[str, Any]:
    return {
        "type": chance.choice(("Mutation", "Mutation", "Mutation", "Action")),
        "requestId": chance.randrange(3),
        "udfPath": chance.choice(_PATHS),
        "args": _args(chance),
    }


def _authenticate(chance: random.Random) -> dict[str, Any]:
    kind = chance.choice(("User", "Admin", "None", "None", "Nobody"))
    value = chance.choice(("", "x", "a.b.c", "name|secret", "e30.e30.e30", "é" * 20_000))
    return {
        "type": "Authenticate",
        "baseVersion": chance.randrange(2),
        "tokenType": kind,
        "value": value,
    }


def _event(chance: random.Random) -> dict[str, Any]:
    return {"type": "Event", "eventType": chance.choice(("Odd", "")), "event": chance.choice(_ODD)}


def _raw(chance: random.Random) -> bytes:
    return chance.choice((*_RAW, chance.randbytes(40), b"\x01binary"))


async def _behave(url: str, toll: Toll, done: asyncio.Event) -> None:
    """Write a line and see it, again and again, until the others are done."""
    room = str(uuid4())
    async with connect(url, max_size=None, ping_interval=None) as socket:
        await socket.send(json.dumps(_connect()))
        added = {"type": "Add", "queryId": 0, "udfPath": "m:count", "args": [{"room": room}]}
        versions = {"baseVersion": 0, "newVersion": 1}
        await socket.send(
            json.dumps({"type": "ModifyQuerySet", **versions, "modifications": [added]})
        )
        number = 0
        async for message in socket:
            if f'"value":{number}.0' not in str(message):
                continue
            toll.seen += 1
            if done.is_set():
                break
            mutation = {"type": "Mutation", "requestId": number, "udfPath": "m:add"}
            await socket.send(json.dumps({**mutation, "args": [{"room": room}]}))
            number += 1
