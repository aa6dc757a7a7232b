"""HTTP endpoints, through a real port: every sentence of the seed, and what surrounds it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint_app import APP

from camber.functions.definition import Kind
from camber.server.limits import Limits
from serving import Answer, Backend, Connection, ask, served


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    # A client that closes is taken for gone as soon as that is certain.
    limits = Limits(linger_seconds=0.2)
    with served(tmp_path_factory.mktemp("endpoints"), APP, limits=limits) as backend:
        yield backend


def get(backend: Backend, target: str, headers: dict[str, str] | None = None) -> Answer:
    return ask(backend.site, "GET", target, headers=headers)


def post(
    backend: Backend, target: str, body: bytes, headers: dict[str, str] | None = None
) -> Answer:
    return ask(backend.site, "POST", target, body, headers)


# ---- what the seed says ----


def test_an_endpoint_takes_a_request_runs_a_mutation_and_returns_a_response(
    backend: Backend,
) -> None:
    before = int(get(backend, "/count").body)
    body = b'{ "author": "User 123", "body": "Hello world" }'
    answer = post(backend, "/postMessage", body, {"content-type": "application/json"})
    assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "0")
    assert int(get(backend, "/count").body) == before + 1


def test_nothing_is_added_to_an_answer_but_what_the_transport_needs(backend: Backend) -> None:
    answer = get(backend, "/body/none", {"origin": "https://page.example"})
    assert {name for name, _ in answer.headers} == {"date", "content-length"}
    assert get(backend, "/body/bytes").header("content-type") is None


def test_what_it_calls_is_not_public(backend: Backend) -> None:
    body = b'{"path":"sendMessage","args":{"body":"x","author":"y"}}'
    answer = ask(backend.api, "POST", "/api/mutation", body, {"content-type": "application/json"})
    assert "Could not find public function" in json.loads(answer.body)["errorMessage"]


def test_an_action_runs_in_another_process(backend: Backend) -> None:
    own, other = json.loads(get(backend, "/process").body)
    assert own != other


def test_an_endpoint_is_not_retried_and_keeps_what_it_did_before_it_failed(
    backend: Backend,
) -> None:
    before = int(get(backend, "/count").body)
    assert get(backend, "/half").status == 500
    assert int(get(backend, "/count").body) == before + 1


# ---- where they live ----


def test_an_endpoint_is_reached_at_the_site_port_under_http_and_by_host(backend: Backend) -> None:
    path = "/exact/a"
    host = f"{backend.name}.site.localhost"
    ways = [
        get(backend, path),
        ask(backend.api, "GET", f"/http{path}"),
        ask(backend.site, "GET", path, host=f"{host}:{backend.site_port}"),
        ask(backend.api, "GET", path, host=f"{host}:{backend.api_port}"),
        ask(backend.api, "GET", path, host=host.upper()),
        ask(backend.site, "GET", path, host="my.own.domain.example"),
    ]
    assert [(way.status, way.body) for way in ways] == [(200, b"exact")] * len(ways)


def test_the_host_of_another_deployment_is_not_answered(backend: Backend) -> None:
    for origin in (backend.site, backend.api):
        for host in ("other-animal-1.site.localhost:3211", "OTHER-animal-1.Site.localhost"):
            answer = ask(origin, "GET", "/exact/a", host=host)
            assert answer.status == 404
            assert json.loads(answer.body)["code"] == "NoSuchDeployment"


def test_the_url_is_as_the_caller_wrote_it_without_the_prefix(backend: Backend) -> None:
    def url(origin: str, target: str, host: str, **headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = ask(origin, "GET", target, headers=named, host=host)
        return str(json.loads(answer.body)["url"])

    site, api = backend.site, backend.api
    assert url(site, "/request?a=b%20c&d", "a.example") == "http://a.example/request?a=b%20c&d"
    assert url(api, "/http/request?x", "a.example:80") == "http://a.example:80/request?x"
    proxied = {"x_forwarded_proto": "https", "x_forwarded_host": "b.example"}
    assert url(site, "/request", "a", **proxied) == "https://b.example/request"
    chain = {"x_forwarded_proto": "https, http", "x_forwarded_host": "b.example, c"}
    assert url(site, "/request", "a", **chain) == "https://b.example/request"
    standard = {"forwarded": 'for=1.2.3.4;proto=https;host="b.example:4", proto=http;host=c'}
    assert url(site, "/request", "a", **standard) == "https://b.example:4/request"
    v6 = {"x_forwarded_host": "[2001:db8::1]:8443"}
    assert url(site, "/request", "a", **v6) == "http://[2001:db8::1]:8443/request"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-proto": "javascript"},
        {"x-forwarded-host": "a b"},
        {"x-forwarded-host": "evil/path?"},
        {"x-forwarded-host": "user@evil"},
        {"x-forwarded-host": "a:99999999"},
        {"x-forwarded-host": ""},
        {"forwarded": "host=;proto="},
        {"forwarded": ";;;=,"},
    ],
)
def test_what_a_proxy_writes_is_believed_only_as_part_of_a_url(
    headers: dict[str, str], backend: Backend
) -> None:
    answer = get(backend, "/request", headers)
    assert json.loads(answer.body)["url"] == "http://127.0.0.1/request"


# ---- routes ----


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("POST", "/a", "exact POST"),
        ("GET", "/a", None),
        ("GET", "/exact/a", "exact"),
        ("GET", "/exact/a?b=c", "exact"),
        ("GET", "/exact/", "prefix"),
        ("GET", "/exact/b", "prefix"),
        ("GET", "/exact/a/", "prefix"),
        ("GET", "/exact/deeper", "prefix"),
        ("GET", "/exact/deeper/", "longer prefix"),
        ("GET", "/exact/deeper/and/deeper", "longer prefix"),
        ("GET", "/exact/%61", "prefix"),
        ("PUT", "/exact/a", "PUT prefix"),
        ("POST", "/exact/a", None),
        ("OPTIONS", "/exact/a", None),
        ("DELETE", "/exact/a", None),
        ("GET", "/exact", None),
        ("GET", "/Exact/a", None),
        ("GET", "//exact/a", None),
        ("GET", "/slash/", "slash"),
        ("GET", "/slash", None),
        ("GET", "/percent%20", "percent"),
        ("GET", "/percent ".strip(), None),
        ("GET", "/", None),
    ],
)
def test_a_route_is_exact_or_else_the_longest_prefix_of_its_method(
    method: str, path: str, answer: str | None, backend: Backend
) -> None:
    for origin, prefix in ((backend.site, ""), (backend.api, "/http")):
        got = ask(origin, method, prefix + path)
        if answer is None:
            assert (got.status, got.body) == (404, b"No matching routes found")
            assert got.header("content-type") == "text/plain; charset=utf-8"
        else:
            assert (got.status, got.body) == (200, answer.encode())


def test_a_prefix_takes_what_an_exact_route_of_another_method_leaves(tmp_path: Path) -> None:
    app = {
        "http.py": """
            from camber import Response, http_endpoint, http_router

            @http_endpoint
            async def catch(ctx, request):
                return Response("caught " + request.url.pathname)

            http = http_router()
            http.route(path="/a", method="POST", handler=catch)
            http.route(path_prefix="/", method="GET", handler=catch)
        """
    }
    with served(tmp_path, app) as backend:
        for path in ("/a", "/", "/b/c%20d"):
            assert get(backend, path).body == f"caught {path}".encode()
        # At the site port nothing is the platform's own.
        assert get(backend, "/version").body == b"caught /version"
        assert get(backend, "/api/query").body == b"caught /api/query"
        assert ask(backend.api, "GET", "/http").body == b"caught /"
        assert ask(backend.api, "GET", "/version").body != b"caught /version"


def test_an_app_without_a_router_says_so(tmp_path: Path) -> None:
    with served(tmp_path, {"m.py": "x = 1"}) as backend:
        for origin, path in ((backend.site, "/a"), (backend.api, "/http/a")):
            answer = ask(origin, "POST", path, b"")
            assert answer.status == 404
            assert answer.header("content-type") == "text/plain; charset=utf-8"
            assert answer.body == b"This Convex deployment does not have HTTP actions enabled."


def test_head_runs_the_get_endpoint_and_drops_the_body(backend: Backend) -> None:
    for path in ("/body/text", "/body/json", "/body/none", "/status/404"):
        with Connection(backend.site_port) as connection:
            head = connection.ask("HEAD", path)
            full = connection.ask("GET", path)
        assert (head.status, head.body) == (full.status, b"")
        skipped = {"date"}
        assert [h for h in head.headers if h[0] not in skipped] == [
            h for h in full.headers if h[0] not in skipped
        ]
    assert ask(backend.site, "HEAD", "/a").status == 404


def test_head_of_an_endless_stream_ends(backend: Backend) -> None:
    with Connection(backend.site_port) as connection:
        for path in ("/stream/endless", "/body/stream", "/stream/waiting"):
            assert connection.ask("HEAD", path).status == 200
        assert connection.ask("GET", "/body/text").status == 200


def test_options_has_no_answer_of_its_own(backend: Backend) -> None:
    headers = {"origin": "https://page.example", "access-control-request-method": "POST"}
    answer = ask(backend.site, "OPTIONS", "/postMessage", headers=headers)
    assert (answer.status, answer.body) == (404, b"No matching routes found")
    own = ask(backend.site, "OPTIONS", "/request", headers=headers)
    assert json.loads(own.body)["method"] == "OPTIONS"


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "get", "BREW"])
def test_another_method_never_arrives(method: str, backend: Backend) -> None:
    with Connection(backend.site_port) as connection:
        answer = connection.ask(method, "/request")
    assert answer.status in (400, 405, 501)


# ---- requests ----


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_request_with_a_body(method: str, backend: Backend) -> None:
    headers = {"X-Odd": "caf\xe9", "x-twice": "1", "X-Twice": "2", "content-type": "text/plain"}
    answer = ask(backend.site, method, "/request?q=1&q=%C3%A9+x&r", "grüße".encode(), headers)
    shown = json.loads(answer.body)
    assert shown["method"] == method
    assert shown["path"] == "/request"
    assert shown["query"] == [["q", "1"], ["q", "é x"], ["r", ""]]
    assert shown["text"] == "grüße"
    assert shown["has_body"] is shown["used"] is True
    assert shown["aborted"] is False
    assert ["x-odd", "café"] in shown["headers"]
    assert ["x-twice", "1, 2"] in shown["headers"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_an_empty_body_is_a_body(method: str, backend: Backend) -> None:
    shown = json.loads(ask(backend.site, method, "/request", b"").body)
    assert (shown["has_body"], shown["text"]) == (True, "")


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_methods_without_a_body_have_none(method: str, backend: Backend) -> None:
    for body in (None, b"ignored"):
        with Connection(backend.site_port) as connection:
            shown = json.loads(connection.ask(method, "/request", body).body)
            assert (shown["has_body"], shown["text"], shown["used"]) == (False, "", False)
            assert connection.ask("GET", "/body/text").status == 200


def test_bytes_arrive_as_they_are(backend: Backend) -> None:
    body = bytes(range(256)) * 1000
    assert post(backend, "/bytes", body).body == body


def test_a_form_arrives_in_both_encodings(backend: Backend) -> None:
    urlencoded = {"content-type": "application/x-www-form-urlencoded"}
    answer = post(backend, "/form", b"a=1&b=%C3%A9+x&a=2", urlencoded)
    assert json.loads(answer.body) == [["a", "1"], ["b", "é x"], ["a", "2"]]
    body = (
        b'--xyz\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--xyz\r\ncontent-disposition: form-data; name="f"; filename="n.txt"\r\n'
        b"content-type: text/plain\r\n\r\nhello\r\n--xyz--\r\n"
    )
    multipart = {"content-type": "multipart/form-data; boundary=xyz"}
    answer = post(backend, "/form", body, multipart)
    assert json.loads(answer.body) == [["a", "1"], ["f", "n.txt", "text/plain", "hello"]]


def test_a_body_is_read_once(backend: Backend) -> None:
    answer = post(backend, "/twice", b"x")
    assert answer.status == 500
    text = "Failed to execute 'text' on 'Request': body stream already read"
    assert text in json.loads(answer.body)["code"]


def test_a_body_that_is_not_json_fails_the_endpoint_and_not_the_connection(
    backend: Backend,
) -> None:
    bodies = [b"", b"{", b"NaN", b'"\\ud800"', b"\xff", b"[" * 100_000]
    with Connection(backend.site_port) as connection:
        for body in bodies:
            answer = connection.ask("POST", "/fail/json_body", body)
            assert answer.status == 500, body
            assert "Uncaught JSONDecodeError: " in json.loads(answer.body)["code"]
        assert connection.ask("POST", "/fail/json_body", b'{"a":1}').body == b'{"a":1}'


# ---- responses ----


@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [
        ("/body/none", b"", None),
        ("/body/text", "grüße".encode(), "text/plain;charset=UTF-8"),
        ("/body/bytes", b"\x00\xff", None),
        ("/body/blob", b"x", "image/png"),
        ("/body/params", b"a=1+2", "application/x-www-form-urlencoded;charset=UTF-8"),
        ("/body/json", '{"a":[1,null,"é"]}'.encode(), "application/json"),
        ("/body/stream", b"onetwothree", None),
        ("/body/typed", b"{}", "text/x-mine"),
    ],
)
def test_a_response_has_its_body_and_the_bodys_type(
    path: str, body: bytes, content_type: str | None, backend: Backend
) -> None:
    answer = get(backend, path)
    assert (answer.status, answer.body, answer.header("content-type")) == (200, body, content_type)
    streamed = path == "/body/stream"
    assert (answer.header("transfer-encoding") == "chunked") is streamed
    assert (answer.header("content-length") is None) is streamed


def test_a_form_as_a_response_has_a_boundary(backend: Backend) -> None:
    answer = get(backend, "/body/form")
    boundary = (answer.header("content-type") or "").removeprefix("multipart/form-data; boundary=")
    assert answer.body.startswith(b"--" + boundary.encode() + b"\r\n")


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/status/201", 201, b"made"),
        ("/status/404", 404, b"none"),
        ("/status/599", 599, b""),
        ("/status/redirect", 302, b""),
        ("/status/error", 500, b""),
    ],
)
def test_a_response_has_its_status(path: str, status: int, body: bytes, backend: Backend) -> None:
    answer = get(backend, path)
    assert (answer.status, answer.body) == (status, body)


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_is_sent_without_one(status: int, backend: Backend) -> None:
    with Connection(backend.site_port) as connection:
        connection.send("GET", f"/status/{status}")
        answer = connection.answer(has_body=False)
        assert (answer.status, answer.header("content-length")) == (status, None)
        assert answer.header("transfer-encoding") is None
        assert connection.ask("GET", "/body/text").status == 200


def test_a_redirect_says_where_to(backend: Backend) -> None:
    assert get(backend, "/status/redirect").header("location") == "/elsewhere?a=%C3%A9"


def test_headers_keep_their_order_and_cookies_stay_apart(backend: Backend) -> None:
    answer = get(backend, "/cookies")
    assert answer.all("set-cookie") == ["a=1; Path=/", "b=2, 3"]
    assert answer.all("x-twice") == ["1", "2"]


# ---- failures ----


def failure(answer: Answer) -> dict[str, Any]:
    assert (answer.status, answer.header("content-type")) == (500, "application/json")
    told: dict[str, Any] = json.loads(answer.body)
    assert re.match(r"\[Request ID: [0-9a-f]{16}\] Server Error", told["code"])
    return told


def test_an_endpoint_that_raises_tells_message_and_place(backend: Backend) -> None:
    told = failure(get(backend, "/fail/raise"))
    assert told["code"].endswith("] Server Error: Uncaught ValueError: boom")
    assert re.fullmatch(
        r"Uncaught ValueError: boom\n    at fail \(convex/http\.py:\d+\)\n", told["trace"]
    )
    assert told.keys() == {"code", "trace"}


@pytest.mark.parametrize("path", ["/fail/convex", "/fail/nested"])
def test_an_endpoint_that_raises_a_convex_error_tells_its_data(path: str, backend: Backend) -> None:
    assert failure(get(backend, path))["data"] == {"code": "sold_out"}


def test_an_endpoint_may_catch_what_it_called(backend: Backend) -> None:
    answer = get(backend, "/fail/caught")
    assert (answer.status, answer.body) == (409, b'{"code":"sold_out"}')


@pytest.mark.parametrize("path", ["/fail/text", "/fail/none"])
def test_an_endpoint_must_return_a_response(path: str, backend: Backend) -> None:
    assert "HTTP actions must return a Response" in failure(get(backend, path))["code"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/fail/status", "The status provided is outside the range [200, 599]."),
        ("/fail/json", "Failed to execute 'json' on 'Response': The data is not JSON serializable"),
        ("/fail/header", "header"),
        ("/fail/env", "MISSING"),
        ("/stream/used", "body stream already read"),
    ],
)
def test_a_response_that_cannot_be_is_the_endpoints_failure(
    path: str, text: str, backend: Backend
) -> None:
    with Connection(backend.site_port) as connection:
        answer = connection.ask("GET", path)
        assert text in failure(answer)["code"]
        assert answer.all("set-cookie") == []
        assert connection.ask("GET", "/body/text").status == 200


@pytest.mark.parametrize("what", ["exit", "interrupt", "cancelled", "generator", "own", "reset"])
def test_nothing_that_an_endpoint_raises_stops_the_server(what: str, backend: Backend) -> None:
    with Connection(backend.site_port) as connection:
        assert "Uncaught " in failure(connection.ask("GET", f"/stop/{what}"))["code"]
        assert connection.ask("GET", "/body/text").status == 200


def test_production_tells_only_a_request_id_and_the_data_of_a_convex_error(
    tmp_path: Path,
) -> None:
    with served(tmp_path, APP, production=True) as backend:
        answer = get(backend, "/fail/raise")
        told = json.loads(answer.body)
        assert answer.status == 500
        assert re.fullmatch(r"\[Request ID: [0-9a-f]{16}\] Server Error", told["code"])
        assert told.keys() == {"code"}
        told = json.loads(get(backend, "/fail/convex").body)
        assert told.keys() == {"code", "data"}
        assert told["data"] == {"code": "sold_out"}
        event = backend.wait_event("GET /fail/raise")
        assert event.failure is not None
        assert event.failure.message == "Uncaught ValueError: boom"
        given = get(backend, "/fail/raise", {"convex-request-id": "abc"})
        assert json.loads(given.body)["code"] == "[Request ID: abc] Server Error"


@pytest.mark.parametrize(
    ("path", "call"),
    [
        ("/block/sleep", r"time\.sleep\(\)"),
        ("/block/process", r"subprocess"),
    ],
)
def test_a_call_that_blocks_is_refused_with_its_line_and_the_cure(
    path: str, call: str, backend: Backend
) -> None:
    told = failure(get(backend, path))
    assert re.search(call, told["code"]), told
    assert re.search(r"convex/http\.py:\d+", told["code"])
    assert "move it to an action" in told["code"]


def test_a_call_that_blocks_is_refused_while_streaming_too(backend: Backend) -> None:
    with Connection(backend.site_port) as connection:
        connection.send("GET", "/block/stream")
        assert connection.ended()
    event = backend.wait_event("GET /block/stream")
    assert event.failure is not None
    assert "time.sleep()" in event.failure.message


def test_a_loop_that_never_yields_is_stopped(backend: Backend) -> None:
    told = failure(get(backend, "/block/loop"))
    assert "convex/http.py:" in told["code"]
    assert get(backend, "/wait").body == b"waited"


# ---- the log ----


def test_what_an_endpoint_says_reaches_the_log(backend: Backend) -> None:
    get(backend, "/log", {"convex-request-id": "0011223344556677"})
    event = backend.wait_event("GET /log")
    assert event.kind is Kind.HTTP
    lines = [line.wire() for line in event.log]
    assert [line.partition(" ")[0] for line in lines] == ["[LOG]", "[ERROR]"]
    assert "printed" in lines[0]
    assert "logged" in lines[1]
    assert event.request_id == "0011223344556677"
    assert event.failure is None
    assert event.seconds is not None


def test_what_a_stream_says_reaches_the_log(backend: Backend) -> None:
    assert get(backend, "/log/stream").body == b"one"
    lines = [line.wire() for line in backend.wait_event("GET /log/stream").log]
    assert [line.split("'")[1] if "'" in line else line.split()[-1] for line in lines] == [
        "first",
        "second",
    ]
