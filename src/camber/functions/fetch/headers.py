"""HTTP headers: names in any case, in the order they were added, repeated if need be.

Looking at them follows the Fetch standard: `get` joins what was repeated, and iteration is sorted
and joined, save for `set-cookie`, which cannot be joined. Sending them keeps order and repeats.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TypeAlias

Field: TypeAlias = tuple[str, str]

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[^\x00\r\n]*")


@lru_cache(maxsize=1024)
def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise TypeError(f"Invalid header name: {name!r}")
    return name.lower()


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"A header name must be text, got {name!r}")
    return _checked_name(name)


def _value(name: str, value: object) -> str:
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return value.strip(" ")
        return _checked_value(name, value.strip(" \t\r\n"))
    if value is None:
        raise TypeError(
            f"The value of header '{name}' is None; "
            "if it comes from env[...], the environment variable is not set"
        )
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))
    raise TypeError(f"The value of header '{name}' must be text, got {value!r}")


def _checked_value(name: str, value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise TypeError(f"The value of header '{name}' holds a line break or NUL: {value!r}")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise TypeError(
            f"The value of header '{name}' holds a character beyond latin-1: {value!r}"
        ) from None
    return value


def parse_fields(init: "HeadersInit") -> list[Field]:
    """The fields in `init`, checked, names in lower case; a list of its own.

    Raises:
        TypeError: a name or value that HTTP cannot carry.
    """
    if isinstance(init, Headers):
        return init._fields.copy()
    pairs: object = init
    # Lists first, because looking for an abstract type takes its time.
    if not isinstance(init, list) and isinstance(init, Mapping):
        pairs = init.items()
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise TypeError(f"Headers takes a mapping or pairs of name and value, got {init!r}")
    fields = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"Headers takes pairs of name and value, got {pair!r}")
        name = _name(pair[0])
        fields.append((name, _value(name, pair[1])))
    return fields


class Headers:
    """The headers of a request or a response.

    Iterating gives pairs of name and value, as in the standard; `in`, `[...]` and `dict(headers)`
    work as with a mapping.

    Args:
        init: other headers, a mapping, or pairs. A value may be text or an `int`.

    Raises:
        TypeError: a name or value that HTTP cannot carry (a line break, NUL, a character beyond
            latin-1), or None for a value.
    """

    __slots__ = ("_fields",)

    def __init__(self, init: "HeadersInit | None" = None) -> None:
        self._fields: list[Field] = [] if init is None else parse_fields(init)

    @classmethod
    def _around(cls, fields: list[Field]) -> "Headers":
        """Headers that look at, and change, this very list. Names must be in lower case."""
        headers = cls.__new__(cls)
        headers._fields = fields
        return headers

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of `name`, repeated ones joined by `, `; `default` when there is none."""
        name = _name(name)
        values = [value for key, value in self._fields if key == name]
        return ", ".join(values) if values else default

    def get_set_cookie(self) -> list[str]:
        """Every `set-cookie` header, which must not be joined."""
        return [value for key, value in self._fields if key == "set-cookie"]

    def has(self, name: str) -> bool:
        """Whether there is a header `name`."""
        name = _name(name)
        return any(key == name for key, _ in self._fields)

    def append(self, name: str, value: str | int) -> None:
        """Add a header, beside those of the same name."""
        name = _name(name)
        self._fields.append((name, _value(name, value)))

    def set(self, name: str, value: str | int) -> None:
        """Give the first header `name` this value and drop its others; or add it at the end."""
        name = _name(name)
        field = (name, _value(name, value))
        at = next((i for i, (key, _) in enumerate(self._fields) if key == name), None)
        if at is None:
            self._fields.append(field)
            return
        self._fields[at] = field
        self._fields[at + 1 :] = [f for f in self._fields[at + 1 :] if f[0] != name]

    def delete(self, name: str) -> None:
        """Drop every header `name`. Absent is no error."""
        name = _name(name)
        self._fields[:] = [field for field in self._fields if field[0] != name]

    def items(self) -> Iterator[Field]:
        """Names and values, sorted by name and joined; each `set-cookie` by itself."""
        joined: dict[str, list[str]] = {}
        for name, value in self._fields:
            joined.setdefault(name, []).append(value)
        for name in sorted(joined):
            if name == "set-cookie":
                for value in joined[name]:
                    yield name, value
            else:
                yield name, ", ".join(joined[name])

    def keys(self) -> Iterator[str]:
        """The names, in the order of `items`."""
        return (name for name, _ in self.items())

    def values(self) -> Iterator[str]:
        """The values, in the order of `items`."""
        return (value for _, value in self.items())

    def __iter__(self) -> Iterator[Field]:
        return self.items()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(key == name.lower() for key, _ in self._fields)

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: str | int) -> None:
        self.set(name, value)

    def __delitem__(self, name: str) -> None:
        self.delete(name)

    def __len__(self) -> int:
        return len(self._fields)

    # Having no header is no reason to be false: `if response.headers:` is always a slip.
    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Headers({self._fields!r})"


HeadersInit: TypeAlias = Headers | Mapping[str, str | int] | Iterable[tuple[str, str | int]]
