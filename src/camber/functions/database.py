"""`ctx.db`: the database as queries and mutations see it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from camber.database.plan import Plan
from camber.errors import InvalidArgumentError, UserError
from camber.functions.absent import WRITE, Absent
from camber.functions.call import Call
from camber.functions.query import TableQuery
from camber.system.tables import PUBLIC_TABLES
from camber.values.id import decode_id, table_number_of
from camber.values.schema import Table
from camber.values.value import Document, describe

T = TypeVar("T", bound=Table)
# To a type checker the id of a document is of the type of its table's name; see `values.hints.Id`.
S = TypeVar("S", bound=str)

_NOT_GIVEN: Final = object()

TableName = str | type[Table]
"""A table, by its name or its `Table` class; with the class, results are typed."""


def name_of_table(table: TableName) -> str:
    """The name that a table is known by."""
    if isinstance(table, str):
        return table
    name = getattr(table, "__tablename__", None)
    if isinstance(name, str):
        return name
    raise InvalidArgumentError(
        f"A table is given by its name or its Table class, got {describe(table)}"
    )


class DatabaseReader:
    """Reads user tables. Every reading enters the transaction's read set."""

    __slots__ = ("_call", "_tx")

    if not TYPE_CHECKING:
        insert = Absent("ctx.db.insert()", "a query", WRITE)
        patch = Absent("ctx.db.patch()", "a query", WRITE)
        replace = Absent("ctx.db.replace()", "a query", WRITE)
        delete = Absent("ctx.db.delete()", "a query", WRITE)

    def __init__(self, call: Call) -> None:
        self._call = call
        self._tx = call.tx

    @overload
    async def get(self, id: str, /) -> Any: ...
    @overload
    async def get(self, table: type[T], id: str, /) -> T | None: ...
    @overload
    async def get(self, table: str, id: str, /) -> Any: ...
    async def get(self, table_or_id: Any, id: Any = _NOT_GIVEN, /) -> Any:
        """The document with this id, or None.

        Args:
            table: optional; the table that the id must be of.
            id: a document id.

        Raises:
            InvalidArgumentError: not an id, or the id of another table.
        """
        id = self._checked("get", table_or_id, id)
        document = await self._tx.get(id)
        if document is None:
            _decode("get", id)
        return document

    @overload
    def query(self, table: type[T], /) -> TableQuery[T]: ...
    @overload
    def query(self, table: str, /) -> TableQuery[Any]: ...
    def query(self, table: TableName, /) -> TableQuery[Any]:
        """Begin a query of a table: the oldest documents first, until a step says otherwise."""
        name = name_of_table(table)
        if name.startswith("_"):
            raise InvalidArgumentError("System tables can only be accessed from db.system.query().")
        return TableQuery(self._tx, self._call, Plan(name))

    def normalize_id(self, table: TableName, id: str, /) -> str | None:
        """The id, if it is one of `table`'s; else None. Does not look whether a document has it."""
        name = name_of_table(table)
        if name.startswith("_"):
            raise InvalidArgumentError(
                "System tables can only be accessed from db.system.normalizeId()."
            )
        return _normalized(self._call, name, id)

    @property
    def system(self) -> "SystemReader":
        """The system tables that app code may read: `_storage`."""
        return SystemReader(self._call)

    def _checked(self, method: str, table_or_id: Any, id: Any) -> str:
        """The id among a method's arguments, found to be of a user table (of `table`, if given)."""
        if id is _NOT_GIVEN:
            table_name, id = None, table_or_id
        else:
            table_name = name_of_table(table_or_id)
        if not isinstance(id, str):
            raise InvalidArgumentError(
                f"Invalid argument `id` for `db.{method}`, expected string but got "
                f"'{type(id).__name__}': {describe(id)}"
            )
        number = table_number_of(id)
        if number is None:
            number = _decode(method, id)
        actual = self._tx.catalog.name_of(number)
        if actual is None:
            _decode(method, id)
        elif actual.startswith("_"):
            raise InvalidArgumentError("System tables can only be accessed with db.system.")
        if table_name is not None and actual != table_name:
            raise InvalidArgumentError(
                f"Invalid argument `id` for `db.{method}`: expected to be an "
                f'Id<"{table_name}">, got Id<"{actual}"> instead.'
            )
        return id


class DatabaseWriter(DatabaseReader):
    """Reads and writes user tables, in the mutation's transaction."""

    __slots__ = ()

    @overload
    async def insert(self, table: S, value: Mapping[str, Any], /) -> S: ...
    @overload
    async def insert(self, table: type[Table], value: Mapping[str, Any], /) -> Any: ...
    async def insert(self, table: TableName, value: Mapping[str, Any], /) -> str:
        """Add a document.

        Returns:
            Its new id.

        Raises:
            InvalidArgumentError, InvalidValueError: not a document.
            ValidationError: the table's schema does not allow it.
            LimitError: too much written by one execution.
        """
        name = name_of_table(table)
        if name.startswith("_"):
            raise InvalidArgumentError("System tables (prefixed with `_`) are read-only.")
        return self._tx.insert(name, value)

    @overload
    async def patch(self, id: str, changes: Mapping[str, Any], /) -> None: ...
    @overload
    async def patch(self, table: TableName, id: str, changes: Mapping[str, Any], /) -> None: ...
    async def patch(self, *arguments: Any) -> None:
        """Merge `changes` into the top level of a document. A field that is UNDEFINED in it is
        removed; nested objects are replaced whole.

        Raises:
            InvalidArgumentError: no document has this id.
            ValidationError: the table's schema does not allow the result.
        """
        id, changes = self._target("patch", arguments)
        await self._tx.patch(id, changes)

    @overload
    async def replace(self, id: str, value: Mapping[str, Any], /) -> None: ...
    @overload
    async def replace(self, table: TableName, id: str, value: Mapping[str, Any], /) -> None: ...
    async def replace(self, *arguments: Any) -> None:
        """Give a document other content; id and creation time stay.

        Raises:
            As `patch`.
        """
        id, value = self._target("replace", arguments)
        await self._tx.replace(id, value)

    @overload
    async def delete(self, id: str, /) -> None: ...
    @overload
    async def delete(self, table: TableName, id: str, /) -> None: ...
    async def delete(self, table_or_id: Any, id: Any = _NOT_GIVEN, /) -> None:
        """Remove a document.

        Raises:
            InvalidArgumentError: no document has this id.
        """
        await self._tx.delete(self._checked("delete", table_or_id, id))

    def _target(self, method: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
        if len(arguments) == 2:
            return self._checked(method, arguments[0], _NOT_GIVEN), arguments[1]
        if len(arguments) == 3:
            return self._checked(method, arguments[0], arguments[1]), arguments[2]
        raise InvalidArgumentError(f"db.{method}() takes an id and the fields.")


class SystemReader:
    """Reads the system tables that app code may see."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    async def get(self, table_or_id: str, id: Any = _NOT_GIVEN, /) -> Document | None:
        """The document of a system table with this id, or None."""
        if id is _NOT_GIVEN:
            id = table_or_id
        number = table_number_of(id) if isinstance(id, str) else None
        if number is None:
            number = _decode("system.get", id)
        name = self._call.tx.catalog.name_of(number)
        if name is None or name not in PUBLIC_TABLES:
            raise InvalidArgumentError("User tables cannot be accessed with db.system.")
        return await self._call.tx.get(id)

    def query(self, table: str, /) -> TableQuery[Document]:
        """Begin a query of a system table."""
        if table not in PUBLIC_TABLES:
            raise InvalidArgumentError("User tables can only be accessed from db.query().")
        return TableQuery(self._call.tx, self._call, Plan(table))

    def normalize_id(self, table: str, id: str, /) -> str | None:
        """The id, if it is one of the system table's; else None."""
        if table not in PUBLIC_TABLES:
            raise InvalidArgumentError("User tables can only be accessed from db.normalizeId().")
        return _normalized(self._call, table, id)


def _decode(method: str, id: str) -> int:
    """The table number of a well-formed id; refused with the reason if it is not one."""
    try:
        return decode_id(id).table_number
    except UserError as error:
        raise InvalidArgumentError(f"Invalid argument `id` for `db.{method}`: {error}") from None


def _normalized(call: Call, table_name: str, id: str) -> str | None:
    try:
        number = decode_id(id).table_number
    except UserError:
        return None
    table = call.tx.find_table(table_name)
    return id if table is not None and table.number == number else None
