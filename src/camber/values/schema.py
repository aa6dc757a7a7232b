"""What an app stores: its tables, the documents each may hold, and their indexes.

An author writes it as classes or with builders; both make the same frozen `SchemaDefinition`.

    class messages(Table):
        author: str
        image: Id["_storage"] | None = None
        by_author = index("author")

    schema = Schema(messages)

    schema = define_schema(
        {
            "messages": define_table(
                {
                    "author": v.string(),
                    "image": v.optional(v.nullable(v.id("_storage"))),
                }
            ).index("by_author", ["author"])
        }
    )
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Final, get_origin

from camber.errors import SchemaError, UserError, ValidationError
from camber.values.hints import resolve_class, shape_of, to_plain
from camber.values.matcher import Check, compile_check
from camber.values.validator import (
    Field,
    ObjectValidator,
    ScalarValidator,
    TableNumbers,
    UnionValidator,
    Validator,
    v,
)
from camber.values.value import SYSTEM_FIELDS, Value, check_identifier

INDEXES_MAX: Final = 32
"""Indexes of one table, `by_id` and `by_creation_time` not counted."""
INDEX_FIELDS_MAX: Final = 16
"""Fields of one index, the `_creationTime` that every index ends in not counted."""
TABLES_MAX: Final = 10_000

_RESERVED_INDEXES: Final = frozenset({"by_id", "by_creation_time"})


@dataclass(frozen=True, slots=True)
class IndexDefinition:
    """An index: the fields it sorts by, as dotted paths. `_creationTime` and `_id` follow."""

    name: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """A table: what its documents look like, without the system's fields, and its indexes.

    `validator` is None for a table that takes every document.
    """

    name: str
    validator: Validator | None
    indexes: Mapping[str, IndexDefinition]
    defaults: Mapping[str, Value] = field(default_factory=dict)
    """What an insert puts where a field is missing. Only classes have them; None is not one:
    a field with the default None may simply be absent."""
    matches: Check = field(init=False, repr=False, compare=False)
    """Whether the fields of a document (without the system's) fit; the quick form of `check`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "indexes", MappingProxyType(dict(self.indexes)))
        object.__setattr__(self, "defaults", MappingProxyType(dict(self.defaults)))
        object.__setattr__(self, "matches", compile_check(self.validator or v.any()))

    def check(self, fields: Mapping[str, Value], tables: TableNumbers) -> None:
        """Accept the fields of a document, the system's left out, or say what is wrong.

        Raises:
            ValidationError: they do not match; names the path.
        """
        if self.validator is None or self.matches(fields, tables):
            return
        problem = self.validator.mismatch(fields, tables, "")
        assert problem is not None, "the quick check and the slow one agree"
        raise ValidationError(problem)

    def document_validator(self) -> Validator:
        """The validator of whole documents, `_id` and `_creationTime` included."""
        return _with_system_fields(self.validator or v.any(), self.name)

    def to_json(self) -> dict[str, Any]:
        indexes = [
            {"indexDescriptor": each.name, "fields": list(each.fields)}
            for each in self.indexes.values()
        ]
        return {
            "tableName": self.name,
            "indexes": indexes,
            "stagedDbIndexes": [],
            "searchIndexes": [],
            "stagedSearchIndexes": [],
            "vectorIndexes": [],
            "stagedVectorIndexes": [],
            "documentType": None if self.validator is None else self.validator.to_json(),
        }


@dataclass(frozen=True, slots=True)
class SchemaDefinition:
    """All tables that an app declares. Others may exist; their documents are not checked.

    `schema_validation` false leaves all documents unchecked; the indexes apply all the same.
    """

    tables: Mapping[str, TableDefinition]
    schema_validation: bool = True

    def __post_init__(self) -> None:
        if len(self.tables) > TABLES_MAX:
            raise SchemaError(f"A schema cannot have more than {TABLES_MAX} tables.")
        object.__setattr__(self, "tables", MappingProxyType(dict(self.tables)))

    def to_json(self) -> dict[str, Any]:
        """The form in which schemas are exported."""
        return {
            "tables": [table.to_json() for table in self.tables.values()],
            "schemaValidation": self.schema_validation,
        }


# Builders.


@dataclass(frozen=True, slots=True)
class TableBuilder:
    """A table that has no name yet. `index` returns a new one with one index more."""

    validator: Validator
    indexes: tuple[IndexDefinition, ...] = ()

    def index(self, name: str, fields: Sequence[str]) -> "TableBuilder":
        """Add an index.

        Args:
            name: what `with_index` calls it.
            fields: up to 16 fields of the table, as dotted paths.
        """
        if isinstance(fields, str):
            raise SchemaError(f'The fields of index "{name}" must be a list: ["{fields}"].')
        return TableBuilder(self.validator, (*self.indexes, IndexDefinition(name, tuple(fields))))


def define_table(document: Validator | Mapping[str, Validator | Field], /) -> TableBuilder:
    """A table of documents with these fields, or that match this validator: an object, a union
    of objects, or `v.any()`.

    Raises:
        SchemaError: the validator is none of these.
    """
    validator = document if isinstance(document, Validator) else v.object(document)
    if not _describes_documents(validator):
        raise SchemaError(
            "The document validator in a schema must be an object, a union of objects, or "
            f"`v.any()`. Found {validator}. To learn more, see the schema documentation at "
            "https://docs.convex.dev/database/schemas."
        )
    return TableBuilder(_without_system_fields(validator))


def define_schema(
    tables: Mapping[str, TableBuilder], *, schema_validation: bool = True
) -> SchemaDefinition:
    """The schema of an app, from builders.

    Args:
        tables: `define_table(…)` of each table, by the table's name.
        schema_validation: whether documents are checked. The indexes apply in any case.

    Raises:
        SchemaError: a name, a field or an index is not as it must be.
    """
    defined = {name: _define(name, builder) for name, builder in tables.items()}
    return SchemaDefinition(defined, schema_validation)


def Schema(*tables: "type[Table]", schema_validation: bool = True) -> SchemaDefinition:
    """The schema of an app, from `Table` classes.

    Args:
        tables: the classes, in any order.
        schema_validation: whether documents are checked. The indexes apply in any case.

    Raises:
        SchemaError: a name, a field or an index is not as it must be.
    """
    defined: dict[str, TableDefinition] = {}
    for cls in tables:
        if not _is_table(cls):
            raise SchemaError(f"Schema() takes Table classes, not {cls!r}.")
        table = definition_of(cls)
        if table.name in defined:
            raise SchemaError(f'Table "{table.name}" is defined twice.')
        defined[table.name] = table
    return SchemaDefinition(defined, schema_validation)


def _define(
    name: str, builder: TableBuilder, defaults: Mapping[str, Value] | None = None
) -> TableDefinition:
    if not isinstance(builder, TableBuilder):
        raise SchemaError(f'Table "{name}" must be made by define_table(), not {builder!r}.')
    _check_table_name(name)
    _check_field_names(name, builder.validator)
    _check_indexes(name, builder)
    indexes = {index.name: index for index in builder.indexes}
    return TableDefinition(name, builder.validator, indexes, defaults or {})


# Classes.


@dataclass(frozen=True, slots=True)
class IndexDeclaration:
    """An index in a `Table` class. The attribute's name is the index's name."""

    fields: tuple[str, ...]


def index(*fields: str) -> IndexDeclaration:
    """An index in a `Table` class: `by_author = index("author")`.

    Args:
        fields: up to 16 fields of the table, as dotted paths (`"address.city"`).
    """
    return IndexDeclaration(fields)


class Table(dict[str, Any]):
    """The documents of one table, written as a class; the class is the type of its documents.

    Annotations are fields, `index(…)` are indexes, and the name of the class is the name of the
    table unless `__tablename__` says another. A field with a default may be missing.
    `class Timed(Table, abstract=True)` is no table but fields and indexes for others to inherit.

    A document is a dict: nothing is ever an instance of a `Table`, which only describes it.
    """

    # Annotate `_id: Id["messages"]` in the class to have the id's own type.
    _id: Any
    _creationTime: float

    __tablename__: ClassVar[str] = ""
    __abstract__: ClassVar[bool] = True

    def __init_subclass__(cls, *, abstract: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__abstract__ = abstract
        cls.__tablename__ = cls.__dict__.get("__tablename__", cls.__name__)

    def __new__(cls, *values: object, **fields: object) -> "Table":
        raise SchemaError(
            f"{cls.__name__} describes documents and makes none: insert a dict, as in "
            f"ctx.db.insert({cls.__name__}, {{…}})."
        )

    @classmethod
    def __document_validator__(cls) -> Validator:
        """What the hint `messages` means: a whole document of the table."""
        return definition_of(cls).document_validator()


def definition_of(cls: type[Table]) -> TableDefinition:
    """The table that a class describes.

    Raises:
        SchemaError: a field, its type hint or an index is not as it must be.
    """
    known: TableDefinition | None = cls.__dict__.get("__definition__")
    if known is not None:
        return known
    if cls.__abstract__:
        raise SchemaError(f"{cls.__name__} is an abstract Table: only others inherit from it.")
    builder = TableBuilder(v.object(_class_fields(cls)), tuple(_class_indexes(cls)))
    table = _define(cls.__tablename__, builder, _class_defaults(cls, builder.validator))
    type.__setattr__(cls, "__definition__", table)
    return table


def _class_fields(cls: type[Table]) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    attributes = _class_attributes(cls)
    for name, hint in _class_hints(cls).items():
        try:
            fields[name] = Field(shape_of(hint).validator, optional=name in attributes)
            v.object({name: fields[name]})
        except UserError as error:
            raise SchemaError(f'Field "{name}" of table "{cls.__tablename__}": {error}') from None
    return fields


def _class_hints(cls: type[Table]) -> dict[str, Any]:
    try:
        hints = resolve_class(cls)
    except SchemaError as error:
        raise SchemaError(f'A field of table "{cls.__tablename__}": {error}') from None
    return {
        name: hint
        for name, hint in hints.items()
        if name not in SYSTEM_FIELDS and hint is not ClassVar and get_origin(hint) is not ClassVar
    }


def _class_attributes(cls: type[Table]) -> dict[str, Any]:
    """What the authors' own classes assign: defaults and indexes, but not what a dict has."""
    attributes: dict[str, Any] = {}
    for base in reversed(cls.__mro__[: cls.__mro__.index(Table)]):
        attributes |= vars(base)
    return {name: value for name, value in attributes.items() if not name.startswith("_")}


def _class_indexes(cls: type[Table]) -> Iterator[IndexDefinition]:
    annotated = resolve_class(cls).keys()
    for name, value in _class_attributes(cls).items():
        if isinstance(value, IndexDeclaration):
            yield IndexDefinition(name, value.fields)
        elif name not in annotated and isinstance(value, _FORGOTTEN):
            raise SchemaError(
                f'Attribute "{name}" of table "{cls.__tablename__}" is no index and has no type '
                "hint: write its type after a colon."
            )


# A default whose type hint was forgotten is one of these; a method or a property is not.
_FORGOTTEN: Final = (str, int, float, bytes, list, dict, type(None))


def _class_defaults(cls: type[Table], validator: Validator) -> dict[str, Value]:
    assert isinstance(validator, ObjectValidator)
    attributes = _class_attributes(cls)
    defaults: dict[str, Value] = {}
    for name, each in validator.fields.items():
        default = to_plain(attributes.get(name))
        if default is None:
            continue
        problem = each.validator.mismatch(default, _NoTables(), f".{name}")
        if problem is not None:
            raise SchemaError(
                f'The default of field "{name}" of table "{cls.__tablename__}" does not fit: '
                f"{problem}"
            )
        defaults[name] = default
    return defaults


class _NoTables:
    """While a schema is read no table has a number, and no id is a default."""

    def number_of(self, name: str, /) -> int | None:
        return None

    def name_of(self, number: int, /) -> str | None:
        return None


def _is_table(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, Table)


# Rules.


def _check_table_name(name: str) -> None:
    if name.startswith("_"):
        raise SchemaError(f"{name} is a reserved table name.")
    try:
        check_identifier(name)
    except UserError:
        raise SchemaError(
            f'Invalid table name: "{name}". Identifiers must start with a letter and can only '
            "contain letters, digits, and underscores."
        ) from None


def _check_field_names(table: str, validator: Validator) -> None:
    for each in _objects_of(validator):
        for name in each.fields:
            if name.startswith("_"):
                raise SchemaError(
                    f'In table "{table}" the field "{name}" has a reserved name. Only the system '
                    "fields `_id` and `_creationTime` start with an underscore."
                )


def _check_indexes(table: str, builder: TableBuilder) -> None:
    if len(builder.indexes) > INDEXES_MAX:
        raise SchemaError(f'Table "{table}" cannot have more than {INDEXES_MAX} indexes.')
    by_name: set[str] = set()
    by_fields: dict[tuple[str, ...], str] = {}
    for each in builder.indexes:
        _check_index_name(table, each.name)
        if each.name in by_name:
            raise SchemaError(
                f'Table "{table}" has two or more definitions of index "{each.name}".'
            )
        _check_index_fields(table, each, builder.validator)
        other = by_fields.setdefault(each.fields, each.name)
        if other != each.name:
            raise SchemaError(
                f'In table "{table}" index "{other}" and index "{each.name}" have the same '
                "fields. Indexes must be unique within a table."
            )
        by_name.add(each.name)


def _check_index_name(table: str, name: str) -> None:
    if name.startswith("_") or name in _RESERVED_INDEXES:
        raise SchemaError(
            f'In table "{table}" cannot name an index "{name}" because the name is reserved. '
            'Indexes may not start with an underscore or be named "by_id" or "by_creation_time".'
        )
    try:
        check_identifier(name)
    except UserError:
        raise SchemaError(
            f'Invalid index name: "{name}". Identifiers must be 64 characters or less, start with '
            "a letter, and only contain letters, digits, underscores."
        ) from None


def _check_index_fields(table: str, index: IndexDefinition, validator: Validator) -> None:
    if not index.fields:
        raise SchemaError(f'In table "{table}" index "{index.name}" must have at least one field.')
    problem = _index_fields_problem(index.fields)
    if problem is not None:
        raise SchemaError(f'In index "{index.name}": {problem}')
    for path in index.fields:
        if not _may_contain(validator, path.split(".")):
            raise SchemaError(
                f'In table "{table}" the index "{index.name}" is invalid because it references '
                f'the field "{path}" that does not exist.'
            )


def _index_fields_problem(fields: tuple[str, ...]) -> str | None:
    if len(fields) > INDEX_FIELDS_MAX:
        return f"Indexes may have up to {INDEX_FIELDS_MAX} fields."
    for place, path in enumerate(fields):
        if path in fields[:place]:
            return f'Duplicate field "{path}". Index fields must be unique within an index.'
        problem = _path_problem(path)
        if problem is not None:
            return problem
    return None


def _path_problem(path: object) -> str | None:
    if not isinstance(path, str):
        return f"{path!r} is not the name of a field."
    if path == "_id":
        return "`_id` is not a valid index field. To load documents by ID, use `db.get(id)`."
    if path == "_creationTime":
        return (
            "`_creationTime` is automatically added to the end of each index. It should not be "
            "added explicitly in the index definition. See "
            "https://docs.convex.dev/using/indexes for more details."
        )
    if path.startswith("_"):
        return "Reserved fields (starting with `_`) are not allowed in indexes."
    try:
        for part in path.split("."):
            check_identifier(part)
    except UserError as error:
        return f'"{path}" is not a field path: {error}.'
    return None


def _may_contain(validator: Validator, path: Sequence[str]) -> bool:
    """Whether some document that matches has a field at `path`."""
    if not path or validator == ScalarValidator("any"):
        return True
    match validator:
        case UnionValidator(members):
            return any(_may_contain(member, path) for member in members)
        case ObjectValidator(fields):
            first, *others = path
            return first in fields and _may_contain(fields[first].validator, others)
    return False


def _describes_documents(validator: Validator) -> bool:
    return validator == ScalarValidator("any") or _is_objects(validator)


def _is_objects(validator: Validator) -> bool:
    if isinstance(validator, UnionValidator):
        return all(_is_objects(member) for member in validator.members)
    return isinstance(validator, ObjectValidator)


def _objects_of(validator: Validator) -> Iterator[ObjectValidator]:
    """The objects of a document validator, those of nested unions too."""
    match validator:
        case ObjectValidator():
            yield validator
        case UnionValidator(members):
            for member in members:
                yield from _objects_of(member)


def _without_system_fields(validator: Validator) -> Validator:
    match validator:
        case ObjectValidator(fields):
            return validator.omit(*(SYSTEM_FIELDS & fields.keys()))
        case UnionValidator(members):
            return UnionValidator(tuple(_without_system_fields(member) for member in members))
    return validator


def _with_system_fields(validator: Validator, table: str) -> Validator:
    match validator:
        case ObjectValidator():
            return validator.extend({"_id": v.id(table), "_creationTime": v.number()})
        case UnionValidator(members):
            return UnionValidator(tuple(_with_system_fields(member, table) for member in members))
    return validator
