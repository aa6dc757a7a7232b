"""What one execution read and wrote so far, held against the limits of a transaction.

One object is shared by a whole tree of nested calls. A counter that passed its limit stays
passed: an error that app code swallows does not buy it more reads.
"""

from msgspec import Struct

from camber.errors import LimitError

DOCUMENTS_READ_MAX = 32_000
BYTES_READ_MAX = 16 << 20
RANGES_MAX = 4_096
DOCUMENTS_WRITTEN_MAX = 16_000
BYTES_WRITTEN_MAX = 16 << 20

_ADVICE = (
    "Consider using smaller limits in your queries, paginating your queries, or using indexed "
    "queries with a selective index range expressions."
)


class Usage(Struct):
    """Counters: documents, bytes (of stored text), ranges opened, writes."""

    documents_read: int = 0
    bytes_read: int = 0
    ranges: int = 0
    documents_written: int = 0
    bytes_written: int = 0

    def open_range(self) -> None:
        """A `get`, or a query opened.

        Raises:
            LimitError: more than 4,096 in one execution.
        """
        self.ranges += 1
        if self.ranges > RANGES_MAX:
            raise LimitError(
                f"Too many reads in a single function execution (limit: {RANGES_MAX}). {_ADVICE}"
            )

    def read(self, documents: int, size: int) -> None:
        """Documents read, also those that a filter drops.

        Raises:
            LimitError: more than 32,000 documents or 16 MiB in one execution.
        """
        self.documents_read += documents
        self.bytes_read += size
        if self.documents_read > DOCUMENTS_READ_MAX:
            raise LimitError(
                "Too many documents read in a single function execution "
                f"(limit: {DOCUMENTS_READ_MAX}). {_ADVICE}"
            )
        if self.bytes_read > BYTES_READ_MAX:
            raise LimitError(
                "Too many bytes read in a single function execution "
                f"(limit: {BYTES_READ_MAX} bytes). {_ADVICE}"
            )

    def write(self, size: int) -> None:
        """One document written; a delete has size 0.

        Raises:
            LimitError: more than 16,000 writes or 16 MiB in one execution.
        """
        self.documents_written += 1
        self.bytes_written += size
        if self.documents_written > DOCUMENTS_WRITTEN_MAX:
            raise LimitError(
                f"Too many writes in a single function execution (limit: {DOCUMENTS_WRITTEN_MAX})"
            )
        if self.bytes_written > BYTES_WRITTEN_MAX:
            raise LimitError(
                "Too many bytes written in a single function execution (limit: 16 MiB)"
            )

    def writes(self) -> tuple[int, int]:
        """The write counters, to give back to `restore_writes` when a nested call fails."""
        return self.documents_written, self.bytes_written

    def restore_writes(self, counters: tuple[int, int]) -> None:
        """A nested call's writes are gone, and so is what they counted. Its reads stay."""
        self.documents_written, self.bytes_written = counters
