"""Requests and responses, after the Fetch standard, in Python's spelling.

What an endpoint receives is a `Request`, what it returns a `Response`. Behaviour is that of the
standard; names are in snake case (`form_data`, `search_params`), errors are Python's: `TypeError`
where the standard has it, `ValueError` for its `RangeError` and `SyntaxError`.
"""

from camber.functions.fetch.blob import Blob, BlobSource, File
from camber.functions.fetch.body import BodySource
from camber.functions.fetch.form_data import FormData
from camber.functions.fetch.headers import Headers
from camber.functions.fetch.request import AbortSignal, Request
from camber.functions.fetch.response import Response
from camber.functions.fetch.search_params import URLSearchParams
from camber.functions.fetch.url import URL

__all__ = [
    "URL",
    "AbortSignal",
    "Blob",
    "BlobSource",
    "BodySource",
    "File",
    "FormData",
    "Headers",
    "Request",
    "Response",
    "URLSearchParams",
]
