"""Writing messages: `sendMessage`, and `sendMessage:sendImage`."""

from camber import Id, MutationCtx, mutation


@mutation
async def default(ctx: MutationCtx, body: str, author: str) -> Id["messages"]:
    return await ctx.db.insert("messages", {"body": body, "author": author})


@mutation(name="sendImage")
async def send_image(ctx: MutationCtx, storage_id: Id["_storage"], author: str) -> Id["messages"]:
    message = {"body": "", "author": author, "image": storage_id}
    return await ctx.db.insert("messages", message)
