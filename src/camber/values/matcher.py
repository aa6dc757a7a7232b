"""A validator made into code: a function that says whether a value matches, quickly.

`compile_check` writes one Python function per object, record, array and union of the validator,
with the checks of strings, numbers and other leaves written out in place. A message of three
strings is checked in about a fifth of a microsecond. When the answer is no, `Validator.check`
says why; the two always agree.

Only names that validators allow (identifiers) and numbered constants enter the source text, so
no string that an author or a client chose is ever run as code.
"""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final, TypeAlias, cast

from camber.values.validator import (
    ArrayValidator,
    Field,
    IdValidator,
    LiteralValidator,
    ObjectValidator,
    RecordValidator,
    ScalarKind,
    ScalarValidator,
    TableNumbers,
    UnionValidator,
    Validator,
    WholeNumberValidator,
    is_id,
    is_whole,
)
from camber.values.value import UNDEFINED, Int64, Value

Check: TypeAlias = Callable[[Value, TableNumbers], bool]
"""Says whether a value matches."""

_SCALARS: Final[Mapping[ScalarKind, str]] = {
    "null": "{0} is None",
    "number": "(isinstance({0}, float) or type({0}) is int)",
    "bigint": "isinstance({0}, Int64)",
    "boolean": "({0} is True or {0} is False)",
    "string": "isinstance({0}, str)",
    "bytes": "isinstance({0}, (bytes, bytearray, memoryview))",
    "any": "True",
}


def compile_check(validator: Validator) -> Check:
    """The function that says whether a value matches `validator`. Takes under a millisecond
    to make, so make it once."""
    return _Source().function(validator)


class _Source:
    """The functions written so far, and the constants that they name."""

    def __init__(self) -> None:
        self._names: dict[str, Any] = {
            "Int64": Int64,
            "UNDEFINED": UNDEFINED,
            "is_id": is_id,
            "is_whole": is_whole,
            "has_only": _has_only,
        }
        self._numbers = count()

    def function(self, validator: Validator) -> Check:
        match validator:
            case ObjectValidator():
                return self._compile(self._object_lines(validator))
            case ArrayValidator(element) if not _accepts_all(element):
                return self._compile(
                    [
                        "if not isinstance(value, (list, tuple)): return False",
                        "for item in value:",
                        f"    if not ({self._test(element, 'item')}): return False",
                        "return True",
                    ]
                )
            case RecordValidator(keys, values) if not _takes_every_object(validator):
                return self._compile(
                    [
                        "if not isinstance(value, dict): return False",
                        "for name, item in value.items():",
                        f"    if not ({self._test(keys, 'name')} and {self._test(values, 'item')})"
                        " and item is not UNDEFINED: return False",
                        "return True",
                    ]
                )
            case _:
                return self._compile([f"return {self._test(validator, 'value')}"])

    def _object_lines(self, validator: ObjectValidator) -> list[str]:
        names = list(validator.fields)
        required = sum(not each.optional for each in validator.fields.values())
        lines = ["if not isinstance(value, dict): return False"]
        if required < len(names) or validator.rest is not None:
            lines.append(f"found = {required}")
        for name, each in validator.fields.items():
            lines += self._field_lines(name, each)
        if validator.rest is not None:
            lines += self._rest_lines(names, validator.rest)
        elif required < len(names):
            lines.append("return len(value) == found or has_only(value, found)")
        else:
            lines.append(f"return len(value) == {required} or has_only(value, {required})")
        return lines

    def _field_lines(self, name: str, each: Field) -> list[str]:
        test = self._test(each.validator, "item")
        lines = [f"item = value.get({name!r}, UNDEFINED)"]
        if each.optional:
            return [
                *lines,
                "if item is not UNDEFINED:",
                "    found += 1",
                f"    if not ({test}): return False",
            ]
        if _accepts_all(each.validator):
            return [*lines, "if item is UNDEFINED: return False"]
        return [*lines, f"if not ({test}): return False"]

    def _rest_lines(self, names: list[str], rest: Validator) -> list[str]:
        if _accepts_all(rest):
            return ["return True"]
        known = self._constant(frozenset(names))
        return [
            "if len(value) == found: return True",
            "for name, item in value.items():",
            f"    if name not in {known} and item is not UNDEFINED"
            f" and not ({self._test(rest, 'item')}): return False",
            "return True",
        ]

    def _test(self, validator: Validator, variable: str) -> str:
        """The expression that is true when the value of `variable` matches."""
        match validator:
            case ScalarValidator(kind):
                return _SCALARS[kind].format(variable)
            case WholeNumberValidator():
                return f"(type({variable}) is int or is_whole({variable}))"
            case LiteralValidator(value):
                scalar = _SCALARS[validator.kind].format(variable)
                return f"({scalar} and {variable} == {self._constant(value)})"
            case IdValidator(table):
                return f"is_id({variable}, {self._constant(table)}, tables)"
            case UnionValidator(members):
                # The cheap and the common first: what a union accepts has no order.
                ordered = sorted(members, key=lambda member: not _is_leaf(member))
                return f"({' or '.join(self._test(m, variable) for m in ordered) or 'False'})"
            case ArrayValidator(element) if _accepts_all(element):
                return f"isinstance({variable}, (list, tuple))"
            case RecordValidator() if _takes_every_object(validator):
                return f"isinstance({variable}, dict)"
            case _:
                return f"{self._constant(self.function(validator))}({variable}, tables)"

    def _constant(self, value: object) -> str:
        name = f"constant_{next(self._numbers)}"
        self._names[name] = value
        return name

    def _compile(self, lines: list[str]) -> Check:
        source = "\n".join(["def check(value, tables):", *("    " + line for line in lines)])
        scope = self._names
        exec(compile(source, "<camber validator>", "exec"), scope)
        return cast(Check, scope.pop("check"))


def _accepts_all(validator: Validator) -> bool:
    match validator:
        case ScalarValidator("any"):
            return True
        case UnionValidator(members):
            return any(_accepts_all(member) for member in members)
    return False


def _takes_every_object(validator: RecordValidator) -> bool:
    return validator.keys == ScalarValidator("string") and _accepts_all(validator.values)


def _is_leaf(validator: Validator) -> bool:
    return isinstance(validator, ScalarValidator | WholeNumberValidator | LiteralValidator)


def _has_only(value: dict[Any, Any], number: int) -> bool:
    """Whether all but `number` of the fields are undefined, and so not there."""
    return sum(each is not UNDEFINED for each in value.values()) == number
