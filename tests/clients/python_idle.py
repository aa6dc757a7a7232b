"""A client of the official Python package that watches something, and is silent.

    python python_idle.py <origin> <seconds>

At last it writes, and sees what it wrote.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

from convex import ConvexClient

ORIGIN, SECONDS = sys.argv[1], float(sys.argv[2])


def main() -> None:
    client = ConvexClient(ORIGIN)
    numbers: Iterator[Any] = iter(client.subscribe("appends:of", {"client": 1}))
    assert next(numbers) == []
    time.sleep(SECONDS)
    client.mutation("appends:append", {"client": 1, "number": 1})
    assert next(numbers) == [1]


if __name__ == "__main__":
    main()
