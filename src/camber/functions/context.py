"""The first argument of every function: what it may do, by its kind.

Every member works detached: `run_mutation = ctx.run_mutation` is a function like any other.
"""

from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from camber.functions.absent import CALL_OUTSIDE, NO_TRANSACTION, WRITE, Absent
from camber.functions.call import Call, arguments_of
from camber.functions.database import DatabaseReader, DatabaseWriter
from camber.functions.definition import Function, Kind
from camber.functions.files import EndpointStorage, FileStore, StorageReader, StorageWriter
from camber.functions.identity import NOBODY, Identity
from camber.functions.reference import Reference

P = ParamSpec("P")
R = TypeVar("R")


class Auth:
    """Who is calling."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    async def get_user_identity(self) -> dict[str, Any] | None:
        """The verified identity of the caller; None when nobody is signed in."""
        return self._call.read_identity()


class QueryCtx:
    """What a query may do: read."""

    __slots__ = ("_call", "db")

    if not TYPE_CHECKING:
        run_mutation = Absent("ctx.run_mutation()", "a query", WRITE)
        run_action = Absent("ctx.run_action()", "a query", CALL_OUTSIDE)

    def __init__(self, call: Call) -> None:
        self._call = call
        self.db = DatabaseReader(call)

    @property
    def auth(self) -> Auth:
        """Who is calling. Asking makes the result this caller's own."""
        return Auth(self._call)

    @property
    def storage(self) -> StorageReader:
        """Stored files: their URLs."""
        return StorageReader(self._call)

    @overload
    async def run_query(
        self, function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def run_query(self, function: str | Reference, /, *args: Any, **kwargs: Any) -> Any: ...
    async def run_query(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run another query in this transaction, with its own argument and result checks."""
        return await self._call.platform.run_nested(
            self._call, function, arguments_of("run_query", args, kwargs), Kind.QUERY
        )


class MutationCtx:
    """What a mutation may do: read and write, all or nothing."""

    __slots__ = ("_call", "db")

    if not TYPE_CHECKING:
        run_action = Absent("ctx.run_action()", "a mutation", CALL_OUTSIDE)

    def __init__(self, call: Call) -> None:
        self._call = call
        self.db = DatabaseWriter(call)

    @property
    def auth(self) -> Auth:
        """Who is calling."""
        return Auth(self._call)

    @property
    def storage(self) -> StorageWriter:
        """Stored files: URLs, upload URLs, deletion."""
        return StorageWriter(self._call)

    @overload
    async def run_query(
        self, function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def run_query(self, function: str | Reference, /, *args: Any, **kwargs: Any) -> Any: ...
    async def run_query(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query in this transaction; it sees what was written so far."""
        return await self._call.platform.run_nested(
            self._call, function, arguments_of("run_query", args, kwargs), Kind.QUERY
        )

    @overload
    async def run_mutation(
        self, function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def run_mutation(
        self, function: str | Reference, /, *args: Any, **kwargs: Any
    ) -> Any: ...
    async def run_mutation(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run another mutation inside this one. If it raises, what it wrote is undone, and only
        that: catch the error to go on."""
        return await self._call.platform.run_nested(
            self._call, function, arguments_of("run_mutation", args, kwargs), Kind.MUTATION
        )


class Outside(Protocol):
    """What a context without a transaction asks of the runner."""

    @property
    def files(self) -> FileStore: ...

    async def run_in_own(
        self, target: Any, arguments: Any, kind: Kind, identity: Identity, /
    ) -> Any:
        """Run a function as a call of its own, internal ones included."""


class EndpointAuth:
    """Who sent the request."""

    __slots__ = ("_identity",)

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def get_user_identity(self) -> dict[str, Any] | None:
        """The verified identity of the caller; None when there is no token.

        Raises:
            RequestError: there is a token, and it was not accepted.
        """
        if self._identity.refusal is not None:
            raise self._identity.refusal
        return self._identity.shown()


class HttpEndpointCtx:
    """What an HTTP endpoint may do: run functions, each in a transaction of its own, and keep
    files. Nothing of it is retried."""

    __slots__ = ("_caller", "_identity", "_outside")

    if not TYPE_CHECKING:
        db = Absent("ctx.db", "an HTTP endpoint", NO_TRANSACTION)

    def __init__(self, outside: Outside, identity: Identity) -> None:
        self._outside = outside
        self._identity = identity
        # To the functions that it runs, whoever was refused is nobody.
        self._caller = identity if identity.refusal is None else NOBODY

    @property
    def auth(self) -> EndpointAuth:
        """Who sent the request."""
        return EndpointAuth(self._identity)

    @property
    def storage(self) -> EndpointStorage:
        """Stored files."""
        return EndpointStorage(self._outside.files)

    @overload
    async def run_query(
        self, function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def run_query(self, function: str | Reference, /, *args: Any, **kwargs: Any) -> Any: ...
    async def run_query(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query, public or internal, on the newest snapshot."""
        return await self._outside.run_in_own(
            function, arguments_of("run_query", args, kwargs), Kind.QUERY, self._caller
        )

    @overload
    async def run_mutation(
        self, function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def run_mutation(
        self, function: str | Reference, /, *args: Any, **kwargs: Any
    ) -> Any: ...
    async def run_mutation(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a mutation, public or internal; returns once what it wrote is durable."""
        return await self._outside.run_in_own(
            function, arguments_of("run_mutation", args, kwargs), Kind.MUTATION, self._caller
        )

    @overload
    async def run_action(
        self, function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def run_action(self, function: str | Reference, /, *args: Any, **kwargs: Any) -> Any: ...
    async def run_action(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run an action, public or internal, in its own process."""
        return await self._outside.run_in_own(
            function, arguments_of("run_action", args, kwargs), Kind.ACTION, self._caller
        )
