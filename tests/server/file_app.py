"""The app that stored files are tried on, and what a client does with it."""

import base64
import hashlib
import json
from typing import Any
from urllib.parse import urlsplit

from serving import Answer, Backend, ask

APP = {
    "files.py": """
        from camber import Id, mutation, query

        @mutation
        async def upload_url(ctx) -> str:
            return await ctx.storage.generate_upload_url()

        @query
        async def url(ctx, id: str) -> str | None:
            return await ctx.storage.get_url(id)

        @query
        async def metadata(ctx, id: Id["_storage"]):
            return await ctx.storage.get_metadata(id)

        @query
        async def document(ctx, id: Id["_storage"]):
            return await ctx.db.system.get(id)

        @mutation
        async def delete(ctx, id: Id["_storage"]):
            await ctx.storage.delete(id)

        @mutation
        async def delete_and_fail(ctx, id: Id["_storage"]):
            await ctx.storage.delete(id)
            raise ValueError("undone")

        @mutation
        async def upload_url_and_fail(ctx) -> str:
            await ctx.storage.generate_upload_url()
            raise ValueError("never returned")

        @query
        async def store(ctx):
            return await ctx.storage.store(b"x")

        @mutation
        async def get(ctx, id: str):
            return await ctx.storage.get(id)
    """,
    "http.py": """
        from camber import Blob, Response, http_endpoint, http_router

        http = http_router()

        def on(path, method="POST"):
            def decorate(body):
                http.route(path=path, method=method, handler=http_endpoint(body))
                return body
            return decorate

        @on("/store/request")
        async def store_request(ctx, request):
            return Response(await ctx.storage.store(request))

        @on("/store/blob")
        async def store_blob(ctx, request):
            return Response(await ctx.storage.store(await request.blob()))

        @on("/store/bytes")
        async def store_bytes(ctx, request):
            return Response(await ctx.storage.store(await request.bytes()))

        @on("/store/iterator")
        async def store_iterator(ctx, request):
            async def upper():
                async for chunk in request.body:
                    yield chunk.upper()
            return Response(await ctx.storage.store(upper()))

        @on("/store/failing")
        async def store_failing(ctx, request):
            async def pieces():
                yield b"x" * 500_000
                raise ValueError("in the middle")
            return Response(await ctx.storage.store(pieces()))

        @on("/store/hash")
        async def store_hash(ctx, request):
            sha256 = request.url.search_params.get("sha256")
            return Response(await ctx.storage.store(await request.bytes(), sha256=sha256))

        @on("/store/wrong")
        async def store_wrong(ctx, request):
            return Response(await ctx.storage.store("text"))

        @on("/store/odd_type")
        async def store_odd_type(ctx, request):
            return Response(await ctx.storage.store(Blob([b"x"], await request.text())))

        @on("/get", "GET")
        async def get(ctx, request):
            blob = await ctx.storage.get(request.url.search_params.get("id"))
            return Response("gone", 404) if blob is None else Response(blob)

        @on("/slice", "GET")
        async def slice_(ctx, request):
            blob = await ctx.storage.get(request.url.search_params.get("id"))
            return Response(blob.slice(2, 5, "text/x-part"))

        @on("/describe", "GET")
        async def describe(ctx, request):
            id = request.url.search_params.get("id")
            return Response.json({
                "url": await ctx.storage.get_url(id),
                "metadata": await ctx.storage.get_metadata(id),
                "upload": await ctx.storage.generate_upload_url(),
            })

        @on("/delete")
        async def delete(ctx, request):
            await ctx.storage.delete(request.url.search_params.get("id"))
            return Response()
    """,
}


def call(backend: Backend, route: str, path: str, **args: Any) -> Any:
    body = json.dumps({"path": f"files:{path}", "args": args}).encode()
    answer = ask(backend.api, "POST", f"/api/{route}", body, {"content-type": "application/json"})
    envelope = json.loads(answer.body)
    return envelope["value"] if envelope["status"] == "success" else envelope["errorMessage"]


def target_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def upload(
    backend: Backend, body: bytes, headers: dict[str, str] | None = None, url: str | None = None
) -> Answer:
    url = url or call(backend, "mutation", "upload_url")
    return ask(backend.api, "POST", target_of(url), body, headers)


def stored(backend: Backend, body: bytes, content_type: str | None = None) -> str:
    headers = {} if content_type is None else {"content-type": content_type}
    id: str = json.loads(upload(backend, body, headers).body)["storageId"]
    return id


def download(
    backend: Backend, id: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> Answer:
    return ask(backend.api, method, path_of(backend, id), headers=headers)


def path_of(backend: Backend, id: str) -> str:
    return target_of(call(backend, "query", "url", id=id))


def digest(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def refusal(answer: Answer) -> tuple[int, str, str]:
    told = json.loads(answer.body)
    return answer.status, told["code"], told["message"]


def blobs(backend: Backend) -> int:
    """How many files' worth of bytes lie in the store, drafts included."""
    folder = backend.deployment.settings.state / "files"
    return sum(1 for path in folder.rglob("*") if path.is_file())
