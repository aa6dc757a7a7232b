"""The app that the function API is tried on, and calls of it as raw as they go over the wire."""

import base64
import json
from typing import Any

from serving import Answer, Backend, ask

JSON = {"content-type": "application/json"}

APP = {
    "schema.py": """
        from camber import Schema, Table

        class counters(Table):
            count: int

        schema = Schema(counters)
    """,
    "m.py": """
        import logging
        from camber import ConvexError, Int64, action, internal_query, mutation, query, v

        @query
        async def echo(ctx, value=None):
            return value

        @query
        async def seven(ctx) -> int:
            return 7

        @query
        async def odd(ctx):
            return {
                "int64": Int64(5), "nan": float("nan"), "inf": float("inf"),
                "minus": float("-inf"), "zero": -0.0, "bytes": b"\\x01\\x02\\xff", "one": 1,
            }

        @query
        async def total(ctx) -> int:
            return sum([c["count"] for c in await ctx.db.query("counters").collect()])

        @mutation
        async def add(ctx, count: int) -> int:
            await ctx.db.insert("counters", {"count": count})
            print("added", count)
            return count

        @mutation
        async def add_and_fail(ctx):
            await ctx.db.insert("counters", {"count": 1000})
            logging.warning("low stock")
            raise ValueError("no stock")

        @action
        async def act(ctx, value=None):
            return value

        @query
        async def refuse(ctx, data=None):
            print("before")
            raise ConvexError(data)

        @query
        async def bare(ctx):
            raise ConvexError

        @query
        async def forgetful(ctx):
            class Forgetful(ConvexError):
                def __init__(self):
                    pass
            raise Forgetful

        @query
        async def too_much(ctx):
            raise ConvexError("x" * (16 << 20))

        @query
        async def endless(ctx):
            data = []
            data.append(data)
            raise ConvexError(data)

        @query
        async def unprintable(ctx):
            class Unprintable(Exception):
                def __str__(self):
                    raise ValueError("no words")
            raise Unprintable

        @query
        async def typed(ctx, count: int, name: str = "x") -> str:
            return f"{name}{count}"

        @query(returns=v.string())
        async def wrong_result(ctx):
            return 3

        @mutation(returns=v.string())
        async def wrong_result_of_mutation(ctx):
            await ctx.db.insert("counters", {"count": 1000})

        @internal_query
        async def secret(ctx) -> str:
            return "secret"

        @query
        async def who(ctx):
            return await ctx.auth.get_user_identity()
    """,
    "sendMessage.py": """
        from camber import mutation

        @mutation
        async def default(ctx, body: str) -> str:
            return body
    """,
    "deep/er.py": """
        from camber import query

        @query
        async def where(ctx) -> str:
            return "deep"
    """,
}


def post(
    backend: Backend, route: str, fields: Any, headers: dict[str, str] | None = None
) -> Answer:
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return ask(backend.api, "POST", f"/api/{route}", body, {**JSON, **(headers or {})})


def call(
    backend: Backend,
    path: str,
    args: Any = None,
    route: str = "query",
    headers: dict[str, str] | None = None,
    **fields: Any,
) -> Any:
    """The envelope of a call that is a call: always 200."""
    body = {"path": path, "args": {} if args is None else args, **fields}
    answer = post(backend, route, body, headers)
    assert (answer.status, answer.header("content-type")) == (200, "application/json"), answer
    return json.loads(answer.body)


def admin(backend: Backend, acting: Any = None) -> dict[str, str]:
    suffix = ""
    if acting is not None:
        suffix = ":" + base64.b64encode(json.dumps(acting).encode()).decode()
    return {"authorization": f"Convex {backend.admin_key}{suffix}"}
