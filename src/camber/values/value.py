"""Values: what documents, arguments and results are made of.

There are nine types, in this order: null, int64, float64, boolean, string, bytes, array, object
(an id is a string), and before them the place of what is missing, which is not a value.

| type | in Python | size in bytes |
|---|---|---|
| null | `None` | 1 |
| int64 | `Int64` | 9 |
| float64 | `float`, and `int` within ±2^53 | 9 |
| boolean | `bool` | 1 |
| string | `str` | 2 + its UTF-8 length |
| bytes | `bytes`; `bytearray` and `memoryview` are taken for it | 2 + its length |
| array | `list`; a `tuple` is taken for it | 2 + its elements |
| object | `dict` with `str` keys | 2 + for each field its name's length + 1 + its value |

A plain Python `int` *is* the float64 of the same size, everywhere: it compares, sorts and is sent
as that float. It stays an `int` in Python, and in the store, because people who wrote `3` want to
read `3`.
"""

import math
import struct
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn, Self, TypeAlias, cast, final

import msgspec

from camber.errors import InvalidArgumentError, InvalidValueError

VALUE_SIZE_MAX: Final = 32 << 20
"""Bytes of one value."""
DOCUMENT_SIZE_MAX: Final = 1 << 20
"""Bytes of one document, `_id` and `_creationTime` included."""
NESTING_MAX: Final = 64
"""Levels of arrays and objects in a value; an array of numbers has one."""
DOCUMENT_NESTING_MAX: Final = 16
"""Levels of arrays and objects in a document, the document itself included."""
ARRAY_LENGTH_MAX: Final = 8192
FIELDS_MAX: Final = 1024
FIELD_NAME_LENGTH_MAX: Final = 1024
IDENTIFIER_LENGTH_MAX: Final = 64
INTEGER_MAX: Final = 1 << 53
"""The greatest plain `int`: up to here every one is a float64."""
SYSTEM_FIELDS: Final = frozenset({"_id", "_creationTime"})
"""The only fields of a document that may start with an underscore."""


class Int64(int):
    """A 64-bit signed integer, JavaScript's BigInt. Arithmetic gives plain integers.

    Raises:
        InvalidValueError: the number needs more than 64 bits.
    """

    __slots__ = ()

    def __new__(cls, number: int = 0) -> "Int64":
        made = super().__new__(cls, number)
        if not -(1 << 63) <= made < 1 << 63:
            raise InvalidValueError(
                f"BigInt {_show_integer(made)} does not fit into a 64-bit signed integer."
            )
        return made

    def __repr__(self) -> str:
        return f"Int64({int.__repr__(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)


@final
class Undefined:
    """The type of `UNDEFINED`: no value, but the place of a missing one.

    It sorts before everything, bounds an index range, and in a `patch` removes the field.
    """

    __slots__ = ()

    def __new__(cls) -> "Undefined":
        return UNDEFINED

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNDEFINED"

    def __reduce__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final[Undefined] = object.__new__(Undefined)


class Document(dict[str, Any]):
    """A document as app code gets it: a dict whose fields also read as attributes.

    `message.body` is `message["body"]`. What a dict has of its own (`items`, `get`, `copy` …)
    keeps its meaning; a field of such a name reads as `message["items"]` only.

    One that comes from the store remembers the text it was read from, until it is changed: most
    documents are passed on as they are, and need not be checked and written anew for that.
    """

    __slots__ = ("_text",)

    # Unset, or None, when the fields may differ from it. Only for documents whose fields hold no
    # arrays and no objects: what happens inside of those would go unnoticed.
    _text: str | None

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            pass
        fields = ", ".join(map(str, self)) or "none"
        raise AttributeError(
            f"This document has no field '{name}'. Its fields: {fields}.", name=name, obj=self
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(
            f"A document's fields are set as items: document[{name!r}] = …", name=name, obj=self
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Document, (dict(self),)  # A copy is a document like any other.

    def __setitem__(self, name: str, value: Any, /) -> None:
        _set_text(self, None)
        super().__setitem__(name, value)

    def __delitem__(self, name: str, /) -> None:
        _set_text(self, None)
        super().__delitem__(name)

    def __ior__(self, other: Any, /) -> Self:  # type: ignore[override,misc]  # dict has overloads
        self.update(other)
        return self

    def update(self, *others: Any, **fields: Any) -> None:
        _set_text(self, None)
        super().update(*others, **fields)

    def setdefault(self, name: str, default: Any = None, /) -> Any:
        _set_text(self, None)
        return super().setdefault(name, default)

    def pop(self, name: str, /, *default: Any) -> Any:
        _set_text(self, None)
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, Any]:
        _set_text(self, None)
        return super().popitem()

    def clear(self) -> None:
        _set_text(self, None)
        super().clear()


# The slot itself: `__setattr__` is closed to app code.
_set_text: Final[Callable[[Document, str | None], None]] = vars(Document)["_text"].__set__
_get_text: Final[Callable[[Document], str | None]] = vars(Document)["_text"].__get__


def documents_of(rows: Sequence[dict[str, Any]], texts: Sequence[str]) -> list[Document]:
    """The documents that were read from `texts`, which hold the fields `rows`."""
    documents = list(map(Document, rows))
    together = "".join(texts)
    if "[" not in together and together.count("{") == len(texts):
        deque(map(_set_text, documents, texts), maxlen=0)
    return documents


def stored_text(value: object) -> str | None:
    """The text of a document, or of an array of documents, that nobody has changed since it was
    read from the store; None for anything else."""
    try:
        if type(value) is list:
            texts = list(map(_get_text, value))
            if not texts or len(texts) > ARRAY_LENGTH_MAX or None in texts:
                return None
            return "[" + ",".join(cast(list[str], texts)) + "]"
        return _get_text(value) if type(value) is Document else None
    except (AttributeError, TypeError):
        return None  # Not all of them are documents, or from the store.


Value: TypeAlias = (
    "bool | int | float | Int64 | str | bytes | Sequence[Value] | Mapping[str, Value] | None"
)
"""Anything of the nine types."""


# Sizes and limits. One walk, made for the common case: a few fields, all of them scalars. It
# stops at the first thing that is wrong without knowing where it is; only then `_explain` walks
# again, slowly, to find the words.


class _OddError(Exception):
    """Something in the value is wrong. Never leaves this module."""


def survey(value: object) -> tuple[int, bool]:
    """Check a value and measure it: its size in bytes, and whether it is plain.

    A plain value holds nothing but None, bool, int, str, finite floats, lists (and tuples) and
    dicts, so an ordinary JSON encoder writes it exactly as the store keeps it.

    Raises:
        InvalidValueError: not a value, or beyond a limit; names the path.
    """
    found = glance(value)
    return found if found is not None else _explain(value, _VALUE_LIMITS)


def measure(value: object) -> int:
    """Check a value and return its size in bytes.

    Raises:
        InvalidValueError: not a value, or beyond a limit; names the path.
    """
    return survey(value)[0]


def glance(value: object) -> tuple[int, bool] | None:
    """What `survey` returns, or None where it would raise."""
    try:
        if isinstance(value, (dict, list, tuple)):
            found = _sum_inside(value, NESTING_MAX)
        else:
            found = _sum((value,), 0, 0)
    except (_OddError, UnicodeEncodeError):
        return None
    return found if found[0] <= VALUE_SIZE_MAX else None


def check_document(fields: Mapping[str, object]) -> tuple[int, bool]:
    """Check the fields of a document, its system fields included, by a document's limits.

    Returns its size in bytes, and whether it is plain (see `survey`).

    Raises:
        InvalidValueError: not a document, or beyond a limit; names the path.
    """
    try:
        names = tuple(fields)
        size = _document_shapes.get(names) or _learn_document_shape(names)
        found = _sum(fields.values(), size, DOCUMENT_NESTING_MAX - 1)
    except (_OddError, UnicodeEncodeError):
        return _explain(fields, _DOCUMENT_LIMITS)
    return found if found[0] <= DOCUMENT_SIZE_MAX else _explain(fields, _DOCUMENT_LIMITS)


def _sum(values: Iterable[Any], size: int, room: int) -> tuple[int, bool]:
    """`size` and the sizes of `values`, in which `room` more levels may nest; whether plain."""
    plain = True
    for value in values:
        kind = type(value)
        if kind is str:
            # Lone surrogates end here, with a UnicodeEncodeError.
            size += 2 + len(value if value.isascii() else value.encode())
        elif kind is float:
            size += 9
            if value - value != 0.0:  # NaN or infinite
                plain = False
        elif kind is int:
            if not -INTEGER_MAX <= value <= INTEGER_MAX:
                raise _OddError
            size += 9
        elif value is None or kind is bool:
            size += 1
        elif isinstance(value, (dict, list, tuple)):
            inner, inner_plain = _sum_inside(value, room)
            size += inner
            plain = plain and inner_plain
            if size > VALUE_SIZE_MAX:
                raise _OddError
        else:
            size += _size_of_rare(value)
            plain = False
    return size, plain


def _sum_inside(value: dict[Any, Any] | Sequence[Any], room: int) -> tuple[int, bool]:
    if room == 0:
        raise _OddError
    if isinstance(value, dict):
        names = tuple(value)
        size = _shapes.get(names) or _learn_shape(names)
        return _sum(value.values(), size, room - 1)
    if len(value) > ARRAY_LENGTH_MAX:
        raise _OddError
    if len(value) >= _ROWS_MIN and _OBJECTS.issuperset(map(type, value)):
        names = tuple(value[0])
        if len(set(map(tuple, value))) == 1:
            return _sum_rows(value, names, room - 1)
    return _sum(value, 2, room - 1)


# From how many on objects of the same names, a page of documents say, are summed by column.
_ROWS_MIN: Final = 4
_OBJECTS: Final[frozenset[type[Any]]] = frozenset((dict, Document))
_ONE_BYTE: Final[frozenset[type[Any]]] = frozenset((bool, type(None)))


def _sum_rows(rows: Sequence[Any], names: tuple[Any, ...], room: int) -> tuple[int, bool]:
    """What `_sum` would find in an array of objects that all have these names.

    A column mostly has one type. Then most of the work is done in C, several times as fast.
    """
    if room == 0:
        raise _OddError
    count = len(rows)
    size = 2 + count * (_shapes.get(names) or _learn_shape(names))
    plain = True
    for column in zip(*[row.values() for row in rows], strict=True):
        kinds = set(map(type, column))
        if kinds == {str}:
            text = "".join(column)
            size += 2 * count + len(text if text.isascii() else text.encode())
        elif kinds == {float} and math.isfinite(sum(column)):
            size += 9 * count
        elif kinds <= _ONE_BYTE:
            size += count
        else:
            size, column_plain = _sum(column, size, room - 1)
            plain = plain and column_plain
    return size, plain


def _size_of_rare(value: object) -> int:
    if isinstance(value, Int64):
        return 9
    if isinstance(value, (bytes, bytearray)):
        return 2 + len(value)
    if isinstance(value, memoryview):
        return 2 + value.nbytes
    if isinstance(value, str):  # An enumeration's member, say.
        return 2 + len(value.encode())
    if isinstance(value, float):  # numpy.float64 is one.
        return 9
    raise _OddError


# Documents of a table all have the same names, so each sequence of names is checked once and
# remembered with the bytes that an object of those names has before its values.
_shapes: Final[dict[tuple[Any, ...], int]] = {}
_document_shapes: Final[dict[tuple[Any, ...], int]] = {}
_SHAPES_MAX: Final = 4096
_SHAPE_LENGTH_MAX: Final = 64


def _learn_shape(names: tuple[Any, ...]) -> int:
    if len(names) > FIELDS_MAX or any(_name_flaw(name) for name in names):
        raise _OddError
    size = 2 + sum(map(len, names)) + len(names)
    _remember(_shapes, names, size)
    return size


def _learn_document_shape(names: tuple[Any, ...]) -> int:
    size = _learn_shape(names)
    if any(name.startswith("_") and name not in SYSTEM_FIELDS for name in names):
        raise _OddError
    _remember(_document_shapes, names, size)
    return size


def _remember(shapes: dict[tuple[Any, ...], int], names: tuple[Any, ...], size: int) -> None:
    if len(names) > _SHAPE_LENGTH_MAX or size > 4096:
        return
    if len(shapes) >= _SHAPES_MAX:
        shapes.clear()
    # Exact strings only: a key that merely equals another need not be written like it.
    if all(type(name) is str for name in names):
        shapes[names] = size


def _name_flaw(name: object) -> str | None:
    """What is wrong with a field's name, or None."""
    if not isinstance(name, str):
        return f"Object keys must be strings, found {_show_foreign(name)}"
    if len(name) > FIELD_NAME_LENGTH_MAX:
        return f"Field name is too long ({len(name)} > maximum {FIELD_NAME_LENGTH_MAX})"
    if name.startswith("$"):
        return f"Field name {name} starts with '$', which is reserved."
    if name.isascii() and name.isprintable():
        return None
    character = next(c for c in name if not " " <= c <= "~")
    return (
        f"Field name {_printable(name)} has invalid character '{_printable(character)}': "
        "Field names can only contain non-control ASCII characters"
    )


class _Limits:
    """What is allowed of a value, or of a document; for the words of an error."""

    def __init__(self, noun: str, *, nesting: int, size: int, system_fields: bool) -> None:
        self.noun = noun
        self.nesting = nesting
        self.size = size
        self.system_fields = system_fields


_VALUE_LIMITS: Final = _Limits(
    "Value", nesting=NESTING_MAX, size=VALUE_SIZE_MAX, system_fields=False
)
_DOCUMENT_LIMITS: Final = _Limits(
    "Document", nesting=DOCUMENT_NESTING_MAX, size=DOCUMENT_SIZE_MAX, system_fields=True
)


def _explain(value: object, limits: _Limits) -> NoReturn:
    """Say what the fast walk stopped at."""
    if limits.system_fields and isinstance(value, Mapping):
        for name in value:
            if isinstance(name, str) and name.startswith("_") and name not in SYSTEM_FIELDS:
                raise InvalidValueError(
                    f"Field name {_printable(name)} starts with '_', which only the system fields "
                    "'_id' and '_creationTime' do."
                )
    size = _explain_at(value, "$", 1, limits)
    assert size > limits.size, "the two walks agree on what a value is"
    raise _too_large(size, limits)


def _too_large(size: int, limits: _Limits) -> InvalidValueError:
    return InvalidValueError(
        f"Value is too large ({size} bytes > maximum size {limits.size >> 20} MiB)"
    )


def _explain_at(value: object, path: str, level: int, limits: _Limits) -> int:
    """The size of `value`, unless it has a flaw to raise."""
    if isinstance(value, (dict, list, tuple)) and level > limits.nesting:
        noun = limits.noun
        raise _refused(
            f"{noun} is too nested (nested {level} levels deep > maximum nesting {limits.nesting})",
            path if len(path) < 200 else f"{path[:200]}…",
        )
    if isinstance(value, dict):
        return _explain_object(value, path, level, limits)
    if isinstance(value, (list, tuple)):
        return _explain_array(value, path, level, limits)
    try:
        return _sum((value,), 0, 1)[0]
    except UnicodeEncodeError:
        raise _refused("String is not valid Unicode: it has a lone surrogate", path) from None
    except _OddError:
        raise _foreign(value, path) from None


def _explain_object(fields: dict[Any, Any], path: str, level: int, limits: _Limits) -> int:
    if len(fields) > FIELDS_MAX:
        raise _refused(
            f"Object has too many fields ({len(fields)} > maximum number {FIELDS_MAX})", path
        )
    size = 2
    for name, value in fields.items():
        flaw = _name_flaw(name)
        if flaw is not None:
            raise _refused(flaw, path)
        size += len(name) + 1 + _explain_at(value, f"{path}.{name}", level + 1, limits)
        if size > VALUE_SIZE_MAX:
            raise _too_large(size, limits)
    return size


def _explain_array(elements: Sequence[Any], path: str, level: int, limits: _Limits) -> int:
    if len(elements) > ARRAY_LENGTH_MAX:
        raise _refused(
            f"Array length is too long ({len(elements)} > maximum length {ARRAY_LENGTH_MAX})", path
        )
    size = 2
    for place, value in enumerate(elements):
        size += _explain_at(value, f"{path}[{place}]", level + 1, limits)
        if size > VALUE_SIZE_MAX:
            raise _too_large(size, limits)
    return size


def _refused(flaw: str, path: str) -> InvalidValueError:
    return InvalidValueError(flaw if path == "$" else f"{flaw} at {path}")


_ADVICE: Final = {
    "datetime": "store `.timestamp() * 1000`, or `.isoformat()`",
    "date": "store `.isoformat()`",
    "timedelta": "store `.total_seconds()`",
    "UUID": "store `str(…)`",
    "Decimal": "store `str(…)` or `float(…)`",
    "set": "store `list(…)`",
    "frozenset": "store `list(…)`",
    "Undefined": "leave the field out",
    "coroutine": "an `await` is missing",
}


def _foreign(value: object, path: str) -> InvalidValueError:
    place = "" if path == "$" else f" at {path}"
    if type(value) is int:
        return InvalidValueError(
            f"Integer {_show_integer(value)}{place} is outside the range of a float64 "
            "(-2^53 to 2^53). Use `Int64` for 64-bit integers."
        )
    kind = type(value).__name__
    advice = _ADVICE.get(kind, "use None, bool, int, float, Int64, str, bytes, list or dict")
    return InvalidValueError(
        f"{kind} {_show_foreign(value)}{place} is not a supported value: {advice}"
    )


# Order and equality.

_UNDEFINED, _NULL, _INT64, _FLOAT64, _BOOLEAN, _STRING, _BYTES, _ARRAY, _OBJECT = range(9)


def compare(a: object, b: object) -> int:
    """-1, 0 or 1 as `a` comes before, is, or comes after `b` in the order of all values.

    UNDEFINED comes first. Floats follow IEEE 754's total order: -0.0 comes before 0.0, NaN is
    itself and the last. Strings are ordered by code point, objects as their sorted fields.

    Raises:
        InvalidValueError: one of them is not a value.
    """
    rank = _rank(a)
    other = _rank(b)
    if rank != other:
        return -1 if rank < other else 1
    x: Any = a
    y: Any = b
    if rank == _ARRAY:
        return _compare_all(x, y)
    if rank == _OBJECT:
        return _compare_objects(x, y)
    if rank == _FLOAT64:
        x, y = _total_order(x), _total_order(y)
    elif rank == _BYTES:
        x, y = bytes(x), bytes(y)
    elif rank in (_UNDEFINED, _NULL):
        return 0
    return int(x > y) - int(x < y)


def equal(a: object, b: object) -> bool:
    """Whether two values are the same: `1` and `1.0` are, `0.0` and `-0.0` are not.

    Raises:
        InvalidValueError: one of them is not a value.
    """
    if type(a) is str and type(b) is str:
        return a == b
    return compare(a, b) == 0


_RANKS: Final[dict[type, int]] = {
    Undefined: _UNDEFINED,
    type(None): _NULL,
    Int64: _INT64,
    float: _FLOAT64,
    int: _FLOAT64,
    bool: _BOOLEAN,
    str: _STRING,
    bytes: _BYTES,
    bytearray: _BYTES,
    memoryview: _BYTES,
    list: _ARRAY,
    tuple: _ARRAY,
    dict: _OBJECT,
    Document: _OBJECT,
}


def _rank(value: object) -> int:
    rank = _RANKS.get(type(value))
    if rank is not None:
        return rank
    for kind in (str, float, dict, list, tuple):
        if isinstance(value, kind):
            return _RANKS[kind]
    raise _foreign(value, "$")


def _total_order(number: float) -> tuple[float, int]:
    """A key that sorts as IEEE 754's total order does: by size, then by sign and bits."""
    if number == number and number:
        return number, 0
    bits: int = struct.unpack(">q", struct.pack(">d", number))[0]
    if number == 0:
        return 0.0, -1 if bits < 0 else 0
    # NaNs lie beyond the infinities, the negative ones the other way round.
    return (-math.inf, -(bits & (1 << 63) - 1)) if bits < 0 else (math.inf, bits)


def _compare_all(a: Iterable[Any], b: Iterable[Any]) -> int:
    x = list(a)
    y = list(b)
    for one, other in zip(x, y, strict=False):
        order = compare(one, other)
        if order:
            return order
    return (len(x) > len(y)) - (len(x) < len(y))


def _compare_objects(a: Mapping[str, Any], b: Mapping[str, Any]) -> int:
    return _compare_all(
        [part for field in sorted(a.items(), key=_name_of) for part in field],
        [part for field in sorted(b.items(), key=_name_of) for part in field],
    )


def _name_of(field: tuple[str, Any]) -> str:
    return field[0]


# Names.


def check_identifier(name: str) -> None:
    """Check the name of a table, an index, or a part of a field path.

    Raises:
        InvalidArgumentError: 1 to 64 ASCII letters, digits and underscores, not starting with a
            digit and not underscores alone, is what it is not.
    """
    flaw = _identifier_flaw(name)
    if flaw is not None:
        raise InvalidArgumentError(flaw)


def _identifier_flaw(name: str) -> str | None:
    if not name:
        return "Identifier cannot be empty"
    first = name[0]
    if not (first.isascii() and (first.isalpha() or first == "_")):
        return (
            f"Invalid first character '{_printable(first)}' in {_printable(name)}: "
            "Identifiers must start with an alphabetic character or underscore"
        )
    for c in name:
        if not (c.isascii() and (c.isalnum() or c == "_")):
            return (
                f"Identifier {_printable(name)} has invalid character '{_printable(c)}': "
                "Identifiers can only contain alphanumeric characters or underscores"
            )
    if len(name) > IDENTIFIER_LENGTH_MAX:
        return f"Identifier is too long ({len(name)} > maximum {IDENTIFIER_LENGTH_MAX})"
    if not name.strip("_"):
        return f"Identifier {name} cannot have exclusively underscores"
    return None


# Values in messages.

_SHOWN_MAX: Final = 500


def describe(value: object) -> str:
    """A value as messages show it: `{a: 1.0, b: "x", c: [5n, null]}`, at most 500 characters."""
    pieces: list[str] = []
    room = _SHOWN_MAX
    for piece in _pieces(value, 8):
        pieces.append(piece)
        room -= len(piece)
        if room < 0:
            return "".join(pieces)[: _SHOWN_MAX - 1] + "…"
    return "".join(pieces)


def _pieces(value: object, room: int) -> Iterable[str]:
    """The text of `value` bit by bit, so that a huge one is never written out."""
    if isinstance(value, (dict, list, tuple)):
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        if room == 0:
            yield f"{opening}…{closing}"
            return
        separator = opening
        fields = value.items() if isinstance(value, dict) else [("", item) for item in value]
        for name, item in fields:
            yield f"{separator}{name}: " if isinstance(value, dict) else separator
            yield from _pieces(item, room - 1)
            separator = ", "
        yield closing if value else opening + closing
    else:
        yield _show_scalar(value)


def _show_scalar(value: object) -> str:
    if value is None or value is UNDEFINED:
        return "null" if value is None else "undefined"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Int64):
        return f"{value}n"
    if isinstance(value, str):
        return _quote(value)
    if type(value) is int and abs(value) <= INTEGER_MAX:
        return repr(float(value))
    if isinstance(value, float):
        special = {math.inf: "Infinity", -math.inf: "-Infinity"}
        return "NaN" if value != value else special.get(value, float.__repr__(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        start = bytes(memoryview(value).cast("B")[:32])
        return f"bytes({start.hex()}{'…' if memoryview(value).nbytes > 32 else ''})"
    return _show_foreign(value)


def _quote(text: str) -> str:
    shown = _printable(text[: _SHOWN_MAX + 1])
    return msgspec.json.encode(shown).decode()


def _printable(text: str) -> str:
    """`text` as far as it can be written: lone surrogates become their escapes."""
    shown = text if len(text) <= _SHOWN_MAX + 1 else text[:_SHOWN_MAX] + "…"
    return shown.encode(errors="backslashreplace").decode()


def _show_integer(number: int) -> str:
    if number.bit_length() > 200:  # Python itself refuses to write the longest ones.
        return f"of {number.bit_length()} bits"
    return int.__repr__(number)


def _show_foreign(value: object) -> str:
    """Something that is no value. Its `repr` is app code, which may fail in any way."""
    if type(value) is int:
        return _show_integer(value)
    try:
        shown = _printable(repr(value))
    except Exception:
        return f"<{type(value).__name__}>"
    return shown if len(shown) <= 120 else shown[:119] + "…"
