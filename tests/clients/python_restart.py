"""A client of the official Python package that lives through the ends of its server.

    python python_restart.py <origin> <times>

Says "watching" whenever the server may be ended, and "well" when all has come as it should.
"""

import sys
from collections.abc import Iterator
from typing import Any

from convex import ConvexClient

ORIGIN, TIMES = sys.argv[1], int(sys.argv[2])


def main() -> None:
    client = ConvexClient(ORIGIN)
    numbers: Iterator[Any] = iter(client.subscribe("appends:of", {"client": 0}))
    assert next(numbers) == []
    for round in range(1, TIMES + 2):
        client.mutation("appends:append", {"client": 0, "number": round})
        # After a reconnect the state is sent again as it was.
        while (now := next(numbers)) != list(range(1, round + 1)):
            assert now == list(range(1, round)), now
        if round <= TIMES:
            print("watching", flush=True)
            # The server is there again when the test answers; whether this client has noticed
            # that it was gone is another matter.
            sys.stdin.readline()
    print("well", flush=True)


if __name__ == "__main__":
    main()
