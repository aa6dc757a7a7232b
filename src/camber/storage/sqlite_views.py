"""The SQL view of a user's table: how any SQLite tool can look at the documents.

A view has the columns `_id` and `_creationTime`, then one for each field that is named, then
`document`, the whole JSON text. It is made for people; nothing of ours reads it.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from camber.storage.engine import TableView

# Names that belong to this engine's own tables, and to SQLite itself.
_RESERVED_PREFIXES: Final = ("_camber_", "sqlite_")

OUR_VIEWS: Final = (
    "SELECT name, sql FROM sqlite_schema WHERE type = 'view' AND sql LIKE"
    " 'CREATE VIEW % AS SELECT id AS _id,% FROM _camber_documents WHERE %'"
)
"""Finds the views made here, not those that somebody made with a tool of their own."""


def view_statements(views: Sequence[TableView]) -> dict[str, str]:
    """The CREATE VIEW statement of each table, by the name of the view.

    A view is called as its table. SQLite ignores case in names: where two would be the same,
    and where a name is reserved, the later one gets underscores at its end.
    """
    statements: dict[str, str] = {}
    taken: set[str] = set()
    for view in views:
        name = view.name if not _is_reserved(view.name) else f"table{view.name}"
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        statements[name] = _create_view(name, view)
    return statements


def _is_reserved(name: str) -> bool:
    return name.lower().startswith(_RESERVED_PREFIXES)


def _create_view(name: str, view: TableView) -> str:
    columns = ["id AS _id", "json_extract(body, '$._creationTime') AS _creationTime"]
    columns += _field_columns(view.fields)
    columns.append("body AS document")
    return (
        f"CREATE VIEW {_identifier(name)} AS SELECT {', '.join(columns)} FROM _camber_documents"
        f" WHERE id >= {_text(view.lower_id)} AND id < {_text(view.upper_id)}"
    )


def _field_columns(fields: Sequence[str]) -> Iterator[str]:
    """A column for each field that can have one: a name that no other column has, and that a
    JSON path can spell. The others are still in `document`."""
    taken = {"_id", "_creationtime", "document"}
    for name in fields:
        if name.lower() in taken or not name.isprintable() or '"' in name or "\\" in name:
            continue
        taken.add(name.lower())
        path = _text(f'$."{name}"')
        yield f"json_extract(body, {path}) AS {_identifier(name)}"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
