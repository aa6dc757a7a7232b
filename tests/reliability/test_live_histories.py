"""What subscriptions deliver is of one moment each, and never goes back.

The long form: scripts/soak live-history.
"""

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from list_append import Txn, check
from live_histories import (
    NPM,
    LiveHistory,
    as_transactions,
    record_live_history,
    wrong_pushes,
)
from test_histories import CHECKER, LEAST


def test_what_20_official_clients_are_told_and_shown_is_strictly_serializable(
    tmp_path: Path,
) -> None:
    if shutil.which("node") is None or not (NPM / "node_modules" / "convex").is_dir():
        pytest.skip("needs node and the packages of tests/clients/npm (scripts/test installs them)")
    path = tmp_path / "history.jsonl"
    history = asyncio.run(record_live_history(tmp_path / "app", path, transactions=800, seed=1))
    assert len(history.transactions) > 800
    assert len(history.pushes) > 200
    assert list(wrong_pushes(history)) == []
    assert check([*history.transactions, *as_transactions(history.pushes)]) == []
    if CHECKER.exists():
        command = [sys.executable, str(CHECKER), "--model", "strict-serializable"]
        command += ["--min-ok", "800", *LEAST, str(path)]
        checked = subprocess.run(command, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def ok(process: int, invoke: int, complete: int, *ops: tuple[str, str, object]) -> Txn:
    return Txn(process, invoke, complete, "ok", ops)


def test_a_push_that_mixes_two_moments_is_seen() -> None:
    both = ok(0, 1, 2, ("append", "x", 1), ("append", "y", 1))
    torn = ok(1, 0, 9, ("r", "x", [1]), ("r", "y", []))
    last = ok(0, 10, 11, ("r", "x", [1]), ("r", "y", [1]))
    assert "no order explains" in check([both, *as_transactions([torn]), last])[0]


def test_a_push_that_goes_back_or_lacks_what_is_done_is_seen() -> None:
    write = ok(0, 1, 2, ("append", "x", 1))
    back = [ok(1, 0, 3, ("r", "x", [1])), ok(1, 0, 4, ("r", "x", []))]
    assert list(wrong_pushes(LiveHistory([write], back))) == ["client 1: x went back to []"]
    lacking = [ok(0, 0, 3, ("r", "x", []))]
    assert list(wrong_pushes(LiveHistory([write], lacking))) == ["client 0: x lacks its own {1}"]
