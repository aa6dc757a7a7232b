"""What the server and an action process say to each other. Every message is one frame.

    server → process    Setup, then any number of Call, Withdraw, Cancel, Reply
    process → server    Ready, then any number of Began, Said, Ask, Done, Withdrawn, Awake, Blame

Texts of values are in the stored format. There is no goodbye: whoever closes the channel is done,
and the other side ends.
"""

import msgspec

from camber.functions.capture import Level


class Error(msgspec.Struct, frozen=True, tag="error"):
    """An exception on its way, see `raised`. `data` is set for a ConvexError alone."""

    kind: str
    message: str
    code: str | None = None
    data: str | None = None


class Setup(msgspec.Struct, frozen=True, tag="setup"):
    """The version of the app to load. `environment` is what `env` shows meanwhile."""

    root: str
    sources: dict[str, bytes] | None
    environment: dict[str, str]
    memory_bytes: int


class Call(msgspec.Struct, frozen=True, tag="call"):
    """Run an action. `id` is the server's number for this run."""

    id: int
    path: str
    arguments: str
    identity: str | None
    environment: dict[str, str]
    tables: dict[str, int]


class Withdraw(msgspec.Struct, frozen=True, tag="withdraw"):
    """Do not begin a run, unless it has begun."""

    id: int


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop a run: its time is over, or nobody waits for it any more."""

    id: int


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    """The answer to `Ask` number `id`: a text with a body, or an error."""

    id: int
    text: str | None
    body: bytes | None = None
    error: Error | None = None


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The app is loaded; or it is not, and every call will fail with `problem`."""

    problem: str | None = None


class Began(msgspec.Struct, frozen=True, tag="began"):
    """A run begins now: until this is sent, nothing of it has happened."""

    id: int


class Said(msgspec.Struct, frozen=True, tag="said"):
    """A log line of a run."""

    id: int
    level: Level
    text: str
    timestamp_ms: int
    truncated: bool


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A run asks the server for something. `id` is the process's number for this question."""

    id: int
    call: int
    operation: str
    text: str
    body: bytes | None = None


class Done(msgspec.Struct, frozen=True, tag="done"):
    """A run has ended: with a result, or with an error and what to tell of it."""

    id: int
    text: str | None
    error: Error | None = None
    message: str = ""
    frames: tuple[str, ...] = ()


class Withdrawn(msgspec.Struct, frozen=True, tag="withdrawn"):
    """The run had not begun, and will not begin."""

    id: int


class Awake(msgspec.Struct, frozen=True, tag="awake"):
    """Whatever held up the process, so that a run was withdrawn, holds it up no longer."""


class Blame(msgspec.Struct, frozen=True, tag="blame"):
    """This run is about to end the process."""

    id: int


Downward = Setup | Call | Withdraw | Cancel | Reply
Upward = Ready | Began | Said | Ask | Done | Withdrawn | Awake | Blame
