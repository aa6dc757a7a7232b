"""Changed documents laid over a reader: what a transaction wrote over its snapshot, or what a
commit log remembers over the present.

An overlay knows, for each changed document, its content (None: not there) and the index keys that
its documents have and no longer have. A scan merges it with what lies below.
"""

from bisect import bisect_left
from collections.abc import Iterable

from camber.database.read_set import Touched
from camber.storage.engine import BY_ID, IndexNumber, Reader


class _Layer:
    """What is different in one index."""

    __slots__ = ("hidden", "ids", "keys")

    def __init__(self) -> None:
        # The keys that are different, in order, and in `ids` the document that each leads to
        # here; None: to none.
        self.keys: list[bytes] = []
        self.ids: dict[bytes, str | None] = {}
        # Those of the keys that may have an entry below, which then does not count.
        self.hidden: set[bytes] = set()

    def put(self, key: bytes, id: str | None) -> None:
        if key not in self.ids:
            self.keys.insert(bisect_left(self.keys, key), key)
        self.ids[key] = id

    def remove(self, key: bytes) -> None:
        """The document that was under `key` here is there no longer."""
        if key in self.hidden:
            self.ids[key] = None
        else:
            del self.ids[key]
            del self.keys[bisect_left(self.keys, key)]


class Overlay:
    """Changed documents by id, and their index entries by index and key."""

    __slots__ = ("_layers", "_present", "texts")

    def __init__(self) -> None:
        self.texts: dict[str, str | None] = {}
        self._layers: dict[IndexNumber, _Layer] = {}
        # The keys that each changed document has here.
        self._present: dict[str, tuple[Touched, ...]] = {}

    def hide(self, keys: Iterable[Touched]) -> None:
        """What lies below under `keys` no longer counts."""
        for index, key, _ in keys:
            layer = self._layer(index)
            layer.hidden.add(key)
            layer.put(key, None)

    def put(
        self, id: str, text: str | None, below: Iterable[Touched], keys: Iterable[Touched]
    ) -> None:
        """Document `id` is now `text`, found under `keys`; below it lies under `below`."""
        present = self._present.get(id)
        if present is None:
            below = tuple(below)
            if below:
                self.hide((*below, _by_id(id)))
        else:
            for index, key, _ in present:
                self._layer(index).remove(key)
        self.texts[id] = text
        entries = self._present[id] = () if text is None else (*keys, _by_id(id))
        for index, key, _ in entries:
            self._layer(index).put(key, id)

    def _layer(self, index: IndexNumber) -> _Layer:
        layer = self._layers.get(index)
        if layer is None:
            layer = self._layers[index] = _Layer()
        return layer

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
        layer = self._layers.get(index)
        start = stop = 0
        if layer is not None:
            start = bisect_left(layer.keys, lower)
            stop = len(layer.keys) if upper is None else bisect_left(layer.keys, upper, start)
        if layer is None or start == stop:
            return await reader.scan(index, lower, upper, reverse=reverse, limit=limit)
        # Every key of ours may hide one from below, so that many more are needed at most.
        more = min(stop - start, len(layer.hidden))
        rows = await reader.scan(index, lower, upper, reverse=reverse, limit=limit + more)
        merged = [row for row in rows if row[0] not in layer.ids]
        own = range(stop - 1, start - 1, -1) if reverse else range(start, stop)
        merged += self._first_of(layer, own, limit)
        merged.sort(reverse=reverse)
        return merged[:limit]

    def _first_of(self, layer: _Layer, places: range, limit: int) -> list[tuple[bytes, str]]:
        """The first `limit` entries of our own, of the keys at these places."""
        found: list[tuple[bytes, str]] = []
        for place in places:
            key = layer.keys[place]
            id = layer.ids[key]
            if id is not None:
                text = self.texts[id]
                assert text is not None, "an entry leads to a document"
                found.append((key, text))
                if len(found) == limit:
                    break
        return found


def _by_id(id: str) -> Touched:
    return BY_ID, id.encode(), ()


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
