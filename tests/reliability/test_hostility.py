"""Whatever app code does, its caller is told, and the others hardly notice."""

import asyncio
from pathlib import Path

import pytest
from hostility import ACTIONS, APP, BODIES, LEFT_BEHIND, PATIENCE_SECONDS, survive
from served import Served


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("query", BODIES),
        ("mutation", BODIES),
        ("endpoint", BODIES),
        ("stream", LEFT_BEHIND),
        ("task", LEFT_BEHIND),
        ("soon", LEFT_BEHIND),
        ("act", ACTIONS),
        ("act_plainly", ACTIONS),
    ],
)
def test_the_server_lives_and_others_are_served(
    kind: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    with Served(tmp_path / "app", APP) as served:
        others = asyncio.run(survive(served, kind, names))
    assert others.wrong == []
    assert others.answers > 20
    assert others.slowest_seconds < PATIENCE_SECONDS
