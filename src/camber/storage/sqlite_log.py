"""The commit log's text: what each commit changed, as JSON `[[id, before], ...]`.

`before` is the document's content before the commit, null when the commit inserted it.
"""

from collections.abc import Sequence

import msgspec

from camber.storage.engine import Write

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[tuple[str, str | None]]).decode


def encode_changes(writes: Sequence[Write]) -> str:
    return _encode([(write.id, write.before) for write in writes]).decode()


def decode_changes(text: str) -> list[tuple[str, str | None]]:
    return _decode(text)
