"""Runs queries, mutations and endpoints in this process, and hands actions to theirs.

A query or mutation body is run on the event-loop thread, to its end, at once. A body that takes
longer than a blink is stopped there and begun again on a side thread, where it may take its full
time without holding anybody up; queries and mutations may run many times, so nobody can tell.
"""

import asyncio
import os
import secrets
from collections.abc import Mapping
from itertools import count
from typing import Any, Final, NamedTuple, Protocol

from camber.clock import Clock
from camber.database.database import Database, backoff_seconds, complete
from camber.database.pagination import Cursors, InvalidCursorError
from camber.database.transaction import Transaction
from camber.errors import (
    ConflictError,
    FunctionNotFoundError,
    InternalError,
    InvalidArgumentError,
    InvalidValueError,
    LimitError,
    OverrunError,
    TransientError,
    UserError,
)
from camber.functions.cache import Entry, Key, QueryCache
from camber.functions.call import Call, Links, check_kind
from camber.functions.capture import LogCapture
from camber.functions.conduct import Conduct, RefusedError
from camber.functions.context import HttpEndpointCtx, MutationCtx, QueryCtx
from camber.functions.definition import Function, Kind
from camber.functions.drive import drive
from camber.functions.events import Ended, Events
from camber.functions.execution import Environment, Execution, current_execution
from camber.functions.failure import Failure, explain
from camber.functions.fetch import Request, Response
from camber.functions.files import FileStore
from camber.functions.identity import Identity
from camber.functions.once import leave, outcome_of
from camber.functions.outcome import Outcome
from camber.functions.path import display
from camber.functions.query import TableQuery
from camber.functions.reference import path_of
from camber.functions.registry import Registry
from camber.functions.side import SideThreads
from camber.functions.watchdog import Watchdog
from camber.storage.engine import Timestamp
from camber.system.receipts import Claim, ClientRequest, claim_of, find_receipt
from camber.values.value import survey
from camber.values.wire import pack, pack_value, unpack_value

AnyFunction = Function[..., Any]

INLINE_SECONDS: Final = 0.05
"""How long a body may hold the event loop before it is moved to a side thread."""

BODY_SECONDS: Final = 1.0
"""How long a query or mutation may run in all."""

STEP_SECONDS: Final = 0.5
"""How long an endpoint may run without yielding to the event loop."""

SLOW_SECONDS: Final = 60.0
"""For how long a function that was too slow for the event loop goes to a side thread at once."""

CONFLICTS_MAX: Final = 4
ARGUMENTS_SIZE_MAX: Final = 16 << 20
RESULT_SIZE_MAX: Final = 16 << 20


# Failures that say nothing about the next run.
_CHANCE: Final = (OverrunError, RefusedError, MemoryError)


class Invocation(NamedTuple):
    """A top-level call of a query, mutation or action."""

    function: AnyFunction
    arguments: Mapping[str, Any]
    identity: Identity
    request_id: str = ""
    # Whether a running action waits for it.
    nested: bool = False
    # Where the page ended that the query last read, for a client that has this page on view.
    journal: str | None = None
    # How a client numbered a mutation, so that it is done once however often it is sent.
    request: ClientRequest | None = None


class _TooSlowError(Exception):
    """A body held the event loop for too long and was stopped. It is to run on a side thread; or
    if it is stubborn, here again with its full time, as it could not be stopped there."""

    def __init__(self, is_stubborn: bool) -> None:
        self.is_stubborn = is_stubborn


class _FailedError(Exception):
    """Carries the outcome of a body that failed out of the transaction it undoes."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


class _Attempt(NamedTuple):
    """A body that has run, once, to its end."""

    outcome: Outcome
    tx: Transaction
    # What the result depends on beside what was read.
    identity_read: bool = False
    clock_read: bool = False
    # Whether it did not run at all: the outcome is that of the time when it did.
    is_repeat: bool = False


class ActionRunner(Protocol):
    """Runs actions, each in a process of its own."""

    async def run(self, invocation: Invocation, /) -> Outcome:
        """Run an action to its end."""


class Runner:
    """Runs the functions of the app in force."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        watchdog: Watchdog,
        cursors: Cursors,
        links: Links,
        files: FileStore,
        events: Events,
    ) -> None:
        self.database = database
        self.cursors = cursors
        self.links = links
        self.files = files
        self.events = events
        self.registry = Registry({})
        # The environment variables as of the last commit. Kept by the deployment.
        self.variables: Mapping[str, str] = {}
        # Who runs actions; set by the deployment before the first one is asked for.
        self.actions: ActionRunner | None = None
        self.cache = QueryCache(database, clock)
        self.conduct = Conduct(clock)
        self._clock = clock
        self._watchdog = watchdog
        self._side = SideThreads()
        # Queries under way for `query_at`.
        self._flights: dict[tuple[object, ...], asyncio.Task[Entry]] = {}
        # Functions that were too slow lately, and until when that is held against them.
        self._slow: dict[str, float] = {}
        # Chance in a body is seeded from a secret and a number that is never used twice.
        self._secret = secrets.token_bytes(16)
        self._counter = count(1)

    def use(self, registry: Registry) -> None:
        """Run another version of the app from now on."""
        self.registry = registry
        self._slow.clear()
        self.conduct.clear()
        self.cache.clear()

    def close(self) -> None:
        for flight in self._flights.values():
            flight.cancel()
        self._side.close()

    # Finding functions

    def find(self, target: Any, kind: Kind | None) -> AnyFunction:
        """The function that `target` names: internal ones too, for the app's own calls.

        Raises:
            FunctionNotFoundError: there is none.
            InvalidArgumentError: it is of another kind.
        """
        if type(target) is str:
            function = self.registry.find(target)
        else:
            function = self.registry.find(path_of(target))
        if function is None:
            path = target if isinstance(target, str) else path_of(target)
            raise FunctionNotFoundError(
                f"Could not find function for '{path}'. Did you forget to run `camber dev`?"
            )
        if kind is not None:
            check_kind(function, kind)
        return function

    # Top-level calls

    async def run(self, invocation: Invocation) -> Outcome:
        """Run a query, mutation or action."""
        match invocation.function.kind:
            case Kind.QUERY:
                return await self.run_query(invocation)
            case Kind.MUTATION:
                return await self.run_mutation(invocation)
            case Kind.ACTION:
                return await self.run_action(invocation)
            case Kind.HTTP:
                raise InvalidArgumentError("An HTTP endpoint is called through its route.")

    async def run_query(self, invocation: Invocation) -> Outcome:
        """Run a query on the newest snapshot, or take its result from the cache."""
        outcome = await self._run_query(invocation)
        if outcome.log or outcome.failure is not None:
            self._tell(invocation, outcome)
        return outcome

    async def run_mutation(self, invocation: Invocation) -> Outcome:
        """Run a mutation; its outcome is known once it is durable. One that a client has numbered
        is done once: sent again, it is answered with what came of it then.

        Raises:
            TransientError: it could not be committed; the same call may succeed later.
            InternalError: the store failed.
        """
        function, request = invocation.function, invocation.request
        try:
            if request is None:
                _check_arguments(function, invocation.arguments)
                claim = None
            else:
                arguments = _key_of(function, invocation.arguments)
                claim = claim_of(request, function.path, arguments)
        except Exception as error:  # the edge of the call: whatever the arguments are
            outcome = self._failed_before(invocation, error)
        else:
            try:
                outcome = await self._run_mutation(invocation, claim)
            finally:
                if request is not None:
                    request.is_committing = False
        if outcome.log or outcome.failure is not None:
            self._tell(invocation, outcome)
        return outcome

    async def _run_mutation(self, invocation: Invocation, claim: Claim | None) -> Outcome:
        function = invocation.function
        if self._is_slow(function):
            return await self._run_mutation_aside(invocation, claim)
        try:
            return await self._commit_in_line(invocation, claim, INLINE_SECONDS)
        except _TooSlowError as slow:
            if slow.is_stubborn:
                return await self._commit_in_line(invocation, claim, BODY_SECONDS)
            self._note_slow(function)
        return await self._run_mutation_aside(invocation, claim)

    async def run_action(self, invocation: Invocation) -> Outcome:
        """Run an action in a process of its own. Never retried."""
        assert self.actions is not None, "the deployment runs actions"
        try:
            _check_arguments(invocation.function, invocation.arguments)
        except Exception as error:  # the edge of the call: whatever the arguments are
            outcome = self._failed_before(invocation, error)
        else:
            outcome = await self.actions.run(invocation)
        if outcome.log or outcome.failure is not None:
            self._tell(invocation, outcome)
        return outcome

    def _tell(self, invocation: Invocation, outcome: Outcome) -> None:
        if outcome.request_id:
            return  # A cached result: what it said has been told.
        function = invocation.function
        outcome.request_id = invocation.request_id or new_request_id()
        self.events.tell(
            Ended(
                function.kind,
                display(function.path),
                outcome.request_id,
                outcome.log,
                outcome.failure,
            )
        )

    async def _run_query(self, invocation: Invocation) -> Outcome:
        function = invocation.function
        try:
            arguments = _key_of(function, invocation.arguments)
        except Exception as error:  # the edge of the call: whatever the arguments are
            return self._failed_before(invocation, error)
        found = self.cache.find(
            function.path, arguments, invocation.identity.key, invocation.journal
        )
        if found is not None and found.outcome.failure is None:
            return found.outcome
        if not self._is_slow(function):
            tx = self.database.snapshot()
            try:
                attempt = self._attempt(invocation, tx, INLINE_SECONDS)
            except _TooSlowError as slow:
                if slow.is_stubborn:
                    tx = self.database.snapshot()
                    return self._attempt(invocation, tx, BODY_SECONDS).outcome
                self._note_slow(function)
            else:
                return self._remember(invocation, arguments, attempt)
        return self._remember(invocation, arguments, await self._attempt_aside(invocation))

    # Queries that are watched

    def query_now(self, invocation: Invocation) -> Entry | None:
        """What a query gives at the newest snapshot, from the cache or run on this thread, without
        waiting; None if it must run on a side thread (see `query_at`).

        Raises:
            TransientError, InternalError: not the body's fault.
        """
        function = invocation.function
        try:
            arguments = _key_of(function, invocation.arguments)
        except Exception as error:  # the edge of the call: whatever the arguments are
            return self._told(
                invocation, self.cache.add(None, self._failed_before(invocation, error))
            )
        found = self.cache.find(
            function.path, arguments, invocation.identity.key, invocation.journal
        )
        if found is not None:
            return found
        if self._is_slow(function):
            return None
        try:
            attempt = self._attempt(invocation, self.database.snapshot(), INLINE_SECONDS)
        except _TooSlowError as slow:
            if not slow.is_stubborn:
                self._note_slow(function)
            return None
        return self._told(invocation, self._enter(invocation, arguments, attempt))

    async def query_at(self, invocation: Invocation, ts: Timestamp) -> Entry:
        """What a query gives at `ts`, waiting if it must. Equal queries that are asked for while
        it runs share the run.

        Raises:
            OutOfRetentionError: `ts` is older than the history that is kept.
            TransientError, InternalError: not the body's fault.
        """
        if ts >= self.database.visible_ts:
            now = self.query_now(invocation)
            if now is not None:
                return now
        function = invocation.function
        try:
            arguments = _key_of(function, invocation.arguments)
        except Exception as error:  # the edge of the call: whatever the arguments are
            return self._told(
                invocation, self.cache.add(None, self._failed_before(invocation, error))
            )
        identity = invocation.identity.key
        found = self.cache.find(function.path, arguments, identity, invocation.journal)
        if found is not None and found.outcome.ts <= ts:
            return found
        key = (function, arguments, identity, invocation.journal, ts)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._fly(invocation, arguments, ts))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._land(key))
        # Whoever waits may be cancelled; the others go on waiting.
        return await asyncio.shield(flight)

    async def _fly(self, invocation: Invocation, arguments: str, ts: Timestamp) -> Entry:
        attempt = await self._attempt_at(invocation, self.database.snapshot_at(ts), ts)
        return self._told(invocation, self._enter(invocation, arguments, attempt))

    def _land(self, key: tuple[object, ...]) -> None:
        flight = self._flights.pop(key)
        if not flight.cancelled():
            flight.exception()  # Seen, also if nobody waits any more.

    def _told(self, invocation: Invocation, entry: Entry) -> Entry:
        outcome = entry.outcome
        if outcome.log or outcome.failure is not None:
            self._tell(invocation, outcome)
        return entry

    async def run_query_at(self, invocation: Invocation, ts: Timestamp) -> Outcome:
        """Run a query at an older timestamp, past the cache.

        Raises:
            OutOfRetentionError: `ts` is older than the history that is kept.
        """
        function = invocation.function
        tx = self.database.snapshot_at(ts)
        try:
            _check_arguments(function, invocation.arguments)
        except Exception as error:  # the edge of the call: whatever the arguments are
            outcome = self._failed_before(invocation, error)
        else:
            outcome = (await self._attempt_at(invocation, tx, ts)).outcome
        if outcome.log or outcome.failure is not None:
            self._tell(invocation, outcome)
        return outcome

    async def _attempt_at(
        self, invocation: Invocation, tx: Transaction, ts: Timestamp
    ) -> "_Attempt":
        if not self._is_slow(invocation.function):
            try:
                return self._attempt(invocation, tx, INLINE_SECONDS)
            except _TooSlowError as slow:
                if slow.is_stubborn:
                    return self._attempt(invocation, self.database.snapshot_at(ts), BODY_SECONDS)
                self._note_slow(invocation.function)
        return await self._attempt_aside(invocation, ts)

    async def _commit_in_line(
        self, invocation: Invocation, claim: Claim | None, limit_seconds: float
    ) -> Outcome:
        def attempt(tx: Transaction) -> _Attempt:
            done = self._attempt_once(invocation, claim, tx, limit_seconds)
            _go_to_commit(invocation, done)
            return done

        try:
            committed = await self.database.run(attempt)
        except _FailedError as failed:
            return failed.outcome
        return _committed(committed.value, committed.ts)

    # On a side thread

    async def _run_mutation_aside(self, invocation: Invocation, claim: Claim | None) -> Outcome:
        request = invocation.request
        for conflicts in range(CONFLICTS_MAX):
            attempt = await self._attempt_aside(invocation, claim=claim)
            try:
                _go_to_commit(invocation, attempt)
                return _committed(attempt, await self.database.commit(attempt.tx))
            except _FailedError as failed:
                return failed.outcome
            except ConflictError:
                if request is not None:
                    request.is_committing = False
                await asyncio.sleep(backoff_seconds(conflicts))
        return await self._run_mutation_alone(invocation, claim)

    async def _run_mutation_alone(self, invocation: Invocation, claim: Claim | None) -> Outcome:
        """Run a mutation aside while nobody else commits: it has conflicted too often, and shall
        not starve."""

        async def attempt() -> tuple[Transaction, _Attempt]:
            done = await self._attempt_aside(invocation, claim=claim)
            _go_to_commit(invocation, done)
            return done.tx, done

        try:
            committed = await self.database.run_alone(attempt)
        except _FailedError as failed:
            return failed.outcome
        return _committed(committed.value, committed.ts)

    async def _attempt_aside(
        self, invocation: Invocation, ts: Timestamp | None = None, claim: Claim | None = None
    ) -> "_Attempt":
        """Run a body on a side thread, on a snapshot of its own: the newest, or one at `ts`."""
        snapshot = await self.database.engine.snapshot()
        try:
            if ts is None or ts >= snapshot.ts:
                tx = self.database.transaction_on(snapshot, snapshot.ts)
            else:
                tx = self.database.snapshot_at(ts, snapshot)
        except BaseException:
            snapshot.close()
            raise
        try:
            return await self._side.run(
                snapshot.close, self._attempt_once, invocation, claim, tx, BODY_SECONDS
            )
        except OverrunError as error:
            # Its thread was left to itself, and may still use `tx`.
            self.conduct.note_overrun(invocation.function.path, BODY_SECONDS, str(error))
            return _Attempt(self._failed_before(invocation, error), self.database.snapshot())

    def _is_slow(self, function: AnyFunction) -> bool:
        slow = self._slow
        if not slow:
            return False
        until = slow.get(function.path)
        if until is None:
            return False
        if self._clock.monotonic() < until:
            return True
        del slow[function.path]
        return False

    def _note_slow(self, function: AnyFunction) -> None:
        self._slow[function.path] = self._clock.monotonic() + SLOW_SECONDS

    # One attempt

    def _attempt_once(
        self, invocation: Invocation, claim: Claim | None, tx: Transaction, limit_seconds: float
    ) -> "_Attempt":
        """As `_attempt`, for what is claimed, unless it is done already."""
        if claim is None:
            return self._attempt(invocation, tx, limit_seconds)
        try:
            receipt = complete(find_receipt(tx, claim))
        except UserError as error:
            return _Attempt(self._failed(invocation, error, tx, LogCapture()), tx)
        if receipt is not None:
            outcome = outcome_of(receipt, tx)
            # What it said has been told.
            outcome.request_id = invocation.request_id or new_request_id()
            return _Attempt(outcome, tx, is_repeat=True)
        done = self._attempt(invocation, tx, limit_seconds)
        if done.outcome.text is not None:
            leave(tx, claim, done.outcome)
        return done

    def _attempt(self, invocation: Invocation, tx: Transaction, limit_seconds: float) -> "_Attempt":
        """Run a body to its end in `tx`, on this thread.

        Raises:
            _TooSlowError: it was stopped at `limit_seconds`, which was not its full time.
            TransientError, InternalError: not the body's fault.
        """
        function = invocation.function
        call = Call(self, function, tx, invocation.identity, journal=invocation.journal)
        execution = Execution(
            Environment.DETERMINISTIC,
            function.path,
            tx.now_ns,
            self._secret + next(self._counter).to_bytes(8),
            invocation.request_id,
            None,
            call.read_variable,
            call,
        )
        token = current_execution.set(execution)
        try:
            if not self.conduct.is_spotless:
                self.conduct.check(function.path)
            arguments = _isolated(invocation.arguments)
            call.arguments = function.signature.bind(arguments, tx.catalog)
            text = self._watchdog.call(execution, limit_seconds, _run_body, call)
        except (TransientError, InternalError):
            raise
        except BaseException as error:  # the edge of the body: its failure is its caller's
            if isinstance(error, OverrunError):
                if limit_seconds < BODY_SECONDS:
                    raise _TooSlowError(error.is_stubborn) from None
                if error.is_stubborn:
                    self.conduct.note_overrun(function.path, limit_seconds, str(error))
            failed = self._failed(invocation, error, tx, execution.log)
            if not isinstance(error, InvalidCursorError):
                # The page that a client has on view keeps its end until the query recovers.
                failed.journal = invocation.journal
            return _Attempt(failed, tx, call.identity_read, execution.clock_read)
        finally:
            current_execution.reset(token)
        if not self.conduct.is_spotless:
            self.conduct.note_success(function.path)
        outcome = Outcome(text, tx.begin_ts, tx.reads, execution.log.lines)
        outcome.journal = call.page_end
        return _Attempt(outcome, tx, call.identity_read, execution.clock_read)

    def _remember(self, invocation: Invocation, arguments: str, attempt: "_Attempt") -> Outcome:
        """Cache a result that nobody watches."""
        outcome = attempt.outcome
        if self.cache.is_worth_keeping(outcome):
            self._enter(invocation, arguments, attempt)
        return outcome

    def _enter(self, invocation: Invocation, arguments: str, attempt: "_Attempt") -> Entry:
        """Cache what came of a query, for those who watch it."""
        function, outcome = invocation.function, attempt.outcome
        if function is not self.registry.find(function.path):
            return self.cache.add_past(outcome)
        key: Key | None = None
        if not isinstance(outcome.error, _CHANCE):
            identity = invocation.identity.key if attempt.identity_read else None
            key = (function.path, arguments, identity, invocation.journal)
        return self.cache.add(key, outcome, timed=attempt.clock_read)

    def _failed_before(self, invocation: Invocation, error: Exception) -> Outcome:
        return self._failed(invocation, error, self.database.snapshot(), LogCapture())

    def _failed(
        self, invocation: Invocation, error: BaseException, tx: Transaction, log: LogCapture
    ) -> Outcome:
        failure = self.explain(error)
        if not isinstance(error, Exception):
            # What ends a program when it escapes must not escape into this one.
            error = UserError(failure.message)
        return Outcome(None, tx.begin_ts, tx.reads, log.lines, error, failure)

    def explain(self, error: BaseException) -> Failure:
        """What to tell of an error, however its class was made."""
        return explain(error, self._watchdog)

    # Calls from functions

    async def run_nested(
        self, caller: Call, target: object, arguments: Mapping[str, Any], kind: Kind, /
    ) -> Any:
        """Run a query or mutation inside the caller's transaction."""
        if kind is Kind.MUTATION and caller.function.kind is Kind.QUERY:
            raise InvalidArgumentError("Cannot call a Mutation function from a Query function")
        function = self.find(target, kind)
        call = caller.nested(function)
        bound = function.signature.bind(_copied(arguments), call.tx.catalog)
        if kind is Kind.QUERY:
            result = await _result_of(function, QueryCtx(call), bound)
            return _copied_result(function, result, call.tx)
        async with caller.children():
            savepoint = call.tx.savepoint()
            try:
                result = await _result_of(function, MutationCtx(call), bound)
                copied = _copied_result(function, result, call.tx)
            except BaseException:
                call.tx.roll_back(savepoint)
                raise
            call.tx.release(savepoint)
            return copied

    async def run_in_own(
        self, target: Any, arguments: Any, kind: Kind, identity: Identity, /
    ) -> Any:
        """Run a function as a call of its own, internal ones included; an endpoint's calls.

        Raises:
            Exception: what the function raised.
        """
        function = self.find(target, kind)
        if kind is Kind.QUERY:
            outcome = await self.run_query(Invocation(function, arguments, identity))
            return outcome.value()
        if kind is Kind.MUTATION:
            outcome = await self.run_mutation(Invocation(function, arguments, identity))
            return outcome.value()
        outcome = await self.run_action(Invocation(function, arguments, identity))
        return outcome.value()

    # HTTP endpoints

    async def run_endpoint(
        self,
        function: AnyFunction,
        request: Request,
        identity: Identity,
        request_id: str,
        log: LogCapture,
    ) -> Response:
        """Run an endpoint's body as the task it is called in.

        Raises:
            Exception: what it raised.
            OverrunError: it did not yield for too long.
        """
        self.conduct.check(function.path)
        execution = Execution(
            Environment.ENDPOINT,
            function.path,
            self._clock.now_ns(),
            b"",
            request_id,
            log,
            self.variables.get,
        )
        # The task is this endpoint's alone: nothing to set back.
        current_execution.set(execution)
        ctx = HttpEndpointCtx(self, identity)
        response = await self._watchdog.steps(execution, STEP_SECONDS, function.body(ctx, request))
        if not isinstance(response, Response):
            raise InvalidArgumentError("HTTP actions must return a Response")
        return response


def _go_to_commit(invocation: Invocation, attempt: _Attempt) -> None:
    """Nothing but the commit is to come now.

    Raises:
        _FailedError: the body failed, so there is nothing to commit.
    """
    if attempt.outcome.failure is not None:
        raise _FailedError(attempt.outcome)
    if invocation.request is not None:
        invocation.request.is_committing = not attempt.is_repeat


def _committed(attempt: _Attempt, ts: Timestamp) -> Outcome:
    outcome = attempt.outcome
    if not attempt.is_repeat:
        outcome.ts = ts
    return outcome


def _run_body(call: Call) -> str:
    """The whole of a top-level body, to its result's text (whose parts may be of classes of the
    app's): what the watchdog is handed."""
    function = call.function
    ctx = QueryCtx(call) if function.kind is Kind.QUERY else MutationCtx(call)
    result = function.body(ctx, **call.arguments)
    return _text_of_result(function, drive(result) if function.is_async else result, call.tx)


async def _result_of(function: AnyFunction, ctx: Any, arguments: dict[str, Any]) -> Any:
    result = function.body(ctx, **arguments)
    return await result if function.is_async else result


def _key_of(function: AnyFunction, arguments: Mapping[str, Any]) -> str:
    """The arguments as stored text: equal calls have equal keys in the cache.

    Raises:
        UserError: they are no values, or too large.
    """
    ordered = _ordered(arguments)
    plain = _check_arguments(function, ordered)
    return pack(ordered, plain=True) if plain else pack_value(ordered)


def _ordered(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments, named in one order: equal calls have equal keys in the cache."""
    return dict(arguments) if len(arguments) < 2 else dict(sorted(arguments.items()))


def _copied(arguments: Mapping[str, Any]) -> Any:
    """Arguments by value: what the callee does to them is not the caller's to see."""
    return unpack_value(pack_value(dict(arguments)))


def _copied_result(function: AnyFunction, result: Any, tx: Transaction) -> Any:
    return unpack_value(_text_of_result(function, result, tx))


def _text_of_result(function: AnyFunction, result: Any, tx: Transaction) -> str:
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


def _check_arguments(function: AnyFunction, arguments: Mapping[str, Any]) -> bool:
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


def _isolated(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that a body may change without its caller, or its next attempt, seeing it."""
    for value in arguments.values():
        kind = type(value)
        if kind is list or kind is dict:
            copied: dict[str, Any] = _copied(arguments)
            return copied
    return dict(arguments)


def new_request_id() -> str:
    """16 hex digits that find a request in the logs."""
    return os.urandom(8).hex()
