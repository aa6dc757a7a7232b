"""The process that plays one job: reads an order from standard input, writes what it found.

Both are JSON. It has a core of its own, and no garbage collector to get in the way.
"""

import gc
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from bench.live import crowd, fanout, mutations, points, slow
from bench.live.order import Order, Target
from bench.live.outcome import Figure, Outcome
from bench.live.pool import LoadError

PLAYS: Final[dict[str, Callable[[Order], Outcome]]] = {
    "fanout": fanout.play,
    "points": points.play,
    "sockets": crowd.play_alike,
    "sockets-distinct": crowd.play_distinct,
    "slow": slow.play,
    "mutations": mutations.play,
}


def as_order(fields: dict[str, Any]) -> Order:
    targets = {name: Target(**target) for name, target in fields.pop("targets").items()}
    return Order(targets=targets, **fields)


def as_outcome(fields: dict[str, Any]) -> Outcome:
    figures = [Figure(**figure) for figure in fields.pop("figures")]
    return Outcome(figures=figures, **fields)


def main() -> None:
    order = as_order(json.load(sys.stdin))
    os.sched_setaffinity(0, {order.core})
    gc.disable()
    json.dump(asdict(PLAYS[order.job](order)), sys.stdout)


if __name__ == "__main__":
    try:
        main()
    except LoadError as error:
        sys.exit(f"load: {error}")
