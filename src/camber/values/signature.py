"""What a function takes and returns, read once from its type hints and made into code.

`Signature.bind` checks the arguments of a call and gives the function what its hints promise: an
`int` for `3.0`, an instance for a dict. `Signature.export` does the reverse for its result.
Explicit validators, where the author gave them, win over the hints: then values arrive as sent.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeAlias

from camber.errors import ArgumentValidationError, LoadError, ReturnsValidationError, UserError
from camber.values.hints import Load, Shape, is_object_of_class, resolve, shape_of, to_plain
from camber.values.matcher import compile_check
from camber.values.validator import (
    Field,
    ObjectValidator,
    ScalarValidator,
    TableNumbers,
    Validator,
    v,
)
from camber.values.value import Value

Arguments: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Signature:
    """The arguments and the result of one function.

    `args` is None when any object will do, `returns` when any value will.
    """

    args: ObjectValidator | None
    returns: Validator | None

    bind: Callable[[Arguments, TableNumbers], Arguments] = field(repr=False, compare=False)
    """Check and convert the arguments of a call; what comes back is for `body(ctx, **bound)`.
    The given dict is never changed, and is itself returned when nothing had to be converted.

    Raises:
        ArgumentValidationError: they do not match; names the path.
    """

    export: Callable[[Any, TableNumbers], Value] = field(repr=False, compare=False)
    """Check what the function returned, with its own objects turned into values. Whether it is a
    value at all is left to `value.survey`.

    Raises:
        ReturnsValidationError: it does not match; names the path.
    """


def signature_of(
    function: Callable[..., Any],
    *,
    args: Validator | Mapping[str, Validator | Field] | None = None,
    returns: Validator | Mapping[str, Validator | Field] | None = None,
    skip: int = 1,
) -> Signature:
    """Read the signature of a plain function, without its first `skip` parameters.

    Args:
        function: the function as written: `def` or `async def`, at the top of a module.
        args: validators of the arguments, instead of those that the hints say.
        returns: the validator of the result, likewise.
        skip: how many leading parameters are given by position: 1 for the context.

    Raises:
        LoadError: a hint that is no type of values, a name that is not defined, a parameter that
            cannot be given by name; with the file and line of the function.
    """
    reader = _Reader(function, skip)
    taken = reader.hinted() if args is None else _Taken(reader.explicit(args))
    result = reader.result() if returns is None else Shape(_whole(returns))
    validator = None if result.validator == _ANY else result.validator
    return Signature(
        taken.validator,
        validator,
        _make_bind(taken),
        _make_export(validator, result.holds_objects),
    )


_ANY: Final = ScalarValidator("any")


@dataclass(frozen=True, slots=True)
class _Taken:
    """The arguments of a function: what is accepted, and how those that need it are converted."""

    validator: ObjectValidator | None
    loads: Mapping[str, Load] = field(default_factory=dict)
    # For the arguments that `**kwargs` collects.
    load_rest: Load | None = None


class _Reader:
    """Reads the signature of one function."""

    def __init__(self, function: Callable[..., Any], skip: int) -> None:
        self._function: Any = inspect.unwrap(function)
        self._name = getattr(self._function, "__name__", repr(function))
        parameters = list(inspect.signature(self._function).parameters.values())
        positional = [each for each in parameters if each.kind in _POSITIONAL]
        if len(positional) < skip:
            raise self._error(f"{self._name}() takes no context: add a first parameter `ctx`.")
        self._parameters = [each for each in parameters if each not in positional[:skip]]

    def hinted(self) -> _Taken:
        """What the hints say of the arguments."""
        fields: dict[str, Field] = {}
        loads: dict[str, Load] = {}
        rest: Shape | None = None
        for each, shape in self._shapes():
            if each.kind is inspect.Parameter.VAR_KEYWORD:
                rest = shape
                continue
            fields[each.name] = Field(shape.validator, each.default is not inspect.Parameter.empty)
            if shape.load is not None:
                loads[each.name] = shape.load
        if rest is None:
            return _Taken(ObjectValidator(fields), loads)
        if not fields and rest.validator == _ANY:
            return _Taken(None)
        return _Taken(ObjectValidator(fields, rest.validator), loads, rest.load)

    def _shapes(self) -> Iterator[tuple[inspect.Parameter, Shape]]:
        for each in self._parameters:
            self._refuse_unnamed(each)
            where = f'Parameter "{each.name}" of {self._name}()'
            try:
                v.object({each.name: v.any()})
            except UserError as error:
                raise self._error(f"{where}: {error}.") from None
            yield each, self._shape(each.annotation, where)

    def result(self) -> Shape:
        annotation = inspect.signature(self._function).return_annotation
        return self._shape(annotation, f"The result of {self._name}()")

    def _shape(self, annotation: Any, where: str) -> Shape:
        if annotation is inspect.Parameter.empty:
            return Shape(_ANY)
        type_params = {p.__name__: p for p in getattr(self._function, "__type_params__", ())}
        try:
            return shape_of(resolve(annotation, self._function.__globals__, type_params))
        except UserError as error:
            raise self._error(f"{where}: {error}") from None

    def explicit(self, args: Validator | Mapping[str, Validator | Field]) -> ObjectValidator | None:
        """The author's own validator, if the function can take what it lets in."""
        accepted = _whole(args)
        if accepted == _ANY:
            return None
        if not isinstance(accepted, ObjectValidator):
            raise self._error("Args validator must be an object or any")
        for each in self._parameters:
            self._refuse_unnamed(each)
        kinds = {each.kind for each in self._parameters}
        by_name = {each.name: each for each in self._parameters}
        for name, each_field in accepted.fields.items():
            if name not in by_name and inspect.Parameter.VAR_KEYWORD not in kinds:
                raise self._error(f'{self._name}() has no parameter "{name}", which `args` names.')
            if each_field.optional and name in by_name and _is_needed(by_name[name]):
                raise self._error(
                    f'Parameter "{name}" of {self._name}() needs a default: `args` makes it '
                    "optional."
                )
        for name, parameter in by_name.items():
            if _is_needed(parameter) and name not in accepted.fields:
                raise self._error(
                    f'Parameter "{name}" of {self._name}() has no default and no validator in '
                    "`args`."
                )
        return accepted

    def _refuse_unnamed(self, parameter: inspect.Parameter) -> None:
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise self._error(
                f'Parameter "{parameter.name}" of {self._name}() is positional-only, but '
                "arguments are given by name. Move the `/` before it, or remove it."
            )
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            raise self._error(
                f"{self._name}() takes *{parameter.name}, but arguments are given by name. "
                "Use a parameter with a list."
            )

    def _error(self, message: str) -> LoadError:
        code = getattr(self._function, "__code__", None)
        if code is None:
            return LoadError(message)
        return LoadError(message, file=code.co_filename, line=code.co_firstlineno)


_POSITIONAL: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def _is_needed(parameter: inspect.Parameter) -> bool:
    return (
        parameter.default is inspect.Parameter.empty
        and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    )


def _whole(validator: Validator | Mapping[str, Validator | Field]) -> Validator:
    return validator if isinstance(validator, Validator) else v.object(validator)


def _make_bind(taken: _Taken) -> Callable[[Arguments, TableNumbers], Arguments]:
    validator = taken.validator
    if validator is None:
        return lambda arguments, tables: arguments
    matches = compile_check(validator)

    def bind(arguments: Arguments, tables: TableNumbers) -> Arguments:
        if not matches(arguments, tables):
            problem = validator.mismatch(arguments, tables, "")
            raise ArgumentValidationError(f"ArgumentValidationError: {problem}")
        return arguments

    if taken.load_rest is not None:
        load_rest = taken.load_rest

        def bind_and_convert_all(arguments: Arguments, tables: TableNumbers) -> Arguments:
            rest = {name: load_rest for name in arguments if name not in validator.fields}
            return _convert(bind(arguments, tables), [*loads, *rest.items()], tables)

        loads = tuple(taken.loads.items())
        return bind_and_convert_all
    if taken.loads:
        loads = tuple(taken.loads.items())
        return lambda arguments, tables: _convert(bind(arguments, tables), loads, tables)
    return bind


def _convert(
    arguments: Arguments, loads: Iterable[tuple[str, Load]], tables: TableNumbers
) -> Arguments:
    """`arguments`, or a copy of them when one had to become something else."""
    bound = arguments
    for name, load in loads:
        if name in arguments:
            given = arguments[name]
            wanted = load(given, tables)
            if wanted is not given:
                bound = dict(arguments) if bound is arguments else bound
                bound[name] = wanted
    return bound


def _make_export(
    validator: Validator | None, holds_objects: bool
) -> Callable[[Any, TableNumbers], Value]:
    if validator is None:
        # Nobody said what to expect, so only the result itself is looked at, not what it holds.
        return lambda result, tables: to_plain(result) if _is_object(result) else result
    matches = compile_check(validator)

    def export(result: Any, tables: TableNumbers) -> Value:
        plain: Value = to_plain(result) if holds_objects else result
        if not matches(plain, tables):
            problem = validator.mismatch(plain, tables, "")
            raise ReturnsValidationError(f"ReturnsValidationError: {problem}")
        return plain

    return export


def _is_object(result: object) -> bool:
    return isinstance(result, Enum) or is_object_of_class(result)
