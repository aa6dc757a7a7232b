"""One run of a body, to its end, in one transaction.

Whatever the body does becomes an outcome: a result, or a failure that is its own. Only what is not
its fault is raised.
"""

import secrets
from itertools import count
from typing import Final

from msgspec import Struct

from camber.database.database import Database, complete
from camber.database.pagination import InvalidCursorError
from camber.database.transaction import Transaction
from camber.errors import InternalError, OverrunError, TransientError, UserError
from camber.functions.call import Call, Platform
from camber.functions.capture import LogCapture
from camber.functions.conduct import Conduct
from camber.functions.context import MutationCtx, QueryCtx
from camber.functions.definition import Kind
from camber.functions.drive import drive
from camber.functions.execution import Environment, Execution, current_execution
from camber.functions.failure import Failure, explain
from camber.functions.invocation import Invocation, new_request_id
from camber.functions.once import leave, outcome_of
from camber.functions.outcome import Outcome
from camber.functions.passing import isolated, text_of_result
from camber.functions.watchdog import Watchdog
from camber.system.receipts import Claim, find_receipt

BODY_SECONDS: Final = 1.0
"""How long a query or mutation may run in all."""


class TooSlowError(Exception):
    """A body held the event loop for too long and was stopped. It is to run on a side thread; or
    if it is stubborn, here again with its full time, as it could not be stopped there."""

    def __init__(self, is_stubborn: bool) -> None:
        self.is_stubborn = is_stubborn


class Attempt(Struct, frozen=True):
    """A body that has run, once, to its end."""

    outcome: Outcome
    tx: Transaction
    # What the result depends on beside what was read.
    identity_read: bool = False
    clock_read: bool = False
    # Whether it did not run at all: the outcome is that of the time when it did.
    is_repeat: bool = False


class Bodies:
    """Runs the bodies of queries and mutations, on whatever thread it is called on."""

    def __init__(
        self, platform: Platform, database: Database, watchdog: Watchdog, conduct: Conduct
    ) -> None:
        self._platform = platform
        self._database = database
        self._watchdog = watchdog
        self._conduct = conduct
        # Chance in a body is seeded from a secret and a number that is never used twice.
        self._secret = secrets.token_bytes(16)
        self._counter = count(1)

    def run_once(
        self, invocation: Invocation, claim: Claim | None, tx: Transaction, limit_seconds: float
    ) -> Attempt:
        """As `run`, for what is claimed, unless it is done already."""
        if claim is None:
            return self.run(invocation, tx, limit_seconds)
        try:
            receipt = complete(find_receipt(tx, claim))
        except UserError as error:
            return Attempt(self.failed(invocation, error, tx, LogCapture()), tx)
        if receipt is not None:
            outcome = outcome_of(receipt, tx)
            # What it said has been told.
            outcome.request_id = invocation.request_id or new_request_id()
            return Attempt(outcome, tx, is_repeat=True)
        done = self.run(invocation, tx, limit_seconds)
        if done.outcome.text is not None:
            leave(tx, claim, done.outcome)
        return done

    def run(self, invocation: Invocation, tx: Transaction, limit_seconds: float) -> Attempt:
        """Run a body to its end in `tx`, on this thread.

        Raises:
            TooSlowError: it was stopped at `limit_seconds`, which was not its full time.
            TransientError, InternalError: not the body's fault.
        """
        function = invocation.function
        call = Call(self._platform, function, tx, invocation.identity, journal=invocation.journal)
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
            if not self._conduct.is_spotless:
                self._conduct.check(function.path)
            arguments = isolated(invocation.arguments)
            call.arguments = function.signature.bind(arguments, tx.catalog)
            text = self._watchdog.call(execution, limit_seconds, _run_body, call)
        except (TransientError, InternalError):
            raise
        except BaseException as error:  # the edge of the body: its failure is its caller's
            if isinstance(error, OverrunError):
                if limit_seconds < BODY_SECONDS:
                    raise TooSlowError(error.is_stubborn) from None
                if error.is_stubborn:
                    self._conduct.note_overrun(function.path, limit_seconds, str(error))
            failed = self.failed(invocation, error, tx, execution.log)
            if not isinstance(error, InvalidCursorError):
                # The page that a client has on view keeps its end until the query recovers.
                failed.journal = invocation.journal
            return Attempt(failed, tx, call.identity_read, execution.clock_read)
        finally:
            current_execution.reset(token)
        if not self._conduct.is_spotless:
            self._conduct.note_success(function.path)
        outcome = Outcome(text, tx.begin_ts, tx.reads, execution.log_lines(), journal=call.page_end)
        return Attempt(outcome, tx, call.identity_read, execution.clock_read)

    def failed_before(self, invocation: Invocation, error: Exception) -> Outcome:
        return self.failed(invocation, error, self._database.snapshot(), LogCapture())

    def failed(
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


def _run_body(call: Call) -> str:
    """The whole of a top-level body, to its result's text (whose parts may be of classes of the
    app's): what the watchdog is handed."""
    function = call.function
    ctx = QueryCtx(call) if function.kind is Kind.QUERY else MutationCtx(call)
    result = function.body(ctx, **call.arguments)
    return text_of_result(function, drive(result) if function.is_async else result, call.tx)
