"""What a caller is told whose transaction conflicted with others until its retries were used up."""

from camber.database.catalog import Catalog, table_of_point
from camber.database.commit_log import Overlap
from camber.database.read_set import id_of
from camber.errors import ConflictError
from camber.values.id import table_number_of


def conflict_of(overlap: Overlap, catalog: Catalog) -> ConflictError:
    """The error for a transaction that read what `overlap` wrote."""
    if isinstance(overlap.what, tuple):
        id = id_of(overlap.what)
    elif table_number_of(overlap.what) is not None:
        id = overlap.what
    else:
        return conflict(table_of_point(overlap.what), None)
    number = table_number_of(id)
    return conflict(None if number is None else catalog.name_of(number), id)


def conflict(table: str | None, id: str | None) -> ConflictError:
    """The error for a conflict over a table, and a document in it, as far as they are known."""
    where = "some table" if table is None else f'the "{table}" table'
    which = ""
    if table is not None and id is not None:
        which = f' Another call changed the document with ID "{id}".'
    return ConflictError(
        f"Documents read from or written to {where} changed while this mutation was being run "
        f"and on every subsequent retry.{which} See https://docs.convex.dev/error#1",
        table=table,
        id=id,
    )
