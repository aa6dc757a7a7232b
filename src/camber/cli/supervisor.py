"""A server that is started again when it had to be ended.

The server runs in a process of its own; this one waits for it, hands on the signals that ask it to
stop, and starts another in its place when the dead-man switch ended it.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

from camber.functions import dead_man

_HANDED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def supervise() -> None:
    """Returns in the process that is to serve, and again in another one when the one before has
    frozen. The process that called it ends as the last of them did.

    Called before any thread is started.
    """
    while True:
        sys.stdout.flush()
        sys.stderr.flush()
        life, lifeline = os.pipe()
        server = os.fork()
        if server == 0:
            os.close(lifeline)
            # A group of its own: a Ctrl-C of the terminal's comes through the supervisor, once.
            os.setpgid(0, 0)
            threading.Thread(target=_end_with_supervisor, args=(life,), daemon=True).start()
            return
        os.close(life)
        code = _wait_for(server)
        os.close(lifeline)
        if code != -dead_man.SIGNAL:
            os._exit(code if code >= 0 else 128 - code)


def _wait_for(server: int) -> int:
    """The exit code of the server; negative: the signal that ended it."""
    before = {number: signal.signal(number, _handing_on_to(server)) for number in _HANDED_ON}
    _, status = os.waitpid(server, 0)
    for number, handler in before.items():
        signal.signal(number, handler)
    return os.waitstatus_to_exitcode(status)


def _handing_on_to(server: int) -> Callable[[int, FrameType | None], None]:
    def hand_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):  # It has just ended.
            os.kill(server, number)

    return hand_on


def _end_with_supervisor(life: int) -> None:
    """Stop when the supervisor is gone, also when it was killed: its end of the pipe closes."""
    os.read(life, 1)
    os.kill(os.getpid(), signal.SIGTERM)
