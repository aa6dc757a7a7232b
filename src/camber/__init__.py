"""Camber: typed Python functions, serializable transactions, HTTP endpoints.

This page is the whole vocabulary of an app's author. Everything else in the package is internal.
Names are imported when they are first used, so that importing the package costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from camber.version import VERSION

if TYPE_CHECKING:
    from camber.errors import ConvexError
    from camber.functions.actions.context import ActionCtx, SyncActionCtx
    from camber.functions.auth_config import AuthConfig, CustomJwtProvider, OidcProvider
    from camber.functions.context import HttpEndpointCtx, MutationCtx, QueryCtx
    from camber.functions.definition import (
        action,
        http_endpoint,
        internal_action,
        internal_mutation,
        internal_query,
        mutation,
        query,
    )
    from camber.functions.fetch import (
        URL,
        Blob,
        File,
        FormData,
        Headers,
        Request,
        Response,
        URLSearchParams,
    )
    from camber.functions.reference import api, internal
    from camber.functions.router import HttpRouter, http_router
    from camber.functions.variables import env
    from camber.values.hints import Id
    from camber.values.schema import Schema, Table, define_schema, define_table, index
    from camber.values.validator import v
    from camber.values.value import UNDEFINED, Document, Int64

__version__ = VERSION

# The same as above: where each name comes from.
_HOMES = {
    "camber.errors": ("ConvexError",),
    "camber.functions.actions.context": ("ActionCtx", "SyncActionCtx"),
    "camber.functions.auth_config": ("AuthConfig", "CustomJwtProvider", "OidcProvider"),
    "camber.functions.context": ("HttpEndpointCtx", "MutationCtx", "QueryCtx"),
    "camber.functions.definition": (
        *("action", "http_endpoint", "internal_action", "internal_mutation"),
        *("internal_query", "mutation", "query"),
    ),
    "camber.functions.fetch": (
        *("URL", "Blob", "File", "FormData", "Headers", "Request", "Response"),
        "URLSearchParams",
    ),
    "camber.functions.reference": ("api", "internal"),
    "camber.functions.router": ("HttpRouter", "http_router"),
    "camber.functions.variables": ("env",),
    "camber.values.hints": ("Id",),
    "camber.values.schema": ("Schema", "Table", "define_schema", "define_table", "index"),
    "camber.values.validator": ("v",),
    "camber.values.value": ("UNDEFINED", "Document", "Int64"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'camber' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "UNDEFINED",
    "URL",
    "ActionCtx",
    "AuthConfig",
    "Blob",
    "ConvexError",
    "CustomJwtProvider",
    "Document",
    "File",
    "FormData",
    "Headers",
    "HttpEndpointCtx",
    "HttpRouter",
    "Id",
    "Int64",
    "MutationCtx",
    "OidcProvider",
    "QueryCtx",
    "Request",
    "Response",
    "Schema",
    "SyncActionCtx",
    "Table",
    "URLSearchParams",
    "action",
    "api",
    "define_schema",
    "define_table",
    "env",
    "http_endpoint",
    "http_router",
    "index",
    "internal",
    "internal_action",
    "internal_mutation",
    "internal_query",
    "mutation",
    "query",
    "v",
]
