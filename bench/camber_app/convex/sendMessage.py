"""A new message."""

from camber import MutationCtx, mutation


@mutation
async def default(ctx: MutationCtx, body: str, author: str) -> None:
    await ctx.db.insert("messages", {"body": body, "author": author})
