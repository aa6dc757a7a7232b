"""The server's side of actions: starts them in their processes, and does what they ask for."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Protocol

from camber.errors import InvalidArgumentError
from camber.functions.actions.host import ActionCall, ActionOutcome, Answer, HostCall
from camber.functions.capture import LogLine
from camber.functions.definition import Kind
from camber.functions.files import digest_of, metadata_of
from camber.functions.identity import NOBODY, Identity
from camber.functions.invocation import Invocation
from camber.functions.outcome import Outcome
from camber.functions.runner import Runner
from camber.values.wire import pack_value, unpack_value

_LOGGER: Final = logging.getLogger("camber.actions")

_RUNS: Final = {
    "run_query": Kind.QUERY,
    "run_mutation": Kind.MUTATION,
    "run_action": Kind.ACTION,
}


class Pool(Protocol):
    """Where actions run."""

    async def run(self, call: ActionCall, /) -> ActionOutcome: ...


class Actions:
    """Runs actions for a runner, in a pool."""

    def __init__(self, runner: Runner, pool: Pool) -> None:
        self._runner = runner
        self._pool = pool

    async def run(self, invocation: Invocation, /) -> Outcome:
        """Run an action to its end."""
        runner = self._runner
        attributes = invocation.identity.attributes
        catalog = runner.database.catalog
        call = ActionCall(
            path=invocation.function.path,
            arguments=pack_value(dict(invocation.arguments)),
            identity=None if attributes is None else pack_value(dict(attributes)),
            request_id=invocation.request_id,
            environment=runner.variables,
            tables={table.name: table.number for table in catalog},
            nested=invocation.nested,
        )
        ended = await self._pool.run(call)
        tx = runner.database.snapshot()
        return Outcome(ended.text, tx.begin_ts, tx.reads, ended.log, ended.error, ended.failure)


class RunnerHost:
    """Answers what running actions ask for, by means of a runner."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def call(self, request: HostCall, /) -> Answer:
        """Do what an action asks for.

        Raises:
            Exception: what went wrong, to be raised in the action.
        """
        kind = _RUNS.get(request.operation)
        if kind is not None:
            return await self._run(request, kind)
        group, _, name = request.operation.partition(".")
        if group == "storage" and name in _STORAGE:
            answer = _STORAGE[name]
            return await answer(self._runner, unpack_value(request.text), request.body)
        raise InvalidArgumentError(f"An action cannot ask for {request.operation}.")

    def log(self, call: ActionCall, line: LogLine, /) -> None:
        """Lines are told when the action ends, with its outcome."""

    def output(self, text: str, /) -> None:
        """What a process says past every call goes where the server's own log goes."""
        _LOGGER.info("%s", text)

    async def _run(self, request: HostCall, kind: Kind) -> Answer:
        wanted = unpack_value(request.text)
        function = self._runner.find(wanted["path"], kind)
        invocation = Invocation(
            function,
            wanted["arguments"],
            _identity_of(request.call),
            request.call.request_id,
            nested=True,
        )
        outcome = await self._runner.run(invocation)
        if outcome.error is not None:
            raise outcome.error
        assert outcome.text is not None
        return Answer(outcome.text)


def _identity_of(call: ActionCall) -> Identity:
    return NOBODY if call.identity is None else Identity(unpack_value(call.identity))


# Operations on stored files: a runner, what is asked, and a body in; an answer out.


async def _store(runner: Runner, asked: Any, body: bytes | None) -> Answer:
    expected = None if asked["sha256"] is None else digest_of(asked["sha256"])
    id = await runner.files.store(_one(body or b""), asked["type"], sha256=expected)
    return Answer(pack_value(id))


async def _get(runner: Runner, id: Any, body: bytes | None) -> Answer:
    file = await runner.files.find(id)
    if file is None:
        return Answer("null")
    content = b"".join([chunk async for chunk in runner.files.read(file)])
    return Answer(pack_value({"type": file.content_type}), content)


async def _get_url(runner: Runner, id: Any, body: bytes | None) -> Answer:
    file = await runner.files.find(id)
    return Answer("null" if file is None else pack_value(runner.links.file_url(file.uuid)))


async def _get_metadata(runner: Runner, id: Any, body: bytes | None) -> Answer:
    file = await runner.files.find(id)
    return Answer("null" if file is None else pack_value(metadata_of(file)))


async def _delete(runner: Runner, id: Any, body: bytes | None) -> Answer:
    await runner.files.delete(id)
    return Answer("null")


async def _generate_upload_url(runner: Runner, asked: Any, body: bytes | None) -> Answer:
    return Answer(pack_value(runner.files.upload_url()))


_Answering = Callable[[Runner, Any, bytes | None], Awaitable[Answer]]

_STORAGE: Final[dict[str, _Answering]] = {
    "store": _store,
    "get": _get,
    "get_url": _get_url,
    "get_metadata": _get_metadata,
    "delete": _delete,
    "generate_upload_url": _generate_upload_url,
}


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
