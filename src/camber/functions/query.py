"""`ctx.db.query(…)`: how app code says what it wants to read.

Every step gives a new query, so a query can be kept, passed on and refined. Nothing is read until
one of the ends: `take`, `first`, `unique`, `collect`, `paginate`, `async for`.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, Generic, Protocol, TypeGuard, TypeVar, cast

from msgspec.structs import replace

from camber.database import expression
from camber.database.expression import Expression
from camber.database.pagination import BYTES_READ_MAX, ITEMS_MAX, ROWS_READ_MAX, PageRequest
from camber.database.plan import OPERATORS_MAX, Comparison, Order, Plan
from camber.database.scan import open_scan
from camber.database.transaction import Transaction
from camber.errors import InvalidArgumentError
from camber.values.value import describe

T = TypeVar("T")


class IndexRange:
    """The `q` of `with_index(name, lambda q: …)`: equalities on the first fields of the index,
    then at most one lower and one upper bound on the next. Each call gives a new range."""

    __slots__ = ("comparisons",)

    def __init__(self, comparisons: tuple[Comparison, ...] = ()) -> None:
        self.comparisons = comparisons

    def _with(self, operator: str, field: str, value: Any) -> "IndexRange":
        return IndexRange((*self.comparisons, Comparison(operator, field, value)))

    def eq(self, field: str, value: Any) -> "IndexRange":
        """`field` is `value`; UNDEFINED finds the documents without the field."""
        return self._with("eq", field, value)

    def gt(self, field: str, value: Any) -> "IndexRange":
        """`field` sorts after `value`, by the order of all values."""
        return self._with("gt", field, value)

    def gte(self, field: str, value: Any) -> "IndexRange":
        """`field` is `value` or sorts after it."""
        return self._with("gte", field, value)

    def lt(self, field: str, value: Any) -> "IndexRange":
        """`field` sorts before `value`."""
        return self._with("lt", field, value)

    def lte(self, field: str, value: Any) -> "IndexRange":
        """`field` is `value` or sorts before it."""
        return self._with("lte", field, value)


class FilterBuilder:
    """The `q` of `filter(lambda q: …)`: builds an expression. Python's operators on `q.field(…)`
    build the same ones."""

    __slots__ = ()

    @staticmethod
    def field(path: str) -> Expression:
        """A field of the document; `"a.b"` looks inside an object."""
        return expression.field(path)

    @staticmethod
    def eq(left: Any, right: Any) -> Expression:
        return expression.build("eq", left, right)

    @staticmethod
    def neq(left: Any, right: Any) -> Expression:
        return expression.build("neq", left, right)

    @staticmethod
    def lt(left: Any, right: Any) -> Expression:
        return expression.build("lt", left, right)

    @staticmethod
    def lte(left: Any, right: Any) -> Expression:
        return expression.build("lte", left, right)

    @staticmethod
    def gt(left: Any, right: Any) -> Expression:
        return expression.build("gt", left, right)

    @staticmethod
    def gte(left: Any, right: Any) -> Expression:
        return expression.build("gte", left, right)

    @staticmethod
    def add(left: Any, right: Any) -> Expression:
        return expression.build("add", left, right)

    @staticmethod
    def sub(left: Any, right: Any) -> Expression:
        return expression.build("sub", left, right)

    @staticmethod
    def mul(left: Any, right: Any) -> Expression:
        return expression.build("mul", left, right)

    @staticmethod
    def div(left: Any, right: Any) -> Expression:
        return expression.build("div", left, right)

    @staticmethod
    def mod(left: Any, right: Any) -> Expression:
        return expression.build("mod", left, right)

    @staticmethod
    def neg(value: Any) -> Expression:
        return expression.build("neg", value)

    @staticmethod
    def and_(*operands: Any) -> Expression:
        return expression.build("and", *operands)

    @staticmethod
    def or_(*operands: Any) -> Expression:
        return expression.build("or", *operands)

    @staticmethod
    def not_(operand: Any) -> Expression:
        return expression.build("not", operand)

    def __getattr__(self, name: str) -> Any:
        raise InvalidArgumentError(
            f"The argument of a filter is a builder, not the document: write q.field({name!r}) "
            f"instead of q.{name}."
        )


_FILTERS = FilterBuilder()


class Pager(Protocol):
    """Who reads pages for a query: it knows the deployment's cursors and this call's journal."""

    def read_page(self, plan: Plan, request: PageRequest, /) -> Awaitable[dict[str, Any]]: ...


class TableQuery(Generic[T]):
    """A read of one table, not begun yet."""

    __slots__ = ("_pager", "_tx", "plan")

    def __init__(self, tx: Transaction, pager: Pager, plan: Plan) -> None:
        self._tx = tx
        self._pager = pager
        self.plan = plan

    def _with(self, plan: Plan) -> "TableQuery[T]":
        if len(plan.operators) > OPERATORS_MAX:
            raise InvalidArgumentError(
                f"Can't construct query with more than {OPERATORS_MAX} operators"
            )
        return TableQuery(self._tx, self._pager, plan)

    # Steps

    def with_index(
        self,
        name: str,
        range: Callable[[IndexRange], IndexRange] | None = None,
        /,
        **equalities: Any,
    ) -> "TableQuery[T]":
        """Walk the index `name` instead of the order of creation.

        Args:
            name: an index of the schema, `by_creation_time` or `by_id`.
            range: which part of it: `lambda q: q.eq("author", a).gt("_creationTime", t)`.
            equalities: the same for plain equalities: `author=a`.

        Raises:
            InvalidArgumentError: the range does not fit the index. Said when the query is read.
        """
        comparisons = tuple([Comparison("eq", f, value) for f, value in equalities.items()])
        if range is not None:
            built = range(IndexRange())
            if not isinstance(built, IndexRange):
                raise InvalidArgumentError(
                    "The range of with_index must return what it built, such as "
                    "lambda q: q.eq('author', author)."
                )
            comparisons += built.comparisons
        plan = self.plan
        return self._with(Plan(plan.table, name, comparisons, plan.order, plan.operators))

    def filter(self, predicate: Callable[[FilterBuilder], Any] | Expression, /) -> "TableQuery[T]":
        """Keep the documents for which the expression is true. What it drops counts as read."""
        built = predicate if isinstance(predicate, Expression) else predicate(_FILTERS)
        if not isinstance(built, Expression):
            built = expression.literal(built)
        return self._with(replace(self.plan, operators=(*self.plan.operators, built)))

    def order(self, order: str, /) -> "TableQuery[T]":
        """`"asc"`, as it is anyway, or `"desc"`: from the greatest key down."""
        if order not in ("asc", "desc"):
            raise InvalidArgumentError(f"order() takes 'asc' or 'desc', got {order!r}")
        plan = self.plan
        return self._with(
            Plan(plan.table, plan.index, plan.comparisons, _ORDERS[order], plan.operators)
        )

    # Ends

    async def take(self, n: int, /) -> list[T]:
        """The first `n` documents, fewer if there are not so many."""
        if type(n) is not int or n < 0:
            raise InvalidArgumentError("Arg 1 `n` to `take` must be a non-negative integer")
        return cast(list[T], await open_scan(self._tx, self.plan).take(n))

    async def first(self) -> T | None:
        """The first document, or None."""
        found = await open_scan(self._tx, self.plan).take(1)
        return cast(T, found[0]) if found else None

    async def unique(self) -> T | None:
        """The only document, or None.

        Raises:
            InvalidArgumentError: there are two or more.
        """
        found = await open_scan(self._tx, self.plan).take(2)
        if len(found) > 1:
            ids = ", ".join(str(document["_id"]) for document in found)
            raise InvalidArgumentError(
                f"unique() query returned more than one result from table {self.plan.table}:\n"
                f" [{ids}, ...]"
            )
        return cast(T, found[0]) if found else None

    async def collect(self) -> list[T]:
        """Every document.

        Raises:
            LimitError: more than one execution may read. Use an index, `take` or `paginate`.
        """
        return cast(list[T], await open_scan(self._tx, self.plan).take(_ALL))

    async def paginate(
        self,
        options: Mapping[str, Any] | None = None,
        /,
        *,
        num_items: int | None = None,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        """One page, and the cursor to the next.

        Args:
            options: the `paginationOpts` that a client sends, as they are; or
            num_items: how many documents, and
            cursor: where to begin: the `continueCursor` of the page before; None at the start.

        Returns:
            `page`, `isDone`, `continueCursor`, `splitCursor`, `pageStatus`.

        Raises:
            InvalidArgumentError: options out of bounds, or a second page in one function.
            ConvexError: a cursor of another query (`paginationError: "InvalidCursor"`).
        """
        if options is None:
            options = {"numItems": num_items, "cursor": cursor}
        return await self._pager.read_page(self.plan, _page_request(options))

    async def __aiter__(self) -> AsyncIterator[T]:
        async for row in open_scan(self._tx, self.plan).rows():
            yield cast(T, row.document)


_ORDERS: Final = {"asc": Order.ASC, "desc": Order.DESC}

# More than any execution may read: the limit on reading is what ends a `collect`.
_ALL = 1 << 40


def _page_request(options: Mapping[str, Any]) -> PageRequest:
    items = options.get("numItems")
    if not _is_number(items) or math.isnan(items) or items < 0:
        raise InvalidArgumentError(
            f"`options.numItems` must be a positive number. Received `{items}`."
        )
    if items > ITEMS_MAX:
        raise InvalidArgumentError(f"Requested too many items: {_shown(items)}")
    return PageRequest(
        items=int(items),
        cursor=_cursor(options, "cursor"),
        end_cursor=_cursor(options, "endCursor"),
        rows_read_max=_bound(options, "maximumRowsRead", ROWS_READ_MAX),
        bytes_read_max=_bound(options, "maximumBytesRead", BYTES_READ_MAX),
    )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(number: float) -> str:
    """As people write it: 40000.0 is 40000."""
    return str(int(number)) if math.isfinite(number) else str(number)


def _cursor(options: Mapping[str, Any], name: str) -> str | None:
    cursor = options.get(name)
    if cursor is not None and not isinstance(cursor, str):
        raise InvalidArgumentError(
            f"`options.{name}` must be a cursor, which is a string, or None. Received "
            f"{describe(cursor)}."
        )
    return cursor


def _bound(options: Mapping[str, Any], name: str, most: int) -> int:
    """How much may be read for a page. More than `most` is as good as `most`."""
    bound = options.get(name)
    if bound is None:
        return most
    if not _is_number(bound) or math.isnan(bound):
        raise InvalidArgumentError(
            f"`options.{name}` must be a positive number. Received {describe(bound)}."
        )
    return int(min(bound, most)) if bound >= 1 else 0
