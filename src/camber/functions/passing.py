"""How values pass into a function and out of it: by value, checked, and not too large."""

from collections.abc import Mapping
from typing import Any, Final

from camber.database.transaction import Transaction
from camber.errors import InvalidValueError, LimitError
from camber.functions.definition import Function
from camber.functions.path import display
from camber.functions.query import TableQuery
from camber.values.value import survey
from camber.values.wire import pack, pack_value, unpack_value

ARGUMENTS_SIZE_MAX: Final = 16 << 20
RESULT_SIZE_MAX: Final = 16 << 20

AnyFunction = Function[..., Any]


def key_of(function: AnyFunction, arguments: Mapping[str, Any]) -> str:
    """The arguments as stored text: equal calls have equal keys in the cache.

    Raises:
        UserError: they are no values, or too large.
    """
    ordered = _ordered(arguments)
    plain = check_arguments(function, ordered)
    return pack(ordered, plain=True) if plain else pack_value(ordered)


def key_of_any(arguments: Mapping[str, Any]) -> str:
    """As `key_of`, whatever the function: for one that may no longer be there.

    Raises:
        UserError: they are no values.
    """
    return pack_value(_ordered(arguments))


def _ordered(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments, named in one order: equal calls have equal keys in the cache."""
    return dict(arguments) if len(arguments) < 2 else dict(sorted(arguments.items()))


def copied(arguments: Mapping[str, Any]) -> Any:
    """Arguments by value: what the callee does to them is not the caller's to see."""
    return unpack_value(pack_value(dict(arguments)))


def copied_result(function: AnyFunction, result: Any, tx: Transaction) -> Any:
    return unpack_value(text_of_result(function, result, tx))


def text_of_result(function: AnyFunction, result: Any, tx: Transaction) -> str:
    """The checked result in the stored format."""
    if isinstance(result, TableQuery):
        raise InvalidValueError(
            "Return value is a Query. Results must be retrieved with `.collect()`, `.take(n)`, "
            "`.unique()`, or `.first()`."
        )
    exported = function.signature.export(result, tx.catalog)
    try:
        text = pack_value(exported)
    except InvalidValueError as error:
        raise InvalidValueError(
            f"Function {display(function.path)} return value invalid: {error}"
        ) from None
    if len(text) > RESULT_SIZE_MAX:
        raise LimitError(
            f"Function {function.path} return value is too large "
            f"(actual: {len(text) / (1 << 20):.2f} MiB, limit: 16 MiB)"
        )
    return text


def check_arguments(function: AnyFunction, arguments: Mapping[str, Any]) -> bool:
    """Refuse arguments that are no values, or too large.

    Returns:
        Whether they are seen at a glance to be plain: short strings and small whole numbers. What
        they are called is for `bind` to check.
    """
    for value in arguments.values():
        kind = type(value)
        if kind is str:
            if len(value) > _SHORT or not value.isascii():
                break
        elif kind is not int or not -_SMALL < value < _SMALL:
            break
    else:
        return True
    size, _ = survey(arguments)
    if size > ARGUMENTS_SIZE_MAX:
        raise LimitError(
            f"Arguments for {function.path} are too large "
            f"(actual: {size / (1 << 20):.2f} MiB, limit: 16 MiB)"
        )
    return False


# Of such strings no function takes so many that they would be too large together.
_SHORT: Final = 4096
_SMALL: Final = 1 << 53


def isolated(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that a body may change without its caller, or its next attempt, seeing it."""
    for value in arguments.values():
        kind = type(value)
        if kind is list or kind is dict:
            own: dict[str, Any] = copied(arguments)
            return own
    return dict(arguments)
