"""One execution of app code: what surrounds a body while it runs.

The current execution is a context variable. Tasks that a body creates inherit it; other threads,
and the server between two bodies, see none. The restrictions on app code, its frozen clock and
its log all start from the question whether an execution is current.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from enum import Enum
from random import Random
from typing import Any, Final

from msgspec import Struct

from camber.functions.capture import LogCapture, LogLine


class Environment(Enum):
    """Which restrictions hold. Actions, in processes of their own, know none."""

    # Queries and mutations: the clock stands still, chance is seeded, the outside is closed.
    DETERMINISTIC = "deterministic"
    # HTTP endpoints: asynchronous I/O is fine, whatever blocks the event loop is refused.
    ENDPOINT = "endpoint"

    @property
    def phrase(self) -> str:
        """How messages name it: `a query or mutation`."""
        match self:
            case Environment.DETERMINISTIC:
                return "a query or mutation"
            case Environment.ENDPOINT:
                return "an HTTP endpoint"


class Execution(Struct, eq=False):
    """A body's surroundings, from its begin to its end. Made anew for each attempt."""

    environment: Environment
    # The function's path, such as `messages:send`.
    path: str
    # What the clock shows throughout, in nanoseconds since the Unix epoch.
    now_ns: int
    # Where chance comes from; the same seed, the same numbers.
    seed: bytes | int
    # 16 hex digits that find this request in the logs.
    request_id: str = ""
    # Takes the log lines; made with the first one unless given.
    _log: LogCapture | None = None
    # Reads one environment variable of the deployment, None when it is unset.
    env_reader: Callable[[str], str | None] | None = None
    # The transaction or context it belongs to, of no concern here.
    owner: Any = None
    # Whether the body looked at the time, or drew a number: a cached result that depends on the
    # time is good for a while only.
    clock_read: bool = False
    random_read: bool = False
    # The stream is made when first drawn from: seeding costs more than most bodies do.
    _random: Random | None = None

    @property
    def log(self) -> LogCapture:
        """Takes the log lines."""
        log = self._log
        if log is None:
            log = self._log = LogCapture()
        return log

    def log_lines(self) -> Sequence[LogLine]:
        """What was logged so far, oldest first."""
        return () if self._log is None else self._log.lines

    def read_clock(self) -> int:
        """The time, in nanoseconds since the Unix epoch, always the same. Notes the reading."""
        self.clock_read = True
        return self.now_ns

    @property
    def random(self) -> Random:
        """The seeded stream of this execution. Notes the reading."""
        self.random_read = True
        stream = self._random
        if stream is None:
            stream = self._random = Random(self.seed)
        return stream


current_execution: Final[ContextVar[Execution | None]] = ContextVar(
    "current_execution", default=None
)
"""The execution that is running in this context. Whoever runs a body sets and resets it."""

current: Final[Callable[[], Execution | None]] = current_execution.get
"""The current execution, None outside of one."""


def current_log() -> LogCapture | None:
    """Where log lines go now; None outside an execution."""
    execution = current_execution.get()
    return None if execution is None else execution.log
