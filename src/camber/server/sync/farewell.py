"""How a connection ends before its client wants it to: a last message, a close code, a reason.

| what happened | last message | close code |
|---|---|---|
| the protocol was broken | FatalError | none: the client sees 1005 |
| a token was refused, or expired | AuthError | none |
| too much was asked, try again later | – | 1013 |
| the states of client and server do not fit | – | 1011, the client begins afresh |
| our own fault | – | 1011 `InternalServerError` |

Clients choose how long they wait by how the reason begins. After a FatalError npm clients never
come back, so it is said only where coming back would not help.
"""

from dataclasses import dataclass
from typing import Final

from camber.errors import InternalError, RequestError, TransientError, UserError
from camber.server.sync.messages import AuthError, FatalError

INTERNAL_ERROR: Final = 1011
TRY_AGAIN_LATER: Final = 1013
REASON_BYTES_MAX: Final = 123
EXPIRED: Final = "Convex token identity expired"


@dataclass(frozen=True, slots=True)
class Farewell:
    """`close_code=None` is a close frame without a code, which has no room for a reason either."""

    message: AuthError | FatalError | None
    close_code: int | None
    reason: str = ""


class ProtocolError(UserError):
    """A client said what it must not say; its connection ends with `farewell`."""

    code = "BadRequest"

    def __init__(self, message: str, *, code: str, farewell: Farewell) -> None:
        super().__init__(message, code=code)
        self.farewell = farewell


def broken(message: str, *, code: str) -> ProtocolError:
    """The client broke the protocol, and would again."""
    return ProtocolError(message, code=code, farewell=Farewell(FatalError(message), None))


def out_of_step(message: str) -> ProtocolError:
    """Client and server do not agree on the state of the connection. A new one helps, as it
    begins with nothing; so the client is told what makes it connect again."""
    reason = _cut(f"InternalServerError: {message}")
    farewell = Farewell(None, INTERNAL_ERROR, reason)
    return ProtocolError(message, code="InternalServerError", farewell=farewell)


def too_much(message: str, *, code: str) -> ProtocolError:
    """The client asked for more at a time than it may."""
    return ProtocolError(message, code=code, farewell=Farewell(None, TRY_AGAIN_LATER, code))


def unauthenticated(message: str, base_version: int, *, attempted: bool) -> ProtocolError:
    """The client's token is not accepted, or no longer."""
    last = AuthError(message, base_version, attempted)
    return ProtocolError(message, code="Unauthenticated", farewell=Farewell(last, None))


def farewell_of(error: BaseException) -> Farewell:
    """How a connection ends on which `error` was raised."""
    match error:
        case ProtocolError():
            return error.farewell
        case TransientError():
            return Farewell(None, TRY_AGAIN_LATER, _cut(error.code))
        case RequestError() if error.status in (408, 421, 425, 429, 503):
            return Farewell(None, TRY_AGAIN_LATER, _cut(error.code))
        case InternalError():
            pass
        case UserError():
            return Farewell(FatalError(str(error)), None)
    return Farewell(None, INTERNAL_ERROR, "InternalServerError")


def _cut(reason: str) -> str:
    return reason.encode("utf-8", "replace")[:REASON_BYTES_MAX].decode("utf-8", "ignore")
