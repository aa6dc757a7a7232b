"""A call as a client asks for it: a path and plain JSON arguments become the call of a function.

One place decides what a caller may reach, whichever door he comes by. Unknown, internal and
endpoint read the same, so that nothing is revealed.
"""

from typing import Any

from camber.errors import ArgumentValidationError, FunctionNotFoundError, UserError
from camber.functions.definition import Kind
from camber.functions.identity import Identity
from camber.functions.invocation import AnyFunction
from camber.functions.path import display
from camber.functions.runner import Runner
from camber.values.value import describe


def find_function(runner: Runner, path: str, kind: Kind | None, identity: Identity) -> AnyFunction:
    """The function that this caller may call by `path` as a `kind`, None being any.

    Raises:
        UserError: there is none for him. `BadConvexFunctionIdentifier`: `path` is no path.
    """
    function = runner.registry.find(path)
    visible = function is not None and function.kind is not Kind.HTTP
    if not visible or not (function.public or identity.is_admin):  # type: ignore[union-attr]  # visible: not None
        if kind is None:
            raise FunctionNotFoundError(
                f"Could not find function for '{path}'. Did you forget to run `camber dev`?"
            )
        raise FunctionNotFoundError(f"Could not find public function for '{path}'.")
    assert function is not None
    if kind is not None and function.kind is not kind:
        raise UserError(
            f"Trying to execute {display(function.path)} as {kind.value}, but it is defined "
            f"as {function.kind.value}."
        )
    return function


def named_arguments(value: Any) -> dict[str, Any]:
    """The one object of arguments, alone or in an array.

    Raises:
        ArgumentValidationError: not one object.
    """
    if isinstance(value, list):
        if not value:
            return {}
        if len(value) > 1:
            raise ArgumentValidationError(
                "ArgumentValidationError: Expected to receive a single object as the function's "
                f"argument. Instead received {len(value)} arguments: {describe(value)}\n"
            )
        value = value[0]
    if not isinstance(value, dict):
        raise ArgumentValidationError(
            "ArgumentValidationError: Expected to receive an object as the function's argument. "
            f"Instead received: {describe(value)}\n"
        )
    return value
