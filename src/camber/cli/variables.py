"""A deployment's environment variables, wherever it is: in a running server, or in its folder."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from camber.cli.client import Client
from camber.clock import SystemClock
from camber.database.database import Database
from camber.deployment import DATABASE_NAME
from camber.errors import ConfigError
from camber.storage.sqlite import open_sqlite
from camber.system.tables import SYSTEM_TABLES
from camber.system.variables import change_variables, read_variables

T = TypeVar("T")


class Variables(Protocol):
    """What `camber env` reads and changes."""

    def read(self) -> dict[str, str]:
        """All of them, by name."""

    def change(self, changes: Mapping[str, str | None], /) -> None:
        """Set some; None removes one. All of `changes`, or nothing.

        Raises:
            UserError: a name or a value that cannot be.
        """


class ServedVariables:
    """Those of a running server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self) -> dict[str, str]:
        variables: dict[str, str] = self._client.get("/api/list_environment_variables")[
            "environmentVariables"
        ]
        return variables

    def change(self, changes: Mapping[str, str | None], /) -> None:
        body = {"changes": [{"name": name, "value": value} for name, value in changes.items()]}
        self._client.post("/api/update_environment_variables", body)


class StoredVariables:
    """Those in a state folder that no server has open."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def read(self) -> dict[str, str]:
        if not (self._state / DATABASE_NAME).exists():
            return {}
        return asyncio.run(self._use(lambda database: read_variables(database.snapshot())))

    def change(self, changes: Mapping[str, str | None], /) -> None:
        async def write(database: Database) -> None:
            await database.write(lambda tx: change_variables(tx, changes))

        try:
            self._state.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"The state folder {self._state} cannot be made: {error.strerror}."
            ) from error
        asyncio.run(self._use(write))

    async def _use(self, work: Callable[[Database], Awaitable[T]]) -> T:
        engine = await open_sqlite(self._state / DATABASE_NAME)
        try:
            database = await Database.open(engine, SystemClock(), SYSTEM_TABLES)
        except BaseException:
            await engine.close()
            raise
        try:
            return await work(database)
        finally:
            await database.close()
