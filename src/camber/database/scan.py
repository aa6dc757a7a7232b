"""Walking an interval of index keys through a plan's operators.

Rows are fetched in chunks but consumed one by one, and only what was consumed enters the read set
and the counters: a search that stopped at its first match does not conflict with a change behind
it.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from msgspec import Struct, field

from camber.database.catalog import Index, table_point
from camber.database.expression import Expression, judge
from camber.database.plan import (
    Limit,
    Operator,
    Order,
    Plan,
    find_index,
    interval_of,
    is_declared,
)
from camber.database.read_set import Interval
from camber.database.transaction import Transaction
from camber.values.value import Document, documents_of
from camber.values.wire import unpack_many

CHUNK_MIN: Final = 64
CHUNK_MAX: Final = 256
"""How many rows are fetched at once. Documents may be large: not many."""


class Row(Struct, frozen=True):
    """A document and the index key it was found under."""

    key: bytes
    document: Document


def open_scan(tx: Transaction, plan: Plan) -> "Scan":
    """Begin to walk a plan. Reads nothing yet.

    Raises:
        InvalidArgumentError: the plan does not fit the table's indexes.
        LimitError: too many ranges in one execution.
    """
    index = open_index(tx, plan)
    interval = None
    if index is not None:
        interval = interval_of(tx.catalog, plan.table, index, plan.comparisons)
    return Scan(tx, interval, plan.order, plan.operators)


def open_index(tx: Transaction, plan: Plan) -> Index | None:
    """The index that a plan walks; None when the table is not there. That has then been read,
    and so has the table's list of indexes: the index may come, go, or become another.

    Raises:
        InvalidArgumentError: there is no such index.
        LimitError: too many ranges in one execution.
    """
    tx.usage.open_range()
    tx.find_table(plan.table)
    if is_declared(plan.index):
        tx.reads.points.add(table_point(plan.table))
    return find_index(tx.catalog, plan.table, plan.index)


def _documents(rows: Sequence[tuple[bytes, str]]) -> list[Document]:
    texts = [row[1] for row in rows]
    return documents_of(unpack_many(texts), texts)


class Scan(Struct, eq=False):
    """A walk under way. `interval=None` is a table that is not there: no rows."""

    _tx: Transaction
    interval: Interval | None
    order: Order
    filters: Sequence[Operator] = ()
    # For each `Limit` among the operators, how many rows it still lets through.
    left: list[int] = field(default_factory=list)
    # Fetched rows, of which those before `_next` are consumed.
    _buffer: list[tuple[bytes, str]] = field(default_factory=list)
    _next: int = 0
    # What is left to fetch; None once the interval's end has been fetched.
    _rest: Interval | None = None
    # True once no row can come any more.
    _ended: bool = False
    # Where this scan's interval stands among the transaction's; None before the first fetch.
    _noted: int | None = None
    rows_read: int = 0
    bytes_read: int = 0
    # The key of the last row consumed, dropped ones included.
    last_key: bytes | None = None

    def __post_init__(self) -> None:
        self._rest = self.interval
        self._ended = self.interval is None
        for operator in self.filters:
            count = operator.count if isinstance(operator, Limit) else 0
            self.left.append(count)
            if isinstance(operator, Limit) and count == 0:
                self._ended = True

    @property
    def reverse(self) -> bool:
        """Whether it goes from the greatest key down."""
        return self.order is Order.DESC

    async def take(self, count: int) -> list[Document]:
        """Up to `count` more documents; fewer only at the end."""
        if not self.filters and not self._buffer:
            return await self._take_plain(count)
        found: list[Document] = []
        while len(found) < count:
            row = await self.next()
            if row is None:
                break
            found.append(row.document)
        return found

    async def _take_plain(self, count: int) -> list[Document]:
        """No filter and nothing fetched yet: one fetch, decoded at once."""
        if self._ended or count <= 0:
            return []
        rows: list[tuple[bytes, str]] = []
        while len(rows) < count and self._rest is not None:
            await self._fetch(min(count - len(rows), CHUNK_MAX))
            rows += self._buffer
            self._consume_all()
        return _documents(rows)

    @property
    def ended(self) -> bool:
        """Whether it is known that no row comes any more."""
        return self._ended

    async def next(self) -> Row | None:
        """The next row that the operators let through; None at the end."""
        return await self.next_within(None, None)

    async def next_within(self, rows_max: int | None, bytes_max: int | None) -> Row | None:
        """As `next`, but also None once so many rows or bytes have been read in all. At least
        one row is read in any case."""
        while not self._ended:
            if (rows_max is not None and self.rows_read >= rows_max) or (
                bytes_max is not None and self.bytes_read >= bytes_max
            ):
                return None
            if self._next == len(self._buffer):
                if self._rest is None:
                    self._ended = True
                    self._note(whole=True)
                    break
                await self._fetch(min(max(CHUNK_MIN, self.rows_read), CHUNK_MAX))
                continue
            key, text = self._buffer[self._next]
            self._next += 1
            self._consume(key, text)
            document = documents_of(unpack_many([text]), [text])[0]
            if self._passes(document):
                return Row(key, document)
        return None

    async def rows(self) -> AsyncIterator[Row]:
        """The remaining rows, one by one."""
        while (row := await self.next()) is not None:
            yield row

    def _passes(self, document: Document) -> bool:
        """Whether every operator lets the document through. A spent limit ends the walk."""
        for i, step in enumerate(self.filters):
            if isinstance(step, Expression):
                if not judge(step, document):
                    return False
            else:
                self.left[i] -= 1
                if self.left[i] == 0:
                    self._ended = True
        return True

    async def _fetch(self, count: int) -> None:
        rest = self._rest
        assert rest is not None, "fetched beyond the end"
        rows = await self._tx.rows(
            rest.index_number, rest.lower, rest.upper, reverse=self.reverse, limit=count
        )
        self._buffer = rows
        self._next = 0
        if len(rows) < count:
            self._rest = None
        elif self.reverse:
            self._rest = Interval(rest.index_number, rest.lower, rows[-1][0], rest.prefix)
        else:
            above = rows[-1][0] + b"\0"
            self._rest = Interval(rest.index_number, above, rest.upper, rest.prefix)

    def _consume(self, key: bytes, text: str) -> None:
        self.rows_read += 1
        self.bytes_read += len(text)
        self.last_key = key
        self._note(whole=False)
        self._tx.usage.read(1, len(text))

    def _consume_all(self) -> None:
        rows = self._buffer
        size = sum([len(row[1]) for row in rows])
        if rows:
            self.last_key = rows[-1][0]
        self.rows_read += len(rows)
        self.bytes_read += size
        self._next = len(rows)
        self._note(whole=self._rest is None)
        self._tx.usage.read(len(rows), size)

    def _note(self, *, whole: bool) -> None:
        """Put into the read set what has been consumed: up to the last row, or everything."""
        interval = self.interval
        assert interval is not None
        if not whole and self.last_key is not None:
            number, lower, upper, prefix = interval
            if self.reverse:
                lower = self.last_key
            else:
                upper = self.last_key + b"\0"
            interval = Interval(number, lower, upper, prefix)
        intervals = self._tx.reads.intervals
        if self._noted is None:
            self._noted = len(intervals)
            intervals.append(interval)
        else:
            intervals[self._noted] = interval
