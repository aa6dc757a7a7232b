"""Which tables and indexes there are: a value, made anew by every commit that changes it.

The catalog is kept as documents of the system table `_tables`, one for each table, and so it is
read, changed, conflicted over and rolled back like any other data. This module turns those
documents into the form that transactions need: names to numbers, field paths to key encoders.

A transaction that depends on the catalog (it asked for a table that is not there) reads the point
`table:<name>`; one that changes it also reads and writes the point `catalog`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeAlias

from camber.errors import InvalidArgumentError
from camber.storage.engine import IndexNumber
from camber.values.key import compile_fields

TABLES: Final = "_tables"
TABLES_NUMBER: Final = 1
FIRST_USER_TABLE: Final = 10_001
TABLES_MAX: Final = 10_000
CATALOG_POINT: Final = "catalog"

BY_ID_NAME: Final = "by_id"
BY_CREATION_TIME: Final = "by_creation_time"

# An index number is its table's number and a serial number within the table, which is never
# given twice. Number 0 of a table is its `by_creation_time`.
_SERIAL_BITS: Final = 20


KeyParts: TypeAlias = Callable[[Mapping[str, Any]], tuple[bytes, ...]]


class TableCheck(Protocol):
    """What a schema says of one table's documents."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What an insert puts where a field is missing."""

    def check(self, fields: Mapping[str, Any], tables: "Catalog", /) -> None:
        """Raise a ValidationError if `fields` (without the system fields) does not fit."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index of a table. `fields` are the declared paths, without the implicit
    `_creationTime` and `_id` that every key ends with."""

    number: IndexNumber
    name: str
    fields: tuple[str, ...]
    # False from its creation until every document that was there before has its entry.
    ready: bool
    # A document's fields to their key encodings, without the `_creationTime` that ends every key.
    parts: KeyParts = field(compare=False)

    @property
    def table_number(self) -> int:
        return self.number >> _SERIAL_BITS

    # The fields of its key in order, as error messages name them.
    key_fields: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        by_id = self.name == BY_ID_NAME
        fields = ("_id",) if by_id else (*self.fields, "_creationTime", "_id")
        object.__setattr__(self, "key_fields", fields)


@dataclass(frozen=True, slots=True)
class Table:
    """A table. `document_id` is the id of its own document in `_tables`; `maintained` are its
    indexes again, as a tuple, because every write walks them."""

    number: int
    name: str
    document_id: str
    indexes: Mapping[str, Index]
    maintained: tuple[Index, ...]
    next_serial: int = 1
    # The validator that all its documents are known to fit, as text; None: none.
    validated: str | None = None
    check: TableCheck | None = field(default=None, compare=False)

    # What a write needs of `maintained`: number, and encoder of the declared fields, if any.
    key_makers: tuple[tuple[IndexNumber, KeyParts | None], ...] = field(init=False, compare=False)
    # The fields of a document that its keys depend on, by their first names.
    key_fields: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        makers = [(i.number, i.parts if i.fields else None) for i in self.maintained]
        object.__setattr__(self, "key_makers", tuple(makers))
        names = {path.partition(".")[0]: None for i in self.maintained for path in i.fields}
        object.__setattr__(self, "key_fields", tuple(names))

    def with_indexes(self, indexes: Mapping[str, Index], next_serial: int) -> "Table":
        return replace(
            self,
            indexes=indexes,
            maintained=tuple(indexes.values()),
            next_serial=next_serial,
        )


def index_parts(fields: Sequence[str]) -> KeyParts:
    return compile_fields([tuple(path.split(".")) for path in fields])


def make_index(number: IndexNumber, name: str, fields: Sequence[str], *, ready: bool) -> Index:
    return Index(number, name, tuple(fields), ready, index_parts(fields))


def creation_time_index(table_number: int) -> Index:
    return make_index(table_number << _SERIAL_BITS, BY_CREATION_TIME, (), ready=True)


def index_number(table_number: int, serial: int) -> IndexNumber:
    return table_number << _SERIAL_BITS | serial


class Catalog:
    """All tables, system and user. A value: every change makes a new one."""

    __slots__ = ("_by_name", "_by_number")

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._by_name = dict(tables)
        self._by_number = {table.number: table for table in tables.values()}

    def find(self, name: str) -> Table | None:
        return self._by_name.get(name)

    def numbered(self, number: int) -> Table | None:
        return self._by_number.get(number)

    def number_of(self, name: str) -> int | None:
        table = self._by_name.get(name)
        return None if table is None else table.number

    def name_of(self, number: int) -> str | None:
        table = self._by_number.get(number)
        return None if table is None else table.name

    def __iter__(self) -> Iterator[Table]:
        return iter(self._by_name.values())

    def user_tables(self) -> list[Table]:
        return [t for t in self._by_name.values() if not t.name.startswith("_")]

    def system_tables(self) -> list[Table]:
        return [t for t in self._by_name.values() if t.name.startswith("_")]

    def next_user_number(self) -> int:
        """The number for the next user table.

        Raises:
            InvalidArgumentError: there are as many tables as there may be.
        """
        users = self.user_tables()
        if len(users) >= TABLES_MAX:
            raise InvalidArgumentError(f"Number of tables cannot exceed {TABLES_MAX}.")
        return max((table.number for table in users), default=FIRST_USER_TABLE - 1) + 1

    def with_table(self, table: Table) -> "Catalog":
        return Catalog({**self._by_name, table.name: table})

    def with_checks(self, checks: Mapping[str, TableCheck | None]) -> "Catalog":
        """The same tables, each with what the present schema says of it."""
        return Catalog(
            {name: replace(table, check=checks.get(name)) for name, table in self._by_name.items()}
        )


def table_document(table: Table) -> dict[str, Any]:
    """The fields of the `_tables` document that keeps `table`."""
    return {
        "name": table.name,
        "number": table.number,
        "nextSerial": table.next_serial,
        "validated": table.validated,
        "indexes": [
            {
                "name": index.name,
                "number": index.number,
                "fields": list(index.fields),
                "ready": index.ready,
            }
            for index in table.indexes.values()
            if index.name != BY_CREATION_TIME
        ],
    }


def table_of_document(document: Mapping[str, Any], check: TableCheck | None) -> Table:
    """What a `_tables` document says."""
    number = document["number"]
    indexes = {BY_CREATION_TIME: creation_time_index(number)}
    for entry in document["indexes"]:
        index = make_index(entry["number"], entry["name"], entry["fields"], ready=entry["ready"])
        indexes[index.name if index.ready else pending_name(index.name)] = index
    return Table(
        number=number,
        name=document["name"],
        document_id=document["_id"],
        indexes=indexes,
        maintained=tuple(indexes.values()),
        next_serial=document["nextSerial"],
        validated=document["validated"],
        check=check,
    )


def new_table(number: int, name: str, document_id: str) -> Table:
    """An empty table with nothing but its implicit indexes."""
    index = creation_time_index(number)
    return Table(number, name, document_id, {BY_CREATION_TIME: index}, (index,))


def pending_name(index_name: str) -> str:
    """What a table calls a new index until it is full: one of that name may be in use."""
    return f"{index_name} (new)"


def system_table(number: int, name: str, indexes: Mapping[str, Sequence[str]]) -> Table:
    """A table that is always there, with the same indexes in every deployment."""
    assert name.startswith("_"), "system tables are known by their underscore"
    assert number < FIRST_USER_TABLE, "the numbers above are for the app's tables"
    made = {BY_CREATION_TIME: creation_time_index(number)}
    for serial, (index, fields) in enumerate(indexes.items(), start=1):
        made[index] = make_index(index_number(number, serial), index, fields, ready=True)
    return Table(number, name, "", made, tuple(made.values()), len(made))


def table_point(name: str) -> str:
    """The point that stands for whether the table `name` exists, and with which indexes."""
    return f"table:{name}"


def table_of_point(point: str) -> str | None:
    """The name of the table that `table_point` made this of; None if it did not."""
    return point[len("table:") :] if point.startswith("table:") else None
