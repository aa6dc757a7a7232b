"""What `bench/micro.py` measures: many operations in one call, and the same call without them."""

from camber import ConvexError, MutationCtx, QueryCtx, mutation, query


@query
async def some_ids(ctx: QueryCtx, count: int) -> list[str]:
    return [message["_id"] for message in await ctx.db.query("messages").take(count)]


@query
async def point_reads(ctx: QueryCtx, ids: list[str], rounds: int, salt: int) -> int:
    """Get each document of `ids`, `rounds` times; answers how many were found."""
    found = 0
    for _ in range(rounds):
        for id in ids:
            found += await ctx.db.get(id) is not None
    return found


@query
async def index_reads(ctx: QueryCtx, count: int, salt: int) -> int:
    """Read the newest message of `count` authors, by index; answers how many were found."""
    found = 0
    for number in range(count):
        messages = ctx.db.query("messages").with_index("by_author", author=f"User {number}")
        found += await messages.order("desc").first() is not None
    return found


@mutation
async def inserts(ctx: MutationCtx, count: int) -> None:
    """Insert `count` messages and commit them."""
    await _insert(ctx, count)


@mutation
async def inserts_undone(ctx: MutationCtx, count: int) -> None:
    """Insert `count` messages, then fail: all that an insert costs but the commit."""
    await _insert(ctx, count)
    raise ConvexError("undone")


async def _insert(ctx: MutationCtx, count: int) -> None:
    for number in range(count):
        await ctx.db.insert("messages", {"author": "micro", "body": f"Message {number}"})
