"""The function API's routes: which there are, which methods they take, who may read them."""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from function_api import APP, admin, call, post

from serving import Backend, ask, served


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with served(tmp_path_factory.mktemp("api"), APP) as backend:
        yield backend


# ---- routes ----

ROUTES = {
    "/api/query": "GET, POST",
    "/api/mutation": "POST",
    "/api/action": "POST",
    "/api/function": "POST",
    "/api/query_ts": "POST",
    "/api/query_at_ts": "POST",
    "/api/query_batch": "POST",
    "/api/run/m/seven": "POST",
    "/api/storage/upload": "POST",
    "/api/storage/x": "GET, HEAD",
    "/api/list_environment_variables": "GET",
    "/api/update_environment_variables": "POST",
    "/": "GET, HEAD",
    "/version": "GET, HEAD",
    "/instance_version": "GET, HEAD",
    "/instance_name": "GET, HEAD",
    "/echo": "POST",
}


@pytest.mark.parametrize("path", ROUTES)
def test_a_known_path_with_another_method_says_which_it_takes(path: str, backend: Backend) -> None:
    allowed = ROUTES[path].split(", ")
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} - set(allowed):
        answer = ask(backend.api, method, path, headers={"origin": "https://page.example"})
        assert (answer.status, answer.header("allow"), answer.body) == (405, ROUTES[path], b"")
        assert answer.header("access-control-allow-origin") == "https://page.example"


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/api",
        "/api/",
        "/api/nope",
        "/api/query/",
        "/api/QUERY",
        "//api/query",
        "/api//query",
    ],
)
def test_an_unknown_path_is_not_found(path: str, backend: Backend) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = ask(backend.api, method, path, headers={"origin": "https://page.example"})
        assert (answer.status, answer.body) == (404, b"")
        assert answer.header("access-control-allow-origin") == "https://page.example"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/", b"This Convex deployment is running. See https://docs.convex.dev/."),
        ("/version", None),
        ("/instance_version", None),
    ],
)
def test_tools_find_out_that_it_runs(path: str, body: bytes | None, backend: Backend) -> None:
    answer = ask(backend.api, "GET", path)
    assert (answer.status, answer.header("content-type")) == (200, "text/plain; charset=utf-8")
    assert answer.body == body if body is not None else re.fullmatch(rb"\d+\.\d+\.\d+", answer.body)


def test_the_name_is_told_bare(backend: Backend) -> None:
    assert ask(backend.api, "GET", "/instance_name").body == backend.name.encode()


@pytest.mark.parametrize("size", [0, 128, 4 << 20])
def test_an_echo_comes_back_byte_for_byte(size: int, backend: Backend) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert ask(backend.api, "POST", "/echo", body).body == body


def test_a_query_by_get(backend: Backend) -> None:
    args = "%7B%22value%22%3A%5B1%2C%22%C3%A9%22%5D%7D"
    target = f"/api/query?path=m%3Aecho&args={args}&format=json"
    answer = ask(backend.api, "GET", target)
    assert json.loads(answer.body) == {"status": "success", "value": [1.0, "é"]}
    assert json.loads(ask(backend.api, "GET", "/api/query?path=m:seven").body)["value"] == 7.0


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "BadQueryArgs"),
        ("args=%7B%7D", "BadQueryArgs"),
        ("path=m:seven&args=nope", "BadQueryArgs"),
        ("path=m:seven&args=%ff", "BadQueryArgs"),
        ("path=m:seven&args=" + "%5B" * 3000, "BadQueryArgs"),
        ("path=m:echo&args=%7B%22value%22%3ANaN%7D", "BadQueryArgs"),
        ("path=m:seven&format=xml", "BadFormat"),
        ("path=a%20b", "BadConvexFunctionIdentifier"),
        ("path=", "BadConvexFunctionIdentifier"),
    ],
)
def test_a_malformed_query_by_get_is_refused(query: str, code: str, backend: Backend) -> None:
    answer = ask(backend.api, "GET", f"/api/query?{query}")
    assert (answer.status, json.loads(answer.body)["code"]) == (400, code)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("m/seven", 7.0),
        ("deep/er/where", "deep"),
        ("deep%2Fer/where", "deep"),
        ("sendMessage/default", "hi"),
    ],
)
def test_a_function_is_run_by_its_path(path: str, value: Any, backend: Backend) -> None:
    args = {"body": "hi"} if value == "hi" else {}
    answer = post(backend, f"run/{path}", {"args": args})
    assert json.loads(answer.body) == {"status": "success", "value": value}


def test_arguments_may_be_left_out_when_run_by_path(backend: Backend) -> None:
    assert json.loads(post(backend, "run/m/seven", {}).body)["value"] == 7.0


def test_run_by_path_answers_in_the_clean_format_whoever_asks(backend: Backend) -> None:
    answer = post(backend, "run/m/odd", {}, {"convex-client": "npm-1.0.0"})
    assert json.loads(answer.body)["value"]["int64"] == "5"


@pytest.mark.parametrize("path", ["run/", "run/m", "run//seven", "run/m/", "run/m//seven"])
def test_run_by_path_needs_a_module_and_a_function(path: str, backend: Backend) -> None:
    answer = post(backend, path, {"args": {}})
    assert (answer.status, json.loads(answer.body)) == (
        400,
        {
            "code": "MissingIdentifier",
            "message": "Path or function name not provided in path, e.g. /api/run/messages/list",
        },
    )


def test_a_moment_can_be_asked_for_and_looked_at_later(backend: Backend) -> None:
    # Neither a body nor a content type is needed.
    ts = json.loads(ask(backend.api, "POST", "/api/query_ts").body)["ts"]
    assert len(base64.b64decode(ts)) == 8
    before = call(backend, "m:total")["value"]
    call(backend, "m:add", {"count": 5}, "mutation")
    assert call(backend, "m:total", route="query_at_ts", ts=ts)["value"] == before
    assert call(backend, "m:total")["value"] == before + 5


@pytest.mark.parametrize("ts", [None, "", "x", 3, "AAAA", ["AAAAAAAAAAA="], "AAAAAAAAAAAA"])
def test_a_moment_that_is_none_is_refused(ts: Any, backend: Backend) -> None:
    answer = post(backend, "query_at_ts", {"path": "m:total", "args": {}, "ts": ts})
    assert (answer.status, json.loads(answer.body)["code"]) == (400, "BadJsonBody")


def test_a_moment_to_come_is_the_present(backend: Backend) -> None:
    ts = base64.b64encode(b"\xff" * 8).decode()
    now = call(backend, "m:total")["value"]
    assert call(backend, "m:total", route="query_at_ts", ts=ts)["value"] == now


def test_a_batch_answers_in_order_each_in_its_format(backend: Backend) -> None:
    queries = [
        {"path": "m:seven", "args": {}},
        {"path": "m:echo", "args": [{"value": {"$integer": "KgAAAAAAAAA="}}], "format": "json"},
        {"path": "m:nope", "args": {}},
        {"path": "m:add", "args": {}},
        {"path": "m:refuse", "args": {"data": 1}},
        {"path": "m:echo", "args": {"value": -0.0}, "format": "convex_encoded_json"},
    ]
    answer = post(backend, "query_batch", {"queries": queries})
    results = json.loads(answer.body)["results"]
    assert [result["status"] for result in results] == [
        *("success", "success", "error", "error", "error", "success")
    ]
    assert results[1]["value"] == "42"
    assert results[4]["errorData"] == 1.0
    assert results[5]["value"] == {"$float": "AAAAAAAAAIA="}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "BadJsonBody"),
        ({"queries": {}}, "BadJsonBody"),
        ({"queries": [3]}, "BadJsonBody"),
        ({"queries": [{"args": {}}]}, "BadJsonBody"),
        ({"queries": [{"path": "m:seven", "args": {}}] * 101}, "BadJsonBody"),
        ({"queries": [{"path": "m:seven", "args": {}, "format": "x"}]}, "BadFormat"),
        (
            {"queries": [{"path": "m:seven", "args": {}}, {"path": "a b", "args": {}}]},
            "BadConvexFunctionIdentifier",
        ),
    ],
)
def test_a_malformed_query_fails_its_whole_batch(fields: Any, code: str, backend: Backend) -> None:
    answer = post(backend, "query_batch", fields)
    assert (answer.status, json.loads(answer.body)["code"]) == (400, code)


def test_any_function_by_name_is_for_administrators(backend: Backend) -> None:
    fields: Any = {"path": "m:secret", "args": {}}
    refused = post(backend, "function", fields)
    assert (refused.status, json.loads(refused.body)["code"]) == (403, "BadDeployKey")
    for path in ("m:secret", "m:seven"):
        answer = post(backend, "function", {"path": path, "args": {}}, admin(backend))
        assert json.loads(answer.body)["status"] == "success"
    unknown = post(backend, "function", {"path": "m:nope", "args": {}}, admin(backend))
    assert "Could not find function for 'm:nope'." in json.loads(unknown.body)["errorMessage"]


@pytest.mark.parametrize("component", [None, ""])
def test_the_root_component_may_be_named(component: str | None, backend: Backend) -> None:
    fields: Any = {"path": "m:seven", "args": {}, "componentPath": component}
    answer = post(backend, "function", fields, admin(backend))
    assert json.loads(answer.body)["value"] == 7.0


# ---- cross-origin requests ----


@pytest.mark.parametrize("path", [*ROUTES, "/nope", "/api/nope"])
def test_every_preflight_is_answered(path: str, backend: Backend) -> None:
    answer = ask(
        backend.api,
        "OPTIONS",
        path,
        headers={
            "origin": "https://page.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,convex-client,authorization",
        },
    )
    assert (answer.status, answer.body) == (200, b"")
    assert answer.header("access-control-allow-origin") == "https://page.example"
    assert answer.header("access-control-allow-methods") == "GET,POST,OPTIONS,PATCH,DELETE,PUT"
    assert (
        answer.header("access-control-allow-headers") == "content-type,convex-client,authorization"
    )
    assert answer.header("access-control-max-age") == "86400"


VARY = "origin, access-control-request-method, access-control-request-headers"


@pytest.mark.parametrize(
    "origin",
    [
        "https://page.example",
        "http://localhost:5173",
        "http://[::1]:3000",
        "http://127.0.0.1",
        "https://xn--bcher-kva.example",
        "capacitor://localhost",
        "chrome-extension://abcdefgh",
    ],
)
def test_a_page_of_any_origin_may_read_but_without_credentials(
    origin: str, backend: Backend
) -> None:
    for method in ("GET", "OPTIONS"):
        answer = ask(backend.api, method, "/version", headers={"origin": origin})
        assert answer.header("access-control-allow-origin") == origin
        assert answer.header("access-control-allow-credentials") is None
        assert answer.header("vary") == VARY


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "*",
        "",
        "page.example",
        "https://",
        "https://a b",
        "https://a,https://b",
        "//x",
        "x:",
    ],
)
def test_what_is_no_origin_is_not_repeated(origin: str, backend: Backend) -> None:
    answer = ask(backend.api, "GET", "/version", headers={"origin": origin})
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") is None
    assert answer.header("vary") == VARY
