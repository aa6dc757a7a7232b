"""The memory of this process: how much it has, and a ceiling above which nothing is granted."""

import resource
from typing import Final

CEILING_BYTES: Final = 2 << 30

_PAGE_BYTES: Final = resource.getpagesize()


def resident_bytes() -> int:
    """What the process holds in memory now; zero where nobody tells."""
    return _pages()[1] * _PAGE_BYTES


def _pages() -> tuple[int, int]:
    """Virtual and resident size of this process, in pages; zeros where nobody tells."""
    try:
        with open("/proc/self/statm", "rb") as file:
            virtual, resident = file.read().split()[:2]
    except OSError:
        return 0, 0
    return int(virtual), int(resident)


def install_memory_ceiling(growth_bytes: int = CEILING_BYTES) -> int | None:
    """Let the process's address space grow by `growth_bytes` at most; returns the ceiling.

    An allocation beyond it fails at once, with `MemoryError` in the body that asked for it. Without
    a ceiling the system grants it, and ends the whole server when the pages are touched. Address
    space is not memory: thread stacks and mapped files count in full, so leave room.

    Only the soft limit is set. Child processes inherit it: `lift_memory_ceiling` there. Returns
    None where the size of the process cannot be told.
    """
    virtual = _pages()[0] * _PAGE_BYTES
    if virtual == 0:
        return None
    ceiling = virtual + growth_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, hard))
    return ceiling


def lift_memory_ceiling() -> None:
    """Undo `install_memory_ceiling` in this process."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
