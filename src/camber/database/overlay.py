"""Changed documents laid over a reader: what a transaction wrote over its snapshot, or what a
commit log remembers over the present.

An overlay knows, for each changed document, its content (None: not there) and the index keys that
its documents have and no longer have. A scan merges it with what lies below.
"""

from collections.abc import Iterable
from typing import Final

from camber.database.read_set import Touched
from camber.storage.engine import BY_ID, IndexNumber, Reader

_ABSENT: Final[dict[bytes, str | None]] = {}


class Overlay:
    """Changed documents by id, and their index entries by index and key."""

    __slots__ = ("_entries", "_keys", "texts")

    def __init__(self) -> None:
        self.texts: dict[str, str | None] = {}
        # For each index, the keys that are different from below: to a document, or gone.
        self._entries: dict[IndexNumber, dict[bytes, str | None]] = {}
        # The keys that each changed document has here.
        self._keys: dict[str, Iterable[Touched]] = {}

    def put(
        self, id: str, text: str | None, below: Iterable[Touched], keys: Iterable[Touched]
    ) -> None:
        """Document `id` is now `text`, found under `keys`; below it lies under `below`."""
        self.texts[id] = text
        for index, key, _ in self._keys.get(id, below):
            self._entries.setdefault(index, {})[key] = None
        for index, key, _ in keys:
            self._entries.setdefault(index, {})[key] = id
        self._entries.setdefault(BY_ID, {})[id.encode()] = None if text is None else id
        self._keys[id] = keys

    async def scan(
        self,
        reader: Reader,
        index: IndexNumber,
        lower: bytes,
        upper: bytes | None,
        *,
        reverse: bool,
        limit: int,
    ) -> list[tuple[bytes, str]]:
        """As `Reader.scan`, of `reader` with this overlay on top."""
        entries = self._entries.get(index, _ABSENT)
        if not entries:
            return await reader.scan(index, lower, upper, reverse=reverse, limit=limit)
        # Every entry of ours may hide one from below, so that many more are needed at most.
        rows = await reader.scan(index, lower, upper, reverse=reverse, limit=limit + len(entries))
        merged = [row for row in rows if row[0] not in entries]
        for key, id in entries.items():
            if id is not None and lower <= key and (upper is None or key < upper):
                text = self.texts[id]
                assert text is not None, "an entry leads to a document"
                merged.append((key, text))
        merged.sort(reverse=reverse)
        return merged[:limit]


class OverlaidReader:
    """A reader with an overlay on top, itself a `Reader`."""

    __slots__ = ("_overlay", "_reader")

    def __init__(self, reader: Reader, overlay: Overlay) -> None:
        self._reader = reader
        self._overlay = overlay

    async def get(self, id: str, /) -> str | None:
        if id in self._overlay.texts:
            return self._overlay.texts[id]
        return await self._reader.get(id)

    async def scan(
        self,
        index: IndexNumber,
        lower: bytes,
        upper: bytes | None,
        /,
        *,
        reverse: bool,
        limit: int,
    ) -> list[tuple[bytes, str]]:
        return await self._overlay.scan(
            self._reader, index, lower, upper, reverse=reverse, limit=limit
        )
