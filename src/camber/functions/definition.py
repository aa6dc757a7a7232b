"""A function of the app, as its author defines it: a body, its kind, and who may call it.

    @mutation
    async def send(ctx: MutationCtx, body: str, author: str) -> Id["messages"]: ...

The decorator puts a `Function` in the name's place. Passed to `ctx.run_mutation(send, …)` it is
the function with its types; called directly, `await send(ctx, "hi", "Ada")`, it is the body
alone, without validation and without a transaction of its own.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from enum import Enum
from types import CodeType, FunctionType
from typing import (
    Any,
    Concatenate,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from camber.values.signature import Signature
from camber.values.validator import Field, Validator

P = ParamSpec("P")
R = TypeVar("R")

Shape: TypeAlias = Validator | Mapping[str, Validator | Field]
"""How authors give a validator: whole, or by field."""


class Kind(Enum):
    """What a function may do. The value is how errors name the kind."""

    QUERY = "Query"
    MUTATION = "Mutation"
    ACTION = "Action"
    HTTP = "HttpEndpoint"


class Function(Generic[P, R]):
    """What stands in a module under the decorated name.

    `P` are the parameters after the context, `R` is what a caller of the function gets.
    """

    kind: Final[Kind]
    # Whether clients may call it; functions may call all functions.
    public: Final[bool]
    body: Final[Callable[..., Any]]
    # Whether `body` is an `async def`.
    is_async: Final[bool]
    # The name that the author asked for with `name=`.
    name: Final[str | None]
    # The validators that the author gave; they win over the type hints.
    args: Final[Shape | None]
    returns: Final[Shape | None]

    # Set once, by `register`. Before that the path is empty, and there is no signature.
    path: str
    signature: Signature

    def __init__(
        self,
        body: Callable[..., Any],
        kind: Kind,
        *,
        public: bool,
        name: str | None = None,
        args: Shape | None = None,
        returns: Shape | None = None,
    ) -> None:
        self.kind = kind
        self.public = public
        self.body = body
        self.is_async = inspect.iscoroutinefunction(body)
        self.name = name
        self.args = args
        self.returns = returns
        self.path = ""
        # Documentation tools and debuggers see through to the body.
        self.__wrapped__ = body
        self.__name__ = body.__name__
        self.__qualname__ = body.__qualname__
        self.__module__ = body.__module__
        self.__doc__ = body.__doc__

    def __call__(self, ctx: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the body as it is: no validation, no transaction, no execution of its own."""
        return self.body(ctx, *args, **kwargs)

    @property
    def module_file(self) -> str:
        """The file that the body is written in."""
        return self._code.co_filename

    @property
    def line(self) -> int:
        """The line in `module_file` that the definition, with its decorators, begins at."""
        return self._code.co_firstlineno

    @property
    def _code(self) -> CodeType:
        return cast(FunctionType, inspect.unwrap(self.body)).__code__

    def register(self, path: str, signature: Signature | None) -> None:
        """Give the function its place in an app: done once, by the registry.

        Args:
            path: the canonical path, such as `messages:send`.
            signature: its arguments and result; None for an HTTP endpoint, which has neither.
        """
        assert not self.path or self.path == path, f"{self!r} has a path already"
        self.path = path
        if signature is not None:
            self.signature = signature

    def __repr__(self) -> str:
        visibility = "" if self.public else "internal "
        return f"<{visibility}{self.kind.value} {self.path or self.__qualname__}>"


class AsyncFunction(Function[P, R]):
    """A function whose body is an `async def`."""

    def __call__(self, ctx: Any, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        result: Coroutine[Any, Any, R] = self.body(ctx, *args, **kwargs)
        return result


class PlainFunction(Function[P, R]):
    """A function whose body is a `def`."""

    def __call__(self, ctx: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = self.body(ctx, *args, **kwargs)
        return result


class Definer(Protocol):
    """A decorator with its options given: `@query(name="list")`."""

    # The overlap is meant: a coroutine function fits both, and the first one wins.
    @overload
    def __call__(  # type: ignore[overload-overlap]  # see above
        self, body: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncFunction[P, R]: ...
    @overload
    def __call__(self, body: Callable[Concatenate[Any, P], R], /) -> PlainFunction[P, R]: ...


class Decorator(Protocol):
    """A decorator, bare or with options: `@query` and `@query(name="list")`."""

    # The overlap is meant: a coroutine function fits both, and the first one wins.
    @overload
    def __call__(  # type: ignore[overload-overlap]  # see above
        self, body: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncFunction[P, R]: ...
    @overload
    def __call__(self, body: Callable[Concatenate[Any, P], R], /) -> PlainFunction[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        args: Shape | None = None,
        returns: Shape | None = None,
        name: str | None = None,
    ) -> Definer:
        """
        Args:
            args: validators by argument, or `v.object` of them; win over the type hints.
            returns: the validator of the result; wins over the type hint.
            name: the function's name, when the Python one will not do (`list`, `get`).

        Raises:
            TypeError: what is decorated cannot be such a function.
        """


def _decorator(word: str, kind: Kind, *, public: bool) -> Decorator:
    def decorate(body: Any = None, /, **options: Any) -> Any:
        unknown = options.keys() - {"args", "returns", "name"}
        if unknown:
            raise TypeError(f"@{word} has no option {sorted(unknown)[0]}: only args, returns, name")
        if body is None:
            return lambda body: _define(word, kind, public, body, options)
        return _define(word, kind, public, body, options)

    decorate.__name__ = decorate.__qualname__ = word
    decorate.__doc__ = f"Make the function below the app's {word.replace('_', ' ')}."
    return decorate


query: Final = _decorator("query", Kind.QUERY, public=True)
mutation: Final = _decorator("mutation", Kind.MUTATION, public=True)
action: Final = _decorator("action", Kind.ACTION, public=True)
internal_query: Final = _decorator("internal_query", Kind.QUERY, public=False)
internal_mutation: Final = _decorator("internal_mutation", Kind.MUTATION, public=False)
internal_action: Final = _decorator("internal_action", Kind.ACTION, public=False)


def _define(
    word: str, kind: Kind, public: bool, body: Any, options: dict[str, Any]
) -> Function[Any, Any]:
    _check_body(word, body)
    shape = AsyncFunction if inspect.iscoroutinefunction(body) else PlainFunction
    return shape(body, kind, public=public, **options)


class EndpointDefiner(Protocol):
    """`@http_endpoint` with its options given."""

    def __call__(
        self, body: Callable[Concatenate[Any, P], Awaitable[R]], /
    ) -> AsyncFunction[P, R]: ...


@overload
def http_endpoint(body: Callable[Concatenate[Any, P], Awaitable[R]], /) -> AsyncFunction[P, R]: ...
@overload
def http_endpoint(*, name: str | None = None) -> EndpointDefiner: ...
def http_endpoint(body: Any = None, /, *, name: str | None = None) -> Any:
    """Make the `async def` below an HTTP endpoint, which a router can route requests to.

    Raises:
        TypeError: what is decorated is not an `async def` with a context and a request.
    """
    if body is None:
        return lambda body: http_endpoint_of(body, name=name)
    return http_endpoint_of(body, name=name)


def http_endpoint_of(
    body: Callable[..., Any], *, name: str | None = None
) -> AsyncFunction[..., Any]:
    """The HTTP endpoint with this `body`, for routers that decorate plain functions."""
    _check_body("http_endpoint", body)
    if not inspect.iscoroutinefunction(body):
        raise TypeError(f"@http_endpoint needs an `async def`: {body.__qualname__} is a `def`.")
    return AsyncFunction(body, Kind.HTTP, public=True, name=name)


def _check_body(word: str, body: Any) -> None:
    """
    Raises:
        TypeError: `body` cannot be decorated with `@word`.
    """
    if isinstance(body, Function):
        raise TypeError(
            f"@{word} cannot decorate {body.__qualname__}, which is defined as "
            f"{body.kind.value} already."
        )
    if isinstance(body, FunctionType):
        if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
            raise TypeError(
                f"@{word} cannot decorate {body.__qualname__}, which is a generator: "
                "return a list in place of `yield`."
            )
        if not _takes_context(body):
            raise TypeError(
                f"@{word} needs a function whose first parameter is the context: "
                f"`{'async ' if inspect.iscoroutinefunction(body) else ''}"
                f"def {body.__name__}(ctx, …)`."
            )
        return
    if inspect.iscoroutine(body):
        body.close()
        raise TypeError(
            f"@{word} got a coroutine: decorate the `async def` itself, without calling it."
        )
    raise TypeError(f"@{word} decorates a function, not {_described(body)}.")


def _takes_context(body: FunctionType) -> bool:
    first = next(iter(inspect.signature(body).parameters.values()), None)
    return first is not None and first.kind in (
        first.POSITIONAL_ONLY,
        first.POSITIONAL_OR_KEYWORD,
        first.VAR_POSITIONAL,
    )


def _described(thing: Any) -> str:
    if isinstance(thing, type):
        return f"the class {thing.__qualname__}"
    if isinstance(thing, staticmethod | classmethod | property):
        return f"a {type(thing).__name__}"
    return f"a value of type {type(thing).__name__}"
