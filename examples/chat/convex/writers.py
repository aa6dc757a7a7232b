"""Who is writing right now: a document for each, which the page that types keeps alive.

A page that is closed in the middle of a word leaves its document behind. Nobody is shown it, since
pages believe only in documents that change; the next to write in the room sweeps it out.
"""

import time
from typing import Any

from camber import MutationCtx, QueryCtx, mutation, query

from .checks import checked_author, checked_room

FORGOTTEN_MS = 60_000


@query
async def list_(ctx: QueryCtx, room: str) -> list[dict[str, Any]]:
    return await ctx.db.query("writers").with_index("by_room", room=room).take(20)


@mutation
async def writes(ctx: MutationCtx, room: str, author: str) -> None:
    """A key was touched. Pages say so every few seconds, not for each key."""
    room, author, now = checked_room(room), checked_author(author), time.time() * 1000
    await no_longer_writes(ctx, room, author)
    await ctx.db.insert("writers", {"room": room, "author": author, "at": now})
    for other in await ctx.db.query("writers").with_index("by_room", room=room).collect():
        if other["at"] < now - FORGOTTEN_MS:
            await ctx.db.delete(other["_id"])


@mutation
async def stops(ctx: MutationCtx, room: str, author: str) -> None:
    await no_longer_writes(ctx, room, checked_author(author))


async def no_longer_writes(ctx: MutationCtx, room: str, author: str) -> None:
    in_room = ctx.db.query("writers").with_index("by_room", room=room, author=author)
    for writer in await in_room.collect():
        await ctx.db.delete(writer["_id"])
