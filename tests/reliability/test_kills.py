"""What was acknowledged survives kill -9 of the whole server. The long form: scripts/soak kills."""

import asyncio
from pathlib import Path

from kills import run_kills


def test_whatever_was_acknowledged_survives_kill_9_once_and_whole(tmp_path: Path) -> None:
    report = asyncio.run(run_kills(tmp_path / "app", count=15, seed=1))
    assert report.acknowledged_pairs > 300
    assert report.acknowledged_files > 20
    assert report.start_seconds_median < 2
