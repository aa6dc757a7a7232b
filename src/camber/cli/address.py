"""Where the server of a state folder is reached: `server.json` in it, while the server runs.

    {"pid": 4711, "api": "http://127.0.0.1:3210", "site": "http://127.0.0.1:3211"}

A server that was killed leaves its file behind, so what the file says is a hint: the process may
be gone, or its number and ports belong to others by now.
"""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

FILE_NAME: Final = "server.json"


@dataclass(frozen=True, slots=True)
class Address:
    """A running server: its process, and the URLs of its two ports on this machine."""

    pid: int
    api: str
    site: str


def publish(state: Path, address: Address) -> None:
    """Let others find the server. Without this the server runs as well, so trouble is ignored."""
    path = state / FILE_NAME
    draft = path.with_suffix(".new")
    with suppress(OSError):
        draft.write_text(json.dumps(asdict(address), indent=2) + "\n", "utf-8")
        draft.replace(path)


def withdraw(state: Path) -> None:
    """Take the address back."""
    with suppress(OSError):
        (state / FILE_NAME).unlink()


def find_address(state: Path) -> Address | None:
    """Where the server of `state` should be; None when there is none, or its process is gone."""
    try:
        fields = json.loads((state / FILE_NAME).read_text("utf-8"))
        address = Address(int(fields["pid"]), str(fields["api"]), str(fields["site"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return address if _is_running(address.pid) else None


def _is_running(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # Somebody else's.
    except (OSError, OverflowError):
        return False
    return True
