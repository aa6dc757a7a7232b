"""Races between clients, in line and aside. The long form: scripts/soak races."""

import asyncio
from pathlib import Path

from races import APP, run_races
from served import Served


def test_no_race_loses_money_names_or_counts(tmp_path: Path) -> None:
    with Served(tmp_path / "app", APP) as served:
        asyncio.run(run_races(served, 24))
