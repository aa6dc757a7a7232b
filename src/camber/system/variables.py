"""The deployment's environment variables as rows, with the rules for names and values."""

import re
from collections.abc import Mapping
from typing import Final

from camber.database.catalog import Catalog
from camber.database.plan import Comparison, Plan, interval_of
from camber.database.read_set import Interval
from camber.database.scan import open_scan
from camber.database.transaction import Transaction
from camber.errors import InvalidArgumentError
from camber.system.tables import ENVIRONMENT
from camber.values.value import Document

NAME_MAX: Final = 256
VALUE_MAX: Final = 8_192
COUNT_MAX: Final = 512
TOTAL_MAX: Final = 512 << 10
BUILT_IN: Final = ("CONVEX_CLOUD_URL", "CONVEX_SITE_URL")

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


async def read_variables(tx: Transaction) -> dict[str, str]:
    """Every variable, by name."""
    rows = await open_scan(tx, Plan(ENVIRONMENT, "by_name")).take(COUNT_MAX + 1)
    return {row["name"]: row["value"] for row in rows}


async def change_variables(tx: Transaction, changes: Mapping[str, str | None]) -> None:
    """Set variables; None removes one. All of `changes`, or nothing.

    Raises:
        InvalidArgumentError: a name or value that cannot be, or too many.
    """
    for name, value in changes.items():
        check_variable(name, value)
    rows = await open_scan(tx, Plan(ENVIRONMENT, "by_name")).take(COUNT_MAX + 1)
    known: dict[str, Document] = {row["name"]: row for row in rows}
    for name, value in changes.items():
        row = known.get(name)
        if value is None:
            if row is not None:
                await tx.delete(row["_id"])
                del known[name]
        elif row is None:
            tx.insert(ENVIRONMENT, {"name": name, "value": value})
            known[name] = Document(name=name, value=value)
        else:
            await tx.patch(row["_id"], {"value": value})
            known[name] = Document(row, value=value)
    _check_totals({name: row["value"] for name, row in known.items()})


def variable_interval(catalog: Catalog, name: str) -> Interval:
    """What a function has read that asked for the variable `name`, set or not."""
    table = catalog.find(ENVIRONMENT)
    assert table is not None
    comparison = Comparison("eq", "name", name)
    return interval_of(catalog, ENVIRONMENT, table.indexes["by_name"], (comparison,))


def check_variable(name: str, value: str | None) -> None:
    """Raise an InvalidArgumentError for a name or a value that cannot be."""
    if not _NAME.match(name):
        raise InvalidArgumentError(
            f"The environment variable name {name} is invalid. Environment variable names must "
            "begin with a letter and may only include characters a-z, A-Z, 0-9, and underscores."
        )
    if len(name) > NAME_MAX:
        raise InvalidArgumentError(
            f"The environment variable name {name} is too long. Environment variable names must "
            f"be less than {NAME_MAX}."
        )
    if name in BUILT_IN:
        raise InvalidArgumentError(
            f'Environment variable with name "{name}" is built-in and cannot be overridden'
        )
    size = len((value or "").encode(errors="surrogatepass"))
    if size > VALUE_MAX:
        raise InvalidArgumentError(
            f"The environment variable value is {size} bytes, which is too large. "
            f"(max size: {VALUE_MAX}"
        )


def _check_totals(variables: Mapping[str, str]) -> None:
    if len(variables) > COUNT_MAX:
        raise InvalidArgumentError(f"The environment variable limit ({COUNT_MAX}) has been met.")
    total = sum(len(name) + len(value.encode()) for name, value in variables.items())
    if total > TOTAL_MAX:
        raise InvalidArgumentError(
            f"The total size of all environment variables ({total} bytes) exceeds the limit "
            f"({TOTAL_MAX} bytes)."
        )
