"""Every URL of a deployment, and what answers it.

    site port, or host <name>.site.…     HTTP endpoints
    /http/…                              the same endpoints, at the API port
    /api/query, /api/mutation, …         the function API
    /api/storage/…                       stored files
    /version, /instance_name, /echo …    what tools ask

Whatever lies under `/api`, and the tools' routes, may be read by a page of any origin, but not
with credentials: who calls is told by a header that the page must know, never by what a browser
adds on its own. Endpoints have no CORS headers but what they answer themselves.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from camber.errors import InternalError, RequestError, TransientError, UserError
from camber.server.api import request_error_of
from camber.server.endpoints import Endpoints
from camber.server.exchange import Exchange
from camber.values.wire import dump_json

ECHO_MAX: Final = 128 << 20

_JSON: Final = ("content-type", "application/json")
_TEXT: Final = ("content-type", "text/plain; charset=utf-8")
_VARY: Final = (
    "vary",
    "origin, access-control-request-method, access-control-request-headers",
)
_DEPLOYMENT_HOST: Final = re.compile(r"([a-z]+-[a-z]+-[0-9]+)\.site\.", re.IGNORECASE)
# What a page with an origin of its own has. `null` is what everything without one says.
_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._~%\[\]:-]+", re.IGNORECASE)
_RUNNING: Final = b"This Convex deployment is running. See https://docs.convex.dev/."
_PREFLIGHT_METHODS: Final = "GET,POST,OPTIONS,PATCH,DELETE,PUT"

Headers = list[tuple[str, str]]


class Routes(Protocol):
    """A room of the API: knows its paths, and answers them."""

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods that `path` takes; empty when it is not one of this room's."""

    def serve(self, exchange: Exchange, headers: Headers) -> Awaitable[None]:
        """Answer, with `headers` among the answer's."""


class Server:
    """Answers every exchange of one deployment; itself an `Application`.

    Args:
        name: the deployment's name.
        version: of the software.
        endpoints: the app's own routes.
        rooms: what lies under `/api`.
    """

    def __init__(
        self, name: str, version: str, endpoints: Endpoints, rooms: tuple[Routes, ...]
    ) -> None:
        self._name = name
        self._endpoints = endpoints
        self._rooms = rooms
        self._tools: dict[str, Callable[[], tuple[Headers, bytes]]] = {
            "/": lambda: ([_TEXT], _RUNNING),
            "/version": lambda: ([_TEXT], version.encode()),
            "/instance_version": lambda: ([_TEXT], version.encode()),
            "/instance_name": lambda: ([_TEXT], name.encode()),
        }

    def __call__(self, exchange: Exchange) -> Awaitable[None] | None:
        try:
            host = exchange.host
            if exchange.port_name == "site" or ".site." in host.lower():
                self._check_host(host)
                return self._endpoints.serve(exchange, exchange.path)
            path = exchange.path
            if path.startswith("/http/"):
                return self._endpoints.serve(exchange, path[5:])
            if path == "/http":
                return self._endpoints.serve(exchange, "/")
        except RequestError as error:
            _refuse(exchange, error, [])
            return None
        return self._serve_api(exchange)

    def _check_host(self, host: str) -> None:
        match = _DEPLOYMENT_HOST.match(host)
        if match is not None and match[1].lower() != self._name:
            raise RequestError(404, "NoSuchDeployment", f"There is no deployment {match[1]} here.")

    def _serve_api(self, exchange: Exchange) -> Awaitable[None] | None:
        headers = cors_headers(exchange)
        if exchange.method == "OPTIONS":
            exchange.respond(200, [*headers, *_preflight(exchange)], b"")
            return None
        path = exchange.path
        tool = self._tools.get(path)
        if tool is not None:
            if exchange.method not in ("GET", "HEAD"):
                _refuse_method(exchange, ("GET", "HEAD"), headers)
                return None
            own, body = tool()
            exchange.respond(200, [*own, *headers], body)
            return None
        for room in self._rooms:
            methods = room.methods(path)
            if methods:
                if exchange.method in methods:
                    return _guarded(room.serve(exchange, headers), exchange, headers)
                _refuse_method(exchange, methods, headers)
                return None
        if path == "/echo":
            if exchange.method == "POST":
                return _guarded(_echo(exchange, headers), exchange, headers)
            _refuse_method(exchange, ("POST",), headers)
            return None
        exchange.respond(404, headers, b"")
        return None


async def _guarded(answer: Awaitable[None], exchange: Exchange, headers: Headers) -> None:
    """Answer refusals with the CORS headers: without them a browser hides what was wrong."""
    try:
        await answer
    except (UserError, TransientError, InternalError) as error:
        told = request_error_of(error)
        if told is None or exchange.is_answered:
            raise
        _refuse(exchange, told, headers)


async def _echo(exchange: Exchange, headers: Headers) -> None:
    exchange.body_limit = ECHO_MAX
    body = await exchange.read()
    exchange.respond(200, [("content-type", "application/octet-stream"), *headers], body)


def _refuse(exchange: Exchange, error: RequestError, headers: Headers) -> None:
    body = dump_json({"code": error.code, "message": str(error)})
    exchange.respond(error.status, [_JSON, *headers], body)


def _refuse_method(exchange: Exchange, methods: tuple[str, ...], headers: Headers) -> None:
    exchange.respond(405, [("allow", ", ".join(methods)), *headers], b"")


def cors_headers(exchange: Exchange) -> Headers:
    """What lets a page of any origin read the answer."""
    origin = exchange.header("origin")
    if origin is None or not _ORIGIN.fullmatch(origin):
        return [_VARY]
    return [("access-control-allow-origin", origin), _VARY]


def _preflight(exchange: Exchange) -> Headers:
    asked = exchange.header("access-control-request-headers")
    headers = [
        ("access-control-allow-methods", _PREFLIGHT_METHODS),
        ("access-control-max-age", "86400"),
    ]
    if asked is not None:
        headers.append(("access-control-allow-headers", asked))
    return headers
