"""Values as JSON text: in the store, on the wire, and for people.

| value | stored | wire (`convex_encoded_json`) | clean (`json`) | export (`export_json`) |
|---|---|---|---|---|
| int `1` | `1` | `1.0` | `1.0` | `1.0` |
| float `1.0` | `1.0` | `1.0` | `1.0` | `1.0` |
| -0.0 | `-0.0` | `{"$float": …}` | `-0.0` | `-0.0` |
| NaN, Infinity | `{"$float": …}` | `{"$float": …}` | `"NaN"`, `"Infinity"` | `{"$float": …}` |
| Int64 5 | `{"$integer": …}` | `{"$integer": …}` | `"5"` | `5` |
| bytes | `{"$bytes": …}` | `{"$bytes": …}` | base64 | `{"$bytes": …}` |

Stored and wire text lose nothing. In `$float` and `$integer` stand eight bytes, little-endian, in
base64. No field name starts with `$`, so these forms cannot be mistaken for an object.
"""

import math
import struct
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final, NoReturn

import msgspec

from camber.errors import InvalidValueError, StorageCorruptError, UserError
from camber.values.value import (
    INTEGER_MAX,
    NESTING_MAX,
    Document,
    Int64,
    Value,
    describe,
    glance,
    stored_text,
    survey,
)


class MalformedJsonError(UserError):
    """Text that is not JSON, or JSON that we take from nobody. The message is a clause."""

    code = "BadJsonBody"


# Text and its trees: what msgspec reads and writes.


def _refuse_foreign(value: Any) -> Any:
    if isinstance(value, Int64):
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value)
    raise InvalidValueError(f"{type(value).__name__} {describe(value)} cannot be written as JSON")


_encode: Final = msgspec.json.Encoder(enc_hook=_refuse_foreign).encode
_decode: Final = msgspec.json.Decoder().decode


def parse_json(data: bytes | bytearray | str) -> Any:
    """What plain JSON says: numbers with a dot or an exponent are floats, others integers.

    Of a name that stands twice in an object, the last one counts.

    Raises:
        MalformedJsonError: not JSON, or nested some hundreds of levels deep.
    """
    try:
        return _decode(data)
    except UnicodeError:
        raise MalformedJsonError("it is not valid Unicode") from None
    except RecursionError:
        raise MalformedJsonError("it is too deeply nested") from None
    except msgspec.DecodeError as error:
        raise MalformedJsonError(_why_malformed(data, str(error))) from None


def _why_malformed(data: bytes | bytearray | str, detail: str) -> str:
    text = data if isinstance(data, str) else bytes(data).decode(errors="replace")
    if not text.strip():
        return "it is empty"
    if detail == "Input data was truncated":
        # Said of half a surrogate pair too, wherever it stands.
        lone = "\\ud" in text.lower()
        return "it ends too early" + (", or has a lone surrogate" if lone else "")
    return detail.removeprefix("JSON is malformed: ")


def dump_json(value: Any) -> bytes:
    """`value` as plain JSON, as `json.dumps` would: for bodies of responses and the like.

    Takes more than values do: dates, UUIDs, dataclasses and sets are written as text and arrays.

    Raises:
        InvalidValueError: NaN or an infinity, which JSON does not have; or what is not JSON.
    """
    try:
        text = _encode(value)
    except (TypeError, UnicodeError) as error:
        raise InvalidValueError(f"Cannot be written as JSON: {error}") from None
    except RecursionError:
        raise InvalidValueError("Cannot be written as JSON: it is too deeply nested") from None
    # Special floats are written as null, so where there is no null there is none of them.
    if b"null" in text:
        _refuse_special_floats(msgspec.to_builtins(value, enc_hook=_refuse_foreign))
    return text


def _refuse_special_floats(tree: Any) -> None:
    if isinstance(tree, float):
        if not math.isfinite(tree):
            raise InvalidValueError(
                f"JSON has no {describe(tree)}. Write None or a string in its place."
            )
    elif isinstance(tree, (dict, list, tuple)):
        for item in tree.values() if isinstance(tree, dict) else tree:
            _refuse_special_floats(item)


# Trees that say everything.

_little_float: Final = struct.Struct("<d")


def _special_form(tag: str, content: bytes | bytearray | memoryview) -> dict[str, str]:
    return {tag: b2a_base64(content, newline=False).decode()}


def _float_form(number: float) -> dict[str, str]:
    return _special_form("$float", _little_float.pack(number))


def _integer_form(number: int) -> dict[str, str]:
    return _special_form("$integer", number.to_bytes(8, "little", signed=True))


def _bytes_form(content: bytes | bytearray | memoryview) -> dict[str, str]:
    return _special_form("$bytes", content)


def _lowering(
    *,
    whole: Callable[[int], Any],
    odd_float: Callable[[float], Any],
    int64: Callable[[int], Any],
    content: Callable[[bytes], Any],
) -> Callable[[Any], Any]:
    """A function from a value to the JSON tree of one of the formats.

    Args:
        whole: what a plain int becomes.
        odd_float: what a float becomes that is NaN, infinite or zero of either sign.
        int64: what an Int64 becomes.
        content: what bytes become.
    """

    def lower(value: Any) -> Any:
        kind = type(value)
        if kind is str or value is None or kind is bool:
            return value
        if kind is int:
            return whole(value)
        if kind is float:
            # Only of an ordinary number is the difference to itself zero, and not itself.
            return value if value and value - value == 0.0 else odd_float(value)
        if isinstance(value, dict):
            return {
                name: item if type(item) is str else lower(item) for name, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [lower(item) for item in value]
        return lower_rare(value)

    def lower_rare(value: Any) -> Any:
        if isinstance(value, Int64):
            return int64(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return content(value if isinstance(value, bytes) else bytes(value))
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, float):
            return lower(float(value))
        return _refuse(value)

    return lower


def _refuse(value: object) -> NoReturn:
    survey(value)
    raise AssertionError("what is of no type of value is refused")


def _float_unless_zero(number: float) -> Any:
    return _float_form(number) if number else number


def _float_unless_positive_zero(number: float) -> Any:
    return number if number == 0.0 and math.copysign(1.0, number) > 0 else _float_form(number)


def _float_for_people(number: float) -> Any:
    if not number:
        return number
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"


_lower_stored: Final = _lowering(
    whole=int, odd_float=_float_unless_zero, int64=_integer_form, content=_bytes_form
)
_lower_wire: Final = _lowering(
    whole=float, odd_float=_float_unless_positive_zero, int64=_integer_form, content=_bytes_form
)
_lower_clean: Final = _lowering(
    whole=float,
    odd_float=_float_for_people,
    int64=str,
    content=lambda content: b2a_base64(content, newline=False).decode(),
)
_lower_export: Final = _lowering(
    whole=float, odd_float=_float_unless_zero, int64=int, content=_bytes_form
)


_OBJECTS: Final[frozenset[type[Any]]] = frozenset((dict, Document))
_CONTAINERS: Final[frozenset[type[Any]]] = _OBJECTS | {list}
_ALIKE: Final[frozenset[type[Any]]] = frozenset((str, float, bool))
_KNOWN: Final[frozenset[type[Any]]] = _CONTAINERS | _ALIKE


def _alike(value: Any) -> bool:
    """Whether an ordinary encoder writes `value` as every format wants it, odd floats apart.

    Goes level by level, not value by value, so that most of the work is done in C: a page of
    documents has many values and few levels.
    """
    level: list[Any] = [value]
    for _ in range(NESTING_MAX + 1):
        kinds = set(map(type, level))
        if kinds <= _ALIKE:
            return True
        if not kinds <= _KNOWN:
            return False
        if kinds <= _OBJECTS:
            inside: Iterable[Iterable[Any]] = map(dict.values, level)
        else:
            inside = [
                item if type(item) is list else item.values()
                for item in level
                if type(item) in _CONTAINERS
            ]
        level = list(chain.from_iterable(inside))
    return False


def _write(lower: Callable[[Any], Any], value: Any) -> bytes:
    try:
        if _alike(value):
            text = _encode(value)
            # NaN and infinities were written as null, and no null was among the values.
            if b"null" not in text and b"-0.0" not in text:
                return text
        return _encode(lower(value))
    except (TypeError, UnicodeError, RecursionError):
        survey(value)
        raise


def to_wire(value: Value) -> bytes:
    """The lossless format of the clients, `convex_encoded_json`. Whole floats are written `1.0`.

    Limits are not checked again: `measure` what comes from app code.

    Raises:
        InvalidValueError: not a value.
    """
    return _write(_lower_wire, value)


def to_clean(value: Value) -> bytes:
    """The format `json`, for people and programs that know no special forms. Loses types.

    Raises:
        InvalidValueError: not a value.
    """
    return _write(_lower_clean, value)


def to_export(value: Value) -> bytes:
    """The format `export_json`: an int64 is a number without a dot, a float64 one with.

    Raises:
        InvalidValueError: not a value.
    """
    return _write(_lower_export, value)


# Back from trees.


def from_wire(data: Any) -> Any:
    """The value that a client's JSON says, checked against all limits.

    Args:
        data: JSON text if it is bytes, else JSON that was parsed already, of which parts may end
            up in the value. (So a `str` is a string, not text to parse.)

    Raises:
        MalformedJsonError: not JSON.
        InvalidValueError: not a value, or beyond a limit; names the path.
    """
    tree = parse_json(data) if isinstance(data, (bytes, bytearray)) else data
    # Whatever takes work (special forms, integers past 2^53) is no value as it stands.
    if glance(tree) is None:
        tree = _lift(tree, "$", NESTING_MAX)
        survey(tree)
    return tree


def _lift(tree: Any, path: str, room: int) -> Any:
    if isinstance(tree, dict):
        if len(tree) == 1:
            ((tag, content),) = tree.items()
            read = _FORMS.get(tag)
            if read is not None:
                return _read_form(read, tag, content, path)
        if room:
            return {
                name: item if type(item) is str else _lift(item, f"{path}.{name}", room - 1)
                for name, item in tree.items()
            }
    elif isinstance(tree, list):
        if room:
            return [_lift(item, f"{path}[{i}]", room - 1) for i, item in enumerate(tree)]
    elif type(tree) is int and not -INTEGER_MAX <= tree <= INTEGER_MAX:
        return _nearest_float(tree, path)
    return tree


def _nearest_float(number: int, path: str) -> float:
    try:
        return float(number)
    except OverflowError:
        raise InvalidValueError(f"Number out of range at {path}") from None


def _read_form(read: Callable[[bytes], Any], tag: str, content: Any, path: str) -> Any:
    if not isinstance(content, str):
        raise InvalidValueError(f"{tag} must be a string of base64 at {path}")
    try:
        return read(a2b_base64(content, strict_mode=True))
    except (Base64Error, ValueError):
        raise InvalidValueError(f"{tag} is not valid base64 at {path}") from None
    except InvalidValueError as error:
        raise InvalidValueError(f"{error} at {path}") from None


def _read_integer(content: bytes) -> Int64:
    if len(content) != 8:
        raise InvalidValueError(f"Int64 must be 8 bytes, found {len(content)}")
    return Int64(int.from_bytes(content, "little", signed=True))


def _read_float(content: bytes) -> float:
    if len(content) != 8:
        raise InvalidValueError(f"Float64 must be 8 bytes, found {len(content)}")
    number: float = _little_float.unpack(content)[0]
    if number and math.isfinite(number):
        raise InvalidValueError(f"Float64 {number!r} should be encoded as a number")
    return number


_FORMS: Final[dict[str, Callable[[bytes], Any]]] = {
    "$integer": _read_integer,
    "$float": _read_float,
    "$bytes": bytes,
}


# The store's text.


def pack(fields: dict[str, Any], plain: bool) -> str:
    """A document as the store keeps it. `plain` is what `check_document` said of it."""
    return _encode(fields if plain else _lower_stored(fields)).decode()


def unpack(text: str) -> dict[str, Any]:
    """The document that the store kept.

    Raises:
        StorageCorruptError: `pack` did not write this.
    """
    fields: dict[str, Any] = unpack_value(text)
    return fields


def unpack_many(texts: Sequence[str]) -> list[dict[str, Any]]:
    """The documents that the store kept; quicker than one by one.

    Raises:
        StorageCorruptError: `pack` did not write these.
    """
    documents: list[dict[str, Any]] = unpack_value(f"[{','.join(texts)}]")
    return documents


def pack_value(value: Value) -> str:
    """Any value in the text that the store keeps.

    Raises:
        InvalidValueError: not a value, or beyond a limit; names the path.
    """
    if value is None:
        return "null"
    text = stored_text(value)
    if text is not None:
        return text
    _, plain = survey(value)
    return _encode(value if plain else _lower_stored(value)).decode()


def unpack_value(text: str) -> Any:
    """The value that `pack_value` wrote.

    Raises:
        StorageCorruptError: it did not write this.
    """
    try:
        tree = _decode(text)
        # A special form begins with `"$`, which the encoder never escapes. Where a string holds
        # it the slow way is taken for nothing, and changes nothing. (The first test is the same
        # but for one character, and ten times as quick.)
        if "$" in text and '"$' in text:
            return _lift(tree, "$", NESTING_MAX + 1)
    except (msgspec.DecodeError, UnicodeError, InvalidValueError) as error:
        raise StorageCorruptError(f"Stored text is not a value: {error}") from error
    return tree
