"""A small app with rows, files and large bodies, for tests of what surrounds the server: its disk,
its memory, its end."""

from typing import Final

APP: Final = {
    "schema.py": """
from camber import Schema, Table, index

class notes(Table):
    key: str
    text: str
    by_key = index("key")

schema = Schema(notes)
""",
    "notes.py": """
from camber import MutationCtx, QueryCtx, mutation, query

@mutation
async def add(ctx: MutationCtx, key: str, text: str) -> None:
    await ctx.db.insert("notes", {"key": key, "text": text})

@query
async def keys(ctx: QueryCtx) -> list[str]:
    return [note["key"] for note in await ctx.db.query("notes").collect()]
""",
    "times.py": '''
from camber import QueryCtx, query

@query
async def created(ctx: QueryCtx) -> list[float]:
    """When each note was made, as it was told, in the order of their keys."""
    notes = await ctx.db.query("notes").with_index("by_key").collect()
    return [note["_creationTime"] for note in notes]
''',
    "http.py": """
from camber import HttpEndpointCtx, Request, Response, http_endpoint, http_router

http = http_router()

@http.route(path="/note", method="POST")
@http_endpoint
async def note(ctx: HttpEndpointCtx, request: Request) -> Response:
    key = await request.text()
    await ctx.run_mutation("notes:add", key=key, text="x" * 200)
    return Response(key)

@http.route(path="/size", method="POST")
@http_endpoint
async def size(ctx: HttpEndpointCtx, request: Request) -> Response:
    return Response(str(len(await request.bytes())))

@http.route(path="/file", method="POST")
@http_endpoint
async def file(ctx: HttpEndpointCtx, request: Request) -> Response:
    return Response(await ctx.storage.store(request))
""",
}
