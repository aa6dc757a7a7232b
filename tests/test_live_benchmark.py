"""The live benchmark can be run: every job, for a moment and with a few clients."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEAST_MS = 0.01


def test_every_live_job_comes_to_its_figures_and_loses_no_connection() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.live", "--rehearse", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    jobs = json.loads(done.stdout)["jobs"]
    assert set(jobs) == {
        "fanout",
        "points",
        "sockets",
        "sockets-distinct",
        "slow",
        "mutations",
    }
    for job, found in jobs.items():
        assert found["figures"], job
        for side, row in found["rows"].items():
            assert row["p50 ms" if "p50 ms" in row else "reach p50 ms"] > LEAST_MS, (job, side)
    # What no noise can change.
    assert jobs["sockets"]["rows"]["camber"]["errors"] == 0
    assert jobs["sockets-distinct"]["rows"]["camber"]["errors"] == 0
    points = jobs["points"]["rows"]["camber"]
    assert points["executions"] == points["writes"]
