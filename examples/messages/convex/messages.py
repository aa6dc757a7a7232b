"""Reading messages."""

from typing import Any

from camber import QueryCtx, internal_query, query


@query
async def list_(ctx: QueryCtx, limit: int = 50) -> list[dict[str, Any]]:
    """The newest messages of everybody."""
    return await ctx.db.query("messages").order("desc").take(limit)


@internal_query
async def by_author(ctx: QueryCtx, author: str, limit: int = 20) -> list[dict[str, Any]]:
    """An author's newest messages, images with the URL they are served at."""
    newest = ctx.db.query("messages").with_index("by_author", author=author).order("desc")
    messages = await newest.take(limit)
    for message in messages:
        if message.get("image") is not None:
            message["url"] = await ctx.storage.get_url(message["image"])
    return messages
