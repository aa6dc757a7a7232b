"""What an app in Python does with a deployment over the WebSocket, through the official client.

    python python_live.py <origin> <token>

Prints one JSON object: for each case null, or how it failed. A program of its own, because the
client keeps the interpreter to itself while it waits, and so would keep the server from answering.
"""

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import convex
import pytest
from convex import ConvexClient, ConvexInt64

ORIGIN, TOKEN = sys.argv[1:3]
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "float": 0.5,
    "negative": -3.25,
    "int64": ConvexInt64(2**63 - 1),
    "text": 'grüße 漢字 🦀 "\\',
    "bytes": bytes(range(256)),
    "array": [1.0, ["two", None]],
    "object": {"a": {"b": [b"\x00", ConvexInt64(-1)]}},
}


def subscription_gets_every_change() -> None:
    client, writer = ConvexClient(ORIGIN), ConvexClient(ORIGIN)
    lines: Iterator[Any] = iter(client.subscribe("lines:list", {"room": "py 1"}))
    assert next(lines) == []
    for text in ("one", "two"):
        writer.mutation("lines:add", {"room": "py 1", "text": text})
        assert next(lines)[-1]["text"] == text


def values_come_back() -> None:
    client = ConvexClient(ORIGIN)
    for name, value in VALUES.items():
        for call, kind in (
            (client.query, "query"),
            (client.mutation, "mutation"),
            (client.action, "action"),
        ):
            assert call(f"echo:{kind}", {"value": value}) == value, (name, kind)


def mutation_with_no_subscription_resolves() -> None:
    client = ConvexClient(ORIGIN)
    client.mutation("lines:add", {"room": "py 2", "text": "alone"})
    lines: Any = client.query("lines:list", {"room": "py 2"})
    assert len(lines) == 1


def failing_mutation_raises_with_its_data() -> None:
    client = ConvexClient(ORIGIN)
    data: Any = {"why": "full"}
    with pytest.raises(convex.ConvexError) as raised:
        client.mutation("echo:raise_mutation", {"data": data})
    assert raised.value.data == data


def plain_error_raises() -> None:
    client = ConvexClient(ORIGIN)
    with pytest.raises(Exception, match="no stock"):
        client.mutation("echo:fail_mutation", {})
    with pytest.raises(Exception, match="no stock"):
        client.action("echo:fail_action", {})


def user_signs_in_and_out() -> None:
    client = ConvexClient(ORIGIN)
    assert client.query("notes:who", {}) is None
    client.set_auth(TOKEN)
    assert client.query("notes:who", {}) == "https://id.example.com|ada"
    client.clear_auth()
    assert client.query("notes:who", {}) is None


def large_result_arrives() -> None:
    # In UTF-8 twice as many bytes: more than the client takes in one frame.
    large: Any = ConvexClient(ORIGIN).query("echo:large", {"size": 12_000_000})
    assert len(large) == 12_000_000


CASES: dict[str, Callable[[], None]] = {
    "a subscription gets the first result and every change": subscription_gets_every_change,
    "every value comes back from every kind of function": values_come_back,
    "9: a mutation of a client that watches nothing resolves": (
        mutation_with_no_subscription_resolves
    ),
    "10: a mutation that raises is told at once, with its data": (
        failing_mutation_raises_with_its_data
    ),
    "an ordinary error arrives as text": plain_error_raises,
    "a user signs in and out": user_signs_in_and_out,
    "18: a result of twelve megabytes arrives": large_result_arrives,
}


def main() -> None:
    results: dict[str, str | None] = {}
    for name, case in CASES.items():
        try:
            case()
            results[name] = None
        except Exception:
            results[name] = traceback.format_exc()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
