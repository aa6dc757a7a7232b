"""Recording what official JavaScript clients are told over the WebSocket: how the transactions
that they send end, and every result that their subscriptions deliver meanwhile.
"""

import asyncio
import json
import shutil
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from histories import APP
from list_append import Txn
from served import Served

NPM: Final = Path(__file__).parent.parent / "clients" / "npm"
CLIENTS: Final = 20


@dataclass(frozen=True)
class LiveHistory:
    """Transactions, and what subscriptions delivered, each with when it arrived."""

    transactions: list[Txn]
    pushes: list[Txn]


async def record_live_history(
    folder: Path, path: Path, *, transactions: int, seed: int
) -> LiveHistory:
    """Serve, and record what 20 clients are told, also on `path`, a JSON object on a line."""
    node = shutil.which("node")
    assert node is not None, "the JavaScript client needs node"
    with Served(folder, APP) as served:
        await served.start()
        origin = f"http://127.0.0.1:{served.api_port}"
        with path.open("wb") as file:
            clients = await asyncio.create_subprocess_exec(
                node, "history.mjs", origin, str(CLIENTS), str(transactions), str(seed),
                cwd=NPM, stdout=file,
            )  # fmt: skip
            assert await clients.wait() == 0, served.log()
        assert await served.stop() == 0, served.log()
    told = [json.loads(line) for line in path.read_text().splitlines()]
    return LiveHistory(
        [_txn(one) for one in told if "push" not in one],
        [_txn(one) for one in told if "push" in one],
    )


def _txn(told: dict[str, Any]) -> Txn:
    process = -1 if told["process"] == "last" else told["process"]
    ops = tuple([(kind, key, value) for kind, key, value in told["ops"]])
    # A push may show any moment before it arrived.
    return Txn(process, told["invoke"] or 0, told["complete"], told["status"], ops)


def as_transactions(pushes: list[Txn]) -> list[Txn]:
    """Each push as a transaction of a client of its own, which may have begun at any time: then
    one that mixes two moments has no place in any order."""
    return [
        Txn(-2 - number, push.invoke, push.complete, push.status, push.ops)
        for number, push in enumerate(pushes)
    ]


def wrong_pushes(history: LiveHistory) -> Iterable[str]:
    """Where a subscription went back in time, or had not what its client had been told is done."""
    seen: dict[tuple[int, str], int] = defaultdict(int)
    done: dict[tuple[int, str], set[int]] = defaultdict(set)
    events = sorted([*history.transactions, *history.pushes], key=lambda txn: txn.complete or 0)
    pushes = {id(push) for push in history.pushes}
    for txn in events:
        for kind, key, value in txn.ops:
            known = (txn.process, key)
            if kind == "append" and txn.status == "ok":
                done[known].add(value)
            elif kind == "r" and id(txn) in pushes:
                if len(value) < seen[known]:
                    yield f"client {txn.process}: {key} went back to {value}"
                if missing := done[known] - set(value):
                    yield f"client {txn.process}: {key} lacks its own {missing}"
                seen[known] = len(value)
