"""The newest messages of one author."""

from typing import Any

from camber import QueryCtx, query


@query
async def by_author(ctx: QueryCtx, author: str, salt: int = 0) -> list[Any]:
    # `salt` does nothing but make the arguments new, so that no cached result fits.
    messages = ctx.db.query("messages").with_index("by_author", author=author)
    return await messages.order("desc").take(20)
