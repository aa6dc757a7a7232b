"""`ctx` of an action: run functions, keep files, know who called. It holds no transaction.

An `async def` is given an `ActionCtx`, whose methods are awaited; a `def` a `SyncActionCtx` with
the same names, whose methods hold its thread and return results. Every member works detached.
"""

import asyncio
from collections.abc import AsyncIterable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from camber.errors import InvalidArgumentError
from camber.functions.absent import NO_TRANSACTION, Absent
from camber.functions.actions.host import Answer
from camber.functions.actions.running import Run
from camber.functions.call import arguments_of
from camber.functions.definition import Function
from camber.functions.fetch import Blob
from camber.functions.reference import Reference, path_of
from camber.values.wire import pack_value, unpack_value

P = ParamSpec("P")
R = TypeVar("R")


def _request(
    operation: str, target: Any, positional: tuple[Any, ...], named: dict[str, Any]
) -> str:
    arguments = dict(arguments_of(operation, positional, named))
    return pack_value({"path": path_of(target), "arguments": arguments})


def _identity(run: Run) -> dict[str, Any] | None:
    return None if run.call.identity is None else unpack_value(run.call.identity)


def _file_request(type: str | None, sha256: str | None) -> str:
    return pack_value({"type": type, "sha256": sha256})


def _blob_of(answer: Answer) -> Blob | None:
    if answer.body is None:
        return None
    return Blob([answer.body], unpack_value(answer.text)["type"] or "")


def _no_source(source: object, accepted: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"storage.store() takes {accepted}, got {type(source).__name__}")


class ActionAuth:
    """Who is calling."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    async def get_user_identity(self) -> dict[str, Any] | None:
        """The verified identity of the caller; None when nobody is signed in."""
        return _identity(self._run)


class ActionStorage:
    """Stored files; each step takes effect at once."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    def store(
        self, source: bytes | Blob | AsyncIterable[bytes], /, *, sha256: str | None = None
    ) -> Coroutine[Any, Any, str]:
        """Keep a file of up to 256 MiB; durable on return.

        Args:
            source: bytes, a blob with its type, or bytes in pieces.
            sha256: the expected hash, in base64 or hex; the file is refused if it is another.

        Returns:
            The id of the new `_storage` document.
        """
        return self._run.operation("storage.store", self._store, source, sha256)

    async def _store(self, source: Any, sha256: str | None) -> str:
        type = None
        if isinstance(source, Blob):
            type, content = source.type or None, await source.bytes()
        elif isinstance(source, bytes | bytearray | memoryview):
            content = bytes(source)
        elif hasattr(source, "__aiter__"):
            content = b"".join([chunk async for chunk in source])
        else:
            raise _no_source(source, "bytes, a Blob or an async iterable of bytes")
        request = _file_request(type, sha256)
        answer = await self._run.ask("storage.store", request, content)
        return str(unpack_value(answer.text))

    def get(self, storage_id: str, /) -> Coroutine[Any, Any, Blob | None]:
        """The file, or None."""
        return self._run.operation("storage.get", self._get, storage_id)

    async def _get(self, storage_id: str) -> Blob | None:
        return _blob_of(await self._run.ask("storage.get", pack_value(storage_id)))

    def get_url(self, storage_id: str, /) -> Coroutine[Any, Any, str | None]:
        """Where the file is served; None if there is no such file."""
        return self._run.operation("storage.get_url", self._ask, "storage.get_url", storage_id)

    def get_metadata(self, storage_id: str, /) -> Coroutine[Any, Any, dict[str, Any] | None]:
        """`storageId`, `sha256` (hex), `size` in bytes and `contentType`; None if missing."""
        name = "storage.get_metadata"
        return self._run.operation(name, self._ask, name, storage_id)

    def delete(self, storage_id: str, /) -> Coroutine[Any, Any, None]:
        """End a file at once."""
        return self._run.operation("storage.delete", self._ask, "storage.delete", storage_id)

    def generate_upload_url(self) -> Coroutine[Any, Any, str]:
        """Where a client may POST a file, for an hour."""
        name = "storage.generate_upload_url"
        return self._run.operation(name, self._ask, name, None)

    async def _ask(self, operation: str, value: Any) -> Any:
        return unpack_value((await self._run.ask(operation, pack_value(value))).text)


class ActionCtx:
    """What an `async def` action may do: anything Python can, and this."""

    __slots__ = ("_run", "auth", "storage")

    if not TYPE_CHECKING:
        db = Absent("ctx.db", "an action", NO_TRANSACTION)

    def __init__(self, run: Run) -> None:
        self._run = run
        self.auth = ActionAuth(run)
        self.storage = ActionStorage(run)

    @overload
    def run_query(
        self, function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def run_query(
        self, function: str | Reference, /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]: ...
    def run_query(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query, public or internal, on the newest snapshot."""
        return self._run.operation("run_query", self._call, "run_query", function, args, kwargs)

    @overload
    def run_mutation(
        self, function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def run_mutation(
        self, function: str | Reference, /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]: ...
    def run_mutation(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a mutation, public or internal; returns once what it wrote is durable."""
        name = "run_mutation"
        return self._run.operation(name, self._call, name, function, args, kwargs)

    @overload
    def run_action(
        self, function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...
    @overload
    def run_action(
        self, function: str | Reference, /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Any]: ...
    def run_action(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run another action, public or internal, to its end."""
        return self._run.operation("run_action", self._call, "run_action", function, args, kwargs)

    async def _call(
        self, operation: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        answer = await self._run.ask(operation, _request(operation, target, args, kwargs))
        return unpack_value(answer.text)


class SyncActionAuth:
    """Who is calling."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    def get_user_identity(self) -> dict[str, Any] | None:
        """The verified identity of the caller; None when nobody is signed in."""
        return _identity(self._run)


class SyncActionStorage:
    """Stored files; each step takes effect at once."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    def store(self, source: bytes | Blob | Iterable[bytes], /, *, sha256: str | None = None) -> str:
        """Keep a file of up to 256 MiB; durable on return.

        Args:
            source: bytes, a blob with its type, or bytes in pieces, such as an open binary file.
            sha256: the expected hash, in base64 or hex; the file is refused if it is another.

        Returns:
            The id of the new `_storage` document.
        """
        type = None
        if isinstance(source, Blob):
            # A blob may read its bytes from somewhere: that is asynchronous.
            type, content = source.type or None, asyncio.run(source.bytes())
        elif isinstance(source, bytes | bytearray | memoryview):
            content = bytes(source)
        elif hasattr(source, "__iter__") and not isinstance(source, str):
            content = b"".join(source)
        else:
            raise _no_source(source, "bytes, a Blob, or an iterable of bytes such as a file")
        request = _file_request(type, sha256)
        answer = self._run.ask_blocking("storage.store", request, content)
        return str(unpack_value(answer.text))

    def get(self, storage_id: str, /) -> bytes | None:
        """The file's bytes, or None. Its type is in `get_metadata`."""
        return self._run.ask_blocking("storage.get", pack_value(storage_id)).body

    def get_url(self, storage_id: str, /) -> str | None:
        """Where the file is served; None if there is no such file."""
        url: str | None = self._ask("storage.get_url", storage_id)
        return url

    def get_metadata(self, storage_id: str, /) -> dict[str, Any] | None:
        """`storageId`, `sha256` (hex), `size` in bytes and `contentType`; None if missing."""
        metadata: dict[str, Any] | None = self._ask("storage.get_metadata", storage_id)
        return metadata

    def delete(self, storage_id: str, /) -> None:
        """End a file at once."""
        self._ask("storage.delete", storage_id)

    def generate_upload_url(self) -> str:
        """Where a client may POST a file, for an hour."""
        return str(self._ask("storage.generate_upload_url", None))

    def _ask(self, operation: str, value: Any) -> Any:
        return unpack_value(self._run.ask_blocking(operation, pack_value(value)).text)


class SyncActionCtx:
    """What a `def` action may do: anything Python can, and this."""

    __slots__ = ("_run", "auth", "storage")

    if not TYPE_CHECKING:
        db = Absent("ctx.db", "an action", NO_TRANSACTION)

    def __init__(self, run: Run) -> None:
        self._run = run
        self.auth = SyncActionAuth(run)
        self.storage = SyncActionStorage(run)

    @overload
    def run_query(self, function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_query(self, function: str | Reference, /, *args: Any, **kwargs: Any) -> Any: ...
    def run_query(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a query, public or internal, on the newest snapshot."""
        return self._call("run_query", function, args, kwargs)

    @overload
    def run_mutation(self, function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_mutation(self, function: str | Reference, /, *args: Any, **kwargs: Any) -> Any: ...
    def run_mutation(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run a mutation, public or internal; returns once what it wrote is durable."""
        return self._call("run_mutation", function, args, kwargs)

    @overload
    def run_action(self, function: Function[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def run_action(self, function: str | Reference, /, *args: Any, **kwargs: Any) -> Any: ...
    def run_action(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run another action, public or internal, to its end."""
        return self._call("run_action", function, args, kwargs)

    def _call(
        self, operation: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        answer = self._run.ask_blocking(operation, _request(operation, target, args, kwargs))
        return unpack_value(answer.text)
