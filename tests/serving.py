"""A whole deployment behind real ports, for tests that come in through the outermost doors.

    with served(tmp_path, {"messages.py": "..."}) as backend:
        requests.get(backend.site + "/hello")

The deployment has an event loop on a thread of its own, so that a test may use any client, also
one that blocks. The app is written from strings into a folder `convex` below `tmp_path`, or is a
folder that exists.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeVar

import uvloop

from camber.clock import Clock
from camber.deployment import Deployment, Settings
from camber.functions.events import Ended
from camber.server.exchange import Application, Exchange
from camber.server.limits import Limits
from camber.server.listener import Listener, listen

T = TypeVar("T")

PATIENCE_SECONDS = 20.0
"""How long a test waits for what must come, before it fails."""


@dataclass
class Backend:
    """A deployment that is being served. `api` and `site` are origins, without a slash."""

    deployment: Deployment
    api: str
    site: str
    loop: asyncio.AbstractEventLoop
    events: list[Ended] = field(default_factory=list)
    told: threading.Condition = field(default_factory=threading.Condition)

    @property
    def api_port(self) -> int:
        return int(self.api.rpartition(":")[2])

    @property
    def site_port(self) -> int:
        return int(self.site.rpartition(":")[2])

    @property
    def admin_key(self) -> str:
        return self.deployment.instance.admin_key

    @property
    def name(self) -> str:
        return self.deployment.instance.name

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the deployment's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_SECONDS)

    def note(self, event: Ended) -> None:
        with self.told:
            self.events.append(event)
            self.told.notify_all()

    def wait_event(self, path: str) -> Ended:
        """The first execution of `path` that was told of; waits for it."""
        with self.told:
            found = self.told.wait_for(
                lambda: [event for event in self.events if event.path == path], PATIENCE_SECONDS
            )
        assert found, f"nothing was told of {path}, only of {[e.path for e in self.events]}"
        return found[0]


@contextlib.contextmanager
def served(
    folder: Path,
    app: dict[str, str] | Path,
    *,
    clock: Clock | None = None,
    production: bool = False,
    variables: dict[str, str] | None = None,
    limits: Limits | None = None,
) -> Iterator[Backend]:
    """Serve an app; its state lies in `folder/state`. Ends with everything stopped."""
    functions = app if isinstance(app, Path) else write_app(folder, app)

    async def open_() -> tuple[Backend, list[Listener]]:
        application = _Late()
        ports = [await listen(application, name=n, limits=limits) for n in ("api", "site")]
        try:
            return await open_behind(application, ports), ports
        except BaseException:
            await _close_ports(ports)
            raise

    async def open_behind(application: _Late, ports: list[Listener]) -> Backend:
        api, site = (f"http://127.0.0.1:{port.number}" for port in ports)
        settings = Settings(
            functions,
            folder / "state",
            api,
            site,
            production=production,
            variables=tuple((variables or {}).items()),
        )
        deployment = await Deployment.open(settings, clock)
        try:
            await deployment.push()
        except BaseException:
            await deployment.close()
            raise
        application.inner = deployment.application
        return Backend(deployment, api, site, asyncio.get_running_loop())

    with _loop() as loop:
        future = asyncio.run_coroutine_threadsafe(open_(), loop)
        backend, ports = future.result(PATIENCE_SECONDS)
        backend.deployment.events.listen(backend.note)
        try:
            yield backend
        finally:
            backend.run(_close(backend, ports))


def write_app(folder: Path, files: dict[str, str]) -> Path:
    """Write a functions folder; names are paths below it."""
    functions = folder / "convex"
    for name, source in files.items():
        file = functions / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(source))
    return functions


async def _close(backend: Backend, ports: list[Listener]) -> None:
    await _close_ports(ports)
    await backend.deployment.close()


async def _close_ports(ports: list[Listener]) -> None:
    for port in ports:
        await port.close(grace_seconds=0.0)


class _Late:
    """An application that is known only once the ports are."""

    inner: Application

    def __call__(self, exchange: Exchange) -> Any:
        return self.inner(exchange)


@contextlib.contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="backend")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_SECONDS)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@dataclass(frozen=True)
class Answer:
    """An answer as it was on the wire; names of headers in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class Connection:
    """One connection that stays, as a client that knows HTTP only roughly would use it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        self._held = b""

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        host: str = "127.0.0.1",
    ) -> Answer:
        """Send a request, and read its answer."""
        self.send(method, target, body, headers, host=host)
        return self.answer(has_body=method != "HEAD")

    def send(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        host: str = "127.0.0.1",
    ) -> None:
        lines = [f"{method} {target} HTTP/1.1", f"host: {host}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    def answer(self, *, has_body: bool = True) -> Answer:
        first, *lines = self.until(b"\r\n\r\n")[:-4].decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        headers = [
            (name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)
        ]
        if status == 100:
            return self.answer(has_body=has_body)
        return Answer(status, headers, self._body(dict(headers)) if has_body else b"")

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self.exactly(int(headers.get("content-length", "0")))
        body = b""
        while size := int(self.until(b"\r\n"), 16):
            body += self.exactly(size + 2)[:-2]
        self.until(b"\r\n")
        return body

    def until(self, end: bytes) -> bytes:
        while end not in self._held:
            self._more()
        head, _, self._held = self._held.partition(end)
        return head + end

    def exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            self._more()
        data, self._held = self._held[:size], self._held[size:]
        return data

    def ended(self) -> bool:
        """Whether the server closes the connection; waits for it, discarding what comes."""
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionError:
            pass
        return True

    def _more(self) -> None:
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError(f"the connection ended after {self._held[:200]!r}")
        self._held += data


def ask(
    origin: str,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    *,
    host: str = "127.0.0.1",
) -> Answer:
    """One request on a connection of its own."""
    with Connection(int(origin.rpartition(":")[2])) as connection:
        return connection.ask(method, target, body, headers, host=host)
