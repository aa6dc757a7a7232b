"""Runs queries, mutations and endpoints in this process, and hands actions to theirs.

A query or mutation body is run on the event-loop thread, to its end, at once. A body that takes
longer than a blink is stopped there and begun again on a side thread, where it may take its full
time without holding anybody up; queries and mutations may run many times, so nobody can tell.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

from camber.clock import Clock
from camber.database.database import Database, backoff_seconds
from camber.database.pagination import Cursors
from camber.database.transaction import Transaction
from camber.errors import (
    ConflictError,
    FunctionNotFoundError,
    InvalidArgumentError,
    OverrunError,
    UserError,
)
from camber.functions.attempt import BODY_SECONDS, Attempt, Bodies, TooSlowError
from camber.functions.cache import Entry, Key, QueryCache
from camber.functions.call import Call, Links, check_kind
from camber.functions.capture import LogCapture
from camber.functions.conduct import Conduct, RefusedError
from camber.functions.context import HttpEndpointCtx, MutationCtx, QueryCtx
from camber.functions.definition import Kind
from camber.functions.events import Ended, Events
from camber.functions.execution import Environment, Execution, current_execution
from camber.functions.failure import Failure
from camber.functions.fetch import Request, Response
from camber.functions.files import FileStore
from camber.functions.flights import Flights
from camber.functions.identity import Identity
from camber.functions.invocation import AnyFunction, Invocation, new_request_id
from camber.functions.once import outcome_of
from camber.functions.outcome import Outcome
from camber.functions.passing import check_arguments, copied, copied_result, key_of, key_of_any
from camber.functions.path import canonical, display
from camber.functions.reference import path_of
from camber.functions.registry import Registry
from camber.functions.side import SideThreads
from camber.functions.slow import SlowFunctions
from camber.functions.watchdog import Watchdog
from camber.storage.engine import Timestamp
from camber.system.receipts import (
    Claim,
    ClientRequest,
    RequestReusedError,
    claim_of,
    find_receipt,
)

INLINE_SECONDS: Final = 0.05
"""How long a body may hold the event loop before it is moved to a side thread."""

STEP_SECONDS: Final = 0.5
"""How long an endpoint may run without yielding to the event loop."""

CONFLICTS_MAX: Final = 4


# Failures that say nothing about the next run.
_CHANCE: Final = (OverrunError, MemoryError)


class _FailedError(Exception):
    """Carries the outcome of a body that failed out of the transaction it undoes."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


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
        self._flights: Flights[Entry] = Flights()
        self.slow = SlowFunctions(clock)
        self._bodies = Bodies(self, database, watchdog, self.conduct)

    def use(self, registry: Registry) -> None:
        """Run another version of the app from now on."""
        self.registry = registry
        self.slow.clear()
        self.conduct.clear()
        self.cache.clear()

    def close(self) -> None:
        self._flights.close()
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
                check_arguments(function, invocation.arguments)
                claim = None
            else:
                arguments = key_of(function, invocation.arguments)
                caller = invocation.identity.caller
                claim = claim_of(request, caller, function.path, arguments)
        except Exception as error:  # the edge of the call: whatever the arguments are
            outcome = self._bodies.failed_before(invocation, error)
        else:
            try:
                outcome = await self._run_mutation(invocation, claim)
            finally:
                if request is not None:
                    request.is_committing = False
        if outcome.log or outcome.failure is not None:
            self._tell(invocation, outcome)
        return outcome

    async def done_before(
        self,
        request: ClientRequest,
        path: str,
        arguments: Mapping[str, Any],
        identity: Identity,
    ) -> Outcome | None:
        """What came of a mutation that a client sends again, if it was done, by the same caller,
        with the same arguments; None if it was not. It is not run, and its function need not be
        there any more.

        Args:
            path: as the client spells it.

        Raises:
            TransientError, InternalError: the store cannot be asked.
        """
        try:
            claim = claim_of(request, identity.caller, canonical(path), key_of_any(arguments))
        except UserError:
            return None  # So nothing was ever done under it.

        async def look(tx: Transaction) -> Outcome | None:
            receipt = await find_receipt(tx, claim)
            return None if receipt is None else outcome_of(receipt, tx)

        try:
            # In a batch of its own, behind all that are under way: this may be among them.
            outcome = (await self.database.write(look)).value
        except RequestReusedError:
            return None
        if outcome is not None:
            outcome.request_id = new_request_id()  # What it said has been told.
        return outcome

    async def _run_mutation(self, invocation: Invocation, claim: Claim | None) -> Outcome:
        function = invocation.function
        if self.slow.holds(function.path):
            return await self._run_mutation_aside(invocation, claim)
        try:
            return await self._commit_in_line(invocation, claim, INLINE_SECONDS)
        except TooSlowError as slow:
            if slow.is_stubborn:
                return await self._commit_in_line(invocation, claim, BODY_SECONDS)
            self.slow.note(function.path)
        return await self._run_mutation_aside(invocation, claim)

    async def run_action(self, invocation: Invocation) -> Outcome:
        """Run an action in a process of its own. Never retried."""
        assert self.actions is not None, "the deployment runs actions"
        try:
            check_arguments(invocation.function, invocation.arguments)
        except Exception as error:  # the edge of the call: whatever the arguments are
            outcome = self._bodies.failed_before(invocation, error)
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
            arguments = key_of(function, invocation.arguments)
        except Exception as error:  # the edge of the call: whatever the arguments are
            return self._bodies.failed_before(invocation, error)
        found = self.cache.find(
            function.path, arguments, invocation.identity.key, invocation.journal
        )
        if found is not None and found.outcome.failure is None:
            return found.outcome
        if not self.slow.holds(function.path):
            tx = self.database.snapshot()
            try:
                attempt = self._bodies.run(invocation, tx, INLINE_SECONDS)
            except TooSlowError as slow:
                if slow.is_stubborn:
                    tx = self.database.snapshot()
                    return self._bodies.run(invocation, tx, BODY_SECONDS).outcome
                self.slow.note(function.path)
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
            arguments = invocation.packed or key_of(function, invocation.arguments)
        except Exception as error:  # the edge of the call: whatever the arguments are
            return self._told(
                invocation, self.cache.add(None, self._bodies.failed_before(invocation, error))
            )
        found = self.cache.find(
            function.path, arguments, invocation.identity.key, invocation.journal
        )
        if found is not None:
            return found
        if self.slow.holds(function.path):
            return None
        try:
            attempt = self._bodies.run(invocation, self.database.snapshot(), INLINE_SECONDS)
        except TooSlowError as slow:
            if not slow.is_stubborn:
                self.slow.note(function.path)
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
            arguments = invocation.packed or key_of(function, invocation.arguments)
        except Exception as error:  # the edge of the call: whatever the arguments are
            return self._told(
                invocation, self.cache.add(None, self._bodies.failed_before(invocation, error))
            )
        identity = invocation.identity.key
        found = self.cache.find(function.path, arguments, identity, invocation.journal)
        if found is not None and found.outcome.ts <= ts:
            return found
        key = (function, arguments, identity, invocation.journal, ts)
        return await self._flights.join(key, lambda: self._run_at(invocation, arguments, ts))

    async def _run_at(self, invocation: Invocation, arguments: str, ts: Timestamp) -> Entry:
        attempt = await self._attempt_at(invocation, self.database.snapshot_at(ts), ts)
        return self._told(invocation, self._enter(invocation, arguments, attempt))

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
            check_arguments(function, invocation.arguments)
        except Exception as error:  # the edge of the call: whatever the arguments are
            outcome = self._bodies.failed_before(invocation, error)
        else:
            outcome = (await self._attempt_at(invocation, tx, ts)).outcome
        if outcome.log or outcome.failure is not None:
            self._tell(invocation, outcome)
        return outcome

    async def _attempt_at(self, invocation: Invocation, tx: Transaction, ts: Timestamp) -> Attempt:
        if not self.slow.holds(invocation.function.path):
            try:
                return self._bodies.run(invocation, tx, INLINE_SECONDS)
            except TooSlowError as slow:
                if slow.is_stubborn:
                    return self._bodies.run(invocation, self.database.snapshot_at(ts), BODY_SECONDS)
                self.slow.note(invocation.function.path)
        return await self._attempt_aside(invocation, ts)

    async def _commit_in_line(
        self, invocation: Invocation, claim: Claim | None, limit_seconds: float
    ) -> Outcome:
        def attempt(tx: Transaction) -> Attempt:
            done = self._bodies.run_once(invocation, claim, tx, limit_seconds)
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

        async def attempt() -> tuple[Transaction, Attempt]:
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
    ) -> Attempt:
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
                snapshot.close, self._bodies.run_once, invocation, claim, tx, BODY_SECONDS
            )
        except OverrunError as error:
            # Its thread was left to itself, and may still use `tx`. What it has read by now can
            # be copied in one step; whoever watches the query waits for that to be written.
            self.conduct.note_overrun(invocation.function.path, BODY_SECONDS, str(error))
            outcome = self._bodies.failed_before(invocation, error)
            outcome.reads.points.update(tx.reads.points.copy())
            outcome.reads.intervals.extend(tx.reads.intervals.copy())
            return Attempt(outcome, self.database.snapshot())

    # The cache

    def _remember(self, invocation: Invocation, arguments: str, attempt: Attempt) -> Outcome:
        """Cache a result that nobody watches."""
        outcome = attempt.outcome
        if self.cache.is_worth_keeping(outcome):
            self._enter(invocation, arguments, attempt)
        return outcome

    def _enter(self, invocation: Invocation, arguments: str, attempt: Attempt) -> Entry:
        """Cache what came of a query, for those who watch it."""
        function, outcome = invocation.function, attempt.outcome
        if function is not self.registry.find(function.path):
            return self.cache.add_past(outcome)
        if isinstance(outcome.error, RefusedError):
            return self.cache.add_for(outcome.error.seconds, outcome)
        key: Key | None = None
        if not isinstance(outcome.error, _CHANCE):
            identity = invocation.identity.key if attempt.identity_read else None
            key = (function.path, arguments, identity, invocation.journal)
        return self.cache.add(key, outcome, timed=attempt.clock_read)

    def explain(self, error: BaseException) -> Failure:
        """What to tell of an error, however its class was made."""
        return self._bodies.explain(error)

    # Calls from functions

    async def run_nested(
        self, caller: Call, target: object, arguments: Mapping[str, Any], kind: Kind, /
    ) -> Any:
        """Run a query or mutation inside the caller's transaction."""
        if kind is Kind.MUTATION and caller.function.kind is Kind.QUERY:
            raise InvalidArgumentError("Cannot call a Mutation function from a Query function")
        function = self.find(target, kind)
        call = caller.nested(function)
        bound = function.signature.bind(copied(arguments), call.tx.catalog)
        if kind is Kind.QUERY:
            result = await _result_of(function, QueryCtx(call), bound)
            return copied_result(function, result, call.tx)
        async with caller.children():
            savepoint = call.tx.savepoint()
            try:
                result = await _result_of(function, MutationCtx(call), bound)
                own = copied_result(function, result, call.tx)
            except BaseException:
                call.tx.roll_back(savepoint)
                raise
            call.tx.release(savepoint)
            return own

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


def _go_to_commit(invocation: Invocation, attempt: Attempt) -> None:
    """Nothing but the commit is to come now.

    Raises:
        _FailedError: the body failed, so there is nothing to commit.
    """
    if attempt.outcome.failure is not None:
        raise _FailedError(attempt.outcome)
    if invocation.request is not None:
        invocation.request.is_committing = not attempt.is_repeat


def _committed(attempt: Attempt, ts: Timestamp) -> Outcome:
    outcome = attempt.outcome
    if not attempt.is_repeat:
        outcome.ts = ts
    return outcome


async def _result_of(function: AnyFunction, ctx: Any, arguments: dict[str, Any]) -> Any:
    result = function.body(ctx, **arguments)
    return await result if function.is_async else result
