"""Whatever app code does, its caller is told, and the others hardly notice.

Here a part of it, so as to be quick; all of it is done by scripts/soak hostility.
"""

import asyncio
from pathlib import Path

import pytest
from hostility import APP, PATIENCE_SECONDS, survive
from served import Served

ENDS = ("unprintable", "own_base", "sys_exit", "os_exit", "generator_exit", "keyboard", "cancelled")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("query", ("loop_and_eat", "sleep", "big_list", "growing_list", "deep", *ENDS, "regex")),
        ("mutation", ("loop", "big_list", "endless_text", "circle", *ENDS, "huge", "regex")),
        ("endpoint", ("loop", "sleep", "big_list", *ENDS, "huge", "thread", "regex")),
        ("stream", ("loop", "own_base")),
        ("task", ("loop", "sys_exit", "raise_exit", "keyboard", "own_base")),
        ("soon", ("raise_exit", "keyboard")),
        ("act", ("os_exit", "segfault", "own_base", "unprintable", "big_list", "stderr")),
        ("act_plainly", ("sys_exit", "unprintable", "prints_long")),
    ],
)
def test_the_server_lives_and_others_are_served(
    kind: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    with Served(tmp_path / "app", APP) as served:
        others = asyncio.run(survive(served, kind, names))
    assert others.wrong == []
    assert others.answers > 2
    assert others.slowest_seconds < PATIENCE_SECONDS
