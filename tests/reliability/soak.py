"""The long forms of the reliability tests, as commands: see `scripts/soak --help`."""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cuts
import hostile_messages
import hostility
import idleness
import kills
import malformed
import memories
import races
import state_app
import uvloop
from histories import record_history
from list_append import check, write_history
from live_histories import record_live_history, wrong_pushes
from served import Served
from test_drain import drain
from test_full_disk import fill_and_free
from test_histories import CHECKER, LEAST

from serving import served


def soak_kills(folder: Path, count: int, seed: int) -> str:
    """Kill the server `count` times under load."""
    report = asyncio.run(kills.run_kills(folder, count=count, seed=seed))
    return (
        f"{report.kills} kills, {report.acknowledged_pairs} pairs and "
        f"{report.acknowledged_files} files acknowledged; nothing lost, in part, or twice. "
        f"Ready again after {report.start_seconds_median:.2f} s (median), "
        f"{report.start_seconds_max:.2f} s (slowest)."
    )


def soak_history(folder: Path, count: int, seed: int) -> str:
    """Record `count` transactions of 20 clients, and check them."""
    history = asyncio.run(record_history(folder, transactions=count, seed=seed))
    wrong = check(history)
    assert wrong == [], wrong[:5]
    if not CHECKER.exists():
        return f"{len(history)} transactions are strictly serializable."
    path = folder / "history.jsonl"
    write_history(path, history)
    command = [sys.executable, str(CHECKER), "--model", "strict-serializable", *LEAST]
    least = ["--min-ok", str(count * 9 // 10), str(path)]
    checked = subprocess.run([*command, *least], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return checked.stdout


def soak_live_history(folder: Path, count: int, seed: int) -> str:
    """Record `count` transactions of 20 official clients with all that is pushed to them."""
    path = folder.parent / "history.jsonl"
    history = asyncio.run(record_live_history(folder, path, transactions=count, seed=seed))
    wrong = list(wrong_pushes(history)) + check(history.transactions)
    assert wrong == [], wrong[:5]
    told = f"{len(history.transactions)} transactions, {len(history.pushes)} pushes."
    if not CHECKER.exists():
        return told
    command = [sys.executable, str(CHECKER), "--model", "strict-serializable", *LEAST]
    least = ["--min-ok", str(count), str(path)]
    checked = subprocess.run([*command, *least], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return f"{told}\n{checked.stdout}"


def soak_races(folder: Path, count: int, seed: int) -> str:
    """Bank, write skew, counter and names: `count` turns of 20 clients each."""
    with Served(folder, races.APP) as served:
        asyncio.run(races.run_races(served, count))
    return f"{count} turns of {races.CLIENTS} clients in each of {len(races.CHECKS)} races."


def soak_hostility(folder: Path, count: int, seed: int) -> str:
    """Everything bad that app code can do, in every kind of function, `count` times."""
    told = []
    kinds = [
        *((kind, hostility.BODIES) for kind in ("query", "mutation", "endpoint")),
        *((kind, hostility.LEFT_BEHIND) for kind in ("stream", "task", "soon")),
        *((kind, hostility.ACTIONS) for kind in ("act", "act_plainly")),
    ]
    for round in range(count):
        for kind, names in kinds:
            with Served(folder / f"{kind}-{round}", hostility.APP) as served:
                others = asyncio.run(hostility.survive(served, kind, names))
            assert others.wrong == [], others.wrong[:5]
            told.append(
                f"{kind:12} {len(names):3} functions; {others.answers:6} requests of others, "
                f"the slowest {others.slowest_seconds:.2f} s"
            )
    return "\n".join(told)


def soak_memory(folder: Path, count: int, seed: int) -> str:
    """Memory after `count` requests."""

    async def run(served: Served) -> int:
        await served.start()
        await memories.fill_commit_log(served)
        return await memories.growth(served, count)

    with Served(folder, state_app.APP) as served:
        grown = asyncio.run(run(served))
    assert grown < 16 * memories.MEBI, f"grown by {grown} bytes"
    return f"{count} requests; grown by {grown / memories.MEBI:.1f} MiB."


def soak_drain(folder: Path, count: int, seed: int) -> str:
    """End the server under load, `count` times."""
    for number in range(count):
        with Served(folder / str(number), state_app.APP) as served:
            asyncio.run(drain(served))
    return f"{count} ends; everything under way was answered, nothing lost."


def soak_disk(folder: Path, count: int, seed: int) -> str:
    """Fill and free the disk, three times in each of `count` rounds."""
    for number in range(count):
        with Served(folder / str(number), state_app.APP) as served:
            asyncio.run(fill_and_free(served))
    return f"{3 * count} times full; nothing lost."


def soak_frames(folder: Path, count: int, seed: int) -> str:
    """Send `count` malformed WebSocket frames."""
    report = uvloop.run(malformed.flood(count, seed))
    assert report.log_bytes <= max(count, 1000), f"{report.log_bytes} bytes were logged"
    codes = ", ".join(f"{code}: {number}" for code, number in sorted(report.codes.items()))
    return f"{report.frames} frames, {report.log_bytes} bytes of log; ends by code {codes}."


def soak_cuts(folder: Path, count: int, seed: int) -> str:
    """Cut the connections of official clients `count` times, at random bytes."""
    return f"{asyncio.run(cuts.cut_connections(folder, count, seed))}."


def soak_idle(folder: Path, count: int, seed: int) -> str:
    """Let official clients be silent for `count` seconds: none may give up its connection."""
    connections = asyncio.run(idleness.stay_idle(folder, count))
    assert set(connections.values()) == {1}, connections
    return f"{count} s of silence, one connection each: {', '.join(connections)}."


def soak_messages(folder: Path, count: int, seed: int) -> str:
    """Send `count` hostile messages of the sync protocol."""
    with served(folder, hostile_messages.APP) as backend:
        toll = asyncio.run(hostile_messages.pester(backend, count, seed))
    assert not toll.logged, toll.logged[:5]
    return f"{toll}."


COMMANDS: dict[str, tuple[Callable[[Path, int, int], str], int]] = {
    "kills": (soak_kills, 1000),
    "history": (soak_history, 20_000),
    "live-history": (soak_live_history, 20_000),
    "races": (soak_races, 500),
    "hostility": (soak_hostility, 1),
    "memory": (soak_memory, 200_000),
    "drain": (soak_drain, 50),
    "disk": (soak_disk, 20),
    "cuts": (soak_cuts, 500),
    "idle": (soak_idle, 70),
    "messages": (soak_messages, 20_000),
    "frames": (soak_frames, 1_000_000),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (soak, count) in COMMANDS.items():
        command = commands.add_parser(name, help=soak.__doc__, description=soak.__doc__)
        command.add_argument("--count", type=int, default=count, help=f"default: {count}")
        command.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="camber-soak-") as folder:
        told = COMMANDS[asked.command][0](Path(folder) / "app", asked.count, asked.seed)
    print(told.rstrip())
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
