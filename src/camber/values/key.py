"""Key bytes: values written so that comparing the bytes compares the values.

`encode(a) < encode(b)` exactly when `a` comes before `b` in the order of all values. No encoding
is the beginning of another, so encodings strung together compare component by component, and the
keys that begin with `encode(a)` are exactly those whose first component is `a`. The layout, with
examples, is in docs/formats.md; it is on disk, so a change to it is a migration.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from camber.values.value import (
    INTEGER_MAX,
    UNDEFINED,
    Document,
    Int64,
    Undefined,
    Value,
    measure,
)

FieldPath = tuple[str, ...]

_UNDEFINED: Final = b"\x01"
_NULL: Final = b"\x03"
_FALSE: Final = b"\x0e"
_TRUE: Final = b"\x0f"
_BYTES: Final = b"\x11"
_ARRAY: Final = b"\x12"
_OBJECT: Final = b"\x15"
_END: Final = b"\x00"

# Inside a string or bytes only two bytes are written as two: 00 as 01 01 and 01 as 01 02 (in the
# other order when replacing, lest the new ones be replaced again). 00 is then free to end the
# text, and sorts before everything that could stand in its place.

_ZERO: Final = b"\x0d\x80" + bytes(7)
_ALL_BITS: Final = (1 << 64) - 1
_pack_float: Final = struct.Struct(">Bd").pack


def encode(value: "Value | Undefined") -> bytes:
    """The key bytes of a value, or of UNDEFINED.

    Raises:
        InvalidValueError: not a value.
    """
    kind = type(value)
    if kind is str:
        return _encode_string(value)  # type: ignore[arg-type]  # checked in the line above
    if kind is float:
        return _encode_float(value)  # type: ignore[arg-type]  # checked in the line above
    try:
        return _ENCODERS[kind](value)
    except KeyError:
        return _encode_rare(value)


def compile_fields(paths: Sequence[FieldPath]) -> Callable[[Mapping[str, Any]], tuple[bytes, ...]]:
    """A function from a document to the encodings of its fields at `paths`.

    A path leads through objects, `("a", "b")` to the `b` of the object in `a`. Where it leads
    nowhere the field is UNDEFINED.
    """
    if len(paths) == 1 and len(paths[0]) == 1:
        name = paths[0][0]
        return lambda document: (encode(document.get(name, UNDEFINED)),)
    if all(len(path) == 1 for path in paths):
        names = [path[0] for path in paths]
        return lambda document: tuple([encode(document.get(name, UNDEFINED)) for name in names])
    frozen = tuple(paths)
    return lambda document: tuple([encode(_follow(document, path)) for path in frozen])


def successor(prefix: bytes) -> bytes | None:
    """The smallest bytes after all that begin with `prefix`; None if there is nothing after."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None


def _follow(document: Mapping[str, Any], path: FieldPath) -> Any:
    value: Any = document
    for name in path:
        if not isinstance(value, Mapping):
            return UNDEFINED
        value = value.get(name, UNDEFINED)
    return value


def _encode_string(text: str) -> bytes:
    if "\x01" in text or "\x00" in text:
        text = text.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")
    try:
        # The tag and the end are ASCII, so one formatting does it all.
        return f"\x10{text}\x00".encode()
    except UnicodeEncodeError:
        measure(text)  # Has the words for it.
        raise


def _encode_bytes(content: bytes | bytearray | memoryview) -> bytes:
    escaped = bytes(content).replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01")
    return _BYTES + escaped + _END


def _encode_float(number: float) -> bytes:
    if number > 0.0:
        # The sign bit flipped: all it takes for those that have none.
        return _pack_float(0x0D, -number)
    bits = int.from_bytes(struct.pack(">d", number), "big")
    bits ^= _ALL_BITS if bits >> 63 else 1 << 63
    return b"\x0d" + bits.to_bytes(8, "big")


def _encode_int(number: int) -> bytes:
    if not -INTEGER_MAX <= number <= INTEGER_MAX:
        measure(number)
    return _encode_float(number) if number else _ZERO


def _encode_int64(number: int) -> bytes:
    """A tag that says sign and width, then two's complement in as few of 1, 2, 4, 8 bytes as do."""
    if number == 0:
        return b"\x08"
    for step, width in enumerate((1, 2, 4, 8)):
        if -(1 << 8 * width - 1) <= number < 1 << 8 * width - 1:
            tag = 0x09 + step if number > 0 else 0x07 - step
            return bytes((tag,)) + number.to_bytes(width, "big", signed=True)
    raise AssertionError("an Int64 fits into eight bytes")


def _encode_array(elements: Sequence[Any]) -> bytes:
    return b"".join((_ARRAY, *map(encode, elements), _END))


def _encode_object(fields: Mapping[str, Any]) -> bytes:
    parts = [_OBJECT]
    for name in sorted(fields):
        parts += (encode(name), encode(fields[name]))
    parts.append(_END)
    return b"".join(parts)


def _encode_rare(value: Any) -> bytes:
    if isinstance(value, str):  # An enumeration's member: as the text that it is.
        return _encode_string(str.__str__(value))
    for kind in (float, dict, list, tuple):
        if isinstance(value, kind):
            return _ENCODERS[kind](value)
    measure(value)
    raise AssertionError("what is of no type of value is refused")


_ENCODERS: Final[dict[type, Callable[[Any], bytes]]] = {
    Undefined: lambda value: _UNDEFINED,
    type(None): lambda value: _NULL,
    bool: lambda value: _TRUE if value else _FALSE,
    int: _encode_int,
    float: _encode_float,
    Int64: _encode_int64,
    str: _encode_string,
    bytes: _encode_bytes,
    bytearray: _encode_bytes,
    memoryview: _encode_bytes,
    list: _encode_array,
    tuple: _encode_array,
    dict: _encode_object,
    Document: _encode_object,
}
