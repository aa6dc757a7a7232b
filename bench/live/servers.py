"""The servers of the live jobs: Camber, the FastAPI peer, and one that only sends."""

import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.jobs import HOST
from bench.process import ServerError, ServerProcess, running
from bench.sides import ROOT, Side, Start, camber, free_port

_START_MAX: Final = 30.0
_PROBE_PAUSE: Final = 0.01


@contextmanager
def peer(state: Path, core: int) -> Iterator[Side]:
    """`peers/fastapi_live.py` under uvicorn."""
    state.mkdir(exist_ok=True)
    port = free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", "bench.peers.fastapi_live:app"),
        *("--host", HOST, "--port", str(port), "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "warning"),
    ]
    environment = {"DATABASE": str(state / "messages.db")}
    with running(
        command, core=core, directory=ROOT, log=state / "log", environment=environment
    ) as process:
        yield _listening("peer", process, port)


@contextmanager
def floor(state: Path, core: int) -> Iterator[Side]:
    """`floor.py`: what the load client can measure at most."""
    state.mkdir(exist_ok=True)
    port = free_port()
    command: Sequence[str] = [sys.executable, "-m", "bench.live.floor", str(port)]
    with running(command, core=core, directory=ROOT, log=state / "log") as process:
        yield _listening("floor", process, port)


def _listening(name: str, process: ServerProcess, port: int) -> Side:
    """The side, as soon as its port takes connections.

    Raises:
        ServerError: the process ended, or does not listen in time.
    """
    deadline = time.monotonic() + _START_MAX
    while time.monotonic() < deadline:
        process.check()
        try:
            socket.create_connection((HOST, port)).close()
        except OSError:
            time.sleep(_PROBE_PAUSE)
        else:
            return Side(name, process, port, port)
    raise ServerError(f"{name} does not listen after {_START_MAX} s:\n{process.tail()}")


SERVERS: Final[dict[str, Start]] = {"camber": camber, "peer": peer, "floor": floor}
