"""One execution of app code: what surrounds a body while it runs.

The current execution is a context variable. Tasks that a body creates inherit it; other threads,
and the server between two bodies, see none. The restrictions on app code, its frozen clock and
its log all start from the question whether an execution is current.
"""

from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum
from random import Random
from typing import Any, Final

from camber.functions.capture import LogCapture


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


class Execution:
    """A body's surroundings, from its begin to its end. Made anew for each attempt.

    Args:
        environment: which restrictions hold.
        path: the function's path, such as `messages:send`.
        now_ns: what the clock shows throughout, in nanoseconds since the Unix epoch.
        seed: where chance comes from; the same seed, the same numbers.
        request_id: 16 hex digits that find this request in the logs.
        log: takes the log lines; a fresh capture unless given.
        env_reader: reads one environment variable of the deployment, None when it is unset.
        owner: the transaction or context it belongs to, of no concern here.
    """

    __slots__ = (
        "_log",
        "_random",
        "clock_read",
        "env_reader",
        "environment",
        "now_ns",
        "owner",
        "path",
        "random_read",
        "request_id",
        "seed",
    )

    def __init__(
        self,
        environment: Environment,
        path: str,
        now_ns: int,
        seed: bytes | int,
        request_id: str = "",
        log: LogCapture | None = None,
        env_reader: Callable[[str], str | None] | None = None,
        owner: Any = None,
    ) -> None:
        self.environment = environment
        self.path = path
        self.now_ns = now_ns
        self.seed = seed
        self.request_id = request_id
        self.env_reader = env_reader
        self.owner = owner
        # Whether the body looked at the time, or drew a number: a cached result that depends
        # on the time is good for a while only.
        self.clock_read = False
        self.random_read = False
        # The stream is made when first drawn from: seeding costs more than most bodies do.
        self._random: Random | None = None
        self._log = log

    @property
    def log(self) -> LogCapture:
        """Takes the log lines."""
        log = self._log
        if log is None:
            log = self._log = LogCapture()
        return log

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
