"""A read as a plan: a source and operators, a plain value.

What `ctx.db.query(…)` builds, and what any other language could send: `to_json` and `from_json`
are inverse. Resolving a plan against a catalog gives the interval of index keys to walk, or an
error that says which comparison does not fit the index.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

from msgspec import Struct

from camber.database import expression
from camber.database.catalog import (
    BY_CREATION_TIME,
    BY_ID_NAME,
    Catalog,
    Index,
    pending_name,
)
from camber.database.expression import Expression
from camber.database.read_set import Interval
from camber.errors import InvalidArgumentError
from camber.storage.engine import BY_ID
from camber.values.id import id_range
from camber.values.key import encode, successor
from camber.values.value import UNDEFINED, describe
from camber.values.wire import from_wire, parse_json, to_wire

OPERATORS_MAX: Final = 256
_INDEX_DOCS: Final = "https://docs.convex.dev/using/indexes"


class Order(Enum):
    """Which way along the index."""

    ASC = "asc"
    DESC = "desc"


class Comparison(Struct, frozen=True):
    """One bound of an index range: `operator` is eq, gt, gte, lt or lte."""

    operator: str
    field: str
    value: Any


class Limit(Struct, frozen=True):
    """Keep the first `count` rows."""

    count: int


Operator = Expression | Limit


class Plan(Struct, frozen=True):
    """Walk `index` of `table` within `comparisons`, one way or the other, through `operators`."""

    table: str
    index: str = BY_CREATION_TIME
    comparisons: tuple[Comparison, ...] = ()
    order: Order = Order.ASC
    operators: tuple[Operator, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The plain form, of JSON values only."""
        return {
            "table": self.table,
            "index": self.index,
            "range": [
                {"op": c.operator, "field": c.field, "value": _value_to_json(c.value)}
                for c in self.comparisons
            ],
            "order": self.order.value,
            "operators": [
                {"limit": o.count} if isinstance(o, Limit) else {"filter": expression.to_json(o)}
                for o in self.operators
            ],
        }

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Plan":
        """The plan that `to_json` wrote.

        Raises:
            InvalidArgumentError: it is not one.
        """
        try:
            return Plan(
                table=value["table"],
                index=value["index"],
                comparisons=tuple([_comparison_from_json(c) for c in value["range"]]),
                order=Order(value["order"]),
                operators=tuple(
                    Limit(o["limit"]) if "limit" in o else expression.from_json(o["filter"])
                    for o in value["operators"]
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgumentError(f"Not a query plan: {error!r}") from None


def _comparison_from_json(value: dict[str, Any]) -> Comparison:
    if value["op"] not in _SIGNS:
        raise ValueError(value["op"])
    return Comparison(value["op"], value["field"], _value_from_json(value["value"]))


def _value_to_json(value: Any) -> Any:
    return {"$undefined": None} if value is UNDEFINED else parse_json(to_wire(value))


def _value_from_json(value: Any) -> Any:
    return UNDEFINED if value == {"$undefined": None} else from_wire(value)


def find_index(catalog: Catalog, table_name: str, name: str) -> Index | None:
    """The index of a plan; None when the table does not exist and the index is implicit.

    Raises:
        InvalidArgumentError: there is no such index, or it is still being filled.
    """
    table = catalog.find(table_name)
    if name == BY_ID_NAME:
        return None if table is None else _BY_ID_INDEX
    index = None if table is None else table.indexes.get(name)
    if index is None:
        if table is None and name == BY_CREATION_TIME:
            return None
        if table is not None and pending_name(name) in table.indexes:
            raise InvalidArgumentError(
                f"Index {table_name}.{name} is currently backfilling and not available to query "
                "yet."
            )
        raise InvalidArgumentError(f"Index {table_name}.{name} not found.")
    return index


def interval_of(
    catalog: Catalog, table_name: str, index: Index, comparisons: Sequence[Comparison]
) -> Interval:
    """The keys of `index` that `comparisons` allow.

    Raises:
        InvalidArgumentError: a comparison does not fit the index.
    """
    if index.number != BY_ID:
        prefix = _equal_prefix(index, comparisons)
        if prefix is not None:
            return Interval(index.number, prefix, successor(prefix), prefix)
    fields = index.key_fields
    equal, lower, upper = _sort(table_name, index, comparisons)
    prefix = b""
    for field in fields[: len(equal)]:
        prefix += _encode(field, equal[field])
    # The whole key is given when its last field is, the id: one entry at the most.
    whole = len(equal) == len(fields)
    low, high = (prefix, prefix + b"\0") if whole else _bounds(prefix, lower, upper)
    if index.number == BY_ID:
        return _within_table(catalog, table_name, low, high)
    fixed = prefix if "_id" not in equal else _without_id(prefix, equal)
    return Interval(index.number, low, high, fixed)


def _equal_prefix(index: Index, comparisons: Sequence[Comparison]) -> bytes | None:
    """What the keys begin with, if all that is asked are equalities on the first fields of the
    index, in their order, as nearly always. None: it is something else, or not sound."""
    fields = index.fields
    if len(comparisons) > len(fields):
        return None
    prefix = b""
    for field, comparison in zip(fields, comparisons, strict=False):
        if comparison.operator != "eq" or comparison.field != field:
            return None
        prefix += encode(comparison.value)
    return prefix


def _bounds(
    prefix: bytes, lower: Comparison | None, upper: Comparison | None
) -> tuple[bytes, bytes | None]:
    low: bytes = prefix
    if lower is not None:
        low = prefix + _encode(lower.field, lower.value)
        if lower.operator == "gt":
            low = _above(lower.field, low)
    if upper is None:
        return low, successor(prefix) if prefix else None
    high = prefix + _encode(upper.field, upper.value)
    return low, _above(upper.field, high) if upper.operator == "lte" else high


def _above(field: str, key: bytes) -> bytes:
    """The smallest key above every key with the same value of `field`, which ends `key`."""
    if field == "_id":
        return key + b"\0"  # Nothing follows an id, and longer text is another value.
    above = successor(key)  # An encoding is never all 0xff.
    assert above is not None
    return above


def _within_table(catalog: Catalog, table_name: str, low: bytes, high: bytes | None) -> Interval:
    """An interval of ids, which all tables share, cut to the ids of one table."""
    table = catalog.find(table_name)
    assert table is not None
    first, last = id_range(table.number)
    low = max(low, first.encode())
    high = last.encode() if high is None else min(high, last.encode())
    return Interval(BY_ID, low, max(low, high), b"")


def _without_id(prefix: bytes, equal: dict[str, Any]) -> bytes:
    return prefix[: len(prefix) - len(_encode("_id", equal["_id"]))]


def _encode(field: str, value: Any) -> bytes:
    """A bound's value as key bytes. `_id` ends a key as its own text, not as a string value."""
    if field != "_id":
        return encode(value)
    encoded = encode(value)
    if isinstance(value, str):
        return value.encode()
    # What sorts before every string, or after: no document is found there.
    return b"" if encoded < encode("") else b"\x7f"


def _sort(
    table_name: str, index: Index, comparisons: Sequence[Comparison]
) -> tuple[dict[str, Any], Comparison | None, Comparison | None]:
    """Equalities by field, lower and upper bound; refused if the index has no such order."""
    equal: dict[str, Any] = {}
    lower: Comparison | None = None
    upper: Comparison | None = None
    for comparison in comparisons:
        _check_field(table_name, index, comparison)
        if comparison.operator == "eq":
            if comparison.field in equal:
                raise _defined_already("equality", comparison)
            equal[comparison.field] = comparison.value
        elif comparison.operator in ("gt", "gte"):
            if lower is not None:
                raise _defined_already("lower", comparison)
            lower = comparison
        else:
            if upper is not None:
                raise _defined_already("upper", comparison)
            upper = comparison
    if lower is not None and upper is not None and lower.field != upper.field:
        raise InvalidArgumentError(
            "Upper and lower bounds in `range` can only be applied to a single index field. "
            f"This query against index {table_name}.{index.name} attempted to set a range bound "
            f'on both "{lower.field}" and "{upper.field}". Consider using `filter` instead. '
            f"See {_INDEX_DOCS} for more info."
        )
    _check_order(table_name, index, comparisons, equal, lower or upper)
    return equal, lower, upper


def _check_field(table_name: str, index: Index, comparison: Comparison) -> None:
    if comparison.field not in index.key_fields:
        raise InvalidArgumentError(
            f'The index range included a comparison with "{comparison.field}", but '
            f"{table_name}.{index.name} with fields {_listed(index.key_fields)} doesn't index "
            f"this field. For more information see {_INDEX_DOCS}."
        )


def _check_order(
    table_name: str,
    index: Index,
    comparisons: Sequence[Comparison],
    equal: dict[str, Any],
    bound: Comparison | None,
) -> None:
    """Equalities on the first fields, and the bounds on the next one."""
    allowed = index.key_fields[: len(equal)]
    wrong = next((field for field in equal if field not in allowed), None)
    if wrong is None and bound is not None:
        if bound.field in equal:
            raise _defined_already("equality", bound)
        if bound.field != index.key_fields[len(equal)]:
            wrong = bound.field
    if wrong is None:
        return
    used = list(dict.fromkeys(comparison.field for comparison in comparisons))
    raise InvalidArgumentError(
        f"Tried to query index {table_name}.{index.name} but the query didn't use the index "
        f"fields in order.\nIndex fields: {_listed(index.key_fields)}\n"
        f'Query fields: {_listed(used)}\nFirst incorrect field: "{wrong}"\n'
        f"For more information see {_INDEX_DOCS}."
    )


_SIGNS: Final = {"eq": "==", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def _defined_already(kind: str, comparison: Comparison) -> InvalidArgumentError:
    sign = _SIGNS[comparison.operator]
    return InvalidArgumentError(
        f'Already defined {kind} bound in index range. Can\'t add "{comparison.field}" {sign} '
        f"{describe(comparison.value)}."
    )


def _listed(fields: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{field}"' for field in fields) + "]"


def is_declared(index_name: str) -> bool:
    """Whether it is an index of the schema's, not one that every table has."""
    return index_name not in (BY_ID_NAME, BY_CREATION_TIME)


_BY_ID_INDEX: Final = Index(BY_ID, BY_ID_NAME, (), True, lambda document: ())
