"""What a beginner is told who does, in one kind of function, what only another may do."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from serving import Backend, ask, served

JSON = {"content-type": "application/json"}

APP = {
    "m.py": """
        from camber import action, mutation, query

        @query
        async def inserts(ctx):
            await ctx.db.insert("messages", {})

        @query
        async def patches(ctx):
            await ctx.db.patch("id", {})

        @query
        async def mutates(ctx):
            await ctx.run_mutation("m:acts", {})

        @query
        async def uploads(ctx):
            await ctx.storage.generate_upload_url()

        @query
        async def asks(ctx):
            return [hasattr(ctx.db, "insert"), hasattr(ctx.db, "get")]

        @mutation
        async def acts(ctx):
            await ctx.run_action("m:reads", {})

        @mutation
        async def writes(ctx):
            id = await ctx.db.insert("messages", {})
            await ctx.db.patch(id, {"body": "hi"})
            await ctx.db.replace(id, {})
            await ctx.db.delete(id)
            return [hasattr(ctx.db, "insert"), hasattr(ctx.storage, "delete")]

        @action
        async def reads(ctx):
            await ctx.db.get("id")
    """,
    "http.py": """
        from camber import http_endpoint, http_router

        http = http_router()

        @http.route(path="/read", method="GET")
        @http_endpoint
        async def read(ctx, request):
            await ctx.db.get("id")
    """,
}


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with served(tmp_path_factory.mktemp("absent"), APP) as backend:
        yield backend


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("query inserts", "ctx.db.insert() is not available in a query (convex/m.py:6). "),
        ("query patches", "ctx.db.patch() is not available in a query (convex/m.py:10). "),
        ("query mutates", "ctx.run_mutation() is not available in a query (convex/m.py:14). "),
        (
            "query uploads",
            "ctx.storage.generate_upload_url() is not available in a query (convex/m.py:18). ",
        ),
    ],
)
def test_a_query_that_writes_is_told_the_call_the_line_and_the_cure(
    path: str, said: str, backend: Backend
) -> None:
    assert said + "Move it to a mutation.\n" in message(backend, path)


def test_a_mutation_that_runs_an_action_is_told_the_cure(backend: Backend) -> None:
    assert (
        "ctx.run_action() is not available in a mutation (convex/m.py:26). Move it to an action.\n"
    ) in message(backend, "mutation acts")


def test_an_action_that_reads_the_database_is_told_the_cure(backend: Backend) -> None:
    assert (
        "ctx.db is not available in an action (convex/m.py:38). "
        "Run a query or a mutation: ctx.run_query(), ctx.run_mutation().\n"
    ) in message(backend, "action reads")


def test_an_endpoint_that_reads_the_database_is_told_the_cure(backend: Backend) -> None:
    body = json.loads(ask(backend.site, "GET", "/read").body)
    assert body["code"].endswith(
        "ctx.db is not available in an HTTP endpoint (convex/http.py:9). "
        "Run a query or a mutation: ctx.run_query(), ctx.run_mutation()."
    )


def test_a_body_may_ask_what_its_context_has(backend: Backend) -> None:
    assert call(backend, "m:asks")["value"] == [False, True]
    assert call(backend, "m:writes", route="mutation")["value"] == [True, True]


def call(backend: Backend, path: str, *, route: str = "query") -> Any:
    body = json.dumps({"path": path, "args": {}}).encode()
    return json.loads(ask(backend.api, "POST", f"/api/{route}", body, JSON).body)


def message(backend: Backend, path: str) -> str:
    kind, name = path.split()
    text = call(backend, f"m:{name}", route=kind)["errorMessage"]
    assert isinstance(text, str)
    return text
