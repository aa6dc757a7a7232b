"""The command line as its users have it: a process of its own, its output read as it comes."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from click.testing import CliRunner

from camber.cli.main import main

PATIENCE_SECONDS = 20.0
"""How long a test waits for what must come, before it fails."""

PORTS = ("--port", "0", "--site-port", "0")

MESSAGES = """
    from camber import mutation, query

    @mutation
    async def send(ctx, body: str):
        print("sending", body)
        await ctx.db.insert("messages", {"body": body})

    @query
    async def list_(ctx) -> list:
        return [m["body"] for m in await ctx.db.query("messages").collect()]
"""

HTTP = """
    from camber import Response, env, http_endpoint, http_router

    @http_endpoint
    async def hello(ctx, request):
        return Response("first")

    @http_endpoint
    async def where(ctx, request):
        return Response.json([env["CONVEX_CLOUD_URL"], env["CONVEX_SITE_URL"]])

    http = http_router()
    http.route(path="/hello", method="GET", handler=hello)
    http.route(path="/where", method="GET", handler=where)
"""


def write_app(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """An app in `folder`: these `files` of its functions folder, or else MESSAGES and HTTP."""
    functions = folder / "convex"
    functions.mkdir(parents=True, exist_ok=True)
    for name, text in (files or {"messages.py": MESSAGES, "http.py": HTTP}).items():
        save(functions / name, text)
    return folder


def save(path: Path, text: str) -> None:
    """Write a file as editors do: a new one, put in the old one's place."""
    draft = path.with_suffix(".draft")
    draft.write_text(dedent(text))
    draft.replace(path)


def environment(**variables: str) -> dict[str, str]:
    """The environment of a command: nothing of ours but the path, and `variables`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONWARNINGS": "error", "LANG": "C.UTF-8"} | variables


def command(*args: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        "from camber.cli.main import main; main(prog_name='camber')",
        *args,
    ]


def camber(
    folder: Path, *args: str, stdin: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in `folder`, as a process."""
    done = subprocess.run(
        command(*args),
        cwd=folder,
        env=env or environment(),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def talk(
    folder: Path, *args: str, stdin: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The same in this process, which is quicker: for commands that serve nothing."""
    variables: dict[str, str | None] = {"CAMBER_URL": None, "CAMBER_ADMIN_KEY": None}
    runner = CliRunner(env=variables | (env or {}))
    with contextlib.chdir(folder):
        done = runner.invoke(main, args, input=stdin, prog_name="camber")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return subprocess.CompletedProcess(args, done.exit_code, done.stdout, done.stderr)


class Server:
    """A `camber dev` or `camber serve` that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._output = ""
        self._ended = False
        self._read = 0
        self._grown = threading.Condition()
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()
        self.api = ""
        self.site = ""

    @property
    def output(self) -> str:
        """Everything that it has printed."""
        with self._grown:
            return self._output

    def _follow(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._grown:
                self._output += line
                self._grown.notify_all()
        with self._grown:
            self._ended = True
            self._grown.notify_all()

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until it prints what matches, after what was waited for before."""
        found: re.Match[str] | None = None

        def look() -> bool:
            nonlocal found
            found = re.compile(pattern, re.MULTILINE).search(self._output, self._read)
            return found is not None or self._ended

        with self._grown:
            self._grown.wait_for(look, PATIENCE_SECONDS)
            assert found is not None, f"no {pattern!r} in:\n{self._output}"
            self._read = found.end()
        return found

    def wait_ready(self) -> "Server":
        self.api = self.wait_for(r"^ *API +(http://\S+)$")[1]
        self.site = self.wait_for(r"^ *HTTP endpoints +(http://\S+)$")[1]
        return self

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal, and wait for the end. Returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code


@contextmanager
def serving(
    folder: Path, *args: str, name: str = "dev", env: dict[str, str] | None = None
) -> Iterator[Server]:
    """A server on free ports. Killed in the end, if it has not ended before."""
    process = subprocess.Popen(
        command(name, *PORTS, *args),
        cwd=folder,
        env=env or environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(process)
    try:
        yield server
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        server._reader.join(PATIENCE_SECONDS)
        assert process.stdout is not None
        process.stdout.close()


def get(url: str, host: str | None = None) -> str:
    """The body of what answers at `url`, whatever its status."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            return response.read().decode()  # type: ignore[no-any-return]  # urllib's Any
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()


def call(server: Server, path: str, args: dict[str, Any]) -> dict[str, Any]:
    """Call a public mutation as a client without any key does."""
    body = json.dumps({"path": path, "args": args}).encode()
    request = urllib.request.Request(
        server.api + "/api/mutation", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
        answer: dict[str, Any] = json.loads(response.read())
    return answer
