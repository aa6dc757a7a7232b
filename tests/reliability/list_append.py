"""Lists that many clients append to and read, what each was told, and whether that can be true.

A history is a list of `Txn`. It is true if some order of all transactions explains every read, and
agrees with real time: whatever was answered before another was sent stands before it. `check`
decides that for histories whose values are unique per key.
"""

import json
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

Op = tuple[str, str, Any]
"""`("append", key, value)` or `("r", key, list)`; the list is None if it was never learned."""


@dataclass(frozen=True, slots=True)
class Txn:
    """One transaction as its client saw it. Times on one clock, in nanoseconds."""

    process: int
    invoke: int
    complete: int | None
    status: str
    ops: tuple[Op, ...]

    def line(self) -> str:
        fields = {
            "process": self.process,
            "invoke": self.invoke,
            "complete": self.complete,
            "status": self.status,
            "ops": self.ops,
        }
        return json.dumps(fields)


def write_history(path: Path, history: Iterable[Txn]) -> None:
    """One transaction a line, as isolation checkers take them."""
    path.write_text("".join(txn.line() + "\n" for txn in history))


def check(history: list[Txn]) -> list[str]:
    """What is wrong with a history, in words; nothing if it is strictly serializable."""
    orders = _orders(history)
    return [
        *_wrong_reads(history, orders),
        *_wrong_appends(history, orders),
        *(_cycle(history, orders) if _can_order(history, orders) else []),
    ]


def _orders(history: list[Txn]) -> dict[str, list[int]]:
    """Each key's longest list that was read."""
    orders: dict[str, list[int]] = {}
    for txn in history:
        for kind, key, value in txn.ops:
            if kind == "r" and txn.status == "ok" and len(value) >= len(orders.get(key, ())):
                orders[key] = value
    return orders


def _wrong_reads(history: list[Txn], orders: dict[str, list[int]]) -> Iterable[str]:
    for txn in history:
        if txn.status != "ok":
            continue
        for kind, key, value in txn.ops:
            if kind == "r" and value != orders[key][: len(value)]:
                yield f"reads of {key} disagree: {value} and {orders[key]}"


def _wrong_appends(history: list[Txn], orders: dict[str, list[int]]) -> Iterable[str]:
    allowed: dict[str, set[int]] = defaultdict(set)
    needed: dict[str, set[int]] = defaultdict(set)
    for txn in history:
        for kind, key, value in txn.ops:
            if kind == "append" and txn.status != "fail":
                allowed[key].add(value)
                if txn.status == "ok":
                    needed[key].add(value)
    for key, order in orders.items():
        if len(set(order)) != len(order):
            yield f"{key} holds a value twice: {order}"
        if not set(order) <= allowed[key]:
            yield f"{key} holds what nobody appended: {set(order) - allowed[key]}"
        if not needed[key] <= set(order):
            yield f"{key} lost {needed[key] - set(order)}"


def _can_order(history: list[Txn], orders: dict[str, list[int]]) -> bool:
    return not any(_wrong_reads(history, orders)) and not any(_wrong_appends(history, orders))


def _cycle(history: list[Txn], orders: dict[str, list[int]]) -> Iterable[str]:
    """That the order in which transactions must stand runs in a circle, if it does."""
    present = {value for order in orders.values() for value in order}
    txns = [
        txn
        for txn in history
        if txn.status == "ok"
        or any(kind == "append" and value in present for kind, _, value in txn.ops)
    ]
    after = _dependencies(txns, orders)
    _add_real_time(txns, after)
    waits_for = [0] * len(after)
    for targets in after:
        for target in targets:
            waits_for[target] += 1
    ready = deque(node for node, count in enumerate(waits_for) if not count)
    placed = 0
    while ready:
        placed += 1
        for target in after[ready.popleft()]:
            waits_for[target] -= 1
            if not waits_for[target]:
                ready.append(target)
    if placed < len(after):
        stuck = [txns[n] for n in range(len(txns)) if waits_for[n]]
        yield f"no order explains {len(stuck)} transactions, such as {stuck[0].line()}"


def _dependencies(txns: list[Txn], orders: dict[str, list[int]]) -> list[set[int]]:
    """For each transaction those that must stand after it, by what they read and wrote."""
    writer = {
        (key, value): n
        for n, txn in enumerate(txns)
        for kind, key, value in txn.ops
        if kind == "append"
    }
    after: list[set[int]] = [set() for _ in txns]
    for key, order in orders.items():
        for one, next_one in pairwise(order):
            after[writer[key, one]].add(writer[key, next_one])
    for n, txn in enumerate(txns):
        for kind, key, value in txn.ops:
            if kind != "r" or txn.status != "ok":
                continue
            if value:
                after[writer[key, value[-1]]].add(n)
            if len(value) < len(orders[key]):
                after[n].add(writer[key, orders[key][len(value)]])
    for n, targets in enumerate(after):
        targets.discard(n)
    return after


def _add_real_time(txns: list[Txn], after: list[set[int]]) -> None:
    """Let whatever was answered stand before whatever was sent later, through a chain of further
    nodes, one for each answer."""
    events = [(txn.invoke, 1, n) for n, txn in enumerate(txns)]
    events += [(t.complete, 0, n) for n, t in enumerate(txns) if t.complete is not None]
    last: int | None = None
    for _, is_invoke, n in sorted(events):
        if is_invoke:
            if last is not None:
                after[last].add(n)
            continue
        after.append(set())
        after[n].add(len(after) - 1)
        if last is not None:
            after[last].add(len(after) - 1)
        last = len(after) - 1
