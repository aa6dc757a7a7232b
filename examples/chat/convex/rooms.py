"""The list of rooms, and opening a new one."""

from typing import Any

from camber import MutationCtx, QueryCtx, mutation, query

from .checks import checked_room, refuse

ROOMS_MAX = 200


@query
async def list_(ctx: QueryCtx) -> list[dict[str, Any]]:
    """All rooms by name, each with its newest message."""
    return await ctx.db.query("rooms").with_index("by_name").take(ROOMS_MAX)


@mutation
async def open_(ctx: MutationCtx, name: str) -> str:
    """Make a room, unless there is one of this name."""
    await find_or_make(ctx, checked_room(name))
    return name


async def find_or_make(ctx: MutationCtx, name: str) -> str:
    """The id of a room; the first to ask for it makes it."""
    room = await ctx.db.query("rooms").with_index("by_name", name=name).unique()
    if room is not None:
        return room["_id"]
    if len(await ctx.db.query("rooms").take(ROOMS_MAX)) == ROOMS_MAX:
        raise refuse("room", "There are as many rooms here as there may be.")
    return await ctx.db.insert("rooms", {"name": name})
