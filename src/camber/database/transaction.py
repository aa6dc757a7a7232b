"""One transaction: reads through (own writes over a snapshot), a read set, buffered writes.

It decides nothing about durability or order: the committer takes what it wrote. Until then
nobody else can see any of it, and dropping it undoes it.

A read set records what was looked at even when nothing was found, and even in a nested call that
failed, because app code may have acted upon it.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from camber.database.catalog import (
    CATALOG_POINT,
    TABLES,
    TABLES_NUMBER,
    Catalog,
    Index,
    Table,
    new_table,
    table_document,
    table_point,
)
from camber.database.commit_log import LoggedCommit
from camber.database.overlay import Overlay
from camber.database.read_set import ReadSet, Touched, WriteSet
from camber.database.usage import Usage
from camber.errors import InvalidArgumentError, ValidationError
from camber.storage.engine import Commit, IndexNumber, Reader, Timestamp, Write
from camber.values.id import IdMint, table_number_of
from camber.values.key import encode
from camber.values.value import UNDEFINED, Document, check_document, check_identifier
from camber.values.wire import pack, unpack

SYSTEM_FIELDS: Final = ("_id", "_creationTime")


class CreationClock:
    """Gives every new document its `_creationTime`: unique within the process, and growing."""

    __slots__ = ("_last", "_lock")

    def __init__(self) -> None:
        self._last = 0.0
        # Transactions run on several threads.
        self._lock = threading.Lock()

    def floor_ts(self) -> Timestamp:
        """A timestamp above every creation time given so far: what is committed no earlier keeps
        them growing across a restart, also when the clock has been set back."""
        return int(self._last * 1e6) + 512

    def next(self, base_ms: float) -> float:
        """`base_ms`, or the smallest float above the last one given, if that is later."""
        with self._lock:
            last = self._last
            self._last = base_ms if base_ms > last else math.nextafter(last, math.inf)
            return self._last


class Pending(Struct, frozen=True):
    """A document that the transaction wrote: what lies below, and what it is now."""

    table: Table
    before: str | None
    before_keys: tuple[Touched, ...]
    after: str | None
    after_keys: tuple[Touched, ...]


class Transaction(Struct, eq=False):
    """A transaction. Not for use by two threads at once."""

    _reader: Reader
    catalog: Catalog
    begin_ts: Timestamp
    # The time of its begin: what the clock shows to the function that runs in it.
    now_ns: int
    _creation: CreationClock
    _mint: IdMint
    reads: ReadSet = field(default_factory=ReadSet)
    usage: Usage = field(default_factory=Usage)
    _writes: dict[str, Pending] = field(default_factory=dict)
    # The writes over the reader, for scans; made when first needed. `_stale` are the documents
    # written since.
    _overlay: Overlay | None = None
    _stale: list[str] = field(default_factory=list)
    # Makes one more document, new and of the platform's own, that tells the timestamp of the
    # commit; None: there is none. It counts as no write of the app's.
    stamp: Callable[[Timestamp], tuple[str, Pending]] | None = None
    # What to put back, youngest last, while a nested call runs; None outside of one.
    _journal: list[tuple[str, Pending | None]] | None = None

    # Reading

    async def get(self, id: str) -> Document | None:
        """The document `id`, or None."""
        self.usage.open_range()
        text = await self.text(id)
        if text is None:
            return None
        self.usage.read(1, len(text))
        return Document(unpack(text))

    async def text(self, id: str) -> str | None:
        """The stored text of document `id`, or None. Counts nothing."""
        self.reads.points.add(id)
        pending = self._writes.get(id)
        if pending is not None:
            return pending.after
        return await self._reader.get(id)

    async def rows(
        self,
        index: IndexNumber,
        lower: bytes,
        upper: bytes | None,
        *,
        reverse: bool,
        limit: int,
    ) -> list[tuple[bytes, str]]:
        """The first `limit` entries of an interval as `(key, text)`, own writes included.

        The caller notes in `reads` and `usage` what it consumed of them (see `Scan`).
        """
        if not self._writes:
            return await self._reader.scan(index, lower, upper, reverse=reverse, limit=limit)
        return await self._fresh_overlay().scan(
            self._reader, index, lower, upper, reverse=reverse, limit=limit
        )

    def _fresh_overlay(self) -> Overlay:
        overlay = self._overlay
        if overlay is None:
            overlay = self._overlay = Overlay()
            self._stale = list(self._writes)
        for id in self._stale:
            pending = self._writes[id]
            overlay.put(id, pending.after, pending.before_keys, pending.after_keys)
        self._stale.clear()
        return overlay

    def find_table(self, name: str) -> Table | None:
        """The table `name`, or None; then its absence has been read."""
        table = self.catalog.find(name)
        if table is None:
            self.reads.points.add(table_point(name))
        return table

    # Writing

    def insert(self, table_name: str, value: Mapping[str, Any]) -> str:
        """Add a document; the table is made if there is none of that name.

        Returns:
            The id of the new document.

        Raises:
            InvalidArgumentError: `value` is not a dict, names a system field, or the table's
                name is not one.
            ValidationError: the table's schema does not allow `value`.
        """
        if type(value) is not dict and not isinstance(value, Mapping):
            raise InvalidArgumentError("Value must be an Object")
        table = self.catalog.find(table_name) or self.ensure_table(table_name)
        id = self._mint.mint(table.number)
        creation_time = self._next_creation_time()
        document = {"_id": id, "_creationTime": creation_time, **value}
        check = table.check
        if check is not None and check.defaults:
            for name, default in check.defaults.items():
                document.setdefault(name, default)
        if document["_id"] is not id or document["_creationTime"] is not creation_time:
            _check_system_fields({"_id": id, "_creationTime": creation_time}, value)
        self._create(table, id, document)
        return id

    def _next_creation_time(self) -> float:
        return self._creation.next(max(self.now_ns, self.begin_ts + 1) / 1e6)

    async def patch(self, id: str, changes: Mapping[str, Any]) -> None:
        """Merge `changes` into the top level of a document; UNDEFINED removes a field.

        Raises:
            InvalidArgumentError: there is no such document, or `changes` names a system field
                with another value.
            ValidationError: the table's schema does not allow the result.
        """
        current = await self._current(id, "Update")
        if not isinstance(changes, Mapping):
            raise InvalidArgumentError("Value must be an Object")
        _check_system_fields(current.fields, changes)
        merged = {**current.fields, **changes}
        self._replace(current, {k: v for k, v in merged.items() if v is not UNDEFINED})

    async def replace(self, id: str, value: Mapping[str, Any]) -> None:
        """Give a document other content; it keeps its id and creation time.

        Raises:
            As `patch`.
        """
        current = await self._current(id, "Replace")
        if not isinstance(value, Mapping):
            raise InvalidArgumentError("Value must be an Object")
        _check_system_fields(current.fields, value)
        kept = {name: current.fields[name] for name in SYSTEM_FIELDS}
        self._replace(current, {**kept, **value, **kept})

    async def delete(self, id: str) -> None:
        """Remove a document.

        Raises:
            InvalidArgumentError: there is no such document.
        """
        current = await self._current(id, "Delete")
        self.usage.write(0)
        self._set(id, replace(self._pending(current), after=None, after_keys=()))

    async def _current(self, id: str, verb: str) -> "_Current":
        self.usage.open_range()
        text = await self.text(id)
        table = self.catalog.numbered(table_number_of(id) or 0)
        if table is None:
            raise InvalidArgumentError(f'Table for ID "{id}" not found')
        if text is None:
            raise InvalidArgumentError(f"{verb} on nonexistent document ID {id}")
        self.usage.read(1, len(text))
        return _Current(table, id, text, unpack(text))

    def _pending(self, current: "_Current") -> Pending:
        """What this transaction has pending for a document, or would have, unchanged."""
        pending = self._writes.get(current.id)
        if pending is None:
            keys = index_keys(current.table, current.id, current.fields)
            pending = Pending(current.table, current.text, keys, current.text, keys)
        return pending

    def _replace(self, current: "_Current", document: dict[str, Any]) -> None:
        size, plain = check_document(document)
        after = pack(document, plain)
        if after == current.text:
            return  # Writing what is there already is no write.
        table, id = current.table, current.id
        _check_schema(table, document, self.catalog)
        self.usage.write(size)
        pending = self._pending(current)
        if pending.table is table and _same_key_fields(table, current.fields, document):
            keys = pending.after_keys
        else:
            keys = index_keys(table, id, document)
        self._set(id, Pending(pending.table, pending.before, pending.before_keys, after, keys))

    def _create(self, table: Table, id: str, document: dict[str, Any]) -> None:
        size, plain = check_document(document)
        _check_schema(table, document, self.catalog)
        self.usage.write(size)
        after = pack(document, plain)
        self._set(id, Pending(table, None, (), after, index_keys(table, id, document)))

    def _set(self, id: str, pending: Pending) -> None:
        if self._journal is not None:
            self._journal.append((id, self._writes.get(id)))
        self._writes[id] = pending
        if self._overlay is not None:
            self._stale.append(id)

    # Tables

    def ensure_table(self, name: str) -> Table:
        """The table `name`, made as part of this transaction if there is none.

        Raises:
            InvalidArgumentError: `name` is not a table's name.
        """
        table = self.catalog.find(name)
        if table is not None:
            return table
        if name.startswith("_"):
            raise InvalidArgumentError(f"Invalid table name {name} starts with metadata prefix '_'")
        check_identifier(name)
        self.reads.points.update((table_point(name), CATALOG_POINT))
        number = self.catalog.next_user_number()
        table = new_table(number, name, self._mint.mint(TABLES_NUMBER))
        id = table.document_id
        document = {
            "_id": id,
            "_creationTime": self._next_creation_time(),
            **table_document(table),
        }
        # Not counted in the usage: it is not the app's document.
        keys = index_keys(self._tables(), id, document)
        self._set(id, Pending(self._tables(), None, (), pack(document, plain=False), keys))
        self.catalog = self.catalog.with_table(table)
        return table

    async def change_table(self, table: Table) -> None:
        """Write other indexes or another validator of a table, as part of this transaction."""
        self.reads.points.add(CATALOG_POINT)
        await self.replace(table.document_id, table_document(table))
        self.catalog = self.catalog.with_table(table)

    async def index_again(self, index: Index, rows: Sequence[tuple[bytes, str]]) -> None:
        """Give each document of `rows` its entry in `index`, unless it has one by now."""
        table = self.catalog.numbered(index.table_number)
        assert table is not None
        for _, text in rows:
            fields = unpack(text)
            id = fields["_id"]
            touched = index_key(index, id, fields)
            found = await self._reader.scan(
                index.number, touched[1], touched[1] + b"\0", reverse=False, limit=1
            )
            if not found and id not in self._writes:
                keys = tuple(key for key in index_keys(table, id, fields) if key[0] != index.number)
                self._set(id, Pending(table, text, keys, text, (*keys, touched)))

    def _tables(self) -> Table:
        tables = self.catalog.find(TABLES)
        assert tables is not None, "the table of tables is always there"
        return tables

    # Nested calls

    def savepoint(self) -> "Savepoint":
        """The present writes, to come back to when a nested call fails."""
        outer = self._journal
        self._journal = []
        return Savepoint(outer, self.usage.writes(), self.catalog)

    def roll_back(self, savepoint: "Savepoint") -> None:
        """Undo every write since `savepoint`. What was read stays read."""
        assert self._journal is not None
        for id, previous in reversed(self._journal):
            if previous is None:
                del self._writes[id]
            else:
                self._writes[id] = previous
        # Rebuilt from the writes that are left when a scan next needs it.
        self._overlay = None
        self._journal = savepoint.outer
        self.usage.restore_writes(savepoint.usage)
        self.catalog = savepoint.catalog

    def release(self, savepoint: "Savepoint") -> None:
        """Keep the writes since `savepoint`: they are the caller's now."""
        assert self._journal is not None
        if savepoint.outer is not None:
            savepoint.outer.extend(self._journal)
        self._journal = savepoint.outer

    def discard(self, id: str, text: str) -> None:
        """Delete a document of the platform's own, whose text was just read. Counts nothing."""
        self.reads.points.add(id)
        table = self.catalog.numbered(table_number_of(id) or 0)
        assert table is not None, "the platform's tables are always there"
        keys = index_keys(table, id, unpack(text))
        self._set(id, Pending(table, text, keys, None, ()))

    # Committing

    def has_writes(self) -> bool:
        return self.stamp is not None or any(
            write.before != write.after or write.before_keys != write.after_keys
            for write in self._writes.values()
        )

    def written_tables(self) -> list[Table]:
        """The tables it wrote to, as they were when it did."""
        return list({id(each.table): each.table for each in self._writes.values()}.values())

    def seal(self, ts: Timestamp) -> "Sealed | None":
        """The writes as a commit at `ts`; None if nothing is different from before."""
        writes: list[Write] = []
        points: list[str] = []
        touched: list[Touched] = []
        befores: list[tuple[str, str | None]] = []
        for id, pending in self._writes.items():
            before, before_keys = pending.before, pending.before_keys
            after, after_keys = pending.after, pending.after_keys
            if before is None:
                if after is None:
                    continue
                writes.append(Write(id, None, after, (), after_keys))
                touched += after_keys
            elif before == after and before_keys == after_keys:
                continue
            else:
                gone: Sequence[Touched] = ()
                come: Sequence[Touched] = ()
                if before_keys is not after_keys:
                    gone = [key for key in before_keys if key not in after_keys]
                    come = [key for key in after_keys if key not in before_keys]
                writes.append(Write(id, before, after, gone, come))
                touched += come
                # If nothing else is different, an index is being filled: whoever reads that sees
                # it, nobody else does.
                touched += gone if before == after else before_keys
            befores.append((id, before))
            if before != after:
                points.append(id)
                if pending.table.number == TABLES_NUMBER:
                    points.extend(_catalog_points(after or before))
        if self.stamp is not None:
            id, pending = self.stamp(ts)
            writes.append(Write(id, None, pending.after, (), pending.after_keys))
            touched += pending.after_keys
            befores.append((id, None))
            points.append(id)
        if not writes:
            return None
        written = WriteSet(tuple(points), tuple(touched))
        return Sealed(Commit(ts, writes), LoggedCommit(ts, written, tuple(befores)))

    def changed_tables(self) -> list[tuple[str | None, str | None]]:
        """The `_tables` documents this transaction wrote, as (before, after) texts."""
        return [
            (pending.before, pending.after)
            for pending in self._writes.values()
            if pending.table.number == TABLES_NUMBER
        ]


class _Current(Struct, frozen=True):
    """A document as the transaction sees it now, about to be written."""

    table: Table
    id: str
    text: str
    fields: dict[str, Any]


class Savepoint(Struct, frozen=True):
    """Where a nested call began."""

    outer: "list[tuple[str, Pending | None]] | None"
    usage: tuple[int, int]
    catalog: Catalog


class Sealed(Struct, frozen=True):
    """A transaction's writes, ready for the engine and for the log."""

    commit: Commit
    logged: LoggedCommit


def index_key(index: Index, id: str, fields: Mapping[str, Any]) -> Touched:
    """The key under which a document is found in one index."""
    parts = (*index.parts(fields), encode(fields["_creationTime"]))
    return index.number, b"".join(parts) + id.encode(), parts


def index_keys(table: Table, id: str, fields: Mapping[str, Any]) -> tuple[Touched, ...]:
    """The keys under which a document is found, one for each index of its table."""
    created = encode(fields["_creationTime"])
    end = created + id.encode()
    keys: list[Touched] = []
    for number, parts_of in table.key_makers:
        if parts_of is None:
            keys.append((number, end, (created,)))
        else:
            parts = parts_of(fields)
            keys.append((number, b"".join(parts) + end, (*parts, created)))
    return tuple(keys)


def _same_key_fields(table: Table, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two contents of a document hold the very same objects where its keys come from, as
    most patches leave it: then the keys are the same."""
    fields = table.key_fields
    return all(one.get(name, UNDEFINED) is other.get(name, UNDEFINED) for name in fields)


def _catalog_points(text: str | None) -> tuple[str, str]:
    assert text is not None
    return table_point(unpack(text)["name"]), CATALOG_POINT


def _check_schema(table: Table, document: Mapping[str, Any], catalog: Catalog) -> None:
    if table.check is None:
        return
    fields = dict(document)
    del fields["_id"], fields["_creationTime"]
    try:
        table.check.check(fields, catalog)
    except ValidationError as error:
        raise ValidationError(
            f'Failed to insert or update a document in table "{table.name}" because it does not '
            f"match the schema: {error}"
        ) from None


def _check_system_fields(document: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """`given` may repeat the system fields of `document`, as `{**document, …}` does."""
    id, creation_time = document["_id"], document["_creationTime"]
    if given.get("_id", id) != id:
        raise InvalidArgumentError(
            f"Provided document ID {given['_id']} doesn't match '_id' field {id}"
        )
    if given.get("_creationTime", creation_time) != creation_time:
        raise InvalidArgumentError(
            f"Provided creation time {given['_creationTime']} doesn't match '_creationTime' "
            f"field in {id}"
        )
