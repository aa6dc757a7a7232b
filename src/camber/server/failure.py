"""What is written to the log when an application fails: everything, and nothing a client forged.

Parts of a message may come from a request. A line break or a terminal's control sequence in it
would forge log lines, so such characters are shown as escapes.
"""

import logging
import re
import traceback
from typing import Final

_LOGGER: Final = logging.getLogger("camber.server")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


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
