"""The functions of one version of an app, by path.

A registry never changes: a reload makes another one. It tells what there is, not who may call
it; visibility is for its callers to check.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from camber.errors import LoadError
from camber.functions.definition import Function, Kind
from camber.functions.path import canonical, function_problem
from camber.functions.router import HttpRouter
from camber.functions.trace import cause, shown_file
from camber.values.schema import SchemaDefinition
from camber.values.signature import signature_of

AnyFunction: TypeAlias = Function[Any, Any]


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the app, executed.

    `path` is `dir/file`, `package` its `__name__`, and `names` are its globals in the order in
    which they were first bound.
    """

    path: str
    package: str
    names: Mapping[str, object]


class Registry:
    """All functions of an app, its routes and its schema."""

    __slots__ = ("_by_path", "_found", "_functions", "router", "schema")

    def __init__(
        self,
        functions: Mapping[str, AnyFunction],
        router: HttpRouter | None = None,
        schema: SchemaDefinition | None = None,
    ) -> None:
        """
        Args:
            functions: by canonical path; one function may have several.
            router: where HTTP requests go, None when the app has no routes.
            schema: what documents look like, None when anything goes.
        """
        self._by_path = dict(functions)
        self._functions = tuple({f.path: f for f in self._by_path.values()}.values())
        # By every spelling that was asked for and found: a function has a handful.
        self._found = dict(functions)
        self.router = router
        self.schema = schema

    def find(self, path: str) -> AnyFunction | None:
        """The function that `path`, in any spelling, names; public or not. None when there is none.

        Raises:
            UserError: `path` names no function at all; code `BadConvexFunctionIdentifier`.
        """
        function = self._found.get(path)
        if function is None:
            function = self._by_path.get(canonical(path))
            if function is not None:
                self._found[path] = function
        return function

    def __iter__(self) -> Iterator[AnyFunction]:
        """Every function once, in the order of paths."""
        return iter(sorted(self._functions, key=lambda function: function.path))

    def __len__(self) -> int:
        return len(self._functions)


def register(modules: Iterable[Module], root: str) -> dict[str, AnyFunction]:
    """Give every function that the `modules` define its path and its signature.

    Args:
        modules: in the order in which they finished loading.
        root: the functions folder, for naming files in errors.

    Returns:
        The functions by canonical path.

    Raises:
        LoadError: two functions have one path, a name that cannot be one, a hint that cannot be
            resolved.
    """
    functions: dict[str, AnyFunction] = {}
    for path, function in _exports(list(modules), root):
        other = functions.get(path)
        if other is not None and other is not function:
            raise LoadError(
                f"{path} is defined twice: at {_place(other, root)} and {_place(function, root)}.",
                file=shown_file(root, function.module_file),
                line=function.line,
            )
        if not function.path:
            _complete(function, path, root)
        functions[path] = function
    return functions


def _exports(modules: list[Module], root: str) -> Iterator[tuple[str, AnyFunction]]:
    """Each function with its paths, the one that it is known by first."""
    home = _homes(modules)
    for module in modules:
        named: set[int] = set()
        for attribute, function in module.names.items():
            if not isinstance(function, Function) or home[id(function)] != module.path:
                continue
            name = attribute.removesuffix("_") or attribute
            # A name of its own replaces the first one; what else it is bound to is an alias.
            if id(function) not in named and function.name is not None:
                name = function.name
            named.add(id(function))
            if module.path.rpartition("/")[2] == "__init__":
                raise _error(function, f"No path leads to {name}: move it to a module.", root)
            problem = function_problem(name)
            if problem is not None:
                raise _error(
                    function, f"{name!r} cannot be the name of a function. {problem}", root
                )
            yield f"{module.path}:{name}", function


def _homes(modules: list[Module]) -> dict[int, str]:
    """Which module defines a function that several have: the path, by the function's `id`.

    It is the one in which its body stands. A function that was made by a helper elsewhere belongs
    to the first module that finished with it: whoever imports it from there finishes later.
    """
    homes: dict[int, str] = {}
    for module in modules:
        for function in module.names.values():
            if not isinstance(function, Function):
                continue
            if function.__module__ == module.package:
                homes[id(function)] = module.path
            else:
                homes.setdefault(id(function), module.path)
    return homes


def _complete(function: AnyFunction, path: str, root: str) -> None:
    if function.kind is Kind.HTTP:
        function.register(path, None)
        return
    try:
        signature = signature_of(
            function.body, args=function.args, returns=function.returns, skip=1
        )
    except Exception as error:
        what = str(error) if isinstance(error, LoadError) else cause(error)
        raise _error(function, what, root) from error
    function.register(path, signature)


def _error(function: AnyFunction, message: str, root: str) -> LoadError:
    file = shown_file(root, function.module_file)
    return LoadError(f"{file}:{function.line}: {message}", file=file, line=function.line)


def _place(function: AnyFunction, root: str) -> str:
    return f"{shown_file(root, function.module_file)}:{function.line}"
