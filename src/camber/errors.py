"""Every error of Camber, as one tree. A boundary can do three things: report, retry, hide.

CamberError
├── UserError              report: the caller or the app's author can mend it; has a short `code`
│   ├── InvalidValueError        a value outside the value model, or too large, or too deep
│   ├── InvalidArgumentError     a wrong argument to one of our own methods (`ctx.db.get(3)`)
│   ├── ValidationError          a value does not match a validator; names the path
│   │   ├── ArgumentValidationError
│   │   └── ReturnsValidationError
│   ├── SchemaError              a schema that is wrong, or does not fit the data
│   ├── LimitError               a documented limit was reached
│   ├── FunctionNotFoundError    no such function for this caller
│   ├── DeterminismError         a query or mutation asked for time, network, files …
│   ├── OverrunError             a function used more time or memory than it may
│   ├── LoadError                the functions folder does not load; names file and line
│   ├── ConfigError              camber.toml, a flag, a port, a folder
│   └── RequestError             an HTTP request that cannot be served; has a `status`
├── ConvexError            report: thrown by app code, its `data` reaches the client
├── TransientError         retry: the same call may succeed later
│   ├── ConflictError            another transaction wrote what this one read
│   ├── OverloadedError          a queue is full
│   ├── OutOfRetentionError      a snapshot older than the history that is kept
│   └── StorageFullError         the disk is full; nothing was acknowledged
└── InternalError          hide: our fault, or the machine's
    ├── StorageError             the store failed; it takes no more writes until reopened
    ├── StorageFormatError       the file is of another version, or not one of ours
    ├── StorageCorruptError      the file is damaged
    └── StorageLockedError       another process has the state folder open
"""

from typing import Any


class CamberError(Exception):
    """The root of the tree."""

    code = "InternalServerError"

    @property
    def message(self) -> str:
        """What a reader is told; the same as `str(error)`."""
        return str(self)


class UserError(CamberError):
    """The caller or the app's author can mend it. `code` is short and stable."""

    code = "BadRequest"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class InvalidValueError(UserError):
    """A value outside the value model, or beyond its limits."""

    code = "InvalidValue"


class InvalidArgumentError(UserError):
    """A wrong argument to one of Camber's own methods."""

    code = "InvalidArgument"


class ValidationError(UserError):
    """A value does not match a validator."""

    code = "ValidationError"


class ArgumentValidationError(ValidationError):
    """The arguments of a call do not match the function's validator."""

    code = "ArgumentValidationError"


class ReturnsValidationError(ValidationError):
    """A function returned what its `returns` validator does not allow."""

    code = "ReturnsValidationError"


class SchemaError(UserError):
    """A schema that is wrong in itself, or does not fit the data."""

    code = "SchemaError"


class LimitError(UserError):
    """A documented limit was reached."""

    code = "LimitExceeded"


class FunctionNotFoundError(UserError):
    """No such function for this caller. Unknown and internal read the same."""

    code = "FunctionPathNotFound"


class DeterminismError(UserError):
    """A function asked for what its kind must not touch."""

    code = "NotDeterministic"


class OverrunError(UserError):
    """A function used more time or memory than it may."""

    code = "Overrun"

    # Whether it can be stopped on the main thread only.
    is_stubborn = False


class LoadError(UserError):
    """The functions folder does not load.

    Args:
        message: what went wrong, in one sentence.
        file: the file that has to be changed, as the author knows it.
        line: the line in it, counted from 1; None when there is none to name.
    """

    code = "LoadError"

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.file = file
        self.line = line


class ConfigError(UserError):
    """camber.toml, a flag, a port or a folder is not as it must be."""

    code = "ConfigError"


class RequestError(UserError):
    """An HTTP request that cannot be served. Answered with `status` and `{code, message}`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message, code=code)
        self.status = status


class ConvexError(CamberError):
    """Raised by app code: `data`, any value, reaches the client in development and production.

    The name is the one that every official client knows it by.
    """

    code = "ConvexError"

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        self.data = data

    def __str__(self) -> str:
        return self.data if isinstance(self.data, str) else repr(self.data)


class TransientError(CamberError):
    """The same call may succeed later."""

    code = "Overloaded"


class ConflictError(TransientError):
    """Another transaction wrote, after this one began, something this one read.

    Args:
        message: the text for the caller once all retries are used up.
        table: the name of the table, when known.
        id: the document that was written, when known.
    """

    code = "OptimisticConcurrencyControlFailure"

    def __init__(self, message: str, *, table: str | None = None, id: str | None = None) -> None:
        super().__init__(message)
        self.table = table
        self.id = id


class OverloadedError(TransientError):
    """A queue is full, or the wait for a slot took too long."""


class OutOfRetentionError(TransientError):
    """A snapshot older than the history that is kept."""

    code = "OutOfRetention"


class StorageFullError(TransientError):
    """The disk is full. Nothing of this write was acknowledged, and reads go on."""

    code = "StorageFull"


class InternalError(CamberError):
    """Our fault, or the machine's. Clients are told nothing, the log everything."""


class StorageError(InternalError):
    """The store failed. It takes no more writes until it is opened anew."""


class StorageFormatError(InternalError):
    """The file is of another format version, or not one of ours."""


class StorageCorruptError(InternalError):
    """The file is damaged."""


class StorageLockedError(InternalError):
    """Another process has the state folder open."""
