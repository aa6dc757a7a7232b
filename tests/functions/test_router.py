"""Routes: what is refused, what wins, and how they are listed."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camber.functions.router import METHODS, HttpRouter, RouteError, http_router


async def endpoint(ctx: Any, request: Any) -> None: ...


async def other(ctx: Any, request: Any) -> None: ...


def router(*routes: tuple[str, str]) -> HttpRouter:
    """A router with these (method, path) routes; a path ending in `*` is a prefix."""
    http = http_router()
    for method, path in routes:
        if path.endswith("*"):
            http.route(path_prefix=path[:-1], method=method, handler=endpoint)
        else:
            http.route(path=path, method=method, handler=endpoint)
    return http


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"path": "/a", "method": "GET", "handler": None}, "route requires handler"),
        (
            {"path": "/a", "method": "GET", "handler": 3},
            "route requires handler, got 3",
        ),
        ({"path": "/a", "handler": endpoint}, "route requires method"),
        (
            {"path": "/a", "method": "get", "handler": endpoint},
            "'get' is not an allowed HTTP method (like GET, POST, PUT etc.)",
        ),
        (
            {"path": "/a", "method": "HEAD", "handler": endpoint},
            "'HEAD' is not an allowed HTTP method (like GET, POST, PUT etc.)",
        ),
        (
            {"path": "/a", "path_prefix": "/b/", "method": "GET", "handler": endpoint},
            "Invalid httpRouter route: cannot contain both 'path' and 'path_prefix'",
        ),
        ({"path": "a", "method": "GET", "handler": endpoint}, "path 'a' does not start with a /"),
        ({"path": "", "method": "GET", "handler": endpoint}, "path '' does not start with a /"),
        (
            {"path": "/.files", "method": "GET", "handler": endpoint},
            "path '/.files' is reserved",
        ),
        (
            {"path": "/.files/x", "method": "GET", "handler": endpoint},
            "path '/.files/x' is reserved",
        ),
        (
            {"path": "/used", "method": "GET", "handler": endpoint},
            "Path '/used' for method GET already in use",
        ),
        (
            {"path_prefix": "a/", "method": "GET", "handler": endpoint},
            "path_prefix 'a/' does not start with a /",
        ),
        (
            {"path_prefix": "/a", "method": "GET", "handler": endpoint},
            "path_prefix /a must end with a /",
        ),
        (
            {"path_prefix": "/.files/", "method": "GET", "handler": endpoint},
            "path_prefix '/.files/' is reserved",
        ),
        (
            {"path_prefix": "/used/", "method": "GET", "handler": endpoint},
            "GET path_prefix /used/ is already defined",
        ),
        (
            {"method": "GET", "handler": endpoint},
            "Invalid httpRouter route entry: must contain either field 'path' or 'path_prefix'",
        ),
    ],
)
def test_a_wrong_route_is_refused_with_its_reason(spec: dict[str, Any], text: str) -> None:
    http = router(("GET", "/used"), ("GET", "/used/*"))
    with pytest.raises(RouteError) as caught:
        http.route(**spec)
    assert str(caught.value) == text
    assert len(http.get_routes()) == 2


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        ({"handler": None, "method": None, "path": "x"}, "route requires handler"),
        ({"handler": endpoint, "method": None, "path": "x"}, "route requires method"),
        ({"handler": endpoint, "method": "BREW", "path": "x", "path_prefix": "y"}, "'BREW' is not"),
        ({"handler": endpoint, "method": "GET", "path": "x", "path_prefix": "y"}, "Invalid http"),
        ({"handler": endpoint, "method": "GET", "path_prefix": "y"}, "path_prefix 'y' does not"),
    ],
)
def test_of_several_faults_the_first_is_told(wrong: dict[str, Any], first: str) -> None:
    with pytest.raises(RouteError, match=f"^{first}"):
        http_router().route(**wrong)


def test_the_same_path_takes_one_handler_for_each_method() -> None:
    http = router(*((method, "/a") for method in METHODS))
    assert all(http.lookup(method, "/a") for method in METHODS)


def test_prefixes_in_any_order_do_not_shadow() -> None:
    http = router(("GET", "/*"), ("GET", "/a/*"), ("GET", "/a/b"), ("GET", "/a/b/c/*"))
    found = {path: http.lookup("GET", path) for path in ("/a/b", "/a/x", "/a/b/c/d", "/z")}
    assert {path: match and match.route for path, match in found.items()} == {
        "/a/b": "/a/b",
        "/a/x": "/a/*",
        "/a/b/c/d": "/a/b/c/*",
        "/z": "/*",
    }


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/postMessage", "/postMessage"),
        ("GET", "/postMessage", None),
        ("POST", "/postMessage/", None),
        ("POST", "/postmessage", None),
        ("POST", "/post%4Dessage", None),
        ("GET", "/getAuthorMessages/User%20123", "/getAuthorMessages/*"),
        ("GET", "/getAuthorMessages/", "/getAuthorMessages/*"),
        ("GET", "/getAuthorMessages", None),
        ("HEAD", "/getAuthorMessages/x", "/getAuthorMessages/*"),
        ("HEAD", "/postMessage", None),
        ("OPTIONS", "/postMessage", None),
        ("TRACE", "/postMessage", None),
        ("POST", "/.files/x", None),
        ("POST", "", None),
    ],
)
def test_a_lookup_compares_paths_as_written(method: str, path: str, route: str | None) -> None:
    http = router(("POST", "/postMessage"), ("GET", "/getAuthorMessages/*"))
    match = http.lookup(method, path)
    assert (match and match.route) == route


def test_an_exact_path_without_the_method_falls_to_the_prefix() -> None:
    http = http_router()
    http.route(path="/a", method="POST", handler=endpoint)
    http.route(path_prefix="/", method="GET", handler=other)
    match = http.lookup("GET", "/a")
    assert match is not None
    assert match.handler is other


def test_a_path_may_begin_like_a_reserved_one() -> None:
    assert router(("GET", "/.filesystem"), ("GET", "/.filesystem/*")).lookup("GET", "/.filesystem")


def test_routes_are_listed_exact_ones_by_path_then_prefixes_by_method() -> None:
    http = router(
        ("PUT", "/p/*"),
        ("GET", "/z/*"),
        ("GET", "/a/*"),
        ("POST", "/b"),
        ("GET", "/b"),
        ("PUT", "/a"),
    )
    assert [(path, method) for path, method, _ in http.get_routes()] == [
        ("/a", "PUT"),
        ("/b", "GET"),
        ("/b", "POST"),
        ("/a/*", "GET"),
        ("/z/*", "GET"),
        ("/p/*", "PUT"),
    ]


def test_without_a_handler_route_decorates() -> None:
    http = http_router()
    assert http.route(path="/a", method="GET")(endpoint) is endpoint
    assert http.get_routes() == [("/a", "GET", endpoint)]


def test_a_decorator_refuses_a_wrong_route_at_its_own_line() -> None:
    with pytest.raises(RouteError, match="path 'a' does not start"):
        http_router().route(path="a", method="GET")


@pytest.mark.parametrize("method", METHODS)
def test_each_method_has_a_decorator_for_exact_paths(method: str) -> None:
    http = http_router()
    decorate: Callable[[str], Any] = getattr(http, method.lower())
    assert decorate("/a")(endpoint) is endpoint
    assert http.get_routes() == [("/a", method, endpoint)]


_PATHS = st.lists(st.sampled_from(["", "a", "b", "ab"]), max_size=4).map(
    lambda names: "/" + "/".join(names)
)


@given(st.sets(_PATHS.map(lambda path: path.rstrip("/") + "/*")), _PATHS)
def test_the_longest_prefix_wins(prefixes: set[str], path: str) -> None:
    http = router(*(("GET", prefix) for prefix in prefixes))
    fitting = [prefix for prefix in prefixes if path.startswith(prefix[:-1])]
    match = http.lookup("GET", path)
    assert (match and match.route) == max(fitting, key=len, default=None)
