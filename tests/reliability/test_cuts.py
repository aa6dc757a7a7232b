"""Mutations are done once, whatever happens to connections. The long form: scripts/soak cuts."""

import asyncio
import shutil
from pathlib import Path

import pytest
from cuts import NPM, cut_connections


def test_a_mutation_is_done_once_wherever_its_connection_is_cut(tmp_path: Path) -> None:
    if shutil.which("node") is None or not (NPM / "node_modules" / "convex").is_dir():
        pytest.skip("needs node and the packages of tests/clients/npm (scripts/test installs them)")
    tally = asyncio.run(cut_connections(tmp_path / "app", count=24, seed=1))
    assert tally.cuts == 24
    assert tally.kills == 1
    assert tally.resolved > 50
    assert tally.rejected > 10
