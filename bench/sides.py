"""The three sides of the benchmark: how each is started and given the same messages."""

import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from bench.dataset import MESSAGES, author_name, write_database
from bench.jobs import HOST, get_messages
from bench.process import ServerError, ServerProcess, running

ROOT: Final = Path(__file__).resolve().parent.parent
CAMBER_APP: Final = ROOT / "bench" / "camber_app"

# How long a server may take to answer for the first time, in seconds.
_START_MAX: Final = 30.0
_PROBE_PAUSE: Final = 0.005
# Messages per seeding mutation: well inside the limits of one transaction.
_SEED_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True)
class Side:
    """One server, ready and seeded."""

    name: str
    process: ServerProcess
    port: int
    """Where the endpoints are."""
    api_port: int
    """Where Camber's function API is; for the peers, the same as `port`."""


Start: TypeAlias = Callable[[Path, int], Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def fetch(port: int, target: str, body: object = None) -> Any:
    """What `target` answers, decoded; a POST when there is a body.

    Raises:
        OSError: nobody listens, or the answer is an error.
    """
    content = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://{HOST}:{port}{target}", content, headers)
    with urllib.request.urlopen(request, timeout=_START_MAX) as response:
        text = response.read()
    return json.loads(text) if text else None


def call(side: Side, kind: str, path: str, **args: object) -> Any:
    """Call the Camber function `path`, a "query" or a "mutation", over the function API.

    Raises:
        ServerError: the function failed.
    """
    answer = fetch(side.api_port, f"/api/{kind}", {"path": path, "args": args, "format": "json"})
    if answer["status"] != "success":
        raise ServerError(f"{path} failed: {answer}")
    return answer["value"]


def wait_ready(process: ServerProcess, port: int) -> None:
    """Wait until the endpoint that reads messages answers.

    Raises:
        ServerError: the process ended, or does not answer in time.
    """
    deadline = time.monotonic() + _START_MAX
    target = get_messages(author_name(0))
    while time.monotonic() < deadline:
        process.check()
        try:
            fetch(port, target)
        except OSError as error:
            reason = error
            time.sleep(_PROBE_PAUSE)
        else:
            return
    raise ServerError(f"no answer in {_START_MAX} s ({reason}):\n{process.tail()}")


@contextmanager
def camber(state: Path, core: int) -> Iterator[Side]:
    """(a) Camber serving `bench/camber_app`, empty."""
    state.mkdir(exist_ok=True)
    api_port, port = free_port(), free_port()
    command = [
        os.path.join(os.path.dirname(sys.executable), "camber"),
        *("serve", str(CAMBER_APP)),
        *("--port", str(api_port), "--site-port", str(port)),
        *("--state", str(state / "state")),
    ]
    with running(command, core=core, directory=ROOT, log=state / "log") as process:
        wait_ready(process, port)
        yield Side("camber", process, port, api_port)


@contextmanager
def seeded_camber(state: Path, core: int) -> Iterator[Side]:
    """(a) with all messages."""
    with camber(state, core) as side:
        for first in range(0, MESSAGES, _SEED_BATCH):
            call(side, "mutation", "seed:insert_many", first=first, count=_SEED_BATCH)
        yield side


@contextmanager
def _peer(name: str, module: str, state: Path, core: int) -> Iterator[Side]:
    state.mkdir(exist_ok=True)
    database = state / "messages.db"
    write_database(database)
    port = free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", f"bench.peers.{module}:app"),
        *("--host", HOST, "--port", str(port), "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--log-level", "warning"),
    ]
    environment = {"DATABASE": str(database)}
    with running(
        command, core=core, directory=ROOT, log=state / "log", environment=environment
    ) as process:
        wait_ready(process, port)
        yield Side(name, process, port, port)


def fastapi_sqlalchemy(state: Path, core: int) -> Any:
    """(b)"""
    return _peer("peer-b", "fastapi_sqlalchemy", state, core)


def starlette_apsw(state: Path, core: int) -> Any:
    """(c)"""
    return _peer("peer-c", "starlette_apsw", state, core)


@contextmanager
def echo(state: Path, core: int) -> Iterator[Side]:
    """A server that does nothing: the ceiling of what can be measured."""
    state.mkdir(exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "bench.echo", str(port)]
    with running(command, core=core, directory=ROOT, log=state / "log") as process:
        wait_ready(process, port)
        yield Side("echo", process, port, port)


SIDES: Final[dict[str, Start]] = {
    "camber": seeded_camber,
    "peer-b": fastapi_sqlalchemy,
    "peer-c": starlette_apsw,
}
