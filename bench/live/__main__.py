"""What a change costs on its way to those who watch: `bench/run live`.

Each job has servers of its own, all on one core; the load client (`load.py`) has another. Where
there are several sides they take turns within the job. bench/README.md says what is compared.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from bench.endpoints import workspace
from bench.live.load import PLAYS, as_outcome
from bench.live.order import Order, Target
from bench.live.outcome import Outcome
from bench.live.servers import SERVERS
from bench.process import Cores, ServerError
from bench.sides import ROOT, Side

# The servers of each job; Camber alone where nothing is said.
_SIDES: Final = {"fanout": ("camber", "peer", "floor")}
# A job that hangs is ended after so long beyond what it is told, in seconds.
_GRACE_S: Final = 300
_REHEARSAL_S: Final = 0.2
_REHEARSAL_SCALE: Final = 0.01


def play(job: str, *, state: Path, cores: Cores, seconds: float, scale: float) -> Outcome:
    """Start the job's servers, play it, and stop them.

    Raises:
        ServerError: a server or the load client failed.
    """
    with serving(_SIDES.get(job, ("camber",)), state / job, cores) as sides:
        return _load(job, sides, cores=cores, seconds=seconds, scale=scale)


@contextmanager
def serving(names: Sequence[str], state: Path, cores: Cores) -> Iterator[list[Side]]:
    state.mkdir()
    with ExitStack() as stack:
        yield [stack.enter_context(SERVERS[name](state / name, cores.server)) for name in names]


def _load(job: str, sides: list[Side], *, cores: Cores, seconds: float, scale: float) -> Outcome:
    """Let a load client play the job."""
    targets = {side.name: Target(side.process.pid, side.api_port, side.port) for side in sides}
    order = Order(job, targets, cores.load, seconds, scale)
    done = subprocess.run(
        [sys.executable, "-m", "bench.live.load"],
        input=json.dumps(asdict(order)).encode(),
        capture_output=True,
        cwd=ROOT,
        timeout=seconds * 10 + _GRACE_S,
        check=False,
    )
    for side in sides:
        side.process.check()
    if done.returncode != 0:
        logs = "\n".join(f"{side.name}: {side.process.tail()}" for side in sides)
        raise ServerError(f"{job} failed:\n{done.stderr.decode()[-3000:]}\n{logs}")
    return as_outcome(json.loads(done.stdout))


def rehearse(state: Path, cores: Cores) -> dict[str, Outcome]:
    """Every job for a moment, with a few clients, against one set of servers. It shows that the
    benchmark works, and measures nothing."""
    with serving(list(SERVERS), state / "rehearsal", cores) as sides:
        return {
            job: _load(job, sides, cores=cores, seconds=_REHEARSAL_S, scale=_REHEARSAL_SCALE)
            for job in PLAYS
        }


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench/run live",
        description="What a change costs on its way to those who watch.",
    )
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="length of a job, each side (default 10)"
    )
    parser.add_argument(
        "--job", action="append", choices=list(PLAYS), help="only this one; may be repeated"
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the clients to have (default 1)"
    )
    parser.add_argument(
        "--rehearse", action="store_true", help="only show that every job works, with few clients"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    args = parser.parse_args(argv)
    if args.seconds <= 0 or not 0 < args.scale <= 1:
        parser.error("--seconds must be positive, --scale between 0 and 1")
    return args


def allow_many_files() -> None:
    """Let this process, and those it starts, open as many files as the machine permits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    allow_many_files()
    cores = Cores.of_this_machine()
    if cores.shared:
        print("Only one core: the load client takes its share of it.", file=sys.stderr)
    outcomes: dict[str, Outcome] = {}
    with workspace() as state:
        if args.rehearse:
            outcomes = rehearse(state, cores)
        else:
            for job in args.job or PLAYS:
                outcomes[job] = play(
                    job, state=state, cores=cores, seconds=args.seconds, scale=args.scale
                )
                if not args.json:
                    print(outcomes[job].as_text(), end="\n\n", flush=True)
    if args.json:
        setting = {"python": platform.python_version(), "seconds": args.seconds}
        jobs = {job: outcome.as_json() for job, outcome in outcomes.items()}
        print(json.dumps({"setting": {**setting, "scale": args.scale}, "jobs": jobs}, indent=2))
    elif args.rehearse:
        print(f"All {len(outcomes)} jobs work.")


if __name__ == "__main__":
    try:
        main()
    except ServerError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
