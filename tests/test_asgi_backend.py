"""A whole backend behind an ASGI server, and mounted inside another application."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import camber.asgi
from camber.asgi import AsgiBackend, create_app
from camber.errors import ConfigError
from serving import ask, write_app

APP = {
    "m.py": """
        from camber import mutation, query

        @query
        async def all_(ctx):
            return [note["text"] for note in await ctx.db.query("notes").collect()]

        @mutation
        async def add(ctx, text: str) -> str:
            await ctx.db.insert("notes", {"text": text})
            print("added", text)
            return await ctx.storage.generate_upload_url()

        @query
        async def fail(ctx):
            raise ValueError("no stock")
    """,
    "http.py": """
        from camber import Response, env, http_endpoint, http_router

        http = http_router()

        @http_endpoint
        async def hello(ctx, request):
            return Response(f"{request.method} {request.url} {env['CONVEX_SITE_URL']}")

        http.route(path="/hello", method="GET", handler=hello)

        @http_endpoint
        async def upper(ctx, request):
            async def pieces():
                async for chunk in request.body:
                    yield chunk.upper()
            return Response(pieces())

        http.route(path="/upper", method="POST", handler=upper)
    """,
}


@contextlib.asynccontextmanager
async def client_of(app: Any, base: str = "http://a.example") -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as client:
        yield client


async def call(client: httpx.AsyncClient, route: str, path: str, **args: Any) -> Any:
    return (await client.post(f"/api/{route}", json={"path": path, "args": args})).json()


def test_a_backend_answers_the_api_and_its_endpoints_at_one_origin(tmp_path: Path) -> None:
    write_app(tmp_path, APP)

    async def main() -> None:
        backend = create_app(tmp_path, origin="https://a.example/")
        async with backend.lifespan(), client_of(backend) as client:
            added = await call(client, "mutation", "m:add", text="one")
            assert added["value"].startswith("https://a.example/api/storage/upload?token=")
            assert await call(client, "query", "m:all") == {"status": "success", "value": ["one"]}
            hello = await client.get("/http/hello?a=b")
            assert hello.text == "GET http://a.example/hello?a=b https://a.example/http"
            name = (await client.get("/instance_name")).text
            host = {"host": f"{name}.site.localhost"}
            assert (await client.get("/hello", headers=host)).status_code == 200
            assert (await client.get("/hello")).status_code == 404
            assert (await client.post("/http/upper", content=b"abc")).content == b"ABC"
        assert (tmp_path / ".camber" / "camber.sqlite3").is_file()

    asyncio.run(main())


def test_a_backend_is_in_production_unless_told_otherwise(tmp_path: Path) -> None:
    write_app(tmp_path, APP)

    async def message(**options: Any) -> str:
        backend = create_app(tmp_path, **options)
        async with backend.lifespan(), client_of(backend) as client:
            return str((await call(client, "query", "m:fail"))["errorMessage"])

    assert "no stock" not in asyncio.run(message())
    assert "no stock" in asyncio.run(message(production=False))


def test_what_functions_say_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_app(tmp_path, APP)
    caplog.set_level("INFO", "camber.functions")

    async def main() -> None:
        backend = create_app(tmp_path)
        async with backend.lifespan(), client_of(backend) as client:
            await call(client, "mutation", "m:add", text="one")
            await call(client, "query", "m:fail")

    asyncio.run(main())
    said = [record.getMessage() for record in caplog.records if record.name == "camber.functions"]
    assert said[0].startswith("m:add [LOG] ")
    assert "Uncaught ValueError: no stock" in said[1]


def host_of(backend: AsgiBackend) -> Starlette:
    async def home(request: StarletteRequest) -> PlainTextResponse:
        return PlainTextResponse("home")

    routes = [Route("/", home), Mount("/backend", backend)]
    return Starlette(routes=routes, lifespan=backend.lifespan)


def test_a_backend_is_mounted_in_another_application(tmp_path: Path) -> None:
    write_app(tmp_path, APP)

    async def main() -> None:
        backend = create_app(tmp_path, origin="http://a.example/backend")
        host = host_of(backend)
        async with host.router.lifespan_context(host), client_of(host) as client:
            assert (await client.get("/")).text == "home"
            body = {"path": "m:add", "args": {"text": "one"}}
            added = (await client.post("/backend/api/mutation", json=body)).json()
            # The URL it hands out leads back to it, through its host.
            stored = await client.post(added["value"], content=b"x")
            assert stored.json().keys() == {"storageId"}
            hello = await client.get("/backend/http/hello")
            assert hello.text == "GET http://a.example/hello http://a.example/backend/http"
            assert (await client.get("/backend/nope")).status_code == 404
        assert backend.deployment is None

    asyncio.run(main())


def test_a_backend_that_nobody_opened_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_app(tmp_path, APP)

    async def main() -> httpx.Response:
        async with client_of(create_app(tmp_path)) as client:
            return await client.get("/version")

    answer = asyncio.run(main())
    assert (answer.status_code, answer.json()["code"]) == (503, "BackendIsNotRunning")
    assert "FastAPI(lifespan=backend.lifespan)" in caplog.text


def test_a_folder_without_an_app_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with create_app(tmp_path).lifespan():
            pass

    with pytest.raises(ConfigError, match=r"There is no functions folder .*convex\."):
        asyncio.run(main())
    assert not (tmp_path / ".camber").exists()


def test_an_app_that_does_not_load_leaves_nothing_open(tmp_path: Path) -> None:
    functions = write_app(tmp_path, {"m.py": "1 / 0"})

    async def main() -> None:
        backend = create_app(tmp_path)
        with pytest.raises(Exception, match="ZeroDivisionError"):
            await backend.lifespan().__aenter__()
        # The state folder is free: once mended, the same backend opens.
        (functions / "m.py").write_text("x = 1\n")
        async with backend.lifespan():
            assert backend.deployment is not None

    asyncio.run(main())


def test_the_module_has_an_app_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAMBER_APP", str(tmp_path))
    monkeypatch.setenv("CAMBER_STATE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("CAMBER_ORIGIN", "https://a.example")
    try:
        app = camber.asgi.app
        assert app is camber.asgi.app
    finally:
        vars(camber.asgi).pop("app", None)
    settings = app.settings
    assert settings.functions == tmp_path / "convex"
    assert settings.state == tmp_path / "elsewhere"
    assert (settings.api_origin, settings.site_origin) == (
        "https://a.example",
        "https://a.example/http",
    )
    assert settings.production
    with pytest.raises(AttributeError):
        _ = camber.asgi.nothing


@contextlib.contextmanager
def uvicorn(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The app in `folder` under uvicorn, once it is ready; what is not ended is ended."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        descriptor = listening.fileno()
        port = listening.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "camber.asgi:app", "--fd", str(descriptor)]
        process = subprocess.Popen(
            [*command, *options],
            env={**os.environ, "CAMBER_APP": str(folder), "CAMBER_DEVELOPMENT": "1"},
            pass_fds=(descriptor,),
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_uvicorn_serves_a_backend_and_stops_it(loop: str, tmp_path: Path) -> None:
    write_app(tmp_path, APP)
    with uvicorn(tmp_path, "--loop", loop) as (origin, process):
        assert process.stderr is not None
        for line in process.stderr:
            if "startup complete" in line:
                break
        json_type = {"content-type": "application/json"}
        body = b'{"path":"m:add","args":{"text":"one"}}'
        answer = ask(origin, "POST", "/api/mutation", body, json_type)
        assert json.loads(answer.body)["status"] == "success"
        failed = ask(origin, "POST", "/api/query", b'{"path":"m:fail","args":{}}', json_type)
        assert "no stock" in json.loads(failed.body)["errorMessage"]
        assert ask(origin, "GET", "/http/hello", host="a.example").body.startswith(b"GET http://a.")
        assert ask(origin, "POST", "/http/upper", b"abc").body == b"ABC"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, -signal.SIGINT, 130)


def test_uvicorn_does_not_start_a_backend_that_does_not_load(tmp_path: Path) -> None:
    write_app(tmp_path, {"m.py": "def ("})
    with uvicorn(tmp_path) as (_, process):
        _, said = process.communicate(timeout=20)
        assert process.returncode == 3
        assert "convex/m.py:1" in said
