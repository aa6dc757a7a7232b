"""Counters that many clients increment at once."""

from camber import MutationCtx, mutation


@mutation
async def increment(ctx: MutationCtx, name: str) -> int:
    counter = await ctx.db.query("counters").with_index("by_name", name=name).unique()
    if counter is None:
        await ctx.db.insert("counters", {"name": name, "value": 1})
        return 1
    value: int = counter["value"] + 1
    await ctx.db.patch(counter["_id"], {"value": value})
    return value
