"""What people say: reading it page by page, newest first, and saying something."""

import time
from typing import Any

from camber import Id, MutationCtx, QueryCtx, mutation, query

from .checks import checked_author, checked_body, checked_room
from .rooms import find_or_make
from .writers import no_longer_writes

EXCERPT_MAX = 80


@query
async def list_(ctx: QueryCtx, room: str, paginationOpts: dict[str, Any]) -> dict[str, Any]:
    """A page of a room's messages; `usePaginatedQuery` asks for one after the other."""
    messages = ctx.db.query("messages").with_index("by_room", room=room)
    return await messages.order("desc").paginate(paginationOpts)


@mutation
async def send(ctx: MutationCtx, room: str, author: str, body: str) -> Id["messages"]:
    """Say something. All of it happens or none: the message, the room's line, the end of typing."""
    room, author, body = checked_room(room), checked_author(author), checked_body(body)
    room_id = await find_or_make(ctx, room)
    last = {"last_author": author, "last_body": body[:EXCERPT_MAX], "last_at": time.time() * 1000}
    await ctx.db.patch(room_id, last)
    await no_longer_writes(ctx, room, author)
    return await ctx.db.insert("messages", {"room": room, "author": author, "body": body})
