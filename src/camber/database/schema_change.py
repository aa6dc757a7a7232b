"""From the schema in force to the next one, beside running traffic.

    1. every table that the schema names exists, and every new index is kept by new writes
    2. every document that was there before gets its entry, a chunk at a time
    3. every table whose validator changed is checked, a chunk at a time; what is written
       meanwhile is checked against both schemas
    4. one transaction makes the new indexes readable, drops the old ones, and remembers which
       validator each table fits
    5. the entries of dropped indexes are removed

A document that does not fit ends it: the indexes begun are dropped, the schema in force stays.
A process that dies in the middle leaves indexes that are not readable, or entries of indexes that
nobody has: the next change clears both away.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from camber.database.catalog import (
    BY_CREATION_TIME,
    Catalog,
    Index,
    Table,
    TableCheck,
    index_number,
    make_index,
    pending_name,
)
from camber.database.database import Database
from camber.database.transaction import SYSTEM_FIELDS, Transaction
from camber.errors import InternalError, SchemaError, TransientError, ValidationError
from camber.storage.engine import BY_ID, IndexNumber, TableView
from camber.values.id import id_range
from camber.values.schema import SchemaDefinition, TableDefinition
from camber.values.validator import ObjectValidator
from camber.values.wire import unpack

T = TypeVar("T")

CHUNK: Final = 256
"""Documents to index or check before others have their turn."""

NO_SCHEMA: Final = SchemaDefinition({}, schema_validation=False)


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """What a change of schema did. Index names are `table.index`."""

    indexes_added: tuple[str, ...]
    indexes_dropped: tuple[str, ...]
    documents_checked: int


async def change_schema(database: Database, schema: SchemaDefinition) -> SchemaReport:
    """Bring `schema` into force. Never two at once.

    Raises:
        SchemaError: a document does not fit; the message names it. Nothing has changed.
    """
    return await _SchemaChange(database, schema).run()


def table_views(catalog: Catalog, schema: SchemaDefinition) -> list[TableView]:
    """Every user table as a tool outside should see it: the declared fields as columns."""
    views = []
    for table in catalog.user_tables():
        definition = schema.tables.get(table.name)
        validator = None if definition is None else definition.validator
        fields = tuple(validator.fields) if isinstance(validator, ObjectValidator) else ()
        views.append(TableView(table.name, *id_range(table.number), fields))
    return views


class _SchemaChange:
    """One change under way."""

    def __init__(self, database: Database, schema: SchemaDefinition) -> None:
        self._database = database
        self._schema = schema
        self._in_force = _checks_in_force(database)
        # The indexes that step 1 began.
        self._added: list[Index] = []
        # The indexes that no table has any more.
        self._dropped: list[Index] = []
        # Set for good by step 4: what is written from then on must fit.
        self._is_decided = False
        # Set for good by the end of step 4.
        self._is_in_force = False
        # The first document that was written meanwhile and does not fit.
        self._misfit: str | None = None

    async def run(self) -> SchemaReport:
        await self._clear_away()
        try:
            await _to_its_end(self._begin_indexes())
            self._database.use_checks(self._checks_of_both())
            for index in self._added:
                await self._fill(index)
            checked = await self._check_documents()
            await _to_its_end(self._bring_into_force())
        except BaseException:
            if not self._is_in_force:
                self._database.use_checks(self._in_force)
                await _to_its_end(self._abandon())
            raise
        finally:
            await _to_its_end(self._remove_entries())
        return SchemaReport(
            tuple(self._name(index) for index in self._added),
            tuple(map(self._name, self._dropped)),
            checked,
        )

    def _name(self, index: Index) -> str:
        return f"{self._database.catalog.name_of(index.table_number)}.{index.name}"

    # Tables and indexes

    async def _clear_away(self) -> None:
        """Remove what a change that was cut short has left."""

        async def body(tx: Transaction) -> list[IndexNumber]:
            left: list[IndexNumber] = []
            for table in tx.catalog.user_tables():
                ready = {name: index for name, index in table.indexes.items() if index.ready}
                if len(ready) < len(table.indexes):
                    await tx.change_table(table.with_indexes(ready, table.next_serial))
                left += [
                    number
                    for number in _dropped_numbers(table, ready)
                    if await tx.rows(number, b"", None, reverse=False, limit=1)
                ]
            return left

        left = (await self._database.write(body)).value
        await self._database.drop_entries(left)

    async def _begin_indexes(self) -> None:
        """Make the tables and the indexes that are missing; the latter not readable yet."""

        async def body(tx: Transaction) -> list[Index]:
            added: list[Index] = []
            for definition in self._schema.tables.values():
                table = tx.ensure_table(definition.name)
                new = _new_indexes(table, definition)
                if new:
                    added += new
                    indexes = {**table.indexes, **{pending_name(i.name): i for i in new}}
                    await tx.change_table(table.with_indexes(indexes, table.next_serial + len(new)))
            return added

        self._added = (await self._database.write(body)).value

    async def _fill(self, index: Index) -> None:
        """Give every document of the table its entry, in the order of ids."""
        lower, upper = id_range(index.table_number)
        after = lower.encode()
        while True:

            async def body(tx: Transaction, after: bytes = after) -> bytes | None:
                rows = await tx.rows(BY_ID, after, upper.encode(), reverse=False, limit=CHUNK)
                await tx.index_again(index, rows)
                return rows[-1][0] + b"\0" if len(rows) == CHUNK else None

            done = (await self._database.write(body)).value
            if done is None:
                return
            after = done

    async def _bring_into_force(self) -> None:
        """Let the new indexes be read, and forget those that the new schema does not have."""
        numbers = {index.number for index in self._added}

        async def body(tx: Transaction) -> list[Index]:
            # First this and then the look: a check on another thread does one or the other.
            self._is_decided = True
            if self._misfit is not None:
                raise SchemaError(self._misfit)
            dropped: list[Index] = []
            for table in tx.catalog.user_tables():
                definition = self._schema.tables.get(table.name)
                after = _settled(table, definition, numbers)
                validated = self._validator_text(definition)
                kept = {index.number for index in after.values()}
                dropped += [index for index in table.maintained if index.number not in kept]
                if after != dict(table.indexes) or validated != table.validated:
                    changed = table.with_indexes(after, table.next_serial)
                    await tx.change_table(replace(changed, validated=validated))
            return dropped

        self._dropped = (await self._database.write(body)).value
        self._database.use_checks(self._checks())
        self._is_in_force = True

    async def _abandon(self) -> None:
        """Take back the indexes that were begun, now or, if the store fails, another time."""
        numbers = {index.number for index in self._added}

        async def body(tx: Transaction) -> list[Index]:
            dropped: list[Index] = []
            for table in tx.catalog.user_tables():
                begun = [i for i in table.maintained if i.number in numbers and not i.ready]
                if begun:
                    kept = {n: i for n, i in table.indexes.items() if i not in begun}
                    await tx.change_table(table.with_indexes(kept, table.next_serial))
                    dropped += begun
            return dropped

        with contextlib.suppress(TransientError, InternalError):
            self._dropped = (await self._database.write(body)).value

    async def _remove_entries(self) -> None:
        """Remove the entries of dropped indexes: now or, if the store fails, another time."""
        with contextlib.suppress(TransientError, InternalError):
            await self._database.drop_entries([index.number for index in self._dropped])

    # Documents

    def _checks(self) -> dict[str, TableCheck | None]:
        if not self._schema.schema_validation:
            return {}
        return dict(self._schema.tables)

    def _checks_of_both(self) -> dict[str, TableCheck | None]:
        """Hold writes against the schema in force, and note what the next one would refuse."""
        both: dict[str, TableCheck | None] = {
            name: _BothChecks(name, self._in_force.get(name), check, self._note_misfit)
            for name, check in self._checks().items()
            if check is not None
        }
        return {**self._in_force, **both}

    def _note_misfit(self, table: str, error: ValidationError) -> None:
        """A document was written that the next schema does not allow: it cannot come into force.
        Once it is about to, the document is refused instead."""
        if self._is_decided:
            raise error
        self._misfit = self._misfit or (
            f'New document in table "{table}" does not match the schema: {error}'
        )

    def _validator_text(self, definition: TableDefinition | None) -> str | None:
        if definition is None or definition.validator is None:
            return None
        if not self._schema.schema_validation:
            return None
        # Not its JSON form, in which a whole number and any other number are the same.
        return repr(definition.validator)

    async def _check_documents(self) -> int:
        checked = 0
        for name, check in self._checks().items():
            table = self._database.catalog.find(name)
            assert table is not None, "step 1 made every table"
            definition = self._schema.tables[name]
            text = self._validator_text(definition)
            if check is not None and text is not None and text != table.validated:
                checked += await self._check_table(table, check)
        return checked

    async def _check_table(self, table: Table, check: TableCheck) -> int:
        lower, upper = (text.encode() for text in id_range(table.number))
        checked = 0
        while True:

            async def body(tx: Transaction, lower: bytes = lower) -> list[tuple[bytes, str]]:
                return await tx.rows(BY_ID, lower, upper, reverse=False, limit=CHUNK)

            rows = (await self._database.write(body)).value
            for _, text in rows:
                self._check_document(table, check, unpack(text))
            checked += len(rows)
            if len(rows) < CHUNK:
                return checked
            lower = rows[-1][0] + b"\0"

    def _check_document(self, table: Table, check: TableCheck, fields: dict[str, Any]) -> None:
        try:
            check.check(without_system_fields(fields), self._database.catalog)
        except ValidationError as error:
            raise SchemaError(
                f'Document with ID "{fields["_id"]}" in table "{table.name}" does not match the '
                f"schema: {error}"
            ) from None


class _BothChecks:
    """The check in force on a table, and beside it the next one, whose misfits are only noted."""

    def __init__(
        self,
        table: str,
        in_force: TableCheck | None,
        following: TableCheck,
        note: Callable[[str, ValidationError], None],
    ) -> None:
        self._table = table
        self._in_force = in_force
        self._following = following
        self._note = note
        self.defaults: Mapping[str, Any] = {} if in_force is None else in_force.defaults

    def check(self, fields: Mapping[str, Any], tables: Catalog, /) -> None:
        if self._in_force is not None:
            self._in_force.check(fields, tables)
        try:
            self._following.check(fields, tables)
        except ValidationError as error:
            self._note(self._table, error)


async def _to_its_end(step: Coroutine[Any, Any, T]) -> T:
    """Await a step that must not be cut short: whoever cancels us waits for its end."""
    task = asyncio.ensure_future(step)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def without_system_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in SYSTEM_FIELDS}


def _checks_in_force(database: Database) -> dict[str, TableCheck | None]:
    return {table.name: table.check for table in database.catalog.user_tables()}


def _dropped_numbers(table: Table, indexes: Mapping[str, Index]) -> list[IndexNumber]:
    """The numbers that indexes of the table once had, but none of `indexes`."""
    kept = {index.number for index in indexes.values()}
    numbers = [index_number(table.number, serial) for serial in range(1, table.next_serial)]
    return [number for number in numbers if number not in kept]


def _new_indexes(table: Table, definition: TableDefinition) -> list[Index]:
    """The declared indexes that the table does not have, or has with other fields."""
    missing = [
        declared
        for declared in definition.indexes.values()
        if (known := table.indexes.get(declared.name)) is None
        or known.fields != tuple(declared.fields)
    ]
    return [
        make_index(
            index_number(table.number, table.next_serial + i),
            declared.name,
            declared.fields,
            ready=False,
        )
        for i, declared in enumerate(missing)
    ]


def _settled(table: Table, definition: TableDefinition | None, added: set[int]) -> dict[str, Index]:
    """The indexes that the table has from now on: the declared ones, all of them full."""
    indexes = {BY_CREATION_TIME: table.indexes[BY_CREATION_TIME]}
    for index in table.indexes.values():
        declared = None if definition is None else definition.indexes.get(index.name)
        if declared is None or index.fields != tuple(declared.fields):
            continue
        if index.number in added:
            indexes[index.name] = replace(index, ready=True)
        elif index.ready:
            indexes.setdefault(index.name, index)
    return indexes
