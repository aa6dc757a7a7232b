"""A server process under measurement: pinned to a core, observed through /proc, surely ended."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
# How long a server may take to end by itself, in seconds.
_STOP_MAX: Final = 15.0
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")


class ServerError(Exception):
    """A server did not start, or ended by itself. Says what it wrote last."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the server runs, and where the load generator: the same one if there is but one."""

    server: int
    load: int

    @staticmethod
    def of_this_machine() -> "Cores":
        available = sorted(os.sched_getaffinity(0))
        return Cores(available[0], available[min(1, len(available) - 1)])

    @property
    def shared(self) -> bool:
        return self.server == self.load


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a server with all its child processes holds and has used: MB (10**6), seconds."""

    resident_mb: float
    peak_mb: float
    cpu_seconds: float


class ServerProcess:
    """One running server with its children."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Make sure that it still runs.

        Raises:
            ServerError: it does not.
        """
        status = self._process.poll()
        if status is not None:
            raise ServerError(f"{self._process.args!r} ended with status {status}:\n{self.tail()}")

    def tail(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])

    def footprint(self) -> Footprint:
        resident = peak = cpu = 0.0
        for pid in _tree(self.pid):
            try:
                status = _status(pid)
                times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended meanwhile.
            resident += status.get("VmRSS", 0) * 1024 / 1e6
            peak += status.get("VmHWM", 0) * 1024 / 1e6
            cpu += sum(map(int, times)) / _CLOCK_TICKS
        return Footprint(resident, peak, cpu)

    def stop(self) -> None:
        """Ask it to end; if it does not, end it and its children."""
        pids = list(_tree(self.pid)) if self._process.poll() is None else []
        self._process.terminate()
        try:
            self._process.wait(_STOP_MAX)
        except subprocess.TimeoutExpired:
            for pid in pids:
                _kill(pid)
            self._process.wait()


@contextmanager
def running(
    command: Sequence[str],
    *,
    core: int,
    directory: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ServerProcess]:
    """Run `command` in `directory` on `core`, its output going to `log`, until the block ends."""
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        os.sched_setaffinity(0, {core})
        # Should this benchmark be killed, its servers end with it.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=prepare,
        )
    server = ServerProcess(process, log)
    try:
        yield server
    finally:
        server.stop()


def _tree(root: int) -> Iterator[int]:
    """`root` and all processes below it."""
    yield root
    try:
        tasks = list(Path(f"/proc/{root}/task").iterdir())
        children = [pid for task in tasks for pid in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in children:
        yield from _tree(int(child))


def _status(pid: int) -> dict[str, int]:
    """The numbers of /proc/PID/status; sizes in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.startswith("Vm"))
    return {name.rstrip(":"): int(number) for name, number, *_ in fields}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
