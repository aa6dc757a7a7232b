"""What every test of the database may ask for."""

from pathlib import Path

import pytest
from databases import Play, play_on


@pytest.fixture(params=["memory", "sqlite"])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Plays a story on a new database, over each of the engines."""
    return play_on(request.param, tmp_path)
