"""Who may call what: every way in, with every visibility, and every way to say who one is."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from serving import Answer, Backend, ask, served

JSON = {"content-type": "application/json"}

APP = {
    "m.py": """
        from camber import (
            action, http_endpoint, internal_action, internal_mutation, internal_query,
            mutation, query, Response,
        )

        TAG = "here"

        @query
        async def query_(ctx) -> str:
            return TAG

        @mutation
        async def mutation_(ctx) -> str:
            return TAG

        @action
        async def action_(ctx) -> str:
            return TAG

        @internal_query
        async def hidden_query(ctx) -> str:
            return TAG

        @internal_mutation
        async def hidden_mutation(ctx) -> str:
            return TAG

        @internal_action
        async def hidden_action(ctx) -> str:
            return TAG

        @http_endpoint
        async def endpoint(ctx, request):
            return Response(TAG)

        def plain(ctx):
            return TAG

        @query
        async def who(ctx):
            return await ctx.auth.get_user_identity()
    """,
    "http.py": """
        from camber import Response, http_endpoint, http_router
        from .m import endpoint

        @http_endpoint
        async def all_of_them(ctx, request):
            return Response.json([
                await ctx.run_query("m:hidden_query"),
                await ctx.run_mutation("m:hidden_mutation"),
                await ctx.run_action("m:hidden_action"),
                await ctx.run_query("m:query"),
            ])

        @http_endpoint
        async def who(ctx, request):
            return Response.json(await ctx.auth.get_user_identity())

        @http_endpoint
        async def who_nested(ctx, request):
            return Response.json(await ctx.run_query("m:who"))

        @http_endpoint
        async def raw(ctx, request):
            return Response(request.headers.get("authorization"))

        http = http_router()
        http.route(path="/endpoint", method="GET", handler=endpoint)
        http.route(path="/all", method="GET", handler=all_of_them)
        http.route(path="/who", method="GET", handler=who)
        http.route(path="/nested", method="GET", handler=who_nested)
        http.route(path="/raw", method="GET", handler=raw)
    """,
}
KINDS = ("query", "mutation", "action")
HIDDEN = ("m:hidden_query", "m:hidden_mutation", "m:hidden_action", "m:endpoint")
UNKNOWN = ("m:nope", "nowhere:hidden_query", "m:plain", "m:TAG", "m:ctx", "m:__name__", "m")


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with served(tmp_path_factory.mktemp("access"), APP) as backend:
        yield backend


def admin(backend: Backend, suffix: str = "") -> dict[str, str]:
    return {"authorization": f"Convex {backend.admin_key}{suffix}"}


def call(
    backend: Backend, way: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Call `path` by one of the ways in; the status, and the envelope or the refusal."""
    headers = {**JSON, **(headers or {})}
    fields: dict[str, Any] = {"path": path, "args": {}}
    if way == "query by GET":
        answer = ask(backend.api, "GET", f"/api/query?path={path}&args=%7B%7D", None, headers)
    elif way == "run":
        answer = _post(backend, "run/" + path.replace(":", "/"), {"args": {}}, headers)
    elif way == "query_batch":
        answer = _post(backend, way, {"queries": [fields]}, headers)
    else:
        if way == "query_at_ts":
            fields["ts"] = json.loads(ask(backend.api, "POST", "/api/query_ts").body)["ts"]
        answer = _post(backend, way, fields, headers)
    told = json.loads(answer.body)
    return answer.status, told["results"][0] if "results" in told else told


def _post(backend: Backend, way: str, fields: Any, headers: dict[str, str]) -> Answer:
    return ask(backend.api, "POST", f"/api/{way}", json.dumps(fields).encode(), headers)


WAYS = ("query", "mutation", "action", "query by GET", "query_at_ts", "query_batch")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("path", [*HIDDEN, *UNKNOWN])
def test_what_is_not_public_does_not_exist_for_clients(
    way: str, path: str, backend: Backend
) -> None:
    status, envelope = call(backend, way, path)
    assert status == 200
    message = envelope["errorMessage"].partition("\n")[2]
    assert message == f"Could not find public function for '{path}'.\n"
    assert envelope.keys() == {"status", "errorMessage"}


@pytest.mark.parametrize("path", [*HIDDEN, *UNKNOWN[:-1]])
def test_what_is_not_public_cannot_be_run_by_its_path(path: str, backend: Backend) -> None:
    _, envelope = call(backend, "run", path)
    message = envelope["errorMessage"].partition("\n")[2]
    assert message == (
        f"Could not find function for '{path}'. Did you forget to run `camber dev`?\n"
    )


@pytest.mark.parametrize("path", ["m:query", "m:hidden_query", "m:nope"])
def test_any_function_by_name_is_refused_to_all_but_administrators(
    path: str, backend: Backend
) -> None:
    status, refusal = call(backend, "function", path)
    assert (status, refusal["code"]) == (403, "BadDeployKey")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_public_can_be_called_by_its_kind_and_by_no_other(
    kind: str, backend: Backend
) -> None:
    for way in (*WAYS, "run"):
        _, envelope = call(backend, way, f"m:{kind}")
        if way in (kind, "run") or (kind == "query" and way.startswith("query")):
            assert envelope == {"status": "success", "value": "here"}, way
        else:
            asked = way.capitalize() if way in KINDS else "Query"
            assert envelope["errorMessage"].endswith(
                f"Trying to execute m:{kind} as {asked}, but it is defined as "
                f"{kind.capitalize()}.\n"
            )


@pytest.mark.parametrize("kind", KINDS)
def test_an_administrator_may_call_what_is_internal(kind: str, backend: Backend) -> None:
    for way in (kind, "function", "run"):
        _, envelope = call(backend, way, f"m:hidden_{kind}", admin(backend))
        assert envelope == {"status": "success", "value": "here"}


def test_an_endpoint_may_call_what_is_internal(backend: Backend) -> None:
    answer = ask(backend.site, "GET", "/all")
    assert json.loads(answer.body) == ["here"] * 4


def test_not_even_an_administrator_calls_an_endpoint_as_a_function(backend: Backend) -> None:
    for way in (*KINDS, "function"):
        _, envelope = call(backend, way, "m:endpoint", admin(backend))
        assert "Could not find" in envelope["errorMessage"]
    assert ask(backend.site, "GET", "/endpoint").body == b"here"


ODD = [
    "m:query:query",
    "a:b:c",
    "m.__init__:query",
    "__init__:query",
    "m:__class__",
    "m:query\\u0000",
    "../convex/m:query",
    "./m:query",
    "/m:query",
    "m/:query",
    "m//x:query",
    "..:query",
    "M:query",
    "m:QUERY",
    "m:query ",
    " m:query",
    "m%3Aquery",
    "m.js.js:query",
    "m.ts:query",
    "http:http",
    "http",
    "_generated/api:x",
    "_system/frontend:x",
    "_storage",
    "api.m.query",
    "function://;m:query",
    "m:qu\u00ebry",
    "ｍ:query",
    "m\u200b:query",
    "m:query\u0301",
    "m" * 65 + ":query",
    "m:" + "q" * 65,
    "m:" + "q" * 100_000,
    "-:-",
    ":",
    "::",
    ":query",
    "m:",
    "m:1query",
    "convex.m:query",
    "os:system",
    "camber.errors:UserError",
]


@pytest.mark.parametrize("path", ODD, ids=[ascii(path)[:30] for path in ODD])
@pytest.mark.parametrize("way", ["query", "mutation", "action", "query_batch"])
def test_an_odd_path_finds_nothing(way: str, path: str, backend: Backend) -> None:
    status, told = call(backend, way, path)
    if status == 200:
        assert told["status"] == "error"
        assert "Could not find public function for " in told["errorMessage"]
    else:
        assert (status, told["code"]) == (400, "BadConvexFunctionIdentifier")
        assert told["message"].startswith(f"{path} is not a valid path to a Convex function. ")


# ---- the Authorization header ----


def test_nobody_is_nobody(backend: Backend) -> None:
    assert call(backend, "query", "m:who")[1]["value"] is None


@pytest.mark.parametrize("scheme", ["Convex", "convex", "CONVEX"])
@pytest.mark.parametrize("prefix", ["", "dev:", "prod:"])
def test_an_admin_key_may_have_a_type_and_its_scheme_any_case(
    scheme: str, prefix: str, backend: Backend
) -> None:
    header = {"authorization": f"{scheme} {prefix}{backend.admin_key}"}
    _, envelope = call(backend, "query", "m:hidden_query", header)
    assert envelope["value"] == "here"


def test_an_admin_key_may_stand_in_the_query_of_a_link(backend: Backend) -> None:
    key = backend.admin_key.replace("|", "%7C")
    target = f"/api/query?path=m:hidden_query&adminKey={key}"
    assert json.loads(ask(backend.api, "GET", target).body)["value"] == "here"
    # A header goes before it.
    refused = ask(backend.api, "GET", target, headers={"authorization": "Bearer abc.def.ghi"})
    assert refused.status == 401


def acting(identity: object) -> str:
    return ":" + base64.b64encode(json.dumps(identity).encode()).decode()


def test_an_administrator_may_act_as_a_user(backend: Backend) -> None:
    ada = {"issuer": "https://issuer.example", "subject": "ada", "name": "Ada"}
    _, envelope = call(backend, "query", "m:who", admin(backend, acting(ada)))
    assert envelope["value"] == {**ada, "tokenIdentifier": "https://issuer.example|ada"}
    token = {"tokenIdentifier": "x|y"}
    _, envelope = call(backend, "query", "m:who", admin(backend, acting(token)))
    assert envelope["value"] == {**token, "issuer": "x", "subject": "y"}


def test_results_of_one_user_are_not_anothers(backend: Backend) -> None:
    for name in ("ada", "bob", "ada"):
        header = admin(backend, acting({"issuer": "i", "subject": name}))
        _, envelope = call(backend, "query", "m:who", header)
        assert envelope["value"]["subject"] == name
    assert call(backend, "query", "m:who")[1]["value"] is None


HEADERS = [
    ("", 400, "InvalidHeaderFailure"),
    ("x", 400, "InvalidHeaderFailure"),
    ("Bearer", 400, "InvalidHeaderFailure"),
    ("Basic dXNlcjpwYXNz", 400, "InvalidAdminKey"),
    ("Digest username=x", 400, "InvalidAdminKey"),
    ("Bearer abc", 401, "NoAuthProvider"),
    ("bearer eyJhbGciOiJub25lIn0.e30.", 401, "NoAuthProvider"),
    ("Convex nobody|0123456789", 401, "BadAdminKey"),
    ("Convex 0123456789", 401, "BadAdminKey"),
    ("Convex |", 401, "BadAdminKey"),
    ("Convex ||", 401, "BadAdminKey"),
    ("Convex \xe9\xe9\xe9|\xff", 401, "BadAdminKey"),
]


@pytest.mark.parametrize(("header", "status", "code"), HEADERS)
def test_a_header_that_is_not_accepted_is_refused(
    header: str, status: int, code: str, backend: Backend
) -> None:
    for way in ("query", "mutation", "action", "query_at_ts", "query_batch", "run", "function"):
        got, refusal = call(backend, way, "m:query", {"authorization": header})
        assert (got, refusal["code"]) == (status, code), (way, refusal)
        assert refusal["message"]


def test_a_key_that_differs_in_any_character_is_refused(backend: Backend) -> None:
    key = backend.admin_key
    name, _, secret = key.partition("|")
    other = "1" if secret[0] == "0" else "0"
    wrong = [
        f"{name}|{other}{secret[1:]}",
        f"{name}|{secret}0",
        f"{name}|{secret[:-1]}",
        f"other-name-1|{secret}",
        f"{name}{secret}",
        f"{name}|x|{secret}",
        secret,
        key.upper(),
    ]
    for attempt in wrong:
        status, refusal = call(
            backend, "function", "m:query", {"authorization": f"Convex {attempt}"}
        )
        assert (status, refusal["code"]) == (401, "BadAdminKey"), attempt


@pytest.mark.parametrize(
    "suffix",
    [":", ":!!!", ":e30=", ":W10=", ":bnVsbA==", ":" + base64.b64encode(b'{"issuer":3}').decode()],
)
def test_a_user_to_act_as_who_is_none_is_refused(suffix: str, backend: Backend) -> None:
    status, refusal = call(backend, "query", "m:who", admin(backend, suffix))
    assert (status, refusal) == (
        400,
        {"code": "HeaderParseFailure", "message": "Malformed Authorization header."},
    )


# ---- endpoints: they may have their own use for the header ----


@pytest.mark.parametrize("header", [header for header, _, _ in HEADERS if header.strip()])
def test_any_header_reaches_an_endpoint_that_does_not_ask_who_it_is(
    header: str, backend: Backend
) -> None:
    answer = ask(backend.site, "GET", "/raw", headers={"authorization": header})
    assert (answer.status, answer.body.decode()) == (200, header)


@pytest.mark.parametrize("header", ["Basic dXNlcjpwYXNz", "Bearer abc.def.ghi", "short"])
def test_an_endpoint_that_asks_who_it_is_gets_the_refusal_as_an_error(
    header: str, backend: Backend
) -> None:
    answer = ask(backend.site, "GET", "/who", headers={"authorization": header})
    assert answer.status == 500
    assert "Server Error: Uncaught RequestError: " in json.loads(answer.body)["code"]
    # What it calls sees nobody.
    nested = ask(backend.site, "GET", "/nested", headers={"authorization": header})
    assert (nested.status, nested.body) == (200, b"null")


def test_to_an_endpoint_an_administrator_is_nobody_or_whom_they_act_as(backend: Backend) -> None:
    assert ask(backend.site, "GET", "/who").body == b"null"
    assert ask(backend.site, "GET", "/who", headers=admin(backend)).body == b"null"
    header = admin(backend, acting({"tokenIdentifier": "x|y"}))
    for path in ("/who", "/nested"):
        answer = ask(backend.site, "GET", path, headers=header)
        assert json.loads(answer.body) == {
            "tokenIdentifier": "x|y",
            "issuer": "x",
            "subject": "y",
        }
