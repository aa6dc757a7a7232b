"""The app that the official clients are tried on."""

APP = {
    "schema.py": """
        from camber import Schema, Table, index

        class notes(Table):
            text: str
            by_text = index("text")

        schema = Schema(notes)
    """,
    "notes.py": """
        import logging
        from camber import QueryCtx, MutationCtx, query, mutation, internal_query

        @query
        async def list_(ctx: QueryCtx) -> list[str]:
            return [note.text for note in await ctx.db.query("notes").collect()]

        @mutation
        async def add(ctx: MutationCtx, text: str) -> int:
            await ctx.db.insert("notes", {"text": text})
            print("added", text)
            logging.warning("low on ink")
            return len(await ctx.db.query("notes").collect())

        @internal_query
        async def secret(ctx: QueryCtx) -> str:
            return "secret"

        @query
        async def who(ctx: QueryCtx) -> str | None:
            identity = await ctx.auth.get_user_identity()
            return None if identity is None else identity["tokenIdentifier"]
    """,
    "echo.py": """
        from typing import Any
        from camber import ConvexError, action, mutation, query

        @query
        async def query_(ctx, value=None):
            return value

        @mutation
        async def mutation_(ctx, value=None):
            return value

        @action
        async def action_(ctx, value=None):
            return value

        @query
        async def one(ctx) -> int:
            return 1

        @query
        async def nothing(ctx):
            pass

        @query
        async def raise_query(ctx, data=None):
            raise ConvexError(data)

        @mutation
        async def raise_mutation(ctx, data=None):
            raise ConvexError(data)

        @action
        async def raise_action(ctx, data=None):
            raise ConvexError(data)

        @query
        async def bare(ctx):
            raise ConvexError

        @query
        async def fail(ctx):
            raise ValueError("no stock")

        @mutation
        async def fail_mutation(ctx):
            print("about to fail")
            raise ValueError("no stock")

        @action
        async def fail_action(ctx):
            raise ValueError("no stock")

        @query
        async def bad_value(ctx):
            return {"a": [object()]}

        @query
        async def typed(ctx, count: int, name: str = "x") -> str:
            return f"{name}{count}"
    """,
}
