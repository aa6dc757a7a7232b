"""App code that does its worst, in a query, a mutation, an endpoint, an action, while other
clients of the same server expect to be served as always.

Each piece of it is a function without arguments in `worst.py`; each is called through a query, a
mutation and actions of its own, and through endpoints that are told which.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from plain_http import CallError, HttpClient, LostError, request_once
from served import Served

ANSWER_SECONDS: Final = 15.0
"""By when a bad call must be answered: limits are a second; the rest is for slow machines."""

PATIENCE_SECONDS: Final = 4.0
"""How long another client's request may be held up, on a slow machine under other loads."""

_MODULES: Final = {
    "schema.py": """
from camber import Schema, Table, index

class notes(Table):
    text: str
    by_text = index("text")

schema = Schema(notes)
""",
    "plain.py": '''
"""What the well-behaved clients call meanwhile."""

from camber import MutationCtx, QueryCtx, mutation, query

@mutation
async def add(ctx: MutationCtx, text: str) -> None:
    await ctx.db.insert("notes", {"text": text})

@query
async def count(ctx: QueryCtx, text: str) -> int:
    return len(await ctx.db.query("notes").with_index("by_text", text=text).collect())
''',
    "worst.py": """
import asyncio
import ctypes
import os
import re
import sys
import threading
import time
from typing import Any


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class EndlessText(Exception):
    def __str__(self) -> str:
        while True:
            pass

    __repr__ = __str__


class EndlessRepr:
    def __repr__(self) -> str:
        while True:
            pass


class EndlessDict(dict):
    def items(self):
        while True:
            pass

    __iter__ = keys = values = items


class OwnBase(BaseException):
    pass


def loop():
    while True:
        pass

def loop_and_eat():
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass

def loop_in_finally():
    try:
        loop()
    finally:
        loop()

def sleep():
    time.sleep(60)

def big_list():
    return len([0] * (1 << 29))

def growing_list():
    kept = []
    while True:
        kept.append(bytes(1 << 20))

def growing_fast():
    kept = []
    while True:
        kept.append(b"x" * (1 << 28))

def deep():
    return deep()

def deep_value():
    value = []
    for _ in range(1_000_000):
        value = [value]
    return value

def circle():
    value = []
    value.append(value)
    return value

def unprintable():
    raise Unprintable

def endless_text():
    raise EndlessText

def endless_repr():
    return EndlessRepr()

def endless_dict():
    return EndlessDict(a=1)

def own_base():
    raise OwnBase("own")

def group():
    raise BaseExceptionGroup("many", [KeyboardInterrupt(), SystemExit(2)])

def long_chain():
    error = None
    for number in range(5000):
        new = ValueError(str(number))
        new.__cause__ = error
        error = new
    raise error

def sys_exit():
    sys.exit(3)

def raise_exit():
    raise SystemExit(3)

def os_exit():
    os._exit(3)

def os_abort():
    os.abort()

def generator_exit():
    raise GeneratorExit

def keyboard():
    raise KeyboardInterrupt

def cancelled():
    raise asyncio.CancelledError

def stop_iteration():
    raise StopIteration(3)

def huge():
    return "x" * (1 << 30)

def huge_error():
    raise ValueError("x" * (1 << 28))

def not_a_value():
    return lambda: 3

def thread():
    threading.Thread(target=threading.Event().wait).start()

def looping_thread():
    threading.Thread(target=loop).start()

def prints():
    for number in range(1_000_000):
        print(number)

def prints_long():
    for number in range(100):
        print("x" * 10_000_000)

def regex():
    re.match(r"(a+)+$", "a" * 60 + "b")

def stderr():
    for _ in range(200_000):
        os.write(2, b"flood " * 20 + b"\\n")

def segfault():
    ctypes.string_at(0)

def block():
    threading.Event().wait()

def recursion_limit():
    sys.setrecursionlimit(10**9)
    return deep()

def threads_many():
    for _ in range(100_000):
        threading.Thread(target=threading.Event().wait).start()

def do(what: str) -> Any:
    return globals()[what]()
""",
    "http.py": """
import asyncio
from camber import HttpEndpointCtx, Request, Response, http_endpoint, http_router

from . import worst

http = http_router()

@http.route(path="/endpoint", method="POST")
@http_endpoint
async def endpoint(ctx: HttpEndpointCtx, request: Request) -> Response:
    return Response.json(worst.do(await request.text()))

@http.route(path="/task", method="POST")
@http_endpoint
async def task(ctx: HttpEndpointCtx, request: Request) -> Response:
    what = await request.text()

    async def later():
        await asyncio.sleep(0)
        worst.do(what)

    asyncio.create_task(later())
    return Response("left behind")

@http.route(path="/soon", method="POST")
@http_endpoint
async def soon(ctx: HttpEndpointCtx, request: Request) -> Response:
    asyncio.get_running_loop().call_soon(worst.do, await request.text())
    return Response("left behind")

@http.route(path="/stream", method="POST")
@http_endpoint
async def stream(ctx: HttpEndpointCtx, request: Request) -> Response:
    what = await request.text()

    async def pieces():
        yield b"one"
        worst.do(what)
        yield b"two"

    return Response(pieces())

@http.route(path="/wait", method="POST")
@http_endpoint
async def wait(ctx: HttpEndpointCtx, request: Request) -> Response:
    await asyncio.Event().wait()

@http.route(path="/note", method="POST")
@http_endpoint
async def note(ctx: HttpEndpointCtx, request: Request) -> Response:
    text = await request.text()
    await ctx.run_mutation("plain:add", text=text)
    return Response.json(await ctx.run_query("plain:count", text=text))
""",
}

_FUNCTION: Final = """

@query
async def ask_{name}(ctx: QueryCtx) -> Any:
    return worst.{name}()

@mutation
async def change_{name}(ctx: MutationCtx) -> Any:
    await ctx.db.insert("notes", {{"text": "of a mutation that returned"}})
    return worst.{name}()

@action
async def act_{name}(ctx: ActionCtx) -> Any:
    return worst.{name}()

@action
def act_plainly_{name}(ctx: ActionCtx) -> Any:
    return worst.{name}()
"""

_HEAD: Final = """
from typing import Any

from camber import ActionCtx, MutationCtx, QueryCtx, action, mutation, query

from . import worst
"""

BODIES: Final = (
    "loop", "loop_and_eat", "loop_in_finally", "sleep", "big_list", "growing_list", "deep",
    "deep_value", "circle", "unprintable", "endless_text", "endless_repr", "own_base", "group",
    "long_chain", "sys_exit", "os_exit", "os_abort", "generator_exit", "keyboard", "cancelled",
    "stop_iteration", "huge", "huge_error", "not_a_value", "thread", "prints", "prints_long",
    "regex", "recursion_limit",
)  # fmt: skip
"""What a query, a mutation and an endpoint are made to do."""

LEFT_BEHIND: Final = (
    "loop", "loop_and_eat", "regex", "sys_exit", "raise_exit", "keyboard", "unprintable",
    "own_base",
)  # fmt: skip
"""What a task or a callback does that an endpoint leaves behind, and a response's generator."""

ACTIONS: Final = (
    "os_exit", "os_abort", "segfault", "sys_exit", "own_base", "unprintable", "generator_exit",
    "cancelled", "big_list", "huge", "not_a_value", "stderr", "prints_long", "deep",
)  # fmt: skip
"""What actions are made to do, of both kinds."""

# Nothing is wrong with these where they are done.
HARMLESS: Final = {
    "endpoint endless_dict", "endpoint thread", "act stderr", "act_plainly stderr",
}  # fmt: skip
# May take too long, or not.
EITHER: Final = ("prints", "prints_long")

APP: Final = {
    **_MODULES,
    "bad.py": _HEAD
    + "".join(_FUNCTION.format(name=name) for name in dict.fromkeys((*BODIES, *ACTIONS))),
}


@dataclass(slots=True)
class Others:
    """The other clients: what they waited, and what they were told that was wrong."""

    slowest_seconds: float = 0.0
    answers: int = 0
    wrong: list[str] = field(default_factory=list)

    async def use(self, served: Served, name: str) -> None:
        """Write and read for ever."""
        with contextlib.closing(HttpClient(served.site_port)) as client:
            for number in count():
                began = time.perf_counter()
                answer = await client.request("POST", "/note", f"{name}-{number}".encode())
                self.slowest_seconds = max(self.slowest_seconds, time.perf_counter() - began)
                self.answers += 1
                if answer.status != 200 or answer.json() != 1:
                    self.wrong.append(repr(answer))


async def do_worst(served: Served, kind: str, name: str) -> str:
    """Make a bad call; returns how it was answered: "ok" or what was wrong."""
    async with asyncio.timeout(ANSWER_SECONDS):
        if kind in ("endpoint", "task", "soon", "stream"):
            with contextlib.closing(HttpClient(served.site_port)) as client:
                try:
                    answer = await client.request("POST", f"/{kind}", name.encode())
                except LostError:
                    return "cut"
                return "ok" if answer.status == 200 else answer.body.decode()
        prefix = {"query": "ask", "mutation": "change"}.get(kind, kind)
        with contextlib.closing(HttpClient(served.api_port)) as client:
            try:
                method = kind if kind in ("query", "mutation") else "action"
                await client.call(method, f"bad:{prefix}_{name}", {})
            except CallError as error:
                return error.message
            return "ok"


async def survive(served: Served, kind: str, names: tuple[str, ...]) -> Others:
    """Let one kind of function do each of `names`, while others are served.

    Raises:
        AssertionError: the server ended, or a bad call was not answered as one.
    """
    others = Others()
    kept = 0
    await served.start()
    users = [asyncio.create_task(others.use(served, f"user {n}")) for n in range(3)]
    for name in names:
        try:
            told = await do_worst(served, kind, name)
        except TimeoutError:
            raise AssertionError(f"{kind} {name} is never answered") from None
        kept += kind == "mutation" and told == "ok"
        harmless = kind in ("task", "soon") or f"{kind} {name}" in HARMLESS
        assert name in EITHER or (told == "ok") is harmless, f"{kind} {name}: {told}"
        # Until it is over, also where it was left behind.
        try:
            await request_once(served.site_port, "POST", "/note", b"and the next one, please")
        except LostError:
            await served.wait_end()
        assert served.process.poll() is None, f"{kind} {name} ended the server: {served.log()}"
    for user in users:
        user.cancel()
    results = await asyncio.gather(*users, return_exceptions=True)
    others.wrong += [repr(r) for r in results if not isinstance(r, asyncio.CancelledError)]
    with contextlib.closing(HttpClient(served.api_port)) as client:
        assert await client.query("plain:count", text="of a mutation that returned") == kept
    assert await served.stop() == 0, served.log()[-2000:]
    return others
