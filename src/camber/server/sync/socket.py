"""The part of a sync session that waits: between a WebSocket, the session that decides, and the
runner that runs functions.

It decides nothing. Messages go to the session in the order in which they came; what the session
asks for is done: tokens are verified, mutations run one after the other, actions side by side. A
session that is ready for a transition stands in line for its turn, and in it all its queries are
evaluated at one timestamp.

A client that reads too slowly gets the newest state once it has caught up. Nothing more is written
meanwhile than what was under way, and nothing more is read from it.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any, Final, Protocol

from camber.clock import Clock
from camber.errors import UserError
from camber.functions.cache import Entry
from camber.functions.definition import Kind
from camber.functions.failure import failure_of
from camber.functions.identity import Identity
from camber.functions.invocation import Invocation, new_request_id
from camber.functions.outcome import Outcome
from camber.functions.passing import key_of
from camber.functions.registry import Registry
from camber.functions.runner import Runner
from camber.server.calls import find_function, named_arguments
from camber.server.failure import log_failure
from camber.server.sync.farewell import Farewell, ProtocolError, farewell_of
from camber.server.sync.messages import ActionResponse, MutationResponse
from camber.server.sync.session import (
    Evaluation,
    Query,
    RunAction,
    RunMutation,
    Session,
    Verify,
)
from camber.server.sync.turns import SLICE_SECONDS, Turns
from camber.server.sync.wire import (
    PING,
    Pieces,
    chunks,
    decode,
    encode_farewell,
    encode_response,
    encode_transition,
)
from camber.server.websocket import WebSocket
from camber.system.receipts import ClientRequest
from camber.values.wire import from_wire

PING_SECONDS: Final = 15.0
"""How long a client may hear nothing. Browsers do not see the WebSocket's own pings, and npm gives
a silent server up after 60 s."""

MUTATION_SECONDS: Final = 60.0
"""How long a mutation may take from its start to its answer, waiting for others and for the disk
included. The connection is closed then: the client asks again, and the receipt knows."""

QUERIES_AT_ONCE: Final = 20
"""Queries of one connection that run on side threads at the same time."""


class Authority(Protocol):
    """Who can tell who somebody is."""

    async def authenticate(
        self, token_type: str, value: str, impersonating: Mapping[str, Any] | None, /
    ) -> Identity:
        """The identity that a token or key stands for.

        Raises:
            RequestError: it is not accepted.
        """


class House(Protocol):
    """What a socket needs of the room it belongs to."""

    runner: Runner
    clock: Clock
    authority: Authority
    turns: Turns
    redact: bool

    def entered(self, socket: "SyncSocket", /) -> None: ...

    def left(self, socket: "SyncSocket", /) -> None: ...

    def own(self, work: Coroutine[Any, Any, None], /) -> None:
        """Run `work` as a task, and hold on to it until it is done."""


class SyncSocket:
    """One client's connection; the WebSocket's receiver.

    Args:
        takes_chunks: whether the client puts chunks of a transition together.
    """

    __slots__ = (
        "_drained",
        "_heard_at",
        "_held",
        "_house",
        "_is_running_mutations",
        "_is_verifying",
        "_mutating_since",
        "_mutations",
        "_session",
        "_socket",
        "_takes_chunks",
        "in_line",
    )

    def __init__(self, house: House, *, takes_chunks: bool) -> None:
        self._house = house
        self._takes_chunks = takes_chunks
        self._session = Session(self._ready, redact=house.redact)
        # From `opened` to `closed`.
        self._socket: WebSocket | None = None
        self.in_line = False
        # Messages that came while a token is being verified, which may change what they mean.
        self._held: deque[bytes] = deque()
        self._is_verifying = False
        # Mutations that wait for the one that runs, the first of them.
        self._mutations: deque[RunMutation] = deque()
        self._is_running_mutations = False
        # On the monotonic clock; None while none runs.
        self._mutating_since: float | None = None
        # When the client heard from us last, on the monotonic clock.
        self._heard_at = 0.0
        # Done once the socket is no longer full, or is closed. None while nobody waits for it.
        self._drained: asyncio.Future[None] | None = None

    # ---- what the WebSocket calls ----

    def opened(self, socket: WebSocket) -> None:
        self._socket = socket
        self._heard_at = self._house.clock.monotonic()
        self._house.entered(self)

    def received(self, text: bytes) -> None:
        if self._is_verifying:
            self._held.append(text)
        elif self._is_open:
            self._receive(text)

    def writable(self) -> None:
        self._let_on()
        if self._socket is not None and not self._is_verifying:
            self._socket.resume_reading()
        if self._session.wants_transition:
            self._ready()

    def closed(self, code: int) -> None:
        self._socket = None
        self._session.close()
        self._held.clear()
        # The one that runs goes on; its receipt tells the client, should it ask again.
        self._mutations.clear()
        self._let_on()
        self._house.left(self)

    def _let_on(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # ---- messages ----

    def _receive(self, text: bytes) -> None:
        house = self._house
        try:
            command = self._session.receive(
                decode(text),
                now=house.clock.now_ns() / 1e9,
                newest_ts=house.runner.database.visible_ts,
            )
        except ProtocolError as error:
            self._say_farewell(error)
            return
        match command:
            case RunMutation():
                self._mutations.append(command)
                if not self._is_running_mutations:
                    self._is_running_mutations = True
                    house.own(self._run_mutations())
            case RunAction():
                house.own(self._run_action(command))
            case Verify():
                self._is_verifying = True
                assert self._socket is not None
                self._socket.pause_reading()
                house.own(self._verify(command))

    async def _verify(self, asked: Verify) -> None:
        try:
            identity = await self._house.authority.authenticate(*asked)
        except Exception as error:  # the edge of the session: whatever it is, the client is told
            self._is_verifying = False
            if self._socket is not None:
                self._end(self._session.refused(error), error)
            return
        self._is_verifying = False
        if self._socket is None:
            return
        self._session.verified(identity)
        while self._held and not self._is_verifying and self._is_open:
            self._receive(self._held.popleft())
        if not self._is_verifying and self._is_open and not self._socket.is_full:
            self._socket.resume_reading()

    # ---- mutations and actions ----

    async def _run_mutations(self) -> None:
        """Run what waits, one after the other, until nothing waits."""
        while self._mutations and self._socket is not None:
            asked = self._mutations.popleft()
            self._mutating_since = self._house.clock.monotonic()
            try:
                outcome = await self._mutate(asked)
            except Exception as error:  # the edge of the session: whatever it is, it ends it
                self._say_farewell(error)
                break
            finally:
                self._mutating_since = None
            self._answer(self._session.mutation_finished(asked, outcome))
            await self._wait_writable()
        self._is_running_mutations = False

    async def _mutate(self, asked: RunMutation) -> Outcome:
        request = None
        if asked.session_id is not None:
            request = ClientRequest(asked.session_id, asked.request_id)
        self._session.mutation_started(request)
        invocation = self._invocation(Kind.MUTATION, asked, request)
        if isinstance(invocation, Outcome):
            return invocation
        return await self._house.runner.run_mutation(invocation)

    async def _run_action(self, asked: RunAction) -> None:
        invocation = self._invocation(Kind.ACTION, asked, None)
        try:
            if isinstance(invocation, Outcome):
                outcome = invocation
            else:
                outcome = await self._house.runner.run_action(invocation)
        except Exception as error:  # the edge of the session: whatever it is, it ends it
            self._say_farewell(error)
            return
        # Until the client has read what it got, the result waits here and not in the socket.
        await self._wait_writable()
        if self._socket is not None:
            self._answer(self._session.action_finished(asked, outcome))

    def _invocation(
        self, kind: Kind, asked: RunMutation | RunAction, request: ClientRequest | None
    ) -> Invocation | Outcome:
        """The call to make, or the failure that it is already."""
        try:
            return self._call(
                kind, asked.path, asked.args, asked.component_path, asked.identity
            )._replace(request=request, request_id=asked.log_id)
        except UserError as error:
            return self._failed(error, asked.log_id)

    def _call(
        self, kind: Kind, path: str, args: Any, component_path: str | None, identity: Identity
    ) -> Invocation:
        if component_path:
            raise UserError(
                f"There is no component {component_path!r}: this deployment has none.",
                code="NoSuchComponent",
            )
        function = find_function(self._house.runner, path, kind, identity)
        return Invocation(function, named_arguments(from_wire(args)), identity)

    def _failed(self, error: UserError, log_id: str) -> Outcome:
        tx = self._house.runner.database.snapshot()
        outcome = Outcome(None, tx.begin_ts, tx.reads, (), error, failure_of(error))
        outcome.request_id = log_id or new_request_id()
        return outcome

    def _answer(self, response: MutationResponse | ActionResponse) -> None:
        """Send a response and, in the same step if possible, the transition that must follow."""
        self._send(encode_response(response))
        self.take_turn()

    # ---- transitions ----

    def _ready(self) -> None:
        self._house.turns.join(self)

    def take_turn(self) -> None:
        """Send the transition that is due, if one is, and nothing is against it."""
        socket, session = self._socket, self._session
        if socket is None or socket.is_full or socket.is_closing:
            return  # Once it is writable, it stands in line again.
        if not session.wants_transition or not session.may_transition:
            return
        try:
            self._transition(session, self._house)
        except Exception as error:  # the edge of the session: one that fails disturbs no other
            self._say_farewell(error)

    def _transition(self, session: Session, house: House) -> None:
        # No await from here until all are evaluated, or are known to be too slow for that: so
        # what is evaluated, and what is not evaluated again, holds at one timestamp.
        evaluation = session.begin_transition(
            house.runner.database.visible_ts, now=house.clock.now_ns() / 1e9
        )
        results: dict[Query, Entry] = {}
        deadline = house.clock.monotonic() + SLICE_SECONDS
        for query in evaluation.queries:
            result = self._evaluate_now(query, evaluation)
            if result is None:
                break
            results[query] = result
            if house.clock.monotonic() > deadline:
                break
        if len(results) == len(evaluation.queries):
            self._finish(results)
        else:
            late = evaluation.queries[len(results) :]
            house.own(self._finish_late(evaluation, results, late))

    def _evaluate_now(self, query: Query, evaluation: Evaluation) -> Entry | None:
        invocation = self._prepared(query, evaluation.identity)
        if isinstance(invocation, Outcome):
            return self._house.runner.cache.add(None, invocation)
        return self._house.runner.query_now(invocation)

    def _prepared(self, query: Query, identity: Identity) -> Invocation | Outcome:
        """The call that a query is, made once for each identity and version of the code."""
        registry = self._house.runner.registry
        if query.prepared is not None:
            known_registry, invocation = query.prepared
            if known_registry is registry and invocation.identity is identity:
                known: Invocation = invocation
                if known.journal == query.journal:
                    return known
                return self._prepare(query, registry, known)
        try:
            invocation = self._call(
                Kind.QUERY, query.path, query.args, query.component_path, identity
            )
            packed = key_of(invocation.function, invocation.arguments)
        except UserError as error:
            return self._failed(error, "")
        return self._prepare(query, registry, invocation._replace(packed=packed))

    def _prepare(self, query: Query, registry: Registry, invocation: Invocation) -> Invocation:
        prepared = invocation._replace(journal=query.journal)
        query.prepared = (registry, prepared)
        return prepared

    async def _finish_late(
        self, evaluation: Evaluation, results: dict[Query, Entry], late: list[Query]
    ) -> None:
        """Evaluate the rest at the same timestamp, others having their turn in between."""
        at_once = asyncio.Semaphore(QUERIES_AT_ONCE)

        async def evaluate(query: Query) -> None:
            async with at_once:
                if self._socket is not None:
                    results[query] = await self._evaluate_at(query, evaluation)

        try:
            async with asyncio.TaskGroup() as group:
                for query in late:
                    group.create_task(evaluate(query))
        except ExceptionGroup as errors:  # the edge of the session: whatever it is, it ends it
            self._say_farewell(_first_of(errors))
        else:
            if self._socket is not None:
                self._finish(results)

    async def _evaluate_at(self, query: Query, evaluation: Evaluation) -> Entry:
        invocation = self._prepared(query, evaluation.identity)
        runner = self._house.runner
        if isinstance(invocation, Outcome):
            return runner.cache.add(None, invocation)
        await asyncio.sleep(0)
        return await runner.query_at(invocation, evaluation.ts)

    def _finish(self, results: dict[Query, Entry]) -> None:
        transition = self._session.finish_transition(results)
        if transition is None:
            return
        pieces = encode_transition(transition, self._house.clock.now_ns())
        for message in chunks(pieces) if self._takes_chunks else (pieces,):
            self._send(message)

    # ---- sending ----

    @property
    def _is_open(self) -> bool:
        return self._socket is not None and not self._socket.is_closing

    def _send(self, pieces: Pieces) -> None:
        socket = self._socket
        if socket is None:
            return
        self._heard_at = self._house.clock.monotonic()
        socket.send(pieces)
        if socket.is_full:
            # Whoever does not read what it is sent has nothing more to ask.
            socket.pause_reading()

    async def _wait_writable(self) -> None:
        while self._socket is not None and self._socket.is_full:
            if self._drained is None or self._drained.done():
                self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def look_at_clock(self, now: float) -> None:
        """Called about once a second, with the time on the monotonic clock."""
        socket = self._socket
        if socket is None or socket.is_closing:
            return
        if self._mutating_since is not None and now - self._mutating_since > MUTATION_SECONDS:
            socket.close(1013, "SystemTimeoutError")
        elif now - self._heard_at >= PING_SECONDS and not socket.is_full:
            self._send(PING)

    # ---- the end ----

    def _say_farewell(self, error: BaseException) -> None:
        self._end(farewell_of(error), error)

    def _end(self, farewell: Farewell, error: BaseException) -> None:
        socket = self._socket
        if socket is None or socket.is_closing:
            return
        if farewell.close_code == 1011 and not isinstance(error, ProtocolError):
            log_failure("a sync session", error)
        if farewell.message is not None:
            socket.send(encode_farewell(farewell.message))
        socket.close(farewell.close_code, farewell.reason)
        self._session.close()

    def leave(self) -> None:
        """The server stops."""
        if self._socket is not None:
            self._socket.close(1001)


def _first_of(errors: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
