"""What clients are told is strictly serializable. The long form: scripts/soak history."""

import asyncio
import subprocess
import sys
from pathlib import Path

from histories import record_history
from list_append import Txn, check, write_history

# An independent checker that exact verdicts can be had from, where there is one.
CHECKER = Path(__file__).parents[3] / "shared" / "tools" / "history_checker.py"

LEAST = ["--min-seen", "0.95", "--min-concurrency", "20", "--max-fail-share", "0.6"]


def test_what_20_clients_are_told_is_strictly_serializable(tmp_path: Path) -> None:
    history = asyncio.run(record_history(tmp_path / "app", transactions=4000, seed=2))
    assert sum(txn.status == "ok" for txn in history) > 3500
    assert check(history) == []
    if CHECKER.exists():
        path = tmp_path / "history.jsonl"
        write_history(path, history)
        command = [sys.executable, str(CHECKER), "--model", "strict-serializable"]
        command += ["--min-ok", "3500", *LEAST, str(path)]
        checked = subprocess.run(command, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def ok(process: int, invoke: int, complete: int, *ops: tuple[str, str, object]) -> Txn:
    return Txn(process, invoke, complete, "ok", ops)


def test_the_checker_accepts_what_happened_in_order() -> None:
    one = ok(0, 1, 2, ("append", "x", 1))
    two = ok(1, 3, 4, ("append", "x", 2), ("r", "y", []))
    assert check([one, two, ok(0, 5, 6, ("r", "x", [1, 2]))]) == []


def test_the_checker_sees_a_lost_append() -> None:
    history = [ok(0, 1, 2, ("append", "x", 1)), ok(0, 3, 4, ("r", "x", []))]
    assert check(history) == ["x lost {1}"]


def test_the_checker_sees_a_stale_read() -> None:
    write, stale = ok(0, 1, 2, ("append", "x", 1)), ok(1, 3, 4, ("r", "x", []))
    assert "no order explains" in check([write, stale, ok(0, 5, 6, ("r", "x", [1]))])[0]


def test_the_checker_sees_write_skew() -> None:
    one = ok(0, 1, 9, ("r", "x", []), ("append", "y", 1))
    two = ok(1, 2, 8, ("r", "y", []), ("append", "x", 1))
    last = ok(0, 10, 11, ("r", "x", [1]), ("r", "y", [1]))
    assert "no order explains" in check([one, two, last])[0]


def test_the_checker_sees_a_value_twice_and_reads_that_disagree() -> None:
    write = ok(0, 1, 2, ("append", "x", 1))
    assert check([write, ok(0, 3, 4, ("r", "x", [1, 1]))]) == ["x holds a value twice: [1, 1]"]
    other = ok(1, 1, 2, ("append", "x", 2))
    reads = ok(0, 3, 4, ("r", "x", [1, 2])), ok(0, 5, 6, ("r", "x", [2, 1]))
    assert "disagree" in check([write, other, *reads])[0]
