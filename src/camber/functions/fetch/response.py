"""A response, as an endpoint returns it."""

import re
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol, Self, final, overload

from camber.functions.fetch import json_text
from camber.functions.fetch.body import BodyInit, Message, extract
from camber.functions.fetch.headers import Field, HeadersInit, parse_fields
from camber.functions.fetch.percent import encode_special_query, scalar_text
from camber.functions.fetch.url import URL

_JSON: Field = ("content-type", "application/json")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REASON = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class _MakeJson(Protocol):
    def __call__(
        self, value: Any, status: int | str = 200, headers: HeadersInit | None = None
    ) -> "Response": ...


class _ReadJson(Protocol):
    def __call__(self) -> Coroutine[Any, Any, Any]: ...


class _Json:
    """`Response.json(value)` makes a response, `await response.json()` reads one.

    The standard gives both one name; there a class and its instances have names of their own.
    """

    @overload
    def __get__(self, instance: None, owner: type["Response"]) -> _MakeJson: ...
    @overload
    def __get__(self, instance: "Response", owner: type["Response"]) -> _ReadJson: ...
    def __get__(
        self, instance: "Response | None", owner: type["Response"]
    ) -> _MakeJson | _ReadJson:
        return _respond_json if instance is None else instance._read_json


@final
class Response(Message):
    """A response: status, headers and a body.

    One whose body is whole may be kept and returned any number of times.

    Args:
        body: text, bytes, a `Blob`, a `FormData`, `URLSearchParams`, or an asynchronous iterator
            of bytes or text, which is sent as it is produced. None, the default, for no body.
        status: 200 to 599; 200 unless given.
        headers: as for `Headers`. A `content-type` given here wins over the body's own.
        status_text: the reason phrase; empty, the default, for the usual one.

    Raises:
        ValueError: the status is outside its range.
        TypeError: a header, body or reason phrase that is not one.
    """

    __slots__ = ("_size", "_status", "_status_text")

    _kind = "Response"

    json = _Json()

    def __init__(
        self,
        body: BodyInit = None,
        status: int | str = 200,
        headers: HeadersInit | None = None,
        status_text: str = "",
    ) -> None:
        self._status = 200 if status == 200 else _checked_status(status)
        if status_text and not _REASON.fullmatch(status_text):
            raise TypeError("Failed to construct 'Response': Invalid statusText")
        self._status_text = status_text
        self._fields = [] if headers is None else parse_fields(headers)
        self._headers = None
        # The size in bytes, or None when only the end of the stream will tell.
        self._whole, self._source, self._size, content_type = extract(body, "Response")
        self._used = False
        if content_type is not None and self._content_type() is None:
            self._fields.append(("content-type", content_type))

    @classmethod
    def redirect(cls, url: str | URL, status: int = 302) -> Self:
        """A redirect to `url`, absolute or relative to the request.

        Raises:
            ValueError: the status is not one of 301, 302, 303, 307, 308.
        """
        if status not in _REDIRECTS:
            raise ValueError("Failed to execute 'redirect' on 'Response': Invalid status code")
        return cls(None, status, [("location", _location(url))])

    @classmethod
    def error(cls) -> Self:
        """A response that says only that something went wrong: status 500, no body."""
        return cls(None, 500)

    @property
    def status(self) -> int:
        """The status code."""
        return self._status

    @property
    def status_text(self) -> str:
        """The reason phrase; empty for the usual one."""
        return self._status_text

    @property
    def ok(self) -> bool:
        """Whether the status is 200 to 299."""
        return 200 <= self._status <= 299

    async def _read_json(self) -> Any:
        """The body as JSON. Whole numbers are `int`, others `float`.

        Raises:
            json.JSONDecodeError: it is not JSON (a `ValueError`); says where.
            TypeError: the body has been read.
        """
        return json_text.decode(await self._read("json"))

    # For the server, which sends a response and never changes one.

    def _wire_headers(self) -> list[Field]:
        """The headers in the order they are sent. To be read, not changed."""
        return self._fields

    @property
    def _payload(self) -> bytes | None:
        """The whole body, empty when there is none; None when it is to be streamed."""
        if self._source is not None:
            return None
        return self._whole or b""

    def _pieces(self) -> AsyncIterator[bytes]:
        """The body in pieces. An abandoned iterator must be closed (`aclose`).

        Raises:
            TypeError: somebody has begun to read the body.
        """
        return self._stream("send")

    def clone(self) -> Self:
        """A copy that can be read by itself. What only one of the two has read is kept for the
        other.

        Raises:
            TypeError: the body has been read.
        """
        copy = super().clone()
        copy._status = self._status
        copy._status_text = self._status_text
        copy._size = self._size
        return copy

    def __repr__(self) -> str:
        return f"Response(status={self._status})"


def _respond_json(
    value: Any, status: int | str = 200, headers: HeadersInit | None = None
) -> Response:
    """A response that carries `value` as JSON, always with the type `application/json`.

    Raises:
        TypeError: the value has no form in JSON; says at which path.
        ValueError: the status is outside its range.
    """
    try:
        data = json_text.encode(value)
    except TypeError as error:
        raise TypeError(
            f"Failed to execute 'json' on 'Response': The data is not JSON serializable: {error}"
        ) from None
    response = Response.__new__(Response)
    response._status = 200 if status == 200 else _checked_status(status)
    response._status_text = ""
    response._fields = [_JSON]
    if headers is not None:
        given = [field for field in parse_fields(headers) if field[0] != "content-type"]
        response._fields = [_JSON, *given]
    response._headers = None
    response._whole = data
    response._source = None
    response._size = len(data)
    response._used = False
    return response


def _checked_status(status: object) -> int:
    try:
        code = int(status) if isinstance(status, int | str) else 0
    except ValueError:
        code = 0
    if not 200 <= code <= 599:
        raise ValueError(
            "Failed to construct 'Response': The status provided is outside the range [200, 599]."
        )
    return code


def _location(url: str | URL) -> str:
    """The URL as a header can carry it; a relative one stays relative."""
    try:
        return URL(url).href
    except TypeError:
        return encode_special_query(scalar_text(str(url).strip()))
