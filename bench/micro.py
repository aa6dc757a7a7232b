"""What single things cost inside Camber: `bench/run micro`.

A point read, an index read and an insert, each as the difference between a call that does many
and the same call that does none; the time to import and to start; memory when idle and as
200,000 requests go by.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.dataset import AUTHORS
from bench.endpoints import apply_load, workspace
from bench.process import Cores, ServerError
from bench.sides import CAMBER_APP, Side, call, camber, fetch, seeded_camber

_REPEATS: Final = 15
_OPERATIONS: Final = 1_000
_REQUESTS: Final = 200_000
_QUARTERS: Final = 4
_LOAD_SECONDS: Final = 2.0
_IDLE_SECONDS: Final = 1.0

# Arguments that no call had before, so that no cached result fits.
_salts: Final = count(time.time_ns() // 1_000_000)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity, and the most it should be (None: no target)."""

    name: str
    value: float
    unit: str
    target: float | None = None

    def __str__(self) -> str:
        line = f"  {self.name:46}{self.value:>10.1f} {self.unit}"
        if self.target is None:
            return line
        verdict = "reached" if self.value <= self.target else "MISSED"
        return f"{line:<64}(target {self.target:g}: {verdict})"


def per_operation_us(many: Callable[[], object], none: Callable[[], object]) -> float:
    """The cost of one of the operations that `many` does beyond `none`, in µs.

    The two alternate, and the least time of each counts: what else ran only ever adds.
    """
    with_many, with_none = [], []
    for _ in range(_REPEATS):
        with_none.append(_seconds(none))
        with_many.append(_seconds(many))
    return (min(with_many) - min(with_none)) / _OPERATIONS * 1e6


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def operation_figures(side: Side) -> list[Figure]:
    ids = call(side, "query", "micro:some_ids", count=_OPERATIONS // 2)

    def reads(rounds: int) -> None:
        salt = next(_salts)
        found = call(side, "query", "micro:point_reads", ids=ids, rounds=rounds, salt=salt)
        assert found == rounds * len(ids), "every document that was listed can be read"

    def index_reads(count: int) -> None:
        found = call(side, "query", "micro:index_reads", count=count, salt=next(_salts))
        assert found == count, "every author has messages"

    def inserts(count: int) -> None:
        call(side, "mutation", "micro:inserts", count=count)

    return [
        Figure(
            "point read in a query", per_operation_us(lambda: reads(2), lambda: reads(0)), "µs", 10
        ),
        Figure(
            "newest document by index, in a query",
            per_operation_us(lambda: index_reads(AUTHORS), lambda: index_reads(0)),
            "µs",
        ),
        Figure(
            "insert in a mutation, before the commit",
            per_operation_us(
                lambda: _undone_inserts(side, _OPERATIONS), lambda: _undone_inserts(side, 0)
            ),
            "µs",
            40,
        ),
        Figure(
            "insert in a mutation, with the commit",
            per_operation_us(lambda: inserts(_OPERATIONS), lambda: inserts(0)),
            "µs",
        ),
    ]


def _undone_inserts(side: Side, count: int) -> None:
    body = {"path": "micro:inserts_undone", "args": {"count": count}, "format": "json"}
    answer: dict[str, Any] = fetch(side.api_port, "/api/mutation", body)
    if answer.get("errorData") != "undone":
        raise ServerError(f"expected the function's own error, got {answer}")


def import_ms() -> float:
    """The median time of `import camber` in a fresh interpreter, its byte code written."""
    code = (
        "import time; start = time.perf_counter(); import camber; "
        "print((time.perf_counter() - start) * 1e3)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    runs = [
        float(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
        for _ in range(_REPEATS + 1)
    ]
    return median(runs[1:])


def start_figures(state: Path, core: int) -> list[Figure]:
    """From the start of the process until an endpoint answers: first on nothing, then again."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        with camber(state, core):
            times.append(time.perf_counter() - start)
    return [
        Figure("start to ready, fresh state", times[0], "s"),
        Figure("start to ready", median(times[1:]), "s", 1.0),
    ]


def idle_figure(state: Path, core: int) -> Figure:
    with camber(state, core) as side:
        time.sleep(_IDLE_SECONDS)
        return Figure("memory, idle", side.process.footprint().resident_mb, "MB", 80)


def memory_figures(side: Side, cores: Cores) -> list[Figure]:
    """Memory after each quarter of the requests, half of them POSTs, half uncached GETs."""
    figures = []
    answered = 0
    for _ in range(_QUARTERS):
        for job in ("post", "get-uncached"):
            due = answered + _REQUESTS // _QUARTERS // 2
            while answered < due:
                seed = next(_salts)
                tally = apply_load(side, job, cores=cores, seconds=_LOAD_SECONDS, seed=seed)
                answered += tally.answered
        resident = side.process.footprint().resident_mb
        figures.append(Figure(f"memory after {answered:,} requests", resident, "MB"))
    growth = figures[-1].value - figures[0].value
    figures.append(Figure("growth after the first quarter", growth, "MB"))
    return figures


def all_figures(state: Path, cores: Cores) -> list[Figure]:
    figures = [
        Figure("import camber", import_ms(), "ms", 150),
        *start_figures(state / "started", cores.server),
        idle_figure(state / "idle", cores.server),
    ]
    with seeded_camber(state / "seeded", cores.server) as side:
        figures += operation_figures(side)
        figures += memory_figures(side, cores)
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="bench/run micro", description=f"What single things cost, in {CAMBER_APP.name}."
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    args = parser.parse_args(argv)
    with workspace() as state:
        figures = all_figures(state, Cores.of_this_machine())
    if args.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=2))
    else:
        print(f"python {platform.python_version()}", *figures, sep="\n")


if __name__ == "__main__":
    try:
        main()
    except ServerError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
