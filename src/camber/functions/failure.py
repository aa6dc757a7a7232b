"""What went wrong in app code, as it is shown: message, frames of the app, `ConvexError` data.

In development a client sees all of it; in production only a request id, with which the log is
searched. `ConvexError` data is meant for clients and always reaches them.
"""

from dataclasses import dataclass
from typing import Any, Final

from camber.errors import (
    ConvexError,
    InvalidValueError,
    OverrunError,
    UserError,
    ValidationError,
)
from camber.functions.trace import forget_locals, shown_frames, text_of
from camber.functions.watchdog import Watchdog
from camber.values.wire import dump_json, pack_value, parse_json, to_wire

MESSAGE_BYTES_MAX: Final = 64 << 10
DATA_SIZE_MAX: Final = 16 << 20
"""As much data as a result may be."""

EXPLAIN_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Failure:
    """How an execution failed. `message` is one or more lines; `frames` are the app's own,
    innermost first, such as `    at send (convex/messages.py:12)`; `data` is the stored text of a
    ConvexError's data, None for every other error."""

    message: str
    frames: tuple[str, ...] = ()
    data: str | None = None

    @property
    def trace(self) -> str:
        """Message and frames, a line each."""
        return "\n".join((self.message, *self.frames)) + "\n"

    def shown(self, request_id: str, *, redacted: bool) -> str:
        """What a client is told."""
        head = f"[Request ID: {request_id}] Server Error"
        return head if redacted else f"{head}\n{self.trace}"


def failure_of(error: BaseException) -> Failure:
    """What to tell of an exception that left app code."""
    frames = shown_frames(error)
    if isinstance(error, ConvexError):
        return _convex_failure(error, frames)
    if isinstance(error, ValidationError) and error.code in _NAMED_BY_THEMSELVES:
        return Failure(_cut(str(error)))
    if isinstance(error, UserError) and not frames:
        return Failure(_cut(str(error)))
    text = text_of(error)
    name = type(error).__name__
    return Failure(_cut(f"Uncaught {name}: {text}" if text else f"Uncaught {name}"), frames)


def explain(error: BaseException, watchdog: Watchdog) -> Failure:
    """As `failure_of`, for an error of a class of the app's own, whose `__str__` may never end.
    What the code held that raised it is let go."""
    try:
        return _explain(error, watchdog)
    finally:
        forget_locals(error)


def _explain(error: BaseException, watchdog: Watchdog) -> Failure:
    try:
        return watchdog.call(None, EXPLAIN_SECONDS, failure_of, error)
    except OverrunError:
        name = type(error).__name__
        text = f"Uncaught {name}: (its message cannot be shown: it took too long)"
        return Failure(text, shown_frames(error))


_NAMED_BY_THEMSELVES: Final = ("ArgumentValidationError", "ReturnsValidationError")


def _convex_failure(error: ConvexError, frames: tuple[str, ...]) -> Failure:
    # A subclass may have forgotten to hand on what it was given.
    given = getattr(error, "data", None)
    try:
        data = pack_value(given)
        shown = given if isinstance(given, str) else to_wire(given).decode()
    except InvalidValueError as invalid:
        return Failure(_cut(f"ConvexError with invalid data: {invalid}"), frames)
    if len(data) > DATA_SIZE_MAX:
        size = f"actual: {len(data) / (1 << 20):.2f} MiB, limit: 16 MiB"
        return Failure(f"ConvexError with invalid data: it is too large ({size})", frames)
    return Failure(_cut(f"Uncaught ConvexError: {shown}"), frames, data)


def _cut(text: str) -> str:
    raw = text.encode("utf-8", "replace")
    return raw[:MESSAGE_BYTES_MAX].decode("utf-8", "ignore")


def data_on_wire(data: str) -> Any:
    """A ConvexError's stored data as plain JSON in the lossless form."""
    return parse_json(data.encode())


def error_body(failure: Failure, request_id: str, *, redacted: bool) -> bytes:
    """The JSON body that an HTTP endpoint answers with when it raised."""
    code = f"[Request ID: {request_id}] Server Error"
    body: dict[str, Any] = {"code": code if redacted else f"{code}: {failure.message}"}
    if not redacted:
        body["trace"] = failure.trace
    if failure.data is not None:
        body["data"] = data_on_wire(failure.data)
    return dump_json(body)
