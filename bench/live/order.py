"""What a load client is told to do, and to whom."""

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.jobs import HOST
from bench.live.pool import LoadError


@dataclass(frozen=True, slots=True)
class Target:
    """A server under load."""

    pid: int
    port: int
    """Of the WebSocket and the function API."""
    site_port: int
    """Of HTTP endpoints."""

    def cpu_seconds(self) -> float:
        """What the process has used so far, exact to the nanosecond; without its children."""
        used = 0
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                schedule = Path(f"/proc/{self.pid}/task/{task}/schedstat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # A thread that ended meanwhile.
            used += int(schedule.split()[0])
        return used / 1e9

    def resident_bytes(self) -> int:
        """The memory of the process, without its children."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def kernel_bytes(self) -> int:
        """What was written to connections of its WebSocket port, and was not received yet."""
        port = f":{self.port:04X}"
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        rows = (line.split() for line in lines)
        return sum(int(row[4].split(":")[0], 16) for row in rows if row[1].endswith(port))

    def mutate(self, path: str, **args: object) -> Any:
        """Call a mutation of Camber over HTTP, before anything is measured.

        Raises:
            LoadError: it failed.
        """
        body = json.dumps({"path": path, "args": args, "format": "json"}).encode()
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}/api/mutation", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.loads(response.read())
        if answer["status"] != "success":
            raise LoadError(f"{path} failed: {answer}")
        return answer["value"]


@dataclass(frozen=True, slots=True)
class Order:
    """One job: what, against whom, how long (seconds for each side) and with how many clients."""

    job: str
    targets: dict[str, Target]
    core: int
    seconds: float
    scale: float
    """The share of the clients that the job has by default."""

    def clients(self, most: int) -> int:
        return max(2, round(most * self.scale))

    @property
    def camber(self) -> Target:
        return self.targets["camber"]


class CpuClock:
    """What servers used while they were watched."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def watching(self, target: Target) -> Iterator[None]:
        before = target.cpu_seconds()
        yield
        self.seconds += target.cpu_seconds() - before


def is_over(begin: float, seconds: float) -> bool:
    return time.perf_counter() - begin >= seconds
