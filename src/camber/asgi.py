"""A whole backend as one ASGI application: for any ASGI server, and inside other applications.

    uvicorn camber.asgi:app                     # the app in the current folder, or in CAMBER_APP

    backend = create_app("path/to/app")         # an application of its own …
    host = FastAPI(lifespan=backend.lifespan)   # … or a part of one
    host.mount("/backend", backend)

Everything is reached at one origin: the API under `/api`, the HTTP endpoints under `/http/`, and
also by a host name such as `happy-animal-123.site.localhost`. One process has a state folder at a
time, so a server runs it with one worker.

Servers tell an application when they start and stop (the lifespan protocol); an application that
is mounted is told by its host, which is what `lifespan` is for.
"""

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from pathlib import Path
from typing import Any, Final

from camber.deployment import Deployment, Settings
from camber.errors import ConfigError, RequestError
from camber.functions.events import Ended
from camber.server.asgi import AsgiApplication, Receive, Scope, Send
from camber.server.exchange import Exchange

__all__ = ["AsgiBackend", "create_app"]

ORIGIN: Final = "http://127.0.0.1:8000"
"""Where ASGI servers listen unless told otherwise."""

_FUNCTIONS: Final = logging.getLogger("camber.functions")
_LOGGER: Final = logging.getLogger("camber.asgi")


class AsgiBackend:
    """An ASGI 3 callable that opens a deployment when its server starts. Made by `create_app`.

    What functions print, and how they fail, goes to the logger `camber.functions`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # None before it starts, and again once it has stopped.
        self.deployment: Deployment | None = None
        self._asgi = AsgiApplication(self._answer, on_startup=self._start, on_shutdown=self._stop)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._asgi(scope, receive, send)

    @contextlib.asynccontextmanager
    async def lifespan(self, host: object = None) -> AsyncIterator[None]:
        """Open from beginning to end. For a host that mounts this: `FastAPI(lifespan=…)`.

        Raises:
            CamberError: as `Deployment.open` and `push`.
        """
        await self._start()
        try:
            yield
        finally:
            await self._stop()

    def _answer(self, exchange: Exchange) -> Awaitable[None] | None:
        if self.deployment is None:
            _LOGGER.error(
                "The backend is not open. If it is mounted, give its host `lifespan`: "
                "FastAPI(lifespan=backend.lifespan); if not, let the server run its lifespan."
            )
            raise RequestError(503, "BackendIsNotRunning", "The backend is not open.")
        return self.deployment.application(exchange)

    async def _start(self) -> None:
        assert self.deployment is None, "one server at a time runs a backend"
        if not self.settings.functions.is_dir():
            raise ConfigError(
                f"There is no functions folder {self.settings.functions}. "
                "Name the folder of an app, in CAMBER_APP or to create_app()."
            )
        deployment = await Deployment.open(self.settings)
        try:
            deployment.events.listen(_log)
            await deployment.push()
        except BaseException:
            await deployment.close()
            raise
        self.deployment = deployment

    async def _stop(self) -> None:
        deployment, self.deployment = self.deployment, None
        if deployment is not None:
            await deployment.close()


def create_app(
    folder: str | os.PathLike[str] = ".",
    *,
    functions: str = "convex",
    state: str | os.PathLike[str] | None = None,
    origin: str = ORIGIN,
    site_origin: str | None = None,
    production: bool = True,
    variables: Mapping[str, str] | None = None,
) -> AsgiBackend:
    """The backend of the app in `folder`. Nothing is opened before the server starts.

    Args:
        folder: the app's folder.
        functions: the functions folder in it.
        state: where data is kept; `.camber` in the app's folder unless given.
        origin: what clients reach it at, with the path it is mounted at, such as
            `https://example.com/backend`; the URLs of files begin with it.
        site_origin: what callers reach the HTTP endpoints at; `origin` and `/http` unless given.
        production: keep errors and log lines from clients; True unless given.
        variables: environment variables that are set if they never were.
    """
    home = Path(folder).absolute()
    origin = origin.rstrip("/")
    return AsgiBackend(
        Settings(
            home / functions,
            home / ".camber" if state is None else Path(state).absolute(),
            origin,
            f"{origin}/http" if site_origin is None else site_origin.rstrip("/"),
            production,
            tuple((variables or {}).items()),
        )
    )


def _from_environment() -> AsgiBackend:
    """CAMBER_APP, CAMBER_FUNCTIONS, CAMBER_STATE, CAMBER_ORIGIN and CAMBER_SITE_ORIGIN are the
    arguments of `create_app`; CAMBER_DEVELOPMENT, if it is set, shows errors to clients."""
    named = os.environ.get
    return create_app(
        named("CAMBER_APP", "."),
        functions=named("CAMBER_FUNCTIONS", "convex"),
        state=named("CAMBER_STATE") or None,
        origin=named("CAMBER_ORIGIN", ORIGIN),
        site_origin=named("CAMBER_SITE_ORIGIN") or None,
        production=not named("CAMBER_DEVELOPMENT"),
    )


def __getattr__(name: str) -> Any:
    """`app` is made when a server asks for it, not whenever this module is imported."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    app = globals()["app"] = _from_environment()
    return app


def _log(event: Ended) -> None:
    """One record for each line, and one for a failure, each on lines of its own."""
    for line in event.log:
        _FUNCTIONS.info("%s %s", event.path, line.wire())
    if event.failure is not None:
        _FUNCTIONS.error(
            "%s [Request ID: %s] %s", event.path, event.request_id, event.failure.trace.rstrip()
        )
