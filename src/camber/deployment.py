"""One running backend: builds the parts, starts them, stops them in reverse. Decides nothing."""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, Final

from camber.clock import Clock, SystemClock
from camber.database.database import Database, complete
from camber.database.pagination import Cursors
from camber.database.schema_change import NO_SCHEMA, SchemaReport, change_schema, table_views
from camber.errors import ConfigError
from camber.functions import determinism
from camber.functions.actions.pool import ActionPool
from camber.functions.dead_man import DeadManSwitch, Freeze, take_freeze
from camber.functions.definition import Function
from camber.functions.events import Events
from camber.functions.files import FileStore
from camber.functions.host import Actions, RunnerHost
from camber.functions.loader import App, load_app
from camber.functions.runner import Runner
from camber.functions.variables import reading_from
from camber.functions.watchdog import Watchdog
from camber.server.access import Access
from camber.server.api import FunctionApi
from camber.server.app import Server
from camber.server.endpoints import Endpoints
from camber.server.files import Files
from camber.server.sync.room import SyncRoom
from camber.server.variables import Variables
from camber.services.auth.verifier import JwtVerifier
from camber.services.auth.web import Web
from camber.services.files import keep_collecting
from camber.services.receipts import keep_removing
from camber.storage.blobs import DirectoryBlobs
from camber.storage.sqlite import open_sqlite
from camber.system.instance import Instance, load_instance
from camber.system.links import FileLinks
from camber.system.tables import SYSTEM_TABLES
from camber.system.variables import change_variables, read_variables
from camber.version import VERSION

DATABASE_NAME: Final = "camber.sqlite3"
FREEZE_NAME: Final = "freeze.txt"
LOAD_SECONDS: Final = 10.0
"""How long the app's modules may take to load."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a deployment is told.

    Args:
        functions: the functions folder.
        state: the state folder, made if it is missing.
        api_origin: what clients reach the API at; set once the port is known.
        site_origin: what callers reach the HTTP endpoints at.
        production: keep errors and log lines from clients, and fetch the keys of auth providers
            from the public internet only.
        variables: environment variables that are set if they never were.
    """

    functions: Path
    state: Path
    api_origin: str = "http://127.0.0.1:3210"
    site_origin: str = "http://127.0.0.1:3211"
    production: bool = False
    variables: tuple[tuple[str, str], ...] = ()


class Deployment:
    """A backend that is open. Made by `open`; `application` answers its exchanges."""

    def __init__(
        self,
        settings: Settings,
        instance: Instance,
        database: Database,
        blobs: DirectoryBlobs,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.instance = instance
        self.database = database
        self.events = Events()
        self.app: App | None = None
        self._clock = clock
        self._blobs = blobs
        self.links = FileLinks(settings.api_origin, instance.derive(b"upload"))
        self.files = FileStore(database, blobs, self.links, clock)
        self._watchdog = Watchdog()
        self._switch = DeadManSwitch(settings.state / FREEZE_NAME)
        # Why the process before this one had to be ended; None when it ended otherwise.
        self.freeze = take_freeze(settings.state / FREEZE_NAME, settings.functions)
        cursors = Cursors(instance.derive(b"cursor"))
        self.runner = Runner(
            database, clock, self._watchdog, cursors, self.links, self.files, self.events
        )
        self._actions = ActionPool(
            settings.functions,
            RunnerHost(self.runner),
            environment=lambda: self.runner.variables,
        )
        self.runner.actions = Actions(self.runner, self._actions)
        redact = settings.production
        self._verifier = JwtVerifier(Web(development=not redact), clock, redact=redact)
        access = Access(instance.name, instance.admin_key, self._verifier)
        self.sync = SyncRoom(self.runner, access, clock, redact=redact)
        self.application = Server(
            instance.name,
            VERSION,
            Endpoints(self.runner, access, self.events, redact=redact),
            (
                FunctionApi(self.runner, access, redact=redact),
                self.sync,
                Files(self.files, self.links, clock),
                Variables(database, access),
            ),
        )
        self._services: list[asyncio.Task[None]] = []

    @staticmethod
    async def open(settings: Settings, clock: Clock | None = None) -> "Deployment":
        """Open the state folder and start everything but the app (see `push`).

        Raises:
            ConfigError: a folder that is missing or cannot be used.
            StorageLockedError: another server has the state folder open.
            InternalError: the database file is damaged, or of another version.
        """
        _make_state_folder(settings.state)
        instance = load_instance(settings.state)
        clock = clock or SystemClock()
        engine = await open_sqlite(settings.state / DATABASE_NAME)
        try:
            files = settings.state / "files"
            files.mkdir(mode=0o700, exist_ok=True)
            database = await Database.open(engine, clock, SYSTEM_TABLES)
            deployment = Deployment(settings, instance, database, DirectoryBlobs(files), clock)
            await deployment._start()
        except BaseException:
            await engine.close()
            raise
        return deployment

    async def _start(self) -> None:
        determinism.install()
        self._watchdog.start()
        self._watchdog.follow(asyncio.get_running_loop())
        await self.set_missing_variables(self.settings.variables)
        self._follow_variables()
        self._services = [
            asyncio.create_task(keep_collecting(self.database, self._blobs)),
            asyncio.create_task(keep_removing(self.database, self._clock)),
        ]

    # The app

    async def push(self) -> SchemaReport:
        """Load the functions folder and put it in force, schema and all. On any error the
        version that was in force stays.

        Raises:
            LoadError: the folder does not load; names file and line.
            SchemaError: a document does not fit the new schema.
        """
        with reading_from(self.runner.variables):
            app: App = self._watchdog.call(None, LOAD_SECONDS, load_app, self.settings.functions)
        try:
            schema = app.schema or NO_SCHEMA
            report = await change_schema(self.database, schema)
            await self.database.show_tables(table_views(self.database.catalog, schema))
        except BaseException:
            app.unload()
            raise
        before, self.app = self.app, app
        self.runner.use(app.registry)
        if before is None and self.freeze is not None:
            frozen = _function_of(self.freeze, app)
            if frozen is not None:
                self.runner.conduct.note_freeze(frozen.path, self.freeze.place)
        self._verifier.use(app.auth_config)
        self._actions.reload(self.settings.functions, app.sources)
        if before is not None:
            before.unload()
        return report

    def end_when_frozen(self) -> None:
        """From now on, end the process when code in C stops all Python in it, for somebody else to
        start it again. From the main thread. Only where the process is this deployment's own."""
        self._switch.arm()
        self._watchdog.switch = self._switch

    # Environment variables

    async def set_missing_variables(self, variables: Iterable[tuple[str, str]]) -> list[str]:
        """Set those of the `variables`, each a name and a value, that are not set yet.

        Returns:
            The names of those that were set.
        """
        known = await read_variables(self.database.snapshot())
        missing = {name: value for name, value in variables if name not in known}
        if missing:
            await self.database.write(lambda tx: change_variables(tx, missing))
        return list(missing)

    def _follow_variables(self) -> None:
        """Read all variables, and again whenever one changes: within the very commit, so that no
        query can see the old value at the new timestamp."""
        tx = self.database.snapshot()
        self.runner.variables = {
            "CONVEX_CLOUD_URL": self.settings.api_origin,
            "CONVEX_SITE_URL": self.settings.site_origin,
            **complete(read_variables(tx)),
        }
        self.database.subscribe(tx.reads, tx.begin_ts, lambda _: self._follow_variables())

    # Stopping

    async def close(self) -> None:
        """Stop everything, in reverse. Safe to call twice."""
        while self._services:
            service = self._services.pop()
            service.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await service
        await self.sync.close()
        await self._actions.close()
        await self._verifier.close()
        self.runner.close()
        await self.database.close()
        await self._blobs.close()
        self._watchdog.stop()
        self._switch.disarm()
        if self.app is not None:
            self.app.unload()
            self.app = None


def _function_of(freeze: Freeze, app: App) -> Function[..., Any] | None:
    """The function whose body froze: the outermost frame of the app that is one."""
    bodies = {
        (Path(function.body.__code__.co_filename), function.body.__code__.co_name): function
        for function in app.registry
        if isinstance(function.body, FunctionType)
    }
    for frame in reversed(freeze.frames):
        function = bodies.get((frame.path, frame.function))
        if function is not None:
            return function
    return None


def _make_state_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The state folder {folder} cannot be made: {error.strerror}. "
            "Choose another with --state."
        ) from error
