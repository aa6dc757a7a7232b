"""Pages of a plan, and the cursors between them.

A cursor is a position: after a key, or at the end. It carries the fingerprint of the plan it
belongs to and a code that only this deployment can compute, so a cursor of another query, or one
that somebody made up, is refused instead of giving wrong rows. Layout, before base64url:

    version (1 byte) · fingerprint (8) · kind (1) · key · MAC (16)

Kind 0 is the end and has no key, kind 1 is the place after the key.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Final

from camber.database.catalog import BY_ID_NAME
from camber.database.plan import Order, Plan, interval_of
from camber.database.read_set import Interval
from camber.database.scan import Row, Scan, open_index
from camber.database.transaction import Transaction
from camber.errors import ConvexError, InvalidArgumentError
from camber.values.wire import dump_json

ITEMS_MAX: Final = 32_000
ROWS_READ_MAX: Final = 32_000
BYTES_READ_MAX: Final = 16 << 20
SPLIT_LENGTH: Final = 6_144
_SPLIT_SHARE: Final = 0.75

_VERSION: Final = 1
_END: Final = 0
_AFTER: Final = 1
_MAC_SIZE: Final = 16


class InvalidCursorError(ConvexError):
    """A cursor of another query, or none of ours. Clients begin again at the first page."""

    code = "InvalidCursor"

    def __init__(self) -> None:
        super().__init__({"isConvexSystemError": True, "paginationError": "InvalidCursor"})

    def __str__(self) -> str:
        return (
            "InvalidCursor: Tried to run a query starting from a cursor, but it looks like this "
            "cursor is from a different query."
        )


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a caller asks for. Bounds on what may be read are in rows and bytes of stored text."""

    items: int
    cursor: str | None = None
    end_cursor: str | None = None
    rows_read_max: int = ROWS_READ_MAX
    bytes_read_max: int = BYTES_READ_MAX

    def check(self) -> None:
        """Raise an InvalidArgumentError for a request that cannot be served."""
        if self.items <= 0:
            raise InvalidArgumentError("Must request at least 1 document while paginating")
        if self.items > ITEMS_MAX:
            raise InvalidArgumentError(f"Requested too many items: {self.items}")
        if self.rows_read_max <= 0 or self.bytes_read_max <= 0:
            raise InvalidArgumentError(
                "maximumRowsRead and maximumBytesRead must be greater than 0"
            )


class Cursors:
    """Makes and reads the cursors of one deployment."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def write(self, plan: Plan, key_fields: tuple[str, ...], key: bytes | None) -> str:
        """The cursor after `key`; None: at the end."""
        position = bytes((_END,)) if key is None else bytes((_AFTER,)) + key
        body = bytes((_VERSION,)) + fingerprint(plan, key_fields) + position
        return base64.urlsafe_b64encode(body + self._mac(body)).decode().rstrip("=")

    def read(self, plan: Plan, key_fields: tuple[str, ...], cursor: str) -> bytes | None:
        """The key that `cursor` stands after; None: the end.

        Raises:
            InvalidCursorError: it is not a cursor of this plan.
        """
        try:
            raw = base64.b64decode(
                cursor.encode() + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True
            )
        except (ValueError, AttributeError):
            raise InvalidCursorError from None
        body, mac = raw[:-_MAC_SIZE], raw[-_MAC_SIZE:]
        expected = bytes((_VERSION,)) + fingerprint(plan, key_fields)
        if not hmac.compare_digest(mac, self._mac(body)) or not body.startswith(expected):
            raise InvalidCursorError
        position = body[len(expected) :]
        return None if position[0] == _END else position[1:]

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, b"cursor" + body, "sha256")[:_MAC_SIZE]


def fingerprint(plan: Plan, key_fields: tuple[str, ...]) -> bytes:
    """Eight bytes that tell plans apart: the plan, and the fields of its index."""
    return hashlib.sha256(dump_json([plan.to_json(), list(key_fields)])).digest()[:8]


async def read_page(
    tx: Transaction,
    plan: Plan,
    request: PageRequest,
    cursors: Cursors,
    journal: str | None = None,
) -> dict[str, Any]:
    """One page, in the shape that clients know: `page`, `isDone`, `continueCursor`,
    `splitCursor`, `pageStatus`.

    It ends at the end cursor that is asked for; else where it ended when it was last read, which
    is what `journal` says: the `continueCursor` of then; else after as many items as are asked
    for. So a page on view grows and shrinks, and the next one begins where it ends.

    Raises:
        InvalidArgumentError: a request out of bounds, or a plan that does not fit its index.
        InvalidCursorError: a cursor of another query.
    """
    request.check()
    index = open_index(tx, plan)
    key_fields = _key_fields_of_no_table(plan) if index is None else index.key_fields
    start = None if request.cursor is None else cursors.read(plan, key_fields, request.cursor)
    at_end = request.cursor is not None and start is None
    pin = request.end_cursor if request.end_cursor is not None else journal
    end = None if pin is None else cursors.read(plan, key_fields, pin)
    if index is None or at_end:
        return _result([], True, cursors.write(plan, key_fields, None))
    interval = interval_of(tx.catalog, plan.table, index, plan.comparisons)
    if start is not None:
        interval = _after(interval, start, plan.order)
    if pin is not None:
        if end is not None:
            interval = _up_to(interval, end, plan.order)
        scan = Scan(tx, interval, plan.order, plan.operators)
        rows = [row async for row in scan.rows()]
        done, status = end is None, None
        position = end
    else:
        scan = Scan(tx, interval, plan.order, plan.operators)
        rows, done, status = await _fill(scan, request)
        position = None if done else scan.last_key
    split = (
        cursors.write(plan, key_fields, rows[(len(rows) - 1) // 2].key) if len(rows) > 2 else None
    )
    status = status or _advice(scan, len(rows))
    return _result(rows, done, cursors.write(plan, key_fields, position), split, status)


def _key_fields_of_no_table(plan: Plan) -> tuple[str, ...]:
    """As the index will have them once the table is there: its cursors must fit then."""
    return ("_id",) if plan.index == BY_ID_NAME else ("_creationTime", "_id")


async def _fill(scan: Scan, request: PageRequest) -> tuple[list[Row], bool, str | None]:
    """Rows until the page is full, the interval ends, or more was read than is allowed."""
    rows: list[Row] = []
    while len(rows) < request.items:
        row = await scan.next_within(request.rows_read_max, request.bytes_read_max)
        if row is None:
            return rows, scan.ended, None if scan.ended else "SplitRequired"
        rows.append(row)
    return rows, False, None


def _advice(scan: Scan, length: int) -> str | None:
    if (
        scan.rows_read > _SPLIT_SHARE * ROWS_READ_MAX
        or scan.bytes_read > _SPLIT_SHARE * BYTES_READ_MAX
        or length > SPLIT_LENGTH
    ):
        return "SplitRecommended"
    return None


def _after(interval: Interval, key: bytes, order: Order) -> Interval:
    if order is Order.DESC:
        return interval._replace(upper=key if interval.upper is None else min(interval.upper, key))
    return interval._replace(lower=max(interval.lower, key + b"\0"))


def _up_to(interval: Interval, key: bytes, order: Order) -> Interval:
    """Up to and including `key`."""
    if order is Order.DESC:
        return interval._replace(lower=max(interval.lower, key))
    above = key + b"\0"
    return interval._replace(upper=above if interval.upper is None else min(interval.upper, above))


def _result(
    rows: list[Row],
    done: bool,
    cursor: str,
    split: str | None = None,
    status: str | None = None,
) -> dict[str, Any]:
    return {
        "page": [row.document for row in rows],
        "isDone": done,
        "continueCursor": cursor,
        "splitCursor": split,
        "pageStatus": status,
    }
