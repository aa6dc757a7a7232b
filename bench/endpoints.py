"""Camber and two peers doing the same jobs in turn: `bench/run endpoints`.

All sides run at once, each idle but for its turns, all on one core; the load generator has
another. Per job the sides alternate round by round, so that whatever else the machine does
falls on all of them alike; medians are compared, as ratios. bench/README.md says what is fair.
"""

import argparse
import json
import platform
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NoReturn

from bench.dataset import COUNTER, author_name
from bench.jobs import JOBS, get_messages
from bench.load import Order, Tally
from bench.process import Cores, ServerError
from bench.report import Results, Round, Summary, as_json, as_text, summarize
from bench.sides import ROOT, SIDES, Side, echo, fetch

CONNECTIONS: Final = 64
WARMUP_S: Final = 0.5
# A round that hangs is ended after its own length and this, in seconds.
_GRACE_S: Final = 120


def apply_load(
    side: Side, job: str, *, cores: Cores, seconds: float, warmup: float = WARMUP_S, seed: int = 0
) -> Tally:
    """One round of `job` against `side`.

    Raises:
        ServerError: the load generator failed, or the server ended.
    """
    order = Order(job, side.port, cores.load, seconds, warmup, CONNECTIONS, seed)
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(asdict(order)).encode(),
        capture_output=True,
        cwd=ROOT,
        timeout=seconds + warmup + _GRACE_S,
        check=False,
    )
    side.process.check()
    if done.returncode != 0:
        raise ServerError(f"load on {side.name} failed:\n{done.stderr.decode()[-3000:]}")
    return Tally(**json.loads(done.stdout))


def play(side: Side, job: str, *, cores: Cores, seconds: float, seed: int) -> Round:
    """One round, with what it cost the server and, for the counter, whether it counted right."""
    count_before = _increment(side) if job == "counter" else 0
    cpu_before = side.process.footprint().cpu_seconds
    tally = apply_load(side, job, cores=cores, seconds=seconds, seed=seed)
    footprint = side.process.footprint()
    lost = 0
    if job == "counter":
        lost = tally.answered - (_increment(side) - 1 - count_before)
    return Round(tally, footprint, footprint.cpu_seconds - cpu_before, lost)


def _increment(side: Side) -> int:
    value: int = fetch(side.port, "/increment", {"name": COUNTER})["value"]
    return value


def check_same_answers(sides: Sequence[Side]) -> None:
    """Make sure that all sides answer the same, but for ids and times.

    Raises:
        ServerError: they do not, so comparing them would mean nothing.
    """
    answers = {side.name: _comparable(side) for side in sides}
    for name, answer in answers.items():
        if answer != answers[sides[0].name] or len(answer) != 20:
            raise ServerError(f"{name} answers differently: {answer[:2]}")


def _comparable(side: Side) -> list[tuple[str, str]]:
    messages: list[dict[str, Any]] = fetch(side.port, get_messages(author_name(7)))
    for message in messages:
        if set(message) != {"_id", "_creationTime", "author", "body"}:
            raise ServerError(f"{side.name} answers other fields: {message}")
    return [(message["author"], message["body"]) for message in messages]


def measure(
    sides: Sequence[Side], jobs: Sequence[str], *, cores: Cores, seconds: float, rounds: int
) -> Results:
    """All jobs by all sides, alternating."""
    # Salts must differ from run to run and round to round.
    seeds = random.Random()
    results: dict[str, dict[str, Summary]] = {}
    for job in jobs:
        played: dict[str, list[Round]] = {side.name: [] for side in sides}
        for number in range(rounds):
            seed = seeds.getrandbits(48)
            for side in sides:
                _progress(f"{job}, round {number + 1} of {rounds}: {side.name}")
                one = play(side, job, cores=cores, seconds=seconds, seed=seed)
                played[side.name].append(one)
        results[job] = {name: summarize(found) for name, found in played.items()}
    return results


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{what}", end="", file=sys.stderr, flush=True)


def load_ceiling(state: Path, cores: Cores) -> float:
    """The most requests per second that the load generator can ask for."""
    with echo(state / "echo", cores.server) as side:
        return apply_load(side, "get-cached", cores=cores, seconds=1.0).requests_per_second


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run endpoints",
        description="Camber and two peers doing the same jobs in turn.",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a round (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per job and side (default 3)")
    parser.add_argument("--only", default=",".join(SIDES), help="sides, of: %(default)s")
    parser.add_argument("--jobs", default=",".join(JOBS), help="jobs, of: %(default)s")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    args = parser.parse_args(argv)
    args.only = _chosen(parser, "--only", args.only, SIDES)
    args.jobs = _chosen(parser, "--jobs", args.jobs, JOBS)
    if args.seconds <= 0 or args.rounds < 1:
        parser.error("--seconds and --rounds must be positive")
    return args


def _chosen(
    parser: argparse.ArgumentParser, option: str, names: str, known: dict[str, Any]
) -> list[str]:
    chosen = names.split(",")
    for name in chosen:
        if name not in known:
            parser.error(f"{option}: {name!r} is none of {', '.join(known)}")
    return [name for name in known if name in chosen]


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder for databases on the checkout's own disk; /tmp may be memory, where fsync is free.

    A termination ends the block in order, so that servers stop and the folder goes.
    """

    def terminate(signal_number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + signal_number)

    signal.signal(signal.SIGTERM, terminate)
    parent = ROOT / ".camber"
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as state:
        yield Path(state)


def main() -> None:
    args = arguments()
    cores = Cores.of_this_machine()
    if cores.shared:
        print("Only one core: the load generator takes its share of it.", file=sys.stderr)
    with workspace() as state, ExitStack() as stack:
        ceiling = load_ceiling(state, cores)
        sides = [stack.enter_context(SIDES[name](state / name, cores.server)) for name in args.only]
        check_same_answers(sides)
        results = measure(sides, args.jobs, cores=cores, seconds=args.seconds, rounds=args.rounds)
    _progress("")
    setting = {
        "python": platform.python_version(),
        "connections": CONNECTIONS,
        "seconds": args.seconds,
        "rounds": args.rounds,
        "load generator at most, req/s": round(ceiling),
    }
    print(
        json.dumps(as_json(results, setting), indent=2) if args.json else as_text(results, setting)
    )


if __name__ == "__main__":
    try:
        main()
    except ServerError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
