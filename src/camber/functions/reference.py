"""Naming a function without importing it: `api.messages.send`, `internal.dir.file.fn`.

    await ctx.run_mutation(api.messages.send, body="hi", author="Ada")

A reference is only a name. Whether there is such a function shows when it is called.
"""

from typing import Any, Final, TypeAlias

from camber.errors import InvalidArgumentError
from camber.functions.definition import Function
from camber.functions.path import canonical, display


class Reference:
    """A name made of attributes: the last one is the function, those before it the module."""

    def __init__(self, root: str, parts: tuple[str, ...] = ()) -> None:
        self._root = root
        self._parts = parts

    def __getattr__(self, name: str) -> "Reference":
        # Python itself asks for names such as `__deepcopy__`, and must hear that there is none.
        if name.startswith("__"):
            raise AttributeError(name)
        part = Reference(self._root, (*self._parts, name))
        # Found without this method from now on.
        self.__dict__[name] = part
        return part

    def __str__(self) -> str:
        """The path it names, such as `messages:send`."""
        return display(path_of(self))

    def __repr__(self) -> str:
        return ".".join((self._root, *self._parts))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and other._parts == self._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{self!r} is a name, not a function: pass it to ctx.run_…() instead.")


api: Final = Reference("api")
"""The functions that clients may call, by name: `api.messages.send`."""

internal: Final = Reference("internal")
"""The functions that only functions may call, by name: `internal.messages.purge`."""

Target: TypeAlias = "Function[Any, Any] | Reference | str"
"""What names a function where one is called."""


def path_of(target: Target) -> str:
    """The canonical path of what `target` names.

    Raises:
        InvalidArgumentError: `target` names no function.
        UserError: it is a string that is no path.
    """
    if isinstance(target, str):
        return canonical(target)
    if isinstance(target, Function):
        if not target.path:
            raise InvalidArgumentError(
                f"{target.__qualname__} is not a function of this app: functions are found "
                "when they stand in a module of the functions folder."
            )
        return target.path
    if isinstance(target, Reference):
        return _reference_path(target)
    raise InvalidArgumentError(
        "expected a function, its path or a reference such as `api.messages.send`, "
        f"got a value of type {type(target).__name__}"
    )


def _reference_path(reference: Reference) -> str:
    path = reference.__dict__.get("_path")
    if path is None:
        parts = reference._parts
        if len(parts) < 2:
            raise InvalidArgumentError(
                f"A reference is of the form `{reference._root}.module.function`. "
                f"Found: `{reference!r}`"
            )
        path = canonical("/".join(parts[:-1]) + ":" + parts[-1])
        reference.__dict__["_path"] = path
    return str(path)
