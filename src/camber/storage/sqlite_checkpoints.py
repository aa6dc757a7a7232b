"""Checkpoints: how commits move from the write-ahead log into the database file.

Ordinary ones run beside everything else, and copy what no reader needs any more. But while
commits keep coming they never catch up entirely, and only a log that is caught up with starts
again from its beginning. So once the log is very long, a second kind runs between two batches:
it copies the rest and starts the log again.

Lengths are counted in frames, each of which holds one page.
"""

from dataclasses import dataclass
from typing import Final

import apsw

# How long a checkpoint that wants the log for itself waits for readers from outside.
_PATIENCE_MS: Final = 20


@dataclass(slots=True)
class LogLength:
    """What is known of the write-ahead log. `written` always counts the frames ever written."""

    # At the last checkpoint: the frames in the log, those already copied, and `written`.
    frames: int = 0
    copied: int = 0
    written: int = 0

    def now(self, written: int) -> int:
        return self.frames + written - self.written


class Checkpoints:
    """Runs them on a connection of its own, and knows when one is due.

    Args:
        connection: used by the thread that runs the checkpoint, one at a time.
        due_frames: so many frames not yet copied make an ordinary checkpoint due.
        overdue_frames: so many frames in the log make the other kind due.
        frames: how many the log has already.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        due_frames: int,
        overdue_frames: int,
        frames: int,
    ) -> None:
        self.connection = connection
        connection.set_busy_timeout(_PATIENCE_MS)
        self._due_frames = due_frames
        self._overdue_frames = overdue_frames
        self._retry_at = overdue_frames
        self._length = LogLength(frames)
        # Set by the running checkpoint, read when it has ended: frames in the log and copied.
        self._outcome = (0, 0)

    def is_due(self, written: int) -> bool:
        return self._length.now(written) - self._length.copied >= self._due_frames

    def is_overdue(self, written: int) -> bool:
        return self._length.now(written) >= self._retry_at

    def copy(self) -> None:
        """Copy what can be copied without disturbing anybody. Call it off the event loop."""
        self._outcome = self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def copied(self, written: int) -> None:
        """`copy` has ended; it began when `written` frames had been written."""
        frames, copied = self._outcome
        self._length = LogLength(frames, copied, written)

    def postpone_copy(self, written: int) -> None:
        """`copy` failed: try again when as much has been written again."""
        frames = self._length.now(written)
        self._length = LogLength(frames, frames, written)

    def restart(self) -> None:
        """Copy everything and start the log again. Call it off the event loop, between batches.

        Raises:
            apsw.BusyError: somebody still reads from the log.
        """
        self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)

    def restarted(self, written: int) -> None:
        """`restart` has ended well."""
        self._length = LogLength(0, 0, written)
        self._retry_at = self._overdue_frames

    def postpone_restart(self, written: int) -> None:
        """`restart` could not finish: try again when the log has grown by another quarter."""
        self._retry_at = self._length.now(written) + max(self._overdue_frames // 4, 1)
