"""The app that the official clients are tried on."""

APP = {
    "schema.py": """
        from camber import Schema, Table, index

        class notes(Table):
            text: str
            by_text = index("text")

        class lines(Table):
            room: str
            text: str
            place: int = 0
            by_room = index("room")
            by_place = index("room", "place")

        class accounts(Table):
            room: str
            side: str
            amount: int
            by_side = index("room", "side")

        schema = Schema(notes, lines, accounts)
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
    "lines.py": """
        from typing import Any
        from camber import ConvexError, MutationCtx, QueryCtx, mutation, query

        @query
        async def list_(ctx: QueryCtx, room: str) -> list[Any]:
            return await ctx.db.query("lines").with_index("by_room", room=room).collect()

        @query
        async def count(ctx: QueryCtx) -> int:
            return len(await ctx.db.query("lines").collect())

        @query
        async def strict(ctx: QueryCtx, room: str) -> int:
            lines = await ctx.db.query("lines").with_index("by_room", room=room).collect()
            if not lines:
                raise ConvexError({"kind": "empty"})
            return len(lines)

        @query
        async def pages(ctx: QueryCtx, room: str, paginationOpts: dict[str, Any]):
            lines = ctx.db.query("lines").with_index("by_place", room=room)
            return await lines.paginate(paginationOpts)

        @mutation
        async def add(ctx: MutationCtx, room: str, text: str) -> None:
            await ctx.db.insert("lines", {"room": room, "text": text})

        @mutation
        async def put(ctx: MutationCtx, room: str, place: int, text: str) -> None:
            await ctx.db.insert("lines", {"room": room, "place": place, "text": text})

        async def account(ctx, room, side):
            found = ctx.db.query("accounts").with_index("by_side", room=room, side=side)
            return await found.unique()

        @query
        async def balance(ctx: QueryCtx, room: str, side: str) -> int:
            return (await account(ctx, room, side))["amount"]

        @mutation
        async def open_accounts(ctx: MutationCtx, room: str) -> None:
            for side, amount in (("left", 60), ("right", 40)):
                await ctx.db.insert("accounts", {"room": room, "side": side, "amount": amount})

        @mutation
        async def move(ctx: MutationCtx, room: str, amount: int) -> None:
            for side, change in (("left", amount), ("right", -amount)):
                one = await account(ctx, room, side)
                await ctx.db.patch(one["_id"], {"amount": one["amount"] + change})
    """,
    "echo.py": """
        import time
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

        @action
        async def slow_action(ctx):
            time.sleep(1)

        @query
        async def large(ctx, size: int) -> str:
            return "é" * size

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
