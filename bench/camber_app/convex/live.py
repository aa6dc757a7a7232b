"""What clients watch in `bench/live`, and what the jobs need before they begin."""

import time
from typing import Any

from camber import MutationCtx, QueryCtx, mutation, query


@query
async def newest(ctx: QueryCtx, author: str, count: int) -> list[Any]:
    messages = ctx.db.query("messages").with_index("by_author", author=author)
    return await messages.order("desc").take(count)


@query
async def counter(ctx: QueryCtx, name: str, salt: int = 0) -> int:
    # `salt` does nothing but make one query different from another.
    return await _value(ctx, name)


@query
async def counter_and_clock(ctx: QueryCtx, name: str) -> dict[str, Any]:
    """The value, and when this ran: no two executions have the same result."""
    return {"value": await _value(ctx, name), "ran_at": time.time()}


async def _value(ctx: QueryCtx, name: str) -> int:
    counter = await ctx.db.query("counters").with_index("by_name", name=name).unique()
    return 0 if counter is None else counter["value"]


@mutation
async def make_counters(ctx: MutationCtx, prefix: str, count: int) -> None:
    for number in range(count):
        await ctx.db.insert("counters", {"name": f"{prefix} {number}", "value": 0})
