"""Apps to test on: a deployment that is open, without ports, and calls of its functions."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from camber.clock import Clock
from camber.deployment import Deployment, Settings
from camber.functions.events import Ended
from camber.functions.identity import NOBODY, Identity
from camber.functions.invocation import Invocation
from camber.functions.outcome import Outcome
from camber.functions.runner import Runner
from camber.system.receipts import ClientRequest


class OpenApp:
    """A deployment with an app in force, and the executions that it has told of: those that
    printed something or failed."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.told: list[Ended] = []
        deployment.events.listen(self.told.append)

    @property
    def runner(self) -> Runner:
        return self.deployment.runner

    def invocation(
        self,
        path: str,
        arguments: Mapping[str, Any] | None = None,
        identity: Identity = NOBODY,
        journal: str | None = None,
        request: ClientRequest | None = None,
    ) -> Invocation:
        function = self.runner.find(path, None)
        return Invocation(
            function, arguments or {}, identity, "", False, journal=journal, request=request
        )

    async def call(self, path: str, **arguments: Any) -> Any:
        """What a function returns; raises what it raised."""
        return (await self.outcome(path, **arguments)).value()

    async def outcome(self, path: str, **arguments: Any) -> Outcome:
        return await self.runner.run(self.invocation(path, arguments))

    def runs(self, path: str) -> int:
        """How many executions of `path` were told of; start over with `told.clear()`."""
        return len([event for event in self.told if event.path == path])


@asynccontextmanager
async def opened(
    folder: Path, app: Mapping[str, str], clock: Clock | None = None
) -> AsyncIterator[OpenApp]:
    """Open an app written from strings; its state lies in `folder/state`, and is kept."""
    functions = write_app(folder, app)
    deployment = await Deployment.open(Settings(functions, folder / "state"), clock)
    try:
        await deployment.push()
        yield OpenApp(deployment)
    finally:
        await deployment.close()


def write_app(folder: Path, app: Mapping[str, str]) -> Path:
    functions = folder / "convex"
    functions.mkdir(exist_ok=True)
    for name, source in app.items():
        (functions / name).write_text(dedent(source))
    return functions
