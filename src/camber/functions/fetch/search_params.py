"""The query of a URL as a list of names and values; also the body of a simple HTML form.

Names may repeat, and order is kept. The list that belongs to a `URL` is live: a change to it is
a change to the URL.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeAlias
from weakref import ref

from camber.functions.fetch.percent import decode_form, encode_form, scalar_text

Scalar: TypeAlias = str | int | float
SearchParamsInit: TypeAlias = (
    "str | Mapping[str, Scalar] | Iterable[tuple[str, Scalar]] | URLSearchParams | None"
)


def form_text(value: object, name: str) -> str:
    """`value`, that of the entry `name`, as a form carries it.

    Raises:
        TypeError: it is neither text nor a number.
    """
    if isinstance(value, str):
        return scalar_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise TypeError(f"the value of '{name}' must be text or a number, got {value!r}")


def parse_query(query: str) -> list[tuple[str, str]]:
    """The names and values in `a=1&b=2`, decoded."""
    pairs = []
    for entry in query.split("&"):
        if entry:
            name, _, value = entry.partition("=")
            pairs.append((decode_form(name), decode_form(value)))
    return pairs


class QueryOwner(Protocol):
    """Who a list of parameters belongs to: a URL."""

    def _set_query(self, query: str, /) -> None: ...


class URLSearchParams:
    """A list of names and values, written `a=1&b=2`.

    Args:
        init: text (a leading `?` is dropped), a mapping, pairs, or another list. Numbers are
            written as text.

    Raises:
        TypeError: a value is neither text nor a number, or `init` is none of these.
    """

    __slots__ = ("_owner", "_pairs", "_query")

    def __init__(self, init: SearchParamsInit = None) -> None:
        # The list is built from `_query` when it is first looked at; from then on it is the truth.
        self._query = ""
        self._pairs: list[tuple[str, str]] | None = None
        # The URL that follows every change, held weakly: it holds this, and two that held each
        # other would wait for the garbage collector, once for each request.
        self._owner: ref[QueryOwner] | None = None
        if isinstance(init, str):
            self._query = scalar_text(init[1:] if init.startswith("?") else init)
        elif init is not None:
            self._pairs = _pairs_of(init)

    @classmethod
    def _attached(cls, query: str, owner: "QueryOwner") -> "URLSearchParams":
        """The list of a URL with this query, which hears of every change as new query text."""
        params = cls.__new__(cls)
        params._query = query
        params._pairs = None
        params._owner = ref(owner)
        return params

    def _reload(self, query: str) -> None:
        """Forget the list: the URL has another query now."""
        self._query = query
        self._pairs = None

    def _list(self) -> list[tuple[str, str]]:
        if self._pairs is None:
            self._pairs = parse_query(self._query)
        return self._pairs

    def _replace(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs
        owner = None if self._owner is None else self._owner()
        if owner is not None:
            owner._set_query(str(self))

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of `name`, or `default`."""
        for key, value in self._list():
            if key == name:
                return value
        return default

    def get_all(self, name: str) -> list[str]:
        """Every value of `name`, in order."""
        return [value for key, value in self._list() if key == name]

    def has(self, name: str, value: str | None = None) -> bool:
        """Whether there is an entry `name`, and with this value when one is given."""
        return any(key == name and value in (None, held) for key, held in self._list())

    def append(self, name: str, value: Scalar) -> None:
        """Add an entry at the end."""
        self._replace([*self._list(), (scalar_text(name), form_text(value, name))])

    def set(self, name: str, value: Scalar) -> None:
        """Give the first entry `name` this value and drop its others; or add it at the end."""
        name, text = scalar_text(name), form_text(value, name)
        pairs: list[tuple[str, str]] = []
        waiting = True
        for pair in self._list():
            if pair[0] != name:
                pairs.append(pair)
            elif waiting:
                pairs.append((name, text))
                waiting = False
        if waiting:
            pairs.append((name, text))
        self._replace(pairs)

    def delete(self, name: str, value: str | None = None) -> None:
        """Drop every entry `name`, or only those with this value. Absent is no error."""
        self._replace(
            [pair for pair in self._list() if pair[0] != name or value not in (None, pair[1])]
        )

    def sort(self) -> None:
        """Order by name; entries of one name keep their order."""
        # The standard compares UTF-16 code units, which differs beyond U+FFFF.
        self._replace(sorted(self._list(), key=lambda pair: pair[0].encode("utf-16-be")))

    @property
    def size(self) -> int:
        """How many entries there are."""
        return len(self._list())

    def items(self) -> Iterator[tuple[str, str]]:
        """Name and value of every entry, in order."""
        return iter(self._list())

    def keys(self) -> Iterator[str]:
        """The name of every entry, in order, repeated as often as it occurs."""
        return (name for name, _ in self._list())

    def values(self) -> Iterator[str]:
        """The value of every entry, in order."""
        return (value for _, value in self._list())

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self._list())

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._list())

    def __len__(self) -> int:
        return len(self._list())

    # An empty list is still a list: `if params:` must not depend on what the caller sent.
    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, URLSearchParams) and self._list() == other._list()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __str__(self) -> str:
        return "&".join(f"{encode_form(n)}={encode_form(v)}" for n, v in self._list())

    def __repr__(self) -> str:
        return f"URLSearchParams({str(self)!r})"


def _pairs_of(init: object) -> list[tuple[str, str]]:
    if isinstance(init, Mapping):
        init = init.items()
    if not isinstance(init, Iterable):
        raise TypeError(f"URLSearchParams takes text, a mapping or pairs, got {init!r}")
    pairs = []
    for pair in init:
        if isinstance(pair, str) or len(pair) != 2:
            raise TypeError(f"URLSearchParams takes pairs of name and value, got {pair!r}")
        pairs.append((form_text(pair[0], "name"), form_text(pair[1], str(pair[0]))))
    return pairs
