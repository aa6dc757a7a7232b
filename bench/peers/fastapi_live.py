"""The live peer: a FastAPI app that inserts a message and broadcasts the newest to its sockets.

The way FastAPI's own manual shows it: a set of connected sockets, and `send_text` to each in turn.
The message is encoded once. SQLite in WAL mode with `synchronous=FULL`, called on the event loop;
a message is durable before anybody sees it. The database file is named by the environment
variable `DATABASE`.

`/live` sends what `live:newest` gives Camber's clients, byte for byte but for ids and times.
`/write` takes `write BODY`, and `broadcast BODY`, which sends the same without the database.
"""

import base64
import os
import secrets
import time
from typing import Any, Final

import apsw
import msgspec
from bench.live.fanout import AUTHOR, NEWEST
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

_SCHEMA: Final = """
CREATE TABLE messages (
    id TEXT PRIMARY KEY,
    created REAL NOT NULL,
    author TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX messages_by_author ON messages (author, created);
"""
_INSERT: Final = "INSERT INTO messages (id, created, author, body) VALUES (?, ?, ?, ?)"
_NEWEST: Final = (
    "SELECT id, created, author, body FROM messages WHERE author = ? ORDER BY created DESC LIMIT ?"
)

database = apsw.Connection(os.environ["DATABASE"])
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=FULL")
database.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
database.execute(_SCHEMA)

app = FastAPI()
_encode = msgspec.json.Encoder().encode


class Audience:
    """Who is connected, and what they were sent last."""

    def __init__(self) -> None:
        self._sockets: set[WebSocket] = set()
        self._text = ""

    async def join(self, socket: WebSocket) -> None:
        self._sockets.add(socket)
        await socket.send_text(_update())

    def leave(self, socket: WebSocket) -> None:
        self._sockets.discard(socket)

    async def write(self, body: str) -> None:
        database.execute(_INSERT, (secrets.token_hex(16), time.time() * 1000, AUTHOR, body))
        await self._broadcast(_update())

    async def broadcast(self, body: str) -> None:
        """Send the last message again, with the newest body replaced."""
        at = self._text.index('"body":"') + len('"body":"')
        await self._broadcast(self._text[:at] + body + self._text[at + len(body) :])

    async def _broadcast(self, text: str) -> None:
        self._text = text
        for socket in list(self._sockets):
            await socket.send_text(text)


audience = Audience()


@app.websocket("/live")
async def live(socket: WebSocket) -> None:
    await socket.accept()
    await audience.join(socket)
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        audience.leave(socket)


@app.websocket("/write")
async def write(socket: WebSocket) -> None:
    await socket.accept()
    try:
        while True:
            command, _, body = (await socket.receive_text()).partition(" ")
            await (audience.write(body) if command == "write" else audience.broadcast(body))
            await socket.send_text("done")
    except WebSocketDisconnect:
        pass


def _update() -> str:
    """A message like the one that Camber sends when `live:newest` has changed."""
    newest = [
        {"_creationTime": created, "_id": id, "author": author, "body": body}
        for id, created, author, body in database.execute(_NEWEST, (AUTHOR, NEWEST))
    ]
    version = {"querySet": 1, "identity": 0, "ts": _timestamp()}
    query: dict[str, Any] = {"type": "QueryUpdated", "queryId": 0, "value": newest}
    query |= {"logLines": [], "journal": None}
    message = {"type": "Transition", "startVersion": version, "endVersion": version}
    return _encode({**message, "modifications": [query]}).decode()


def _timestamp() -> str:
    return base64.b64encode(time.time_ns().to_bytes(8, "little")).decode()
