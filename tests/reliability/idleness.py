"""Official clients that say nothing for longer than they bear silence keep their connection.

A JavaScript client gives up after 60 s without a message, a Python client after 30 s without a
frame. The wire that they go through counts their connections.
"""

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Final

from cuts import APP, NPM, Wire
from served import Served

PATIENCE_SECONDS: Final = 20.0


async def stay_idle(folder: Path, seconds: int) -> dict[str, int]:
    """By client: how many connections it needed for being silent for so many seconds.

    Raises:
        AssertionError: a client failed.
        TimeoutError: a client did not come to its end.
    """
    node = shutil.which("node")
    assert node is not None, "the JavaScript client needs node"
    programs = {
        "npm": [node, str(NPM / "idle.mjs")],
        "python": [sys.executable, str(NPM.parent / "python_idle.py")],
    }
    with Served(folder, APP) as served:
        await served.start()
        async with asyncio.timeout(PATIENCE_SECONDS + seconds):
            counts = await asyncio.gather(
                *(_connections(served, program, seconds) for program in programs.values())
            )
    return dict(zip(programs, counts, strict=True))


async def _connections(served: Served, program: list[str], seconds: int) -> int:
    wire = Wire(served)
    await wire.open()
    origin = f"http://127.0.0.1:{wire.port}"
    client = await asyncio.create_subprocess_exec(
        *program, origin, str(seconds), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        assert await client.wait() == 0, f"{program} failed"
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
        await wire.close()
    return wire.connections
