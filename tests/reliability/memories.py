"""What a server holds in memory while it is asked for much, and after it was asked often."""

import asyncio
import contextlib
from typing import Final

from plain_http import HttpClient, LostError
from served import Served

MEBI: Final = 1 << 20
BODY: Final = 20 * MEBI
CLIENTS: Final = 20


async def send_many_large_bodies(served: Served, clients: int) -> list[int]:
    """Let each client send a body of 20 MiB at once; returns how they were answered (0: cut)."""
    body = bytes(BODY)

    async def send() -> int:
        with contextlib.closing(HttpClient(served.site_port)) as client:
            try:
                answer = await client.request("POST", "/size", body)
            except LostError:
                return 0
            assert answer.status != 200 or answer.body == str(BODY).encode()
            return answer.status

    return list(await asyncio.gather(*(send() for _ in range(clients))))


async def growth(served: Served, requests: int) -> int:
    """By how many bytes the server grows over so many requests, after as many to warm up (at
    most 20,000)."""
    await _ask(served, "warm", min(requests, 20_000))
    before = served.resident_bytes()
    await _ask(served, "flat", requests)
    return served.resident_bytes() - before


async def fill_commit_log(served: Served) -> None:
    """Write until the recent past takes all that it may (32 MiB by its own estimate, of 800 bytes
    for each of these writes): from then on, memory must not grow."""
    await _ask(served, "fill", 45_000, reads=0)


async def _ask(served: Served, name: str, requests: int, *, reads: int = 9) -> None:
    """Send requests; after each that writes, `reads` that do not."""

    async def one(number: int) -> None:
        with contextlib.closing(HttpClient(served.site_port)) as client:
            for turn in range(requests // CLIENTS):
                path = "/size" if turn % (reads + 1) else "/note"
                answer = await client.request("POST", path, f"{name}-{number}-{turn}".encode())
                assert answer.status == 200, answer

    await asyncio.gather(*(one(number) for number in range(CLIENTS)))
