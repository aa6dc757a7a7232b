"""What came of an execution: a result or a failure, the log, and what was read to get there."""

from collections.abc import Hashable, Sequence
from typing import Any

from msgspec import Struct

from camber.database.read_set import ReadSet
from camber.functions.capture import LogLine
from camber.functions.failure import Failure
from camber.storage.engine import Timestamp
from camber.values.wire import to_wire, unpack_value


class Outcome(Struct, eq=False):
    """The end of an execution. `text` is the result in the stored format, None after a failure."""

    text: str | None
    # What a query saw, or when a mutation became visible.
    ts: Timestamp
    reads: ReadSet
    log: Sequence[LogLine]
    # What was raised, for callers in this process; `failure` is what is told of it.
    error: Exception | None = None
    failure: Failure | None = None
    # Where the page ends that was read, as a cursor; None if no page was.
    journal: str | None = None
    # What finds it in the logs, once there is something to find.
    request_id: str = ""
    # The result as clients get it, encoded once for all of them.
    _wire: bytes | None = None
    # What a protocol makes of the whole for its messages, by whatever tells its forms apart.
    encodings: dict[Hashable, Sequence[bytes]] | None = None

    def value(self) -> Any:
        """The result, as an object of the caller's own.

        Raises:
            Exception: what the function raised.
        """
        if self.error is not None:
            raise self.error
        assert self.text is not None
        return unpack_value(self.text)

    def reads_like(self, other: "Outcome", *, with_log: bool) -> bool:
        """Whether a client sees no difference. When and under which request id it was computed
        is none, nor is the log if he does not get it."""
        if self is other:
            return True
        if self.text != other.text or self.failure != other.failure:
            return False
        # One text for both: the next comparison need not look into it.
        self.text = other.text
        if not with_log or not (self.log or other.log):
            return True
        return [line.wire() for line in self.log] == [line.wire() for line in other.log]

    def wire(self) -> bytes:
        """The result in the lossless wire form."""
        if self._wire is None:
            assert self.text is not None
            self._wire = to_wire(unpack_value(self.text))
        return self._wire
