"""Which files of an app were saved: its modules, and camber.toml.

The functions folder is watched with all that is in it; the folders around it only for camber.toml
and for a functions folder that is taken away and comes back, as it does when a branch is checked
out. The state folder, which changes all the time, is never looked into.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from watchfiles import Change, awatch

from camber.cli.config import FILE_NAME, AppConfig
from camber.errors import ConfigError

QUIET_MS: Final = 100
"""Saves that follow each other faster than this are one change."""


class Changes:
    """The changes of one app. Made by `watching`."""

    def __init__(self, app: AppConfig) -> None:
        self._config = app.folder / FILE_NAME
        self._functions = app.functions
        self._around = {app.folder, app.functions.parent}
        self._queue: asyncio.Queue[set[Path] | ConfigError] = asyncio.Queue()
        # Set when the functions folder came or went: then it has to be watched anew.
        self._moved = asyncio.Event()

    async def wait_next(self) -> set[Path]:
        """Wait for the next change: the files that were saved, made, renamed or deleted.

        Raises:
            ConfigError: the system refuses to tell of changes.
        """
        paths: set[Path] = set()
        while not paths or not self._queue.empty():
            found = await self._queue.get()
            if isinstance(found, ConfigError):
                raise found
            paths |= found
        return paths

    async def watch(self) -> None:
        """Collect changes until cancelled."""
        await asyncio.gather(self._told(self._watch_around()), self._told(self._watch_functions()))

    async def _told(self, watch: Awaitable[None]) -> None:
        try:
            await watch
        except OSError as error:
            self._queue.put_nowait(
                ConfigError(
                    f"The system does not tell of saved files: {error}. Set "
                    "WATCHFILES_FORCE_POLLING=1 to look for them instead, or use `camber serve`."
                )
            )

    async def _watch_around(self) -> None:
        watched = (self._config, self._functions)
        async for changes in awatch(
            *self._around,
            watch_filter=lambda _, path: Path(path) in watched,
            step=QUIET_MS,
            recursive=False,
        ):
            paths = {Path(path) for _, path in changes}
            if self._functions in paths:
                self._moved.set()
            self._queue.put_nowait(paths)

    async def _watch_functions(self) -> None:
        came_back = False
        while True:
            self._moved.clear()
            if self._functions.is_dir():
                if came_back:
                    # What was saved before the watch below began has gone unnoticed: look at
                    # everything again as soon as it has.
                    loop = asyncio.get_running_loop()
                    loop.call_soon(self._queue.put_nowait, {self._functions})
                came_back = True
                async for changes in awatch(
                    self._functions,
                    watch_filter=_matters,
                    step=QUIET_MS,
                    stop_event=self._moved,
                ):
                    self._queue.put_nowait({Path(path) for _, path in changes})
            await self._moved.wait()


@asynccontextmanager
async def watching(app: AppConfig) -> AsyncIterator[Changes]:
    """Collect the changes of `app`, from now on."""
    changes = Changes(app)
    task = asyncio.create_task(changes.watch())
    try:
        # Two turns of the loop: the task begins its parts, and they begin to watch.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        yield changes
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _matters(change: Change, path: str) -> bool:
    if path.endswith(".py"):
        return True
    # A folder that comes or goes takes its files along, without a word about each of them.
    if change is Change.added:
        return os.path.isdir(path)
    return change is Change.deleted and "." not in os.path.basename(path)
