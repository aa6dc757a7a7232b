"""The body of a message: absent, whole in memory, or still arriving. It is read once.

A request and a response share it. An absent body reads as empty, as often as one likes; any
other is used up by the first reader, because nobody keeps what has streamed by.
"""

import asyncio
import builtins
import types
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import ClassVar, NamedTuple, Protocol, Self, TypeAlias

from camber.functions.fetch.blob import Blob, media_type, pieces_of
from camber.functions.fetch.form_body import parse_form
from camber.functions.fetch.form_data import FormData, encode_multipart
from camber.functions.fetch.headers import Field, Headers
from camber.functions.fetch.percent import scalar_text
from camber.functions.fetch.search_params import URLSearchParams

BodyInit: TypeAlias = (
    str
    | bytes
    | bytearray
    | memoryview
    | Blob
    | FormData
    | URLSearchParams
    | AsyncIterable[bytes]
    | AsyncIterable[str]
    | None
)


class BodySource(Protocol):
    """Where a body comes from when it is not in memory. One of the two is called, once."""

    async def read(self) -> bytes:
        """All of it. Raises what ended it early: too large, too slow, gone."""

    def stream(self) -> AsyncIterator[bytes]:
        """All of it, in pieces, as they arrive."""


class Extracted(NamedTuple):
    """A body as a message holds it. Both `whole` and `source` are None where there is none."""

    whole: bytes | None
    source: BodySource | None
    # Known before the body is read, or None.
    size: int | None
    content_type: str | None


_NOTHING = Extracted(None, None, 0, None)


def extract(body: object, owner: str) -> Extracted:
    """`body`, given to the constructor of `owner`, as the message will hold it.

    Raises:
        TypeError: it is of no type that can be a body.
    """
    if body is None:
        return _NOTHING
    if isinstance(body, str):
        return _whole(scalar_text(body).encode(), "text/plain;charset=UTF-8")
    if isinstance(body, (bytes, bytearray, memoryview)):
        return _whole(bytes(body), None)
    if isinstance(body, Blob):
        if body._held is not None:
            return _whole(body._held, body.type or None)
        return Extracted(None, Stream(body.stream()), body.size, body.type or None)
    if isinstance(body, FormData):
        data, boundary = encode_multipart(body)
        return _whole(data, f"multipart/form-data; boundary={boundary}")
    if isinstance(body, URLSearchParams):
        form_type = "application/x-www-form-urlencoded;charset=UTF-8"
        return _whole(str(body).encode(), form_type)
    if isinstance(body, AsyncIterable):
        return Extracted(None, Stream(body), None, None)
    raise TypeError(f"Failed to construct '{owner}': {_refusal(body)}")


def _whole(data: bytes, content_type: str | None) -> Extracted:
    return Extracted(data, None, len(data), content_type)


def _refusal(body: object) -> str:
    if isinstance(body, types.GeneratorType):
        return (
            "a plain generator cannot be a body, it would block the server between its pieces; "
            "write it as 'async def' with 'yield'"
        )
    if callable(body) and not isinstance(body, type):
        return f"a function cannot be a body; call it: {getattr(body, '__name__', body)!s}(...)"
    advice = "; for JSON use Response.json(value)" if isinstance(body, dict | list) else ""
    return (
        "a body must be text, bytes, a Blob, a FormData, URLSearchParams, "
        f"an asynchronous iterator or None, got {type(body).__name__}{advice}"
    )


class Stream:
    """The pieces of an asynchronous iterable as a body. Text is written as UTF-8."""

    def __init__(self, pieces: AsyncIterable[object]) -> None:
        self._pieces = pieces

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.stream()])

    async def stream(self) -> AsyncGenerator[bytes, None]:
        pieces = aiter(self._pieces)
        try:
            async for piece in pieces:
                yield _chunk(piece)
        finally:
            await _close(pieces)


async def _close(pieces: AsyncIterator[object]) -> None:
    """Tell an iterator, if it is one that can be told, that nobody will ask it for more.

    Its own `finally` then runs now, and not when memory is next collected.
    """
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()


def _chunk(piece: object) -> bytes:
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, str):
        return scalar_text(piece).encode()
    if isinstance(piece, bytearray | memoryview):
        return bytes(piece)
    raise TypeError(f"a streamed body must give bytes or text, it gave {type(piece).__name__}")


class _Tee:
    """One source read by two. What one has taken and the other has not is kept for it."""

    def __init__(self, source: BodySource) -> None:
        self._pieces = source.stream()
        self._turn = asyncio.Lock()
        self._waiting: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self._ended = False
        self._failure: Exception | None = None

    async def next_piece(self, side: int) -> bytes | None:
        """The next piece for this side; None at the end."""
        async with self._turn:
            if self._waiting[side]:
                return self._waiting[side].popleft()
            if self._failure is not None:
                raise self._failure
            return None if self._ended else await self._take(side)

    async def _take(self, side: int) -> bytes | None:
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            self._ended = True
            return None
        except BaseException as error:
            # The other side must not mistake the end of the source for the end of the body.
            cut = ConnectionError("the reader of the other copy of this body was stopped")
            self._failure = error if isinstance(error, Exception) else cut
            raise
        self._waiting[1 - side].append(piece)
        return piece


class _Branch:
    """One side of a tee."""

    def __init__(self, tee: _Tee, side: int) -> None:
        self._tee = tee
        self._side = side

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.stream()])

    async def stream(self) -> AsyncIterator[bytes]:
        while (piece := await self._tee.next_piece(self._side)) is not None:
            yield piece


class BodyStream:
    """A body that is there, to be read with `async for chunk in …`, once."""

    __slots__ = ("_message",)

    def __init__(self, message: "Message") -> None:
        self._message = message

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._message._stream("body")


class Message:
    """What a request and a response have in common: headers and a body."""

    __slots__ = ("_fields", "_headers", "_source", "_used", "_whole")

    _kind: ClassVar[str]

    # The headers as they are on the wire; `_headers` looks at this very list, once asked for.
    _fields: list[Field]
    _headers: Headers | None
    # At most one of the two is set; neither, when there is no body.
    _whole: bytes | None
    _source: BodySource | None
    # True once somebody began to read a body that is there.
    _used: bool

    @property
    def headers(self) -> Headers:
        """The headers."""
        if self._headers is None:
            self._headers = Headers._around(self._fields)
        return self._headers

    @property
    def body(self) -> BodyStream | None:
        """The body in pieces, for `async for`; None when there is no body."""
        if self._whole is None and self._source is None:
            return None
        return BodyStream(self)

    @property
    def body_used(self) -> bool:
        """Whether somebody has begun to read the body."""
        return self._used

    def _claim(self, reader: str) -> None:
        if self._used:
            raise TypeError(
                f"Failed to execute '{reader}' on '{self._kind}': body stream already read"
            )
        self._used = True

    async def _read(self, reader: str) -> builtins.bytes:
        if self._source is not None:
            self._claim(reader)
            return await self._source.read()
        if self._whole is None:
            return b""
        self._claim(reader)
        return self._whole

    def _stream(self, reader: str) -> AsyncIterator[builtins.bytes]:
        if self._source is not None:
            self._claim(reader)
            return self._source.stream()
        if self._whole is None:
            return pieces_of(b"")
        self._claim(reader)
        return pieces_of(self._whole)

    def _content_type(self) -> str | None:
        return next((value for name, value in self._fields if name == "content-type"), None)

    async def text(self) -> str:
        """The body as UTF-8; what is not UTF-8 becomes U+FFFD.

        Raises:
            TypeError: the body has been read.
        """
        data = await self._read("text")
        # "sig" leaves out the mark of the encoding at the front, if there is one.
        return data.decode("utf-8-sig", "replace")

    async def blob(self) -> Blob:
        """The body as a blob, of the type that the header `content-type` names.

        Raises:
            TypeError: the body has been read.
        """
        data = await self._read("blob")
        return Blob([data], media_type(self._content_type() or ""))

    async def form_data(self) -> FormData:
        """The body as a form, `multipart/form-data` or `application/x-www-form-urlencoded`.

        Raises:
            TypeError: the header `content-type` names neither, or the body has been read.
            ValueError: the body is not what the header says.
            LimitError: more than 1,000 fields, 16 KiB of headers in a part, or 20 MiB in all.
        """
        body = self._stream("form_data")
        try:
            return await parse_form(self._content_type(), body)
        except TypeError as error:
            message = f"Failed to execute 'form_data' on '{self._kind}': {error}"
            raise TypeError(message) from None
        finally:
            await _close(body)

    async def bytes(self) -> builtins.bytes:
        """The body.

        Raises:
            TypeError: the body has been read.
        """
        return await self._read("bytes")

    async def array_buffer(self) -> builtins.bytes:
        """The body; another name for `bytes`."""
        return await self._read("array_buffer")

    def clone(self) -> Self:
        """A copy that can be read by itself. What only one of the two has read is kept for the
        other.

        Raises:
            TypeError: the body has been read.
        """
        if self._used:
            raise TypeError(
                f"Failed to execute 'clone' on '{self._kind}': {self._kind} body is already used"
            )
        copy = self.__class__.__new__(self.__class__)
        copy._fields = self._fields.copy()
        copy._headers = None
        copy._whole = self._whole
        copy._source = None
        copy._used = False
        if self._source is not None:
            tee = _Tee(self._source)
            self._source, copy._source = _Branch(tee, 0), _Branch(tee, 1)
        return copy
