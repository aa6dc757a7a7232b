"""A server in a process of its own, as `camber serve` starts it: to be killed, starved and drained.

What it says goes to a file, so that a flood of it holds nobody up.
"""

import asyncio
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from plain_http import LostError, request_once

CAMBER: Final = str(Path(sys.executable).with_name("camber"))
START_SECONDS: Final = 30.0
"""How long a server may take to start before a test gives up on it."""

_ORIGIN: Final = re.compile(r"http://127\.0\.0\.1:(\d+)")
_POLL_SECONDS: Final = 0.004


class Served:
    """One state folder and app, served again and again; one process at a time.

    Args:
        folder: where the app, the state and the log of the server are kept.
        app: the texts of the app's modules, by file name.
    """

    def __init__(self, folder: Path, app: Mapping[str, str]) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.log_path = folder / "server.log"
        functions = folder / "convex"
        functions.mkdir(parents=True)
        for name, text in app.items():
            (functions / name).write_text(text)
        self.api_port = 0
        self.site_port = 0
        # How long the last start took, in seconds, up to the first answer.
        self.start_seconds = 0.0
        # A command that runs the server, such as one that gives it other mounts.
        self.runs_in: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server was started"
        return self._process

    async def start(self) -> None:
        """Start the server, and return once it answers."""
        began = time.perf_counter()
        self.spawn()
        await self._wait_ready()
        self.start_seconds = time.perf_counter() - began

    def spawn(self) -> None:
        """Start the process, and no more."""
        command = [CAMBER, "serve", str(self.folder), "--state", str(self.state)]
        command += ["--port", "0", "--site-port", "0"]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*self.runs_in, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "NO_COLOR": "1"},
            )

    def log(self) -> str:
        """What the server said since it was started."""
        return self.log_path.read_text(errors="replace")

    async def _wait_ready(self) -> None:
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended by itself:\n{self.log()}")
            ports = list(dict.fromkeys(_ORIGIN.findall(self.log())))
            if len(ports) >= 2:
                self.api_port, self.site_port = int(ports[0]), int(ports[1])
                try:
                    if (await request_once(self.api_port, "GET", "/version")).status == 200:
                        return
                except LostError:
                    pass
            await asyncio.sleep(_POLL_SECONDS)
        raise AssertionError(f"the server did not get ready:\n{self.log()}")

    def kill(self) -> None:
        """End it as a power cut would: no clean-up, no goodbye."""
        self.process.kill()
        self.process.wait()

    async def stop(self) -> int:
        """Ask it to end; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.wait_end()

    async def wait_end(self, seconds: float = 20.0) -> int:
        """The exit code, once it has ended."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            code = self.process.poll()
            if code is not None:
                return code
            await asyncio.sleep(_POLL_SECONDS)
        raise AssertionError(f"the server did not end:\n{self.log()}")

    def limit_file_sizes(self, size: int | None) -> None:
        """Let no file of the running server grow beyond `size` bytes, as on a full disk; None
        lifts the limit."""
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        soft = hard if size is None else size
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def resident_bytes(self) -> int:
        """The memory that the server's process holds."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def peak_bytes(self) -> int:
        """The most memory that the server's process ever held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()


def in_mounts(mount: str, folder: Path) -> list[str]:
    """A command that runs another where `mount`, a shell command, has changed what is at
    `folder`; nobody else sees the change."""
    return ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', str(folder)]


def can_mount() -> bool:
    """Whether this user and this machine allow mounts of one's own."""
    if shutil.which("unshare") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = [*in_mounts('mount -t tmpfs none "$0"', Path(folder)), "true"]
        return subprocess.run(command, capture_output=True).returncode == 0
