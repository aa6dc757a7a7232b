"""Hostile messages disturb nobody and leave nothing. The long form: scripts/soak messages."""

import asyncio
from pathlib import Path

from hostile_messages import APP, is_empty, pester

from serving import served


def test_hostile_messages_are_refused_disturb_nobody_and_leave_nothing(tmp_path: Path) -> None:
    with served(tmp_path, APP) as backend:
        toll = asyncio.run(pester(backend, count=2000, seed=1))
        assert toll.logged == []
        assert toll.seen > 20
        assert len(toll.codes) > 3
        while not backend.run(is_empty(backend)):
            pass  # The last of them are leaving.
