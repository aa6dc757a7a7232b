"""Bytes with a media type, and the same with a file name.

A blob either holds its bytes or knows where they lie: one that stands for a stored file reads
them when asked, piece by piece, and slicing it reads nothing.
"""

import builtins
from collections.abc import AsyncIterator, Iterable
from typing import Protocol, TypeAlias

from camber.functions.fetch.percent import scalar_text

BlobPart: TypeAlias = "str | builtins.bytes | bytearray | memoryview | Blob"


class BlobSource(Protocol):
    """Where the bytes of a blob lie when it does not hold them."""

    def stream(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, in pieces. May be called any number of times."""


def media_type(text: str) -> str:
    """A blob's type: lower case, or empty where the text cannot be one."""
    return text.lower() if text.isascii() and (text.isprintable() or not text) else ""


async def pieces_of(whole: bytes) -> AsyncIterator[bytes]:
    """What is whole, as a stream."""
    if whole:
        yield whole


class Blob:
    """Immutable bytes with a media type.

    Args:
        parts: text (written as UTF-8), bytes, and blobs that hold their bytes, put end to end.
        type: the media type, as in `image/png`; empty when unknown.

    Raises:
        TypeError: a part is none of these, or a blob that stands for a stored file.
    """

    __slots__ = ("_end", "_held", "_source", "_start", "_type")

    def __init__(self, parts: Iterable[BlobPart] = (), type: str = "") -> None:
        if isinstance(parts, str | bytes | bytearray | memoryview | Blob):
            raise TypeError(f"Blob takes a list of parts, got a single {parts.__class__.__name__}")
        # Exactly one of the two is set. `_start` and `_end` are places in the source.
        self._held: bytes | None = b"".join(map(_part_bytes, parts))
        self._source: BlobSource | None = None
        self._start = 0
        self._end = len(self._held)
        self._type = media_type(type)

    @classmethod
    def _stored(cls, source: BlobSource, size: int, type: str) -> "Blob":
        """A blob of `size` bytes that lie in `source`."""
        blob = cls.__new__(cls)
        blob._held = None
        blob._source = source
        blob._start = 0
        blob._end = size
        blob._type = media_type(type)
        return blob

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self._end - self._start

    @property
    def type(self) -> str:
        """The media type, in lower case; empty when unknown."""
        return self._type

    def slice(self, start: int = 0, end: int | None = None, type: str = "") -> "Blob":
        """The bytes from `start` up to `end`, as a blob. Negative places count from the end."""
        first, last, _ = slice(start, end).indices(self.size)
        last = max(first, last)
        if self._held is not None:
            return Blob([self._held[first:last]], type)
        assert self._source is not None, "a blob holds its bytes or has a source"
        piece = Blob._stored(self._source, 0, type)
        piece._start, piece._end = self._start + first, self._start + last
        return piece

    def stream(self) -> AsyncIterator[builtins.bytes]:
        """The bytes, in pieces."""
        if self._held is not None:
            return pieces_of(self._held)
        assert self._source is not None, "a blob holds its bytes or has a source"
        return self._source.stream(self._start, self._end)

    async def text(self) -> str:
        """The bytes read as UTF-8; what is not UTF-8 becomes U+FFFD."""
        return (await self.bytes()).decode("utf-8-sig", "replace")

    async def bytes(self) -> builtins.bytes:
        """All the bytes."""
        if self._held is not None:
            return self._held
        return b"".join([chunk async for chunk in self.stream()])

    array_buffer = bytes

    def __repr__(self) -> str:
        return f"{self.__class__.__name__}(size={self.size}, type={self._type!r})"


class File(Blob):
    """A blob with a name.

    Args:
        parts: as for a blob.
        name: the file's name.
        type: the media type; empty when unknown.
    """

    __slots__ = ("_name",)

    def __init__(self, parts: Iterable[BlobPart], name: str, type: str = "") -> None:
        super().__init__(parts, type)
        self._name = scalar_text(name)

    @classmethod
    def _named(cls, blob: Blob, name: str) -> "File":
        """The same bytes and type, under a name."""
        file = cls.__new__(cls)
        file._held, file._source = blob._held, blob._source
        file._start, file._end = blob._start, blob._end
        file._type = blob._type
        file._name = scalar_text(name)
        return file

    @property
    def name(self) -> str:
        """The file's name, as its sender wrote it: never a path to open."""
        return self._name


def held_bytes(blob: Blob) -> bytes:
    """The bytes of a blob that holds them.

    Raises:
        TypeError: it stands for a stored file, which has to be read first.
    """
    if blob._held is None:
        raise TypeError("a stored file cannot be part of this; read it first: await blob.bytes()")
    return blob._held


def _part_bytes(part: object) -> bytes:
    if isinstance(part, str):
        return scalar_text(part).encode()
    if isinstance(part, bytes | bytearray | memoryview):
        return bytes(part)
    if isinstance(part, Blob):
        return held_bytes(part)
    raise TypeError(f"a part of a Blob must be text, bytes or a Blob, got {part!r}")
