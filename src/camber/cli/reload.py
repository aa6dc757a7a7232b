"""From a save to what is served: load, compare, tell.

Whatever goes wrong is shown with file, line and cause, and the last good version serves on.
"""

import time
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Final

from camber.cli.config import FILE_NAME, AppConfig, read_config
from camber.cli.function_log import CLOCK_FORMAT
from camber.cli.terminal import Terminal
from camber.database.schema_change import SchemaReport
from camber.deployment import Deployment
from camber.errors import CamberError
from camber.functions.definition import Kind
from camber.functions.loader import App
from camber.functions.path import display
from camber.server.failure import log_failure

_NAMES_SHOWN: Final = 3


class Reloader:
    """Keeps a deployment at what its author saved last, if that is sound."""

    def __init__(self, app: AppConfig, deployment: Deployment, terminal: Terminal) -> None:
        self._app = app
        self._deployment = deployment
        self._terminal = terminal
        # Whether the files as they are now could not be put in force.
        self._failed = True

    async def load_first(self) -> CamberError | None:
        """Put the app in force. Returns why that cannot be, for `show_failure`."""
        try:
            await self._deployment.push()
        except CamberError as error:
            return error
        self._failed = False
        return None

    async def take(self, paths: set[Path]) -> None:
        """Act on changed files."""
        if self._app.folder / FILE_NAME in paths:
            await self._attempt(self._read_config())
        sources = sorted(set(self._changed(paths)))
        if sources:
            await self._attempt(self._push(sources))

    async def _attempt(self, work: Awaitable[None]) -> None:
        """Do `work`, and let nothing that goes wrong in it end the server."""
        try:
            await work
        except CamberError as error:
            self.show_failure(error)
        except Exception as error:  # the edge of a reload: a fault of ours, and no reason to stop
            log_failure("a reload", error)

    async def _push(self, sources: list[str]) -> None:
        self._failed = True
        before, started = self._deployment.app, time.perf_counter()
        report = await self._deployment.push()
        took_ms = (time.perf_counter() - started) * 1000
        self._failed = False
        self._show(f"reloaded in {took_ms:.0f} ms ({_some(sources)})")
        for line in _differences(before, self._deployment.app, report):
            self._terminal.say(f"    {line}")

    async def _read_config(self) -> None:
        app = read_config(self._app.folder)
        if app.functions != self._app.functions:
            self._show(f"{FILE_NAME} names another functions folder: restart to serve it")
        added = await self._deployment.set_missing_variables(app.variables)
        if added:
            self._show(f"{FILE_NAME} read; set {', '.join(added)}")

    def _changed(self, paths: set[Path]) -> Iterable[str]:
        """The names of those modules at or below `paths` that are not as they were loaded; of
        all, when that failed."""
        app, root = self._deployment.app, self._app.functions
        sources = {} if app is None else app.sources
        for path in paths:
            if not path.is_relative_to(root):
                continue
            files = set(path.rglob("*.py")) if path.is_dir() else {path}
            # What was moved away was there before.
            files |= {root / name for name in sources if (root / name).is_relative_to(path)}
            for file in files:
                name = file.relative_to(root).as_posix()
                if file.suffix == ".py" and (self._failed or _content(file) != sources.get(name)):
                    yield name

    def _show(self, text: str) -> None:
        style = self._terminal.style
        clock = style(time.strftime(CLOCK_FORMAT), dim=True)
        self._terminal.say(f"{style('✔', fg='green')} {clock} {text}")

    def show_failure(self, error: CamberError) -> None:
        """What is wrong, and what is served meanwhile."""
        style = self._terminal.style
        clock = style(time.strftime(CLOCK_FORMAT), dim=True)
        first, *others = str(error).splitlines() or [type(error).__name__]
        self._terminal.say(f"{style('✘', fg='red')} {clock} {style(first, fg='red', bold=True)}")
        for line in others:
            self._terminal.say(line)
        after = (
            "nothing is served until a save loads"
            if self._deployment.app is None
            else "still serving the last good version"
        )
        self._terminal.say(style(f"    {after}", fg="yellow"))


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


def _differences(before: App | None, after: App | None, report: SchemaReport) -> list[str]:
    """What callers can and cannot call any more, and what the schema did: `+ messages:remove`."""
    old, new = _names(before), _names(after)
    lines = [f"+ {name}" for name in new if name not in old]
    lines += [f"- {name}" for name in old if name not in new]
    lines += [f"+ index {name}" for name in report.indexes_added]
    lines += [f"- index {name}" for name in report.indexes_dropped]
    return lines


def _names(app: App | None) -> list[str]:
    """Every function by path, every route by method and path."""
    if app is None:
        return []
    names = [display(f.path) for f in app.registry if f.kind is not Kind.HTTP]
    routes = [] if app.router is None else app.router.get_routes()
    return names + [f"{method} {path}" for path, method, _ in routes]
