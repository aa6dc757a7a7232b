"""A request, as an endpoint receives it."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Protocol, Self, final

from camber.functions.fetch import json_text
from camber.functions.fetch.body import BodyInit, BodySource, Message, extract
from camber.functions.fetch.headers import Field, HeadersInit, parse_fields
from camber.functions.fetch.url import URL

_METHOD = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NORMALIZED = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT"})
_FORBIDDEN = frozenset({"CONNECT", "TRACE", "TRACK"})
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


class AbortSignal(Protocol):
    """Tells that the caller has gone."""

    @property
    def aborted(self) -> bool:
        """Whether the caller has gone."""

    async def wait(self) -> None:
        """Return once the caller has gone."""


class _NeverAborted:
    """The signal of a request that no connection stands behind."""

    aborted = False

    async def wait(self) -> None:
        await asyncio.get_running_loop().create_future()


_NEVER_ABORTED = _NeverAborted()


@final
class Request(Message):
    """A request: method, URL, headers, and a body to be read once.

    Args:
        url: absolute.
        method: GET unless given; any case for the usual ones.
        headers: as for `Headers`.
        body: text, bytes, a `Blob`, a `FormData`, `URLSearchParams` or an asynchronous iterator;
            a content type that follows from it is added unless given.
        signal: tells when the caller has gone; by default it never does.

    Raises:
        TypeError: a URL, method, header or body that is not one, or a GET or HEAD with a body.
    """

    __slots__ = ("_method", "_signal", "_url")

    _kind = "Request"

    def __init__(
        self,
        url: str | URL,
        method: str = "GET",
        headers: HeadersInit | None = None,
        body: BodyInit = None,
        *,
        signal: AbortSignal | None = None,
    ) -> None:
        self._url: URL | str | Callable[[], str] = URL(url)
        self._method = _checked_method(method)
        if body is not None and self._method in ("GET", "HEAD"):
            raise TypeError(
                "Failed to construct 'Request': Request with GET/HEAD method cannot have body."
            )
        self._fields = [] if headers is None else parse_fields(headers)
        self._headers = None
        self._whole, self._source, _, content_type = extract(body, "Request")
        self._used = False
        self._signal = _NEVER_ABORTED if signal is None else signal
        if content_type is not None and self._content_type() is None:
            self._fields.append(("content-type", content_type))

    @classmethod
    def _incoming(
        cls,
        method: str,
        url: str | Callable[[], str],
        fields: list[Field],
        source: BodySource,
        signal: AbortSignal,
    ) -> Self:
        """A request off the wire. Nothing is checked, copied or parsed here.

        Args:
            method: in upper case.
            url: the whole URL as the caller wrote it, or what composes it when it is asked for.
            fields: the headers, names in lower case. The request keeps this very list.
            source: the body; ignored for methods that have none.
            signal: tells when the caller has gone.
        """
        request = cls.__new__(cls)
        request._method = method
        request._url = url
        request._fields = fields
        request._headers = None
        request._whole = None
        request._source = None if method in _BODILESS else source
        request._used = False
        request._signal = signal
        return request

    @property
    def method(self) -> str:
        """The method, in upper case."""
        return self._method

    @property
    def url(self) -> URL:
        """The whole URL; `str(request.url)` is as the caller wrote it."""
        url = self._url
        if not isinstance(url, URL):
            url = self._url = URL._as_written(url if isinstance(url, str) else url())
        return url

    @property
    def signal(self) -> AbortSignal:
        """Tells when the caller has gone: `request.signal.aborted`, `await ….signal.wait()`."""
        return self._signal

    async def json(self) -> Any:
        """The body as JSON. Whole numbers are `int`, others `float`.

        Raises:
            json.JSONDecodeError: it is not JSON (a `ValueError`); says where.
            TypeError: the body has been read.
        """
        return json_text.decode(await self._read("json"))

    def clone(self) -> Self:
        """A copy that can be read by itself. What only one of the two has read is kept for the
        other.

        Raises:
            TypeError: the body has been read.
        """
        copy = super().clone()
        copy._method = self._method
        copy._url = URL._as_written(str(self.url))
        copy._signal = self._signal
        return copy

    def __repr__(self) -> str:
        return f"Request({str(self.url)!r}, method={self._method!r})"


def _checked_method(method: str) -> str:
    if not _METHOD.fullmatch(method):
        raise TypeError(f"Failed to construct 'Request': '{method}' is not a valid HTTP method.")
    upper = method.upper()
    if upper in _FORBIDDEN:
        raise TypeError(f"Failed to construct 'Request': '{method}' HTTP method is unsupported.")
    return upper if upper in _NORMALIZED else method
