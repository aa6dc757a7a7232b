"""Official clients live through the ends of their server, and time goes on where it was."""

import asyncio
import json
import shutil
import sys
from pathlib import Path

import pytest
from cuts import APP, NPM, Wire
from served import Served

PYTHON = NPM.parent / "python_restart.py"
TIMES = 2
PATIENCE_SECONDS = 40.0


async def live_through_restarts(folder: Path, program: list[str], cwd: Path) -> str:
    """The last line of a client that says "watching" when the server is to be killed, and is told
    by a line when there is another."""
    with Served(folder, APP) as served:
        await served.start()
        wire = Wire(served)
        await wire.open()
        client = await asyncio.create_subprocess_exec(
            *program,
            f"http://127.0.0.1:{wire.port}",
            str(TIMES),
            cwd=cwd,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert client.stdin is not None
        assert client.stdout is not None
        last = ""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                async for line in client.stdout:
                    last = line.decode()
                    if "watching" in last:
                        served.kill()
                        await served.start()
                        client.stdin.write(b"again\n")
                assert await client.wait() == 0
        finally:
            if client.returncode is None:
                client.kill()
            await client.wait()
            await wire.close()
    return last


def test_13_after_a_restart_a_javascript_client_goes_on_and_timestamps_grow(
    tmp_path: Path,
) -> None:
    node = shutil.which("node")
    if node is None or not (NPM / "node_modules" / "convex").is_dir():
        pytest.skip("needs node and the packages of tests/clients/npm (scripts/test installs them)")
    said = asyncio.run(live_through_restarts(tmp_path / "app", [node, "restart.mjs"], NPM))
    connections = json.loads(said)["connections"]
    assert len(connections) == 1 + TIMES
    newest = 0
    for connection in connections:
        observed = int(connection.get("observed", 0))
        timestamps = [int(ts) for ts in connection["timestamps"]]
        assert observed == newest
        assert timestamps == sorted(timestamps)
        assert timestamps[0] >= observed
        assert timestamps[-1] > observed
        newest = timestamps[-1]


def test_13_after_a_restart_a_python_client_goes_on(tmp_path: Path) -> None:
    program = [sys.executable, str(PYTHON)]
    said = asyncio.run(live_through_restarts(tmp_path / "app", program, tmp_path))
    assert said == "well\n"
