"""What a pool of action processes is asked to run, and what it asks of the server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from camber.functions.capture import LogLine
from camber.functions.failure import Failure


@dataclass(frozen=True, slots=True)
class ActionCall:
    """One run of an action. Texts are in the stored format of `values.wire.pack_value`.

    `identity` is what `ctx.auth.get_user_identity()` shows, None for nobody. `environment` is what
    `env` shows. `tables` are the numbers of the tables, which ids in arguments are checked
    against. `nested` tells that another action waits for it.
    """

    path: str
    arguments: str
    identity: str | None = None
    request_id: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, int] = field(default_factory=dict)
    nested: bool = False


@dataclass(frozen=True, slots=True)
class ActionOutcome:
    """The end of an action: `text` is the result in the stored format, None after a failure.

    After one, `failure` is what is told of it and `error` the exception for callers in this
    process; a `ConvexError` with its data when the action raised one.
    """

    text: str | None
    log: Sequence[LogLine] = ()
    failure: Failure | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class HostCall:
    """What an action asks for while it runs.

    | operation | text | body | answer |
    |---|---|---|---|
    | `run_query`, `run_mutation`, `run_action` | `{"path": …, "arguments": {…}}` | | result |
    | `storage.store` | `{"type": text or null, "sha256": text or null}` | the file | id |
    | `storage.get` | id | | `{"type": text or null}` and the file as body, or null |
    | `storage.get_url`, `storage.get_metadata`, `storage.delete` | id | | their result |
    | `storage.generate_upload_url` | null | | URL |

    Paths are canonical; texts are in the stored format.
    """

    call: ActionCall
    operation: str
    text: str
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answers a `HostCall`."""

    text: str
    body: bytes | None = None


class ActionHost(Protocol):
    """The server, as actions need it."""

    async def call(self, request: HostCall, /) -> Answer:
        """Do what an action asks for. What it raises is raised in the action, at that place."""

    def log(self, call: ActionCall, line: LogLine, /) -> None:
        """A line that a running action said; the outcome will hold it as well. Must not wait."""

    def output(self, text: str, /) -> None:
        """A line that a process wrote to its standard output or error, past every call: a
        library's, a child process's, the interpreter's last words. Must not wait."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What actions may use. Times in seconds, sizes in bytes."""

    # How long one action may run, and how long it may take to stop once it has been told to.
    call_seconds: float = 600.0
    grace_seconds: float = 1.0
    # The resident memory of one process.
    memory_bytes: int = 512 << 20
    # How many calls run at once; more wait up to `admission_seconds`. Calls that another action
    # waits for do not wait (they would wait for each other), but `nested_max` bounds them.
    calls_max: int = 64
    nested_max: int = 512
    admission_seconds: float = 10.0
    # Modules must have been executed by then.
    start_seconds: float = 30.0
