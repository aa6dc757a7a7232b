"""The routes of an app: which endpoint answers which method and path.

A route is an exact path, or a prefix ending in `/`. Paths are compared as they were written:
nothing is decoded, `/a` and `/a/` differ. The exact path wins, then the longest prefix of the
same method. HEAD is answered by the GET route; every other method only by a route of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias, TypeVar, overload

from camber.errors import UserError

# What the loader takes for an endpoint; the router only keeps it.
Handler: TypeAlias = Callable[..., Any]
_H = TypeVar("_H", bound=Handler)

METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
_RESERVED = "/.files"


class RouteError(UserError):
    """A route that cannot be: its path, its method, its handler, or one like it exists."""

    code = "InvalidRoute"


class _Absent(Enum):
    """No handler was given, not even None: the call is a decorator's."""

    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Match:
    """The route that a request takes: its handler, and its path as listings show it."""

    handler: Handler
    # An exact path, or a prefix followed by `*`.
    route: str


class HttpRouter:
    """Routes, each added once and never taken away."""

    def __init__(self) -> None:
        # By method, then by path or prefix. HEAD shares the tables of GET.
        self._exact: dict[str, dict[str, Match]] = {method: {} for method in METHODS}
        self._prefixes: dict[str, dict[str, Match]] = {method: {} for method in METHODS}
        # The lengths that the prefixes of a method have, longest first: a lookup cuts the path to
        # each, so that its cost does not grow with the number of routes.
        self._lengths: dict[str, list[int]] = {method: [] for method in METHODS}
        self._exact["HEAD"] = self._exact["GET"]
        self._prefixes["HEAD"] = self._prefixes["GET"]
        self._lengths["HEAD"] = self._lengths["GET"]

    @overload
    def route(
        self,
        *,
        path: str | None = None,
        path_prefix: str | None = None,
        method: str | None = None,
        handler: _H,
    ) -> _H: ...
    @overload
    def route(
        self,
        *,
        path: str | None = None,
        path_prefix: str | None = None,
        method: str | None = None,
    ) -> Callable[[_H], _H]: ...
    def route(
        self,
        *,
        path: str | None = None,
        path_prefix: str | None = None,
        method: str | None = None,
        handler: object = _Absent.ABSENT,
    ) -> Any:
        """Let `handler` answer requests with this method and path. Without it, decorates one.

        Args:
            path: the exact path, beginning with `/`.
            path_prefix: in place of `path`, the beginning of many, ending with `/`.
            method: GET, POST, PUT, DELETE, OPTIONS or PATCH. A GET route answers HEAD as well.
            handler: an endpoint, made with `@http_endpoint`.

        Raises:
            RouteError: the route is not one, or there is one like it already.
        """
        if handler is _Absent.ABSENT:
            self._check(method, path, path_prefix)

            def decorate(endpoint: _H) -> _H:
                return self.route(
                    path=path, path_prefix=path_prefix, method=method, handler=endpoint
                )

            return decorate
        if not callable(handler):
            given = "" if handler is None else f", got {handler!r}"
            raise RouteError(f"route requires handler{given}")
        self._add(self._check(method, path, path_prefix), path, path_prefix, handler)
        return handler

    def get(self, path: str) -> Callable[[_H], _H]:
        """Decorates the endpoint for GET, and HEAD, of this exact path."""
        return self.route(path=path, method="GET")

    def post(self, path: str) -> Callable[[_H], _H]:
        """Decorates the endpoint for POST of this exact path."""
        return self.route(path=path, method="POST")

    def put(self, path: str) -> Callable[[_H], _H]:
        """Decorates the endpoint for PUT of this exact path."""
        return self.route(path=path, method="PUT")

    def patch(self, path: str) -> Callable[[_H], _H]:
        """Decorates the endpoint for PATCH of this exact path."""
        return self.route(path=path, method="PATCH")

    def delete(self, path: str) -> Callable[[_H], _H]:
        """Decorates the endpoint for DELETE of this exact path."""
        return self.route(path=path, method="DELETE")

    def options(self, path: str) -> Callable[[_H], _H]:
        """Decorates the endpoint for OPTIONS of this exact path."""
        return self.route(path=path, method="OPTIONS")

    def lookup(self, method: str, path: str) -> Match | None:
        """The route for this method and path, written as in the URL, without the query."""
        exact = self._exact.get(method)
        if exact is None:
            return None
        match = exact.get(path)
        if match is None:
            prefixes = self._prefixes[method]
            for length in self._lengths[method]:
                match = prefixes.get(path[:length])
                if match is not None:
                    break
        return match

    def get_routes(self) -> list[tuple[str, str, Handler]]:
        """Every route as path, method and handler: exact ones by path, then prefixes by method."""
        exact = [
            (path, m, self._exact[m][path].handler) for m in METHODS for path in self._exact[m]
        ]
        prefixes = [
            (match.route, m, match.handler) for m in METHODS for match in self._prefixes[m].values()
        ]
        return [
            *sorted(exact, key=lambda route: (route[0], route[1])),
            *sorted(prefixes, key=lambda route: (route[1], route[0])),
        ]

    def _check(self, method: str | None, path: str | None, path_prefix: str | None) -> str:
        """The method, once everything about the route is in order."""
        if not method:
            raise RouteError("route requires method")
        if method not in METHODS:
            raise RouteError(f"'{method}' is not an allowed HTTP method (like GET, POST, PUT etc.)")
        if path is not None and path_prefix is not None:
            raise RouteError(
                "Invalid httpRouter route: cannot contain both 'path' and 'path_prefix'"
            )
        if path is not None:
            self._check_path(method, path)
        elif path_prefix is not None:
            self._check_prefix(method, path_prefix)
        else:
            raise RouteError(
                "Invalid httpRouter route entry: must contain either field 'path' or 'path_prefix'"
            )
        return method

    def _check_path(self, method: str, path: str) -> None:
        if not path.startswith("/"):
            raise RouteError(f"path '{path}' does not start with a /")
        if path == _RESERVED or path.startswith(_RESERVED + "/"):
            raise RouteError(f"path '{path}' is reserved")
        if path in self._exact[method]:
            raise RouteError(f"Path '{path}' for method {method} already in use")

    def _check_prefix(self, method: str, prefix: str) -> None:
        if not prefix.startswith("/"):
            raise RouteError(f"path_prefix '{prefix}' does not start with a /")
        if not prefix.endswith("/"):
            raise RouteError(f"path_prefix {prefix} must end with a /")
        if prefix.startswith(_RESERVED + "/"):
            raise RouteError(f"path_prefix '{prefix}' is reserved")
        if prefix in self._prefixes[method]:
            raise RouteError(f"{method} path_prefix {prefix} is already defined")

    def _add(
        self, method: str, path: str | None, path_prefix: str | None, handler: Handler
    ) -> None:
        if path is not None:
            self._exact[method][path] = Match(handler, path)
            return
        assert path_prefix is not None
        self._prefixes[method][path_prefix] = Match(handler, path_prefix + "*")
        lengths = self._lengths[method]
        if len(path_prefix) not in lengths:
            lengths.append(len(path_prefix))
            lengths.sort(reverse=True)


def http_router() -> HttpRouter:
    """A router without routes. The module `http` of an app names its own `http`."""
    return HttpRouter()
