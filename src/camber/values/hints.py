"""What a type hint means: the validator of its values, and how they become Python objects.

Values arrive as the value model has them: an `int` may come as `3.0`, a dataclass as a dict. The
`Shape` of a hint says what is accepted (`validator`), how an accepted value becomes what the hint
promises (`load`; None when it already is), and whether objects of the author's own classes may
stand in it, which `to_plain` turns back into values.

Supported are `str int float bool bytes None`, `Int64`, `Any object`, `Id["table"]`, `Literal`,
`list[T]`, `tuple[T, ...]`, `Sequence[T]`, `dict[str, T]`, `Mapping[str, T]`, `T | U`, `Optional`,
`TypedDict`, dataclasses, `msgspec.Struct`, enumerations of literals, `Table` classes, `Document`,
`NewType`, `Annotated` and type aliases.
"""

import collections.abc
import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, Union

import msgspec

from camber.errors import SchemaError, UserError
from camber.values.matcher import Check, compile_check
from camber.values.validator import (
    Field,
    TableNumbers,
    Validator,
    WholeNumberValidator,
    v,
)
from camber.values.value import UNDEFINED, Document, Int64

# Only because of `Id`, which type checkers would else take for a name of another module.
__all__ = [
    "Id",
    "IdOf",
    "Load",
    "Shape",
    "is_object_of_class",
    "resolve",
    "resolve_class",
    "shape_of",
    "to_plain",
    "validator_of",
]

Load: TypeAlias = Callable[[Any, TableNumbers], Any]
"""Makes what a hint promises of a value that matches its validator."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a hint means."""

    validator: Validator
    load: Load | None = None
    # True when the hint names a class whose instances are not values: a dataclass, say.
    holds_objects: bool = False


@dataclass(frozen=True, slots=True)
class IdOf:
    """The mark that `Id["messages"]` leaves on `str` at run time."""

    table: str


if TYPE_CHECKING:
    # For type checkers the id of a message is a text known by its table's name. So ids of two
    # tables do not mix, and `Id["messages"]` needs no class of that name to be in sight.
    from typing import Literal as Id
else:

    class Id:
        """The type hint of document ids: `Id["messages"]`. Ids are plain strings."""

        def __class_getitem__(cls, table):
            name = getattr(table, "__tablename__", table)
            if not isinstance(name, str):
                raise SchemaError(f'Id takes the name of a table, as in Id["users"], not {name!r}.')
            return Annotated[str, IdOf(name)]


def validator_of(hint: Any) -> Validator:
    """The validator of the values that a type hint allows.

    Raises:
        SchemaError: there is no such validator; says what to use instead.
    """
    return shape_of(hint).validator


def shape_of(hint: Any) -> Shape:
    """What a type hint means.

    Raises:
        SchemaError: it is no type of values, or mentions an unknown name; says what to use.
    """
    return _Reader(()).shape(hint)


def resolve(annotation: Any, names: Mapping[str, Any], local_names: Mapping[str, Any]) -> Any:
    """An annotation as it stands in the source, with the names in quotes looked up.

    Raises:
        SchemaError: a name in it is not defined.
    """
    holder = types.SimpleNamespace(__annotations__={"hint": annotation})
    return _resolved(holder, dict(names), dict(local_names))["hint"]


def resolve_class(cls: type) -> dict[str, Any]:
    """The annotations of a class and its bases, with the names in quotes looked up.

    Raises:
        SchemaError: a name in them is not defined.
    """
    return _resolved(cls, None, None)


def _resolved(
    holder: Any, names: dict[str, Any] | None, local_names: dict[str, Any] | None
) -> dict[str, Any]:
    try:
        return typing.get_type_hints(holder, names, local_names, include_extras=True)
    except NameError as error:
        where = f" in {holder.__qualname__}" if isinstance(holder, type) else ""
        raise SchemaError(
            f'the name "{error.name}" in its type hint{where} is not defined. Import it at the '
            "top of the module, and not under `if TYPE_CHECKING:`."
        ) from None
    except (SyntaxError, TypeError, AttributeError) as error:
        raise SchemaError(f"its type hint cannot be read: {error}") from None


_WHOLE_OF: Final[Mapping[Any, Shape]] = {
    None: Shape(v.null()),
    type(None): Shape(v.null()),
    str: Shape(v.string()),
    typing.LiteralString: Shape(v.string()),
    bool: Shape(v.boolean()),
    int: Shape(
        WholeNumberValidator(), lambda value, _: value if type(value) is int else int(value)
    ),
    float: Shape(v.number(), lambda value, _: value if type(value) is float else float(value)),
    Int64: Shape(v.int64()),
    bytes: Shape(v.bytes()),
    Any: Shape(v.any()),
    object: Shape(v.any()),
    list: Shape(v.array(v.any())),
    typing.List: Shape(v.array(v.any())),  # noqa: UP006 (authors write it)
    collections.abc.Sequence: Shape(v.array(v.any())),
    tuple: Shape(v.array(v.any()), lambda value, _: tuple(value)),
    dict: Shape(v.record(v.string(), v.any())),
    typing.Dict: Shape(v.record(v.string(), v.any())),  # noqa: UP006 (authors write it)
    collections.abc.Mapping: Shape(v.record(v.string(), v.any())),
}

_INSTEAD: Final[Mapping[str, str]] = {
    "datetime.datetime": "float (milliseconds since the epoch)",
    "datetime.date": "str (as date.isoformat() writes it)",
    "datetime.time": "str (as time.isoformat() writes it)",
    "datetime.timedelta": "float (seconds)",
    "decimal.Decimal": "str",
    "fractions.Fraction": "str",
    "uuid.UUID": "str",
    "pathlib.Path": "str",
    "pathlib._local.Path": "str",
    "complex": "list[float]",
    "bytearray": "bytes",
    "memoryview": "bytes",
    "set": "list",
    "frozenset": "list",
    "collections.abc.Set": "list",
    "collections.abc.Iterable": "list",
    "collections.abc.Iterator": "list",
    "collections.deque": "list",
}

_INSTEAD_OF_ANY: Final = (
    'str, int, float, bool, bytes, None, list[…], dict[str, …], Literal[…], Id["table"], Int64, '
    "a TypedDict, a dataclass, a msgspec.Struct, a Table class or Any"
)


class _Reader:
    """Reads one hint. `inside` are the classes it is within, to notice one that holds itself."""

    def __init__(self, inside: tuple[type, ...]) -> None:
        self._inside = inside

    def shape(self, hint: Any) -> Shape:
        try:
            if hint in _WHOLE_OF:
                return _WHOLE_OF[hint]
        except TypeError:  # Annotated[str, []] has no hash.
            pass
        if isinstance(hint, typing.NewType):
            return self.shape(hint.__supertype__)
        if type(hint).__name__ == "TypeAliasType":
            return self.shape(hint.__value__)
        if isinstance(hint, str | typing.ForwardRef):
            name = hint if isinstance(hint, str) else hint.__forward_arg__
            raise SchemaError(f'the name "{name}" in its type hint is not defined here.')
        if typing.get_origin(hint) is not None:
            return self._generic(hint, typing.get_origin(hint), typing.get_args(hint))
        return self._class(hint) if isinstance(hint, type) else self._refuse(hint)

    def _generic(self, hint: Any, origin: Any, args: tuple[Any, ...]) -> Shape:
        if origin is Annotated:
            table = next((mark.table for mark in args[1:] if isinstance(mark, IdOf)), None)
            return self.shape(args[0]) if table is None else Shape(v.id(table))
        if origin is Union or origin is types.UnionType:
            return _union([self.shape(each) for each in args])
        if origin is Literal:
            return _literals(args)
        if origin in (list, collections.abc.Sequence):
            return _array(self.shape(args[0]), list)
        if origin is tuple and len(args) == 2 and args[1] is ...:
            return _array(self.shape(args[0]), tuple)
        if origin is tuple:
            raise SchemaError(
                f"{_name(hint)} has elements of fixed places, which no validator describes. "
                "Use list[…], tuple[…, ...] or a TypedDict."
            )
        if origin in (dict, collections.abc.Mapping):
            return self._record(hint, *args)
        if type(origin).__name__ == "TypeAliasType":
            return self.shape(origin.__value__[args])
        return self._refuse(hint)

    def _record(self, hint: Any, keys: Any, values: Any) -> Shape:
        names = self.shape(keys)
        values_shape = self.shape(values)
        try:
            validator = v.record(names.validator, values_shape.validator)
        except SchemaError as error:
            raise SchemaError(f"{_name(hint)} is no record: {error}") from None
        load = values_shape.load
        if load is None:
            return Shape(validator, None, values_shape.holds_objects)

        def load_record(value: Mapping[str, Any], tables: TableNumbers) -> dict[str, Any]:
            return {name: load(item, tables) for name, item in value.items()}

        return Shape(validator, load_record, values_shape.holds_objects)

    def _class(self, cls: type) -> Shape:
        document_validator = getattr(cls, "__document_validator__", None)
        if document_validator is not None:
            return Shape(document_validator(), _load_document)
        if issubclass(cls, Document):
            return Shape(v.record(v.string(), v.any()), _load_document)
        if cls in self._inside:
            raise SchemaError(
                f"{_name(cls)} holds itself, which no validator describes. "
                "Use dict for the inner one, or an id."
            )
        inner = _Reader((*self._inside, cls))
        if typing.is_typeddict(cls):
            return inner._typed_dict(cls)
        if issubclass(cls, Enum):
            return _enumeration(cls)
        if issubclass(cls, msgspec.Struct):
            return inner._struct(cls)
        if dataclasses.is_dataclass(cls):
            return inner._dataclass(cls)
        return self._refuse(cls)

    def _typed_dict(self, cls: Any) -> Shape:
        fields: dict[str, _Member] = {}
        for name, hint in resolve_class(cls).items():
            optional = name in cls.__optional_keys__
            # ReadOnly, too, may stand around the type, from Python 3.13 on.
            while (origin := typing.get_origin(hint)) is not None and hasattr(origin, "_name"):
                if origin in (typing.Required, typing.NotRequired):
                    optional = origin is typing.NotRequired
                elif origin._name != "ReadOnly":
                    break
                (hint,) = typing.get_args(hint)
            fields[name] = _Member(name, self.shape(hint), optional)
        return _object(fields, lambda values: values, holds_objects=False)

    def _struct(self, cls: type[msgspec.Struct]) -> Shape:
        fields: dict[str, _Member] = {}
        for each in _struct_fields(cls):
            hint = _without_unset(each.type)
            fields[each.encode_name] = _Member(each.name, self.shape(hint), not each.required)
        tag = cls.__struct_config__.tag
        if tag is None:
            return _object(fields, lambda values: cls(**values), holds_objects=True)
        tag_field = cls.__struct_config__.tag_field or "type"
        fields[tag_field] = _Member(tag_field, Shape(v.literal(tag)), False)

        def build(values: dict[str, Any]) -> msgspec.Struct:
            return cls(**{name: value for name, value in values.items() if name != tag_field})

        return _object(fields, build, holds_objects=True)

    def _dataclass(self, cls: type) -> Shape:
        hints = resolve_class(cls)
        fields: dict[str, _Member] = {}
        for each in dataclasses.fields(cls):
            if not each.init:
                raise SchemaError(
                    f'Field "{each.name}" of {_name(cls)} has init=False, so no value makes one.'
                )
            needed = each.default is dataclasses.MISSING is each.default_factory
            fields[each.name] = _Member(each.name, self._member(cls, each.name, hints), not needed)
        return _object(fields, lambda values: cls(**values), holds_objects=True)

    def _member(self, cls: type, name: str, hints: Mapping[str, Any]) -> Shape:
        try:
            return self.shape(hints[name])
        except SchemaError as error:
            raise SchemaError(f'field "{name}" of {_name(cls)}: {error}') from None

    def _refuse(self, hint: Any) -> Shape:
        origin = typing.get_origin(hint) or hint
        instead = _INSTEAD.get(_name(origin))
        if instead is None and isinstance(hint, type) and issubclass(hint, str | int | float):
            instead = f"typing.NewType, or {hint.__mro__[-2].__name__}"
        raise SchemaError(
            f"{_name(hint)} is not a type of values. Use {instead or _INSTEAD_OF_ANY}."
        )


def _name(hint: Any) -> str:
    """A hint as an author would write it, with its module unless that is `builtins`."""
    if not isinstance(hint, type) or isinstance(hint, types.GenericAlias):
        return str(hint)
    return (
        hint.__qualname__
        if hint.__module__ == "builtins"
        else f"{hint.__module__}.{hint.__qualname__}"
    )


def _struct_fields(cls: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    resolve_class(cls)  # Says which name is not defined, when one is not.
    return msgspec.structs.fields(cls)


def _without_unset(hint: Any) -> Any:
    if typing.get_origin(hint) not in (Union, types.UnionType):
        return hint
    kept = tuple(each for each in typing.get_args(hint) if each is not msgspec.UnsetType)
    return Union[kept]  # noqa: UP007 (of a tuple)


def _literals(values: tuple[Any, ...]) -> Shape:
    for value in values:
        if not (value is None or type(value) in (str, int, bool)):
            raise SchemaError(f"Literal[{value!r}] is not a value. Use str, int, bool or None.")
    validators = [v.null() if value is None else v.literal(value) for value in values]
    validator = validators[0] if len(validators) == 1 else v.union(*validators)
    if not any(type(value) is int for value in values):
        return Shape(validator)
    return Shape(validator, lambda value, _: int(value) if type(value) is float else value)


def _enumeration(cls: type[Enum]) -> Shape:
    try:
        literals = [v.literal(member.value) for member in cls]
    except SchemaError as error:
        raise SchemaError(f"{_name(cls)} has a member that is no literal: {error}") from None
    members = list(zip(literals, cls, strict=True))

    def load(value: Any, _: TableNumbers) -> Enum:
        return next(member for literal, member in members if literal.matches(value))

    validator = literals[0] if len(literals) == 1 else v.union(*literals)
    return Shape(validator, load, holds_objects=True)


def _array(element: Shape, kind: type[list[Any]] | type[tuple[Any, ...]]) -> Shape:
    validator = v.array(element.validator)
    load = element.load
    if load is not None:

        def load_array(value: Sequence[Any], tables: TableNumbers) -> Sequence[Any]:
            return kind([load(item, tables) for item in value])

        return Shape(validator, load_array, element.holds_objects)
    if kind is tuple:
        return Shape(validator, lambda value, _: tuple(value), element.holds_objects)
    return Shape(validator, None, element.holds_objects)


def _union(members: list[Shape]) -> Shape:
    validators = list(dict.fromkeys(member.validator for member in members))
    validator = validators[0] if len(validators) == 1 else v.union(*validators)
    holds_objects = any(member.holds_objects for member in members)
    if all(member.load is None for member in members):
        return Shape(validator, None, holds_objects)
    # The first member that a value matches, in the order of the hint, is what it becomes.
    choices: list[tuple[Check, Load | None]] = [
        (compile_check(member.validator), member.load) for member in members
    ]

    def load(value: Any, tables: TableNumbers) -> Any:
        if value is None:
            return None
        choice = next(load for check, load in choices if check(value, tables))
        return value if choice is None else choice(value, tables)

    return Shape(validator, load, holds_objects)


@dataclass(frozen=True, slots=True)
class _Member:
    """A field of a class: its name in Python, its shape, whether it may be missing."""

    name: str
    shape: Shape
    optional: bool


def _object(
    fields: Mapping[str, _Member],
    build: Callable[[dict[str, Any]], Any],
    *,
    holds_objects: bool,
) -> Shape:
    """The shape of an object whose fields are `build`'s arguments."""
    try:
        validator = v.object(
            {name: Field(each.shape.validator, each.optional) for name, each in fields.items()}
        )
    except UserError as error:
        raise SchemaError(str(error)) from None
    inner_objects = any(each.shape.holds_objects for each in fields.values())
    if not holds_objects and all(each.shape.load is None for each in fields.values()):
        return Shape(validator, None, inner_objects)
    loads = [(name, each.name, each.shape.load) for name, each in fields.items()]

    def load(value: Mapping[str, Any], tables: TableNumbers) -> Any:
        values = {}
        for name, python_name, load_field in loads:
            item = value.get(name, UNDEFINED)
            if item is not UNDEFINED:
                values[python_name] = item if load_field is None else load_field(item, tables)
        return build(values)

    return Shape(validator, load, holds_objects or inner_objects)


def _load_document(value: Any, _: TableNumbers) -> Document:
    return value if isinstance(value, Document) else Document(value)


def to_plain(value: Any) -> Any:
    """`value` with dataclasses, Structs and enumerations' members turned into plain values.

    A field that holds `UNDEFINED` or `msgspec.UNSET` is left out. Everything else stays, also
    what is no value: to notice that is the part of `value.survey`.
    """
    if value is None or type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        return {name: to_plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Enum):
        return to_plain(value.value)
    if not is_object_of_class(value):
        return value
    return {
        name: to_plain(item)
        for name, item in _fields_of(value)
        if item is not UNDEFINED and item is not msgspec.UNSET
    }


_PLAIN: Final = frozenset({str, int, float, bool, bytes, Int64})


def is_object_of_class(value: object) -> bool:
    """Whether `to_plain` makes a dict of `value`: an instance of a dataclass or a Struct."""
    return isinstance(value, msgspec.Struct) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    )


def _fields_of(value: Any) -> list[tuple[str, Any]]:
    cls = type(value)
    if isinstance(value, msgspec.Struct):
        names = zip(cls.__struct_encode_fields__, cls.__struct_fields__, strict=True)
        fields = [(name, getattr(value, python_name)) for name, python_name in names]
        config = cls.__struct_config__
        return fields if config.tag is None else [(config.tag_field or "type", config.tag), *fields]
    return [(each.name, getattr(value, each.name)) for each in dataclasses.fields(value)]
