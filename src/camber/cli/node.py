"""A deployment behind its two ports, from the first bound port to the last answered request.

Ports come first: what a deployment hands out are URLs, and with `--port 0` only a bound port has
one. Who connects before the deployment is ready waits for it in the waiting room.
"""

import asyncio
import gc
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop

from camber.cli.address import Address, find_address, publish, withdraw
from camber.cli.config import AppConfig
from camber.cli.terminal import Terminal
from camber.deployment import Deployment, Settings
from camber.errors import ConfigError, StorageLockedError
from camber.functions.memory import install_memory_ceiling
from camber.server.exchange import Application, Exchange
from camber.server.limits import Limits
from camber.server.listener import Listener, listen

GRACE_SECONDS: Final = 5.0
"""How long requests under way may take to finish once the node is told to stop."""

SWITCH_SECONDS: Final = 0.0005
"""How long a slow function on a side thread may keep the interpreter while the event loop wants it:
a tenth of Python's own choice, as a request needs it many times, once after each wait."""

# After so long without having stopped, it is said that we are about to.
_PATIENCE_SECONDS: Final = 0.3

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Place:
    """What to serve, and where.

    Args:
        app: the app.
        state: the state folder.
        host: the address to bind.
        port: of the API; 0 lets the system choose, here and below.
        site_port: of the HTTP endpoints.
        api_url: what clients reach the API at, None when that is the port itself.
        site_url: what callers reach the HTTP endpoints at, None likewise.
        production: keep errors and log lines from clients.
    """

    app: AppConfig
    state: Path
    host: str
    port: int
    site_port: int
    api_url: str | None = None
    site_url: str | None = None
    production: bool = False


class WaitingRoom:
    """Holds exchanges until there is an application for them; itself an `Application`."""

    def __init__(self) -> None:
        self._ready: asyncio.Future[Application] = asyncio.get_running_loop().create_future()

    def open(self, application: Application) -> None:
        """Let everybody through to `application`, now and from now on."""
        self._ready.set_result(application)

    def __call__(self, exchange: Exchange) -> Awaitable[None] | None:
        if self._ready.done():
            return self._ready.result()(exchange)
        return self._wait(exchange)

    async def _wait(self, exchange: Exchange) -> None:
        application = await asyncio.shield(self._ready)
        answer = application(exchange)
        if answer is not None:
            await answer


class Node:
    """A deployment behind its ports. Made by `serving`."""

    def __init__(
        self, deployment: Deployment, room: WaitingRoom, api: Listener, site: Listener
    ) -> None:
        self.deployment = deployment
        self._room = room
        self._api = api
        self._site = site

    @property
    def api_url(self) -> str:
        """Where the API port is, on this machine."""
        return _url(self._api)

    @property
    def site_url(self) -> str:
        """Where the site port is, on this machine."""
        return _url(self._site)

    @property
    def host_url(self) -> str:
        """The site by the deployment's own host name, which any browser finds on this machine."""
        return f"http://{self.deployment.instance.name}.site.localhost:{self._site.number}"

    def admit(self) -> None:
        """Answer requests from now on, and let commands find this node."""
        _settle_memory()
        install_memory_ceiling()
        sys.setswitchinterval(SWITCH_SECONDS)
        self.deployment.end_when_frozen()
        application = self.deployment.application
        self._room.open(application)
        for listener in (self._api, self._site):
            listener.application = application
        address = Address(os.getpid(), self.api_url, self.site_url)
        publish(self.deployment.settings.state, address)

    def tell_freeze(self, terminal: Terminal) -> None:
        """Say so if the process before this one had to be ended."""
        freeze = self.deployment.freeze
        if freeze is not None:
            terminal.say(
                f"The server froze at {freeze.place}: code in C that keeps Python from running. It "
                "was ended and started again; what calls that line is refused for 10 minutes."
            )

    async def close_ports(self) -> None:
        """Take no more requests, let those under way finish."""
        withdraw(self.deployment.settings.state)
        await asyncio.gather(
            self._api.close(grace_seconds=GRACE_SECONDS),
            self._site.close(grace_seconds=GRACE_SECONDS),
        )


def _settle_memory() -> None:
    """Tell the garbage collector that what is there now stays, and to come more seldom: what
    requests leave behind is freed without it, all but cycles, and there are few."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _allow_open_files() -> None:
    """Let there be as many open files as the system allows us: each client's connection is one,
    and what is usual is a thousand."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = Limits().connections + 1_000
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


@asynccontextmanager
async def serving(place: Place) -> AsyncIterator[Node]:
    """A node, open; nobody is answered before `Node.admit`. On leaving, all of it is closed.

    Raises:
        ConfigError: a port is taken, or a folder cannot be used.
        StorageLockedError: another process has the state folder open.
        InternalError: the database file is damaged, or of another version.
    """
    _allow_open_files()
    async with AsyncExitStack() as closing:
        room = WaitingRoom()
        try:
            api = await listen(room, place.host, place.port, name="api")
            closing.push_async_callback(api.close, grace_seconds=0)
            site = await listen(room, place.host, place.site_port, name="site")
            closing.push_async_callback(site.close, grace_seconds=0)
            deployment = await Deployment.open(_settings(place, api, site))
            closing.push_async_callback(deployment.close)
            _hide_from_git(place)
        except (ConfigError, StorageLockedError) as error:
            raise _told_who(error, place.state) from error
        except OSError as error:
            raise ConfigError(
                f"The state folder {place.state} cannot be used: {error.strerror}."
            ) from error
        node = Node(deployment, room, api, site)
        try:
            yield node
        finally:
            await node.close_ports()


def run_until_stopped(serve: Callable[[Terminal], Awaitable[None]], terminal: Terminal) -> None:
    """Run `serve` until it ends or a signal, Ctrl-C or SIGTERM, cancels it; then let it clean up.
    A second signal ends the process at once."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            _run_to_end(runner.get_loop(), _until_stopped(serve, terminal))
    finally:
        terminal.close()
    _abandon_threads()


def _run_to_end(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, None]) -> None:
    """Run `main` to its end. A `SystemExit` in a task that an endpoint left behind ends the loop's
    turn, as asyncio lets it through, but not the server."""
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt):
            if task.done():
                raise


def _abandon_threads() -> None:
    """End the process, if app code left threads behind that do not end. All else has ended."""
    give_up = time.monotonic() + 0.5
    for thread in threading.enumerate():
        if thread is threading.current_thread() or thread.daemon:
            continue
        thread.join(max(0.0, give_up - time.monotonic()))
        if thread.is_alive():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


async def _until_stopped(serve: Callable[[Terminal], Awaitable[None]], terminal: Terminal) -> None:
    loop = asyncio.get_running_loop()
    serving = asyncio.ensure_future(serve(terminal))
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if stopping:
            os._exit(130)
        stopping = True
        serving.cancel()
        if terminal.interactive:
            terminal.say()  # The cursor stands behind the ^C.
        loop.call_later(_PATIENCE_SECONDS, terminal.say, "Stopping… Ctrl-C again stops at once.")

    for number in _SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        await serving
    except asyncio.CancelledError:
        terminal.say("Stopped.")


def _settings(place: Place, api: Listener, site: Listener) -> Settings:
    return Settings(
        functions=place.app.functions,
        state=place.state,
        api_origin=place.api_url or _url(api),
        site_origin=place.site_url or _url(site),
        production=place.production,
        variables=place.app.variables,
    )


def _url(listener: Listener) -> str:
    """A URL that reaches `listener` from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.host, listener.host)
    return (
        f"http://[{host}]:{listener.number}" if ":" in host else f"http://{host}:{listener.number}"
    )


def _told_who(
    error: ConfigError | StorageLockedError, state: Path
) -> ConfigError | StorageLockedError:
    """The error, and whether it is this app's own server that is in the way."""
    address = find_address(state)
    if address is None:
        return error
    return type(error)(
        f"{error}\nThis app is being served already, at {address.api} by process {address.pid}."
    )


def _hide_from_git(place: Place) -> None:
    """Keep the state out of commits: it holds the instance's secret."""
    if place.state == place.app.state:
        path = place.state / ".gitignore"
        if not path.exists():
            path.write_text("*\n")
