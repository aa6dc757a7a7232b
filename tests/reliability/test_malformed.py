"""Malformed frames in number: see `malformed.py`. The long form is `scripts/soak frames`."""

import malformed
import uvloop


def test_malformed_frames_end_their_connection_and_are_not_logged() -> None:
    report = uvloop.run(malformed.flood(10_000, seed=1))
    connections = report.frames // malformed.BATCH
    assert sum(report.codes.values()) == connections
    assert report.closed == connections + 1
    assert report.log_bytes == 0
    assert report.codes[1002] > connections // 2
