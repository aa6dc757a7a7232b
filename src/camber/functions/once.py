"""Mutations that clients have numbered, which are done once: what their receipts say of an outcome.

A receipt keeps the result as it is, and the log as rows of level, text, time, and whether the text
was cut.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from camber.database.transaction import Transaction
from camber.functions.capture import LogLine
from camber.functions.outcome import Outcome
from camber.system.receipts import Claim, Receipt, leave_receipt

Row: TypeAlias = tuple[str, str, int, bool]


def outcome_of(receipt: Receipt, tx: Transaction) -> Outcome:
    """What came of a mutation when it was done; `tx` is where the receipt was read."""
    return Outcome(receipt.result, receipt.ts, tx.reads, [_line(row) for row in receipt.log])


def leave(tx: Transaction, claim: Claim, outcome: Outcome) -> None:
    """Leave a receipt of a mutation that has succeeded, as part of its transaction."""
    assert outcome.text is not None, "what failed leaves no receipt"
    leave_receipt(tx, claim, outcome.text, _rows(outcome.log) if outcome.log else ())


def _rows(log: Sequence[LogLine]) -> list[Row]:
    return [(line.level, line.text, line.timestamp_ms, line.truncated) for line in log]


def _line(row: Sequence[Any]) -> LogLine:
    level, text, timestamp_ms, truncated = row
    return LogLine(level, text, int(timestamp_ms), truncated)
