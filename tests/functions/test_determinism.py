import asyncio
import datetime as real_datetime
import http.server
import random as real_random
import socket
import subprocess
import sys
import threading
import time as real_time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import uvloop

from camber.errors import DeterminismError
from camber.functions import determinism
from camber.functions.determinism import app_builtins
from camber.functions.drive import drive
from camber.functions.execution import Environment, Execution, current_execution

# 2025-10-09T08:53:20.123456789Z
NOW_NS = 1_760_000_000_123_456_789


class App:
    """A functions folder with one module, loaded as the loader does it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "convex"
        self.root.mkdir()
        self.builtins = app_builtins(self.root)
        self.execution = Execution(Environment.DETERMINISTIC, "messages:run", NOW_NS, 1)

    def load(self, source: str) -> ModuleType:
        path = self.root / "messages.py"
        path.write_text(source)
        module = ModuleType("messages")
        module.__dict__["__builtins__"] = self.builtins
        exec(compile(source, str(path), "exec"), module.__dict__)
        return module

    def query(self, source: str, *, seed: int = 1) -> Any:
        """What `run()` in `source` returns as a query."""
        run = self.load(source).run
        self.execution = Execution(Environment.DETERMINISTIC, "messages:run", NOW_NS, seed)
        return self.within(run)

    def within(self, run: Any) -> Any:
        token = current_execution.set(self.execution)
        try:
            return drive(run())
        finally:
            current_execution.reset(token)

    def endpoint(self, source: str, *arguments: object, loop: Any = asyncio.run) -> Any:
        """What `run(…)` in `source` returns as an HTTP endpoint, on a real loop."""
        run = self.load(source).run
        self.execution = Execution(Environment.ENDPOINT, "messages:run", NOW_NS, 1)

        async def main() -> Any:
            current_execution.set(self.execution)
            return await run(*arguments)

        return loop(main())


@pytest.fixture
def app(tmp_path: Path) -> App:
    determinism.install()
    return App(tmp_path)


def body(*lines: str, imports: str = "") -> str:
    return "\n".join([imports, "async def run():", *(f"    {line}" for line in lines)])


# Time.


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("time.time()", NOW_NS / 1e9),
        ("time.time_ns()", NOW_NS),
        ("time.monotonic_ns()", NOW_NS),
        ("time.perf_counter()", NOW_NS / 1e9),
        ("time.strftime('%Y-%m-%d %H:%M')", "2025-10-09 08:53"),
        ("time.localtime().tm_hour", 8),
        ("time.mktime(time.localtime(86400))", 86400.0),
        ("time.ctime()", "Thu Oct  9 08:53:20 2025"),
        ("dt.datetime.now().isoformat()", "2025-10-09T08:53:20.123456"),
        ("dt.datetime.now(dt.UTC).isoformat()", "2025-10-09T08:53:20.123456+00:00"),
        ("datetime.now(ZoneInfo('Asia/Tokyo')).isoformat()", "2025-10-09T17:53:20.123456+09:00"),
        ("datetime.utcnow().isoformat()", "2025-10-09T08:53:20.123456"),
        ("datetime.today().isoformat()", "2025-10-09T08:53:20.123456"),
        ("datetime.fromtimestamp(0).isoformat()", "1970-01-01T00:00:00"),
        ("dt.date.today().isoformat()", "2025-10-09"),
        ("dt.date.fromtimestamp(0).isoformat()", "1970-01-01"),
    ],
)
def test_the_clock_of_a_query_stands_still_at_utc(
    app: App, expression: str, expected: object
) -> None:
    imports = (
        "import time\nimport datetime as dt\nfrom datetime import datetime\n"
        "from zoneinfo import ZoneInfo"
    )
    assert app.query(body(f"return {expression}", imports=imports)) == expected
    assert app.execution.clock_read or "(0)" in expression or "86400" in expression
    assert not app.execution.random_read


def test_looking_at_no_clock_is_noted_too(app: App) -> None:
    app.query(body("return 1"))
    assert not app.execution.clock_read


def test_outside_a_query_the_clock_is_the_real_one(app: App) -> None:
    module = app.load(
        "import time\nfrom datetime import datetime\nat = time.time(), datetime.now()\n"
    )
    assert abs(module.at[0] - real_time.time()) < 60
    assert abs(module.at[1] - real_datetime.datetime.now()) < real_datetime.timedelta(minutes=1)
    before = real_time.time()
    assert app.endpoint("import time\nasync def run():\n    return time.time()") >= before


def test_dates_of_app_code_are_ordinary_dates(app: App) -> None:
    source = """
import datetime
from datetime import date, datetime as DateTime, timedelta

class Deadline(DateTime):
    pass

async def run():
    made, now = DateTime(2024, 2, 29, 12), DateTime.now()
    return dict(
        types=[type(made), type(now), type(made.date()), type(date.today())],
        instances=[isinstance(made, DateTime), isinstance(made, date),
                   isinstance(date.today(), DateTime), isinstance(3, DateTime)],
        subclasses=[issubclass(DateTime, date), issubclass(Deadline, DateTime),
                    isinstance(made, Deadline), isinstance(Deadline(2024, 1, 1), DateTime)],
        arithmetic=made + timedelta(days=1) == DateTime.fromisoformat("2024-03-01T12:00"),
        parsed=DateTime.strptime("2024", "%Y"),
        deadline=type(Deadline.now()).__name__,
        matched=matched(made),
        limits=DateTime.max.year,
    )

def matched(value):
    match value:
        case datetime.datetime():
            return "datetime"
"""
    real = real_datetime
    assert app.query(source) == {
        "types": [real.datetime, real.datetime, real.date, real.date],
        "instances": [True, True, False, False],
        "subclasses": [True, True, False, True],
        "arithmetic": True,
        "parsed": real.datetime(2024, 1, 1),
        "deadline": "Deadline",
        "matched": "datetime",
        "limits": 9999,
    }


# Chance.

DRAWS = """
import os, random, secrets, uuid
from random import randint, Random
from uuid import uuid4

async def run():
    return [
        random.random(), randint(1, 10**9), random.sample(range(10**6), 3), Random().random(),
        random.SystemRandom().random(), uuid4(), uuid.uuid1(), secrets.token_hex(),
        secrets.token_urlsafe(9), secrets.randbelow(10**9), secrets.choice(range(10**9)),
        secrets.token_bytes(5), os.urandom(8), random.gauss(0, 1), random.getrandbits(64),
    ]
"""


def test_the_same_seed_draws_the_same_and_another_seed_does_not(app: App) -> None:
    first, again, other = app.query(DRAWS), app.query(DRAWS), app.query(DRAWS, seed=2)
    assert first == again
    assert all(one != another for one, another in zip(first, other, strict=True))
    assert app.execution.random_read


def test_drawn_uuids_are_valid_and_differ(app: App) -> None:
    made = app.query(
        body("return uuid.uuid4(), uuid.uuid4(), uuid.uuid1(), uuid.uuid1()", imports="import uuid")
    )
    assert len(set(made)) == 4
    assert [one.version for one in made] == [4, 4, 1, 1]
    steps = made[2].time - 0x01B21DD213814000
    assert steps == NOW_NS // 100


def test_a_query_neither_disturbs_nor_sees_the_stream_of_the_process(app: App) -> None:
    real_random.seed(7)
    expected = real_random.Random(7).random()
    app.query(DRAWS)
    assert real_random.random() == expected


def test_an_app_may_seed_its_own_stream(app: App) -> None:
    source = body("random.seed(5)", "return random.random()", imports="import random")
    assert app.query(source) == real_random.Random(5).random() == app.query(source, seed=2)


def test_outside_a_query_chance_is_real(app: App) -> None:
    assert app.endpoint(DRAWS) != app.endpoint(DRAWS)


# Imports.


def test_every_way_to_import_works(app: App) -> None:
    source = """
import os.path
import os.path as p
import datetime as dt
from os.path import join
from os import sep, path
from time import *
import time
import json, collections.abc
from random import randint as roll

async def run():
    import time as t
    return (t is time, os.path is path is p, join("a", "b"), roll(3, 3),
            json.dumps([]), isinstance(time_ns(), int), gmtime(0).tm_year)
"""
    assert app.query(source) == (True, True, "a/b", 3, "[]", True, 1970)


def test_a_substitute_follows_the_real_module(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_time, "added_later", 3, raising=False)
    assert app.query(body("return time.added_later", imports="import time")) == 3
    with pytest.raises(AttributeError):
        app.query(body("return time.missing", imports="import time"))


# print.


def test_print_inside_an_execution_is_a_log_line_and_nothing_else(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    app.query(
        body(
            "print('user', {'id': 3})",
            "print('a', 'b', sep='-', end='!')",
            "print('two\\nlines')",
            "print('late', file=sys.stderr, flush=True)",
            "print()",
            imports="import sys",
        )
    )
    assert app.execution.log.wire_lines() == [
        "[LOG] user {'id': 3}",
        "[LOG] a-b!",
        "[LOG] two\nlines",
        "[LOG] late",
        "[LOG] ",
    ]
    assert capsys.readouterr() == ("", "")


def test_print_to_another_file_goes_there(app: App) -> None:
    source = body(
        "out = io.StringIO()", "print(1, file=out)", "return out.getvalue()", imports="import io"
    )
    assert app.query(source) == "1\n"
    assert app.execution.log.wire_lines() == []


def test_print_while_a_module_loads_goes_to_the_terminal(
    app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    app.load("print('loading')")
    assert capsys.readouterr().out == "loading\n"


# Refusals.


@pytest.mark.parametrize(
    ("imports", "line", "call"),
    [
        ("import time", "time.sleep(60)", "time.sleep()"),
        ("from time import sleep", "sleep(0)", "time.sleep()"),
        ("", "open('notes.txt')", "open()"),
        ("", "input()", "input()"),
        ("import os", "os.listdir('.')", "os.listdir()"),
        ("import os", "os.remove('notes.txt')", "os.remove()"),
        ("import os", "os.system('true')", "os.system()"),
        ("import os", "os.fork()", "os.fork()"),
        ("import os", "os.kill(1, 0)", "os.kill()"),
        ("import os", "os._exit(0)", "os._exit()"),
        ("import pathlib", "pathlib.Path('x').read_text()", "pathlib.Path.read_text()"),
        ("import shutil", "shutil.rmtree('x')", "shutil.rmtree()"),
        ("import socket", "socket.socket()", "socket.socket()"),
        ("import socket", "socket.getaddrinfo('localhost', 80)", "socket.getaddrinfo()"),
        ("import sqlite3", "sqlite3.connect(':memory:')", "sqlite3.connect()"),
        ("import subprocess", "subprocess.run(['true'])", "subprocess.run()"),
        ("import threading", "threading.Thread(target=print).start()", "threading.Thread.start()"),
        ("import _thread", "_thread.start_new_thread(print, ())", "threading.Thread.start()"),
        (
            "from concurrent.futures import ThreadPoolExecutor",
            "ThreadPoolExecutor().submit(print)",
            "concurrent.futures.ThreadPoolExecutor.submit()",
        ),
        (
            "import urllib.request",
            "urllib.request.urlopen('http://127.0.0.1:1/')",
            "urllib.request.urlopen()",
        ),
        ("import httpx", "httpx.get('http://127.0.0.1:1/', trust_env=False)", "httpx.get()"),
    ],
)
def test_a_query_that_reaches_outside_is_told_call_line_and_cure(
    app: App, imports: str, line: str, call: str
) -> None:
    with pytest.raises(DeterminismError) as caught:
        app.query(body(line, imports=imports))
    place = f"convex/messages.py:{2 + imports.count(chr(10)) + 1}"
    assert str(caught.value) == (
        f"{call} is not available in a query or mutation ({place}). Move it to an action."
    )


def test_a_task_of_a_query_is_refused_as_the_query_is(app: App) -> None:
    source = """
import asyncio, time
async def child():
    time.sleep(1)
async def run():
    await asyncio.gather(child())
"""
    with pytest.raises(DeterminismError, match=r"^time\.sleep\(\) .*\(convex/messages\.py:4\)"):
        app.query(source)


def test_an_import_inside_a_body_may_read_files(app: App) -> None:
    sys.modules.pop("this_is_rarely_used", None)
    sys.modules.pop("wave", None)
    assert app.query(body("import wave", "return wave.__name__")) == "wave"


def test_tracebacks_warnings_and_time_zones_may_read_files(app: App) -> None:
    source = """
import linecache, traceback, warnings, zoneinfo
async def run():
    linecache.clearcache()
    try:
        1 / 0
    except ZeroDivisionError:
        text = traceback.format_exc()
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        warnings.warn("old")
    return "1 / 0" in text and zoneinfo.ZoneInfo.no_cache("Europe/Madrid").key
"""
    assert app.query(source) == "Europe/Madrid"


def test_nothing_is_refused_outside_an_execution(app: App, tmp_path: Path) -> None:
    module = app.load(
        "import time, socket, threading\ntime.sleep(0)\nsocket.socket().close()\n"
        "def keep(path):\n    open(path, 'w').close()\n"
    )
    module.keep(tmp_path / "kept")
    assert (tmp_path / "kept").exists()


def test_work_in_the_same_context_that_is_ours_is_not_refused(app: App, tmp_path: Path) -> None:
    # A frame of ours lies between the app's and the call, as when `ctx.storage` opens a file.
    from camber.functions.memory import resident_bytes

    app.builtins["read"] = resident_bytes
    assert app.query(body("return read()")) > 0


# Endpoints.


@pytest.fixture
def origin() -> Iterator[str]:
    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://localhost:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def run_uvloop(main: Any) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


ASYNCHRONOUS = """
import asyncio, httpx
from urllib.parse import urlsplit

async def run(url):
    await asyncio.sleep(0)
    async with httpx.AsyncClient(trust_env=False) as client:
        by_httpx = (await client.get(url)).text
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
    by_stream = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    by_thread = await asyncio.to_thread(lambda: httpx.get(url, trust_env=False).text)
    process = await asyncio.create_subprocess_exec("true")
    return by_httpx, by_stream[-5:], by_thread, await process.wait()
"""


@pytest.mark.parametrize("loop", [asyncio.run, run_uvloop])
def test_asynchronous_network_calls_work_in_an_endpoint(app: App, origin: str, loop: Any) -> None:
    answers = app.endpoint(ASYNCHRONOUS, origin, loop=loop)
    assert answers == ("hello", "hello", "hello", 0)


BLOCKING = [
    ("import time", "time.sleep(60)", "time.sleep()"),
    ("import requests", "requests.get(url)", "requests.get()"),
    ("import httpx", "httpx.get(url, trust_env=False)", "httpx.get()"),
    ("import urllib.request", "urllib.request.urlopen(url)", "urllib.request.urlopen()"),
    ("import subprocess", "subprocess.run(['true'])", "subprocess.run()"),
    ("import os", "os.system('true')", "os.system()"),
    ("import os", "os._exit(3)", "os._exit()"),
    ("import socket", "socket.create_connection(('127.0.0.1', 1))", "socket.create_connection()"),
    (
        "import socket",
        "with socket.socket() as one: one.connect(('127.0.0.1', 1))",
        "socket.connect()",
    ),
    ("import socket", "socket.gethostbyname('localhost')", "socket.gethostbyname()"),
    ("", "open('notes.txt')", "open()"),
    ("import pathlib", "pathlib.Path('x').read_text()", "pathlib.Path.read_text()"),
]


@pytest.mark.parametrize(("imports", "line", "call"), BLOCKING)
@pytest.mark.parametrize("loop", [asyncio.run, run_uvloop])
def test_a_blocking_call_in_an_endpoint_is_refused_with_line_and_cure(
    app: App, imports: str, line: str, call: str, loop: Any
) -> None:
    source = f"{imports}\nasync def run(url):\n    {line}\n"
    with pytest.raises(DeterminismError) as caught:
        app.endpoint(source, "http://127.0.0.1:1/", loop=loop)
    assert str(caught.value).startswith(
        f"{call} is not available in an HTTP endpoint (convex/messages.py:3)."
    )
    assert str(caught.value).lower().endswith("move it to an action.")


def test_a_library_of_an_endpoint_may_read_its_files(app: App) -> None:
    source = "import mailcap_like\nasync def run():\n    return mailcap_like.read()\n"
    library = app.root.parent / "mailcap_like.py"
    library.write_text(
        "def read():\n    with open(__file__) as file:\n        return len(file.read())\n"
    )
    sys.path.insert(0, str(app.root.parent))
    try:
        assert app.endpoint(source) > 0
        with pytest.raises(DeterminismError, match=r"^mailcap_like\.read\(\) is not available"):
            app.query(source)
    finally:
        sys.path.pop(0)
        sys.modules.pop("mailcap_like", None)


def test_a_non_blocking_socket_is_the_endpoints_own_affair(app: App, origin: str) -> None:
    source = """
import asyncio, socket
async def run(port):
    with socket.socket() as one:
        one.setblocking(False)
        await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", port))
        return one.getpeername()[1]
"""
    port = int(origin.rstrip("/").rpartition(":")[2])
    assert app.endpoint(source, port) == port


def test_the_interpreter_ends_quietly_with_the_hook_installed() -> None:
    program = """
import threading
from camber.functions import determinism
from camber.functions.watchdog import Watchdog
determinism.install()
determinism.install()
Watchdog().start()
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_sockets_of_the_server_work_while_no_body_runs(app: App) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
    with pytest.raises(httpx.ConnectError):
        httpx.get("http://127.0.0.1:1/", trust_env=False)
