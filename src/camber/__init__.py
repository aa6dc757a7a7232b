"""Camber: typed Python functions, serializable transactions, HTTP endpoints.

This page is the whole vocabulary of an app's author. Everything else in the package is internal.
"""

from camber.errors import ConvexError
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
from camber.version import VERSION

__version__ = VERSION

__all__ = [
    "UNDEFINED",
    "URL",
    "Blob",
    "ConvexError",
    "Document",
    "File",
    "FormData",
    "Headers",
    "HttpEndpointCtx",
    "HttpRouter",
    "Id",
    "Int64",
    "MutationCtx",
    "QueryCtx",
    "Request",
    "Response",
    "Schema",
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
