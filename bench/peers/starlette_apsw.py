"""Peer (c): the three endpoints as small and as fast as one writes them by hand.

Starlette, apsw called on the event loop (its statement cache does the rest), msgspec for JSON,
input checked by hand. SQLite in WAL mode with `synchronous=FULL`; a message is durable before
its 200. The database file is named by the environment variable `DATABASE`.
"""

import os
import time
from typing import Any, Final

import apsw
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_INSERT: Final = "INSERT INTO messages (created, author, body) VALUES (?, ?, ?)"
_NEWEST: Final = (
    "SELECT id, created, author, body FROM messages WHERE author = ? ORDER BY created DESC LIMIT 20"
)
_INCREMENT: Final = (
    "INSERT INTO counters (name, value) VALUES (?, 1) "
    "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
)

database = apsw.Connection(os.environ["DATABASE"])
database.execute("PRAGMA journal_mode=WAL")
database.execute("PRAGMA synchronous=FULL")
# apsw's SQLite has STAT4, which compiles a statement anew for newly bound values, though it is
# cached (10 µs each time here), unless plans are promised to be stable.
database.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def _answer(value: Any, status: int = 200) -> Response:
    return Response(_encode(value), status, media_type="application/json")


def _refuse(what: str) -> Response:
    return _answer({"error": what}, 422)


async def _object(request: Request) -> dict[str, Any]:
    """The JSON object in the body; an empty one when there is none."""
    try:
        value = _decode(await request.body())
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


async def post_message(request: Request) -> Response:
    message = await _object(request)
    author, body = message.get("author"), message.get("body")
    if not isinstance(author, str) or not isinstance(body, str):
        return _refuse("author and body must be strings")
    # Outside BEGIN … COMMIT each statement is a durable transaction of its own.
    database.execute(_INSERT, (time.time() * 1000, author, f"Sent via HTTP endpoint: {body}"))
    return Response(None, 200)


async def get_messages_by_author(request: Request) -> Response:
    author = request.query_params.get("author")
    if author is None:
        return _refuse("author is missing")
    return _answer(
        [
            {"_id": id, "_creationTime": created, "author": author, "body": body}
            for id, created, author, body in database.execute(_NEWEST, (author,))
        ]
    )


async def increment(request: Request) -> Response:
    name = (await _object(request)).get("name")
    if not isinstance(name, str):
        return _refuse("name must be a string")
    # Fetched to the end, because only then the statement, and with it the transaction, is done.
    [(value,)] = database.execute(_INCREMENT, (name,)).fetchall()
    return _answer({"value": value})


app = Starlette(
    routes=[
        Route("/postMessage", post_message, methods=["POST"]),
        Route("/getMessagesByAuthor", get_messages_by_author, methods=["GET"]),
        Route("/increment", increment, methods=["POST"]),
    ]
)
