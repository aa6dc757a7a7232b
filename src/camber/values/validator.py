"""What a value must look like: validators, built with `v`, that name the path where a value fails.

A validator is a frozen value. It is compared by structure, prints as it was written
(`v.object({body: v.string()})`), exports as JSON, and checks a value in one of two ways:
`check` explains what is wrong, `compile_check` makes a function that only says yes or no and
costs a fraction of a microsecond. Both always agree.

A plain Python `int` or `float` is a number (float64), `Int64` is the 64-bit integer, and a
`bool` is neither. Whether something is a value at all (its size, its nesting, its field names)
is the question of `value.survey`, so `v.any()` asks for nothing.
"""

from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from json import dumps
from math import isfinite
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, TypeAlias

from camber.errors import SchemaError, UserError, ValidationError
from camber.values.id import decode_id, is_id_of
from camber.values.value import INTEGER_MAX, UNDEFINED, Int64, Value, check_identifier, describe


class TableNumbers(Protocol):
    """Which table an id belongs to. Names and numbers stand for each other one to one."""

    def number_of(self, name: str, /) -> int | None:
        """The number of the table `name`, or None when there is no such table."""

    def name_of(self, number: int, /) -> str | None:
        """The name of the table `number`, or None when there is no such table."""


class Validator(ABC):
    """A set of values. Frozen, hashable, compared by structure."""

    __slots__ = ()

    def check(self, value: Value, tables: TableNumbers) -> None:
        """Accept `value`, or say where and why not.

        Raises:
            ValidationError: `value` does not match.
        """
        problem = self.mismatch(value, tables, "")
        if problem is not None:
            raise ValidationError(problem)

    @abstractmethod
    def mismatch(self, value: Value, tables: TableNumbers, path: str) -> str | None:
        """Why `value`, found at `path`, does not match, in the words of an error; None when it
        does. A path is made of `.field`, `[index]`, `.keys()` and `.values()`."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The form in which validators are exported: `{"type": "string"}`."""

    def _no_match(self, value: Value, path: str) -> str:
        return (
            f"Value does not match validator.\n{_at(path)}\n"
            f"Value: {describe(value)}\nValidator: {self}"
        )


ScalarKind: TypeAlias = Literal["null", "number", "bigint", "boolean", "string", "bytes", "any"]

_SHOWN: Final[Mapping[ScalarKind, str]] = {
    "null": "v.null()",
    "number": "v.float64()",
    "bigint": "v.int64()",
    "boolean": "v.boolean()",
    "string": "v.string()",
    "bytes": "v.bytes()",
    "any": "v.any()",
}


@dataclass(frozen=True, slots=True)
class ScalarValidator(Validator):
    """All values of one type; `any` is all values."""

    kind: ScalarKind

    def mismatch(self, value: Value, tables: TableNumbers, path: str) -> str | None:
        return None if _is_scalar(value, self.kind) else self._no_match(value, path)

    def to_json(self) -> dict[str, Any]:
        return {"type": self.kind}

    def __str__(self) -> str:
        return _SHOWN[self.kind]


@dataclass(frozen=True, slots=True)
class WholeNumberValidator(Validator):
    """Numbers without a fraction: what the type hint `int` asks for. Exported as a number."""

    def mismatch(self, value: Value, tables: TableNumbers, path: str) -> str | None:
        return None if is_whole(value) else self._no_match(value, path)

    def to_json(self) -> dict[str, Any]:
        return {"type": "number"}

    def __str__(self) -> str:
        return "v.float64() (a whole number)"


@dataclass(frozen=True, slots=True)
class IdValidator(Validator):
    """Ids of one table. Whether the document exists is not asked."""

    table: str

    def mismatch(self, value: Value, tables: TableNumbers, path: str) -> str | None:
        if not isinstance(value, str):
            return self._no_match(value, path)
        number = _table_number(value)
        if number is not None and number == tables.number_of(self.table):
            return None
        name = None if number is None else tables.name_of(number)
        if name is None or name == self.table:
            return self._no_match(value, path)
        found = "a system table" if name.startswith("_") else f"table `{name}`"
        return (
            f'Found ID "{value}" from {found}, which does not match the table name in '
            f"validator `{self}`.{_at(path)}"
        )

    def to_json(self) -> dict[str, Any]:
        return {"type": "id", "tableName": self.table}

    def __str__(self) -> str:
        return f'v.id("{self.table}")'


@dataclass(frozen=True, slots=True)
class LiteralValidator(Validator):
    """One value: a string, a number, an Int64 or a boolean."""

    value: str | float | bool | Int64
    # Tells `True` from `1` and `Int64(1)`, which Python may call equal.
    kind: ScalarKind = field(init=False, repr=False)

    def __post_init__(self) -> None:
        kinds: tuple[ScalarKind, ...] = ("string", "boolean", "bigint", "number")
        kind = next((kind for kind in kinds if _is_scalar(self.value, kind)), None)
        if kind is None:
            raise SchemaError(
                f"v.literal() takes a string, a number, an Int64 or a boolean, "
                f"not {describe(self.value)}."
            )
        if isinstance(self.value, float) and not isfinite(self.value):
            raise SchemaError(f"v.literal() does not support {self.value}.")
        object.__setattr__(self, "kind", kind)

    def matches(self, value: object) -> bool:
        """Whether `value` is this very literal."""
        return _is_scalar(value, self.kind) and value == self.value

    def mismatch(self, value: Value, tables: TableNumbers, path: str) -> str | None:
        if self.matches(value):
            return None
        return f"`{describe(value)}` does not match literal validator `{self}`.{_at(path)}"

    def to_json(self) -> dict[str, Any]:
        if isinstance(self.value, Int64):
            data = int(self.value).to_bytes(8, "little", signed=True)
            return {"type": "literal", "value": {"$integer": b64encode(data).decode()}}
        return {"type": "literal", "value": self.value}

    def __str__(self) -> str:
        if self.kind == "bigint":
            return "v.literal(<bigint>)"
        value = float(self.value) if self.kind == "number" else self.value
        return f"v.literal({dumps(value, ensure_ascii=False)})"


@dataclass(frozen=True, slots=True)
class ArrayValidator(Validator):
    """Arrays whose elements all match `element`."""

    element: Validator

    def mismatch(self, value: Value, tables: TableNumbers, path: str) -> str | None:
        if not isinstance(value, list | tuple):
            return self._no_match(value, path)
        problems = (
            self.element.mismatch(item, tables, f"{path}[{index}]")
            for index, item in enumerate(value)
        )
        return _first(problems)

    def to_json(self) -> dict[str, Any]:
        return {"type": "array", "value": self.element.to_json()}

    def __str__(self) -> str:
        return f"v.array({self.element})"


@dataclass(frozen=True, slots=True)
class RecordValidator(Validator):
    """Objects of any field names that match `keys`, all with values that match `values`."""

    keys: Validator
    values: Validator

    def __post_init__(self) -> None:
        if _holds_string_literal(self.keys):
            raise SchemaError("Records cannot have string literal keys")
        if not _is_string(self.keys):
            raise SchemaError(
                "Records can only have string keys. Your validator contains a record with key "
                f"typed as `{self.keys}`, which is not a subtype of `v.string()`"
            )

    def mismatch(self, value: Value, tables: TableNumbers, path: str) -> str | None:
        if not isinstance(value, dict):
            return self._no_match(value, path)
        return _first(self._problems(value, tables, path))

    def _problems(
        self, value: Mapping[str, Any], tables: TableNumbers, path: str
    ) -> Iterator[str | None]:
        for name in sorted(value, key=str):
            if value[name] is not UNDEFINED:
                if self.keys != _STRING:  # That names are strings is known, or noticed elsewhere.
                    yield self.keys.mismatch(name, tables, f"{path}.keys()")
                yield self.values.mismatch(value[name], tables, f"{path}.values()")

    def to_json(self) -> dict[str, Any]:
        values = Field(self.values).to_json()
        return {"type": "record", "keys": self.keys.to_json(), "values": values}

    def __str__(self) -> str:
        return f"v.record({self.keys}, {self.values})"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an object: what it holds, and whether it may be missing."""

    validator: Validator
    optional: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"fieldType": self.validator.to_json(), "optional": self.optional}

    def __str__(self) -> str:
        return f"v.optional({self.validator})" if self.optional else str(self.validator)


@dataclass(frozen=True, slots=True)
class ObjectValidator(Validator):
    """Objects with exactly these fields.

    `rest`, when there is one, lets in every other field whose value matches it: the arguments
    of a function that takes `**kwargs`. It has no exported form of its own, so it exports as any.
    """

    fields: Mapping[str, Field]
    rest: Validator | None = None

    def __post_init__(self) -> None:
        fields = {name: self.fields[name] for name in sorted(self.fields)}
        object.__setattr__(self, "fields", MappingProxyType(fields))

    def __hash__(self) -> int:
        return hash((frozenset(self.fields.items()), self.rest))

    def pick(self, *names: str) -> "ObjectValidator":
        """Only the fields `names`."""
        return self._with({name: self._field(name) for name in names})

    def omit(self, *names: str) -> "ObjectValidator":
        """All fields but `names`."""
        for name in names:
            self._field(name)
        return self._with({n: each for n, each in self.fields.items() if n not in names})

    def extend(self, fields: "Mapping[str, Validator | Field]") -> "ObjectValidator":
        """These fields and more; a new one takes the place of one with the same name."""
        return self._with({**self.fields, **v.object(fields).fields})

    def partial(self) -> "ObjectValidator":
        """The same fields, every one of them optional."""
        return self._with({n: Field(each.validator, True) for n, each in self.fields.items()})

    def _with(self, fields: Mapping[str, Field]) -> "ObjectValidator":
        return replace(self, fields=fields)

    def _field(self, name: str) -> Field:
        if name not in self.fields:
            raise SchemaError(f"There is no field `{name}` in {self}.")
        return self.fields[name]

    def mismatch(self, value: Value, tables: TableNumbers, path: str) -> str | None:
        if not isinstance(value, dict):
            return self._no_match(value, path)
        return _first(self._problems(value, tables, path))

    def _problems(
        self, value: Mapping[str, Any], tables: TableNumbers, path: str
    ) -> Iterator[str | None]:
        for name, each in self.fields.items():
            found = value.get(name, UNDEFINED)
            if found is not UNDEFINED:
                yield each.validator.mismatch(found, tables, f"{path}.{name}")
            elif not each.optional:
                yield self._wrong_fields(_MISSING_FIELD.format(name=name), value, path)
        for name in sorted(value, key=str):
            if name in self.fields or value[name] is UNDEFINED:
                continue
            if self.rest is None:
                yield self._wrong_fields(_EXTRA_FIELD.format(name=name), value, path)
            else:
                yield self.rest.mismatch(value[name], tables, f"{path}.{name}")

    def _wrong_fields(self, problem: str, value: Mapping[str, Any], path: str) -> str:
        return f"{problem}\n{_at(path)}\nObject: {describe(value)}\nValidator: {self}"

    def to_json(self) -> dict[str, Any]:
        if self.rest is not None:
            return {"type": "any"}
        return {"type": "object", "value": {n: each.to_json() for n, each in self.fields.items()}}

    def __str__(self) -> str:
        fields = [f"{name}: {each}" for name, each in self.fields.items()]
        rest = [] if self.rest is None else [f"...: {self.rest}"]
        return f"v.object({{{', '.join(fields + rest)}}})"


@dataclass(frozen=True, slots=True)
class UnionValidator(Validator):
    """Values that match any of `members`. Without members it accepts nothing."""

    members: tuple[Validator, ...]

    def mismatch(self, value: Value, tables: TableNumbers, path: str) -> str | None:
        if len(self.members) == 1:
            return self.members[0].mismatch(value, tables, path)
        for member in self.members:
            if member.mismatch(value, tables, path) is None:
                return None
        return self._no_match(value, path)

    def to_json(self) -> dict[str, Any]:
        return {"type": "union", "value": [member.to_json() for member in self.members]}

    def __str__(self) -> str:
        return f"v.union({', '.join(str(member) for member in self.members)})"


_MISSING_FIELD: Final = (
    "Object is missing the required field `{name}`. Consider wrapping the field validator in "
    "`v.optional(...)` if this is expected."
)
_EXTRA_FIELD: Final = "Object contains extra field `{name}` that is not in the validator."
_STRING: Final = ScalarValidator("string")


class v:
    """The builders of validators: `v.string()`, `v.array(v.id("users"))`, `v.object({…})`.

    All of them raise `SchemaError` when what they are given makes no validator.
    """

    @staticmethod
    def null() -> ScalarValidator:
        """None. It is a value; a missing field is not."""
        return ScalarValidator("null")

    @staticmethod
    def number() -> ScalarValidator:
        """A Python float or int: a float64."""
        return ScalarValidator("number")

    float64 = number

    @staticmethod
    def int64() -> ScalarValidator:
        """An `Int64`: a BigInt in JavaScript."""
        return ScalarValidator("bigint")

    bigint = int64

    @staticmethod
    def boolean() -> ScalarValidator:
        return ScalarValidator("boolean")

    @staticmethod
    def string() -> ScalarValidator:
        return ScalarValidator("string")

    @staticmethod
    def bytes() -> ScalarValidator:
        return ScalarValidator("bytes")

    @staticmethod
    def any() -> ScalarValidator:
        """Every value."""
        return ScalarValidator("any")

    @staticmethod
    def id(table: str, /) -> IdValidator:
        """An id of `table`; of the system's tables too: `v.id("_storage")`."""
        check_identifier(table)
        return IdValidator(table)

    @staticmethod
    def literal(value: str | float | bool | Int64, /) -> LiteralValidator:
        """Exactly `value`."""
        return LiteralValidator(value)

    @staticmethod
    def array(element: Validator, /) -> ArrayValidator:
        return ArrayValidator(_required(element, "v.array()"))

    @staticmethod
    def object(fields: Mapping[str, Validator | Field], /) -> ObjectValidator:
        """An object with exactly these fields; `v.optional(…)` ones may be missing."""
        return ObjectValidator({name: _field(name, each) for name, each in fields.items()})

    @staticmethod
    def record(keys: Validator, values: Validator, /) -> RecordValidator:
        """An object of any field names that match `keys`: strings or ids."""
        if isinstance(values, Field):
            raise SchemaError("Records cannot have optional values")
        return RecordValidator(_required(keys, "v.record()"), _required(values, "v.record()"))

    @staticmethod
    def union(*members: Validator) -> UnionValidator:
        """Any of `members`."""
        return UnionValidator(tuple(_required(member, "v.union()") for member in members))

    @staticmethod
    def optional(validator: Validator, /) -> Field:
        """A field that may be missing. Only stands for a field of `v.object({…})`."""
        return Field(_required(validator, "v.optional()"), optional=True)

    @staticmethod
    def nullable(validator: Validator, /) -> UnionValidator:
        """`validator` or null."""
        return v.union(validator, v.null())


def _required(validator: object, where: str) -> Validator:
    if isinstance(validator, Validator):
        return validator
    if isinstance(validator, Field):
        raise SchemaError(f"v.optional() is only for a field of v.object(), not inside {where}.")
    raise SchemaError(f"{where} takes validators such as v.string(), not {validator!r}.")


def _field(name: str, validator: object) -> Field:
    if validator is None:
        raise SchemaError(
            f'A validator is undefined for field "{name}" in v.object(). This is often caused by '
            "circular imports. See https://docs.convex.dev/error#undefined-validator for details."
        )
    check_identifier(name)
    if isinstance(validator, Field):
        return validator
    return Field(_required(validator, f'field "{name}" of v.object()'))


def _is_string(validator: Validator) -> bool:
    match validator:
        case ScalarValidator("string") | IdValidator():
            return True
        case UnionValidator(members):
            return all(_is_string(member) for member in members)
    return False


def _holds_string_literal(validator: Validator) -> bool:
    match validator:
        case LiteralValidator():
            return validator.kind == "string"
        case UnionValidator(members):
            return any(_holds_string_literal(member) for member in members)
    return False


def _is_scalar(value: object, kind: ScalarKind) -> bool:
    match kind:
        case "null":
            return value is None
        case "number":
            return isinstance(value, float) or type(value) is int
        case "bigint":
            return isinstance(value, Int64)
        case "boolean":
            return value is True or value is False
        case "string":
            return isinstance(value, str)
        case "bytes":
            return isinstance(value, bytes | bytearray | memoryview)
        case "any":
            return True


def is_whole(value: object) -> bool:
    """Whether `value` is a number that an `int` holds exactly."""
    if isinstance(value, float):
        return value.is_integer() and -INTEGER_MAX <= value <= INTEGER_MAX
    return type(value) is int


# The same ids come again and again: those of a page of documents, or of a conversation's author.
@lru_cache(maxsize=16_384)
def _table_number(text: str) -> int | None:
    try:
        return decode_id(text).table_number
    except UserError:
        return None


def is_id(value: object, table: str, tables: TableNumbers) -> bool:
    """Whether `value` is an id of `table`."""
    if not isinstance(value, str):
        return False
    number = tables.number_of(table)
    return number is not None and is_id_of(value, number)


def _at(path: str) -> str:
    return f"Path: {path}" if path else ""


def _first(problems: Iterator[str | None]) -> str | None:
    return next((problem for problem in problems if problem is not None), None)
