"""How an exception gets from one process to another.

An error of Camber's own tree arrives as what it was, so that `except ValidationError` works on
the other side. A `ConvexError` keeps its data. Everything else was raised by app code, whose
classes the other side does not share: it arrives as a `CalledFunctionError` that names it.
"""

from typing import Any, Final

from camber import errors
from camber.errors import CamberError, ConvexError, InternalError, RequestError, UserError
from camber.functions.actions.messages import Error
from camber.functions.trace import text_of
from camber.values.wire import pack_value, unpack_value

HIDDEN: Final = "Your request couldn't be completed. Try again later."


class CalledFunctionError(UserError):
    """A function that was called raised an exception of the app's own, or of Python's.

    The message is `ValueError: ` and the exception's own.
    """

    code = "CalledFunctionError"


_KINDS: Final[dict[str, type[Any]]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, CamberError) and kind is not RequestError
} | {CalledFunctionError.__name__: CalledFunctionError}


def to_message(error: BaseException) -> Error:
    """`error`, ready to travel. Never raises."""
    name = type(error).__name__
    if isinstance(error, ConvexError):
        try:
            return Error("ConvexError", "", data=pack_value(error.data))
        except errors.InvalidValueError as invalid:
            return Error("InvalidValueError", f"ConvexError with invalid data: {invalid}")
    if isinstance(error, InternalError):
        return Error("InternalError", HIDDEN)
    text = text_of(error)
    if isinstance(error, CamberError):
        kind = next(c.__name__ for c in type(error).__mro__ if _KINDS.get(c.__name__) is c)
        return Error(kind, text, error.code)
    return Error("CalledFunctionError", f"{name}: {text}" if text else name)


def from_message(message: Error) -> Exception:
    """What to raise on this side."""
    if message.data is not None:
        return ConvexError(unpack_value(message.data))
    error: Exception = _KINDS.get(message.kind, CalledFunctionError)(message.message)
    if isinstance(error, UserError) and message.code is not None:
        error.code = message.code
    return error
