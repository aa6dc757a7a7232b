"""The four jobs, as the bytes of their requests. Every side is sent the same ones."""

import json
import random
from collections.abc import Callable, Iterator
from itertools import count, cycle
from typing import Final, TypeAlias
from urllib.parse import quote

from bench.dataset import AUTHORS, COUNTER, author_name

Requests: TypeAlias = Iterator[bytes]

HOST: Final = "127.0.0.1"
_CACHED_AUTHORS: Final = 100
# Requests drawn in advance, then sent over and over: enough that no pattern is noticed.
_DRAWN: Final = 5_000


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: {HOST}\r\nAccept: */*\r\n\r\n".encode()


def post(target: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {HOST}\r\nAccept: */*\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def get_messages(author: str) -> str:
    """The target that asks for the newest messages of `author`."""
    return f"/getMessagesByAuthor?author={quote(author)}"


def _posts(draw: random.Random) -> Requests:
    def message() -> dict[str, str]:
        return {"author": author_name(draw.randrange(AUTHORS)), "body": f"Hello {draw.random()}"}

    return cycle([post("/postMessage", message()) for _ in range(_DRAWN)])


def _cached_gets(draw: random.Random) -> Requests:
    authors = draw.sample(range(AUTHORS), _CACHED_AUTHORS)
    return cycle([get(get_messages(author_name(draw.choice(authors)))) for _ in range(_DRAWN)])


def _uncached_gets(draw: random.Random) -> Requests:
    # A query cache soon holds all 1,000 authors. The salt, which every side takes and ignores,
    # makes each request's arguments new, so that each one really reads the database.
    authors = draw.sample(range(AUTHORS), AUTHORS)
    mark = "SALT"
    split = [
        get(f"{get_messages(author_name(author))}&salt={mark}").split(mark.encode())
        for author in authors
    ]
    # Salts of one run must not come back in the next round.
    first = draw.randrange(10**9) * 10**6
    for (before, after), salt in zip(cycle(split), count(first), strict=False):
        yield b"%b%d%b" % (before, salt, after)


def _increments(draw: random.Random) -> Requests:
    return cycle([post("/increment", {"name": COUNTER})])


JOBS: Final[dict[str, Callable[[random.Random], Requests]]] = {
    "get-cached": _cached_gets,
    "get-uncached": _uncached_gets,
    "counter": _increments,
    "post": _posts,
}
"""In the order they run: first what reads, while every side holds the same messages."""


def requests(job: str, seed: int) -> Requests:
    """The endless requests of `job`; the same for the same `seed`."""
    return JOBS[job](random.Random(seed))
