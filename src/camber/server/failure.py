"""An application that failed: what its client is told, and what the log.

The client is told a `RequestError` in full and of anything else nothing. The log is told
everything else, and nothing that a client forged:
parts of a message may come from a request. A line break or a terminal's control sequence in it
would forge log lines, so such characters are shown as escapes.
"""

import logging
import re
import traceback
from typing import Final

from camber.errors import RequestError
from camber.server import answer
from camber.server.exchange import Exchange

_LOGGER: Final = logging.getLogger("camber.server")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def settle(exchange: Exchange, error: BaseException | None) -> None:
    """Bring an exchange to an end that its application left with `error`, or without an answer."""
    if exchange.is_done and error is None:
        return
    if exchange.is_gone and isinstance(error, ConnectionError | RequestError | None):
        return
    told = error
    if not isinstance(told, RequestError) or exchange.is_answered:
        log_failure(f"{exchange.method} {exchange.path}", error)
        told = answer.hidden_error()
    if not exchange.is_answered:
        exchange.respond(told.status, answer.error_headers(told.status), answer.error_body(told))
    elif not exchange.is_done:
        exchange.abort()


def log_failure(where: str, error: BaseException | None) -> None:
    """Log that `where` failed with `error`; None: it ended without an answer."""
    if error is None:
        _LOGGER.error("%s ended without an answer", escape(where))
    else:
        _LOGGER.error("%s failed\n%s", escape(where), _trace(error))


def escape(text: str) -> str:
    """`text` on one line."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def _trace(error: BaseException) -> str:
    lines = []
    for part in traceback.TracebackException.from_exception(error).format():
        # Frames are of our making, two spaces in; whatever else has a message in it.
        is_frame = part.startswith("  File ")
        lines.append(part.rstrip("\n") if is_frame else escape(part.rstrip("\n")))
    return "\n".join(lines)
