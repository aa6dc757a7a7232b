"""The messages that a run starts with: those of `bench/dataset.py`."""

from camber import MutationCtx, mutation

AUTHORS = 1_000


@mutation
async def insert_many(ctx: MutationCtx, first: int, count: int) -> None:
    for number in range(first, first + count):
        await ctx.db.insert(
            "messages",
            {
                "author": f"User {number % AUTHORS}",
                "body": f"Message {number}: the quick brown fox jumps over the lazy dog",
            },
        )
