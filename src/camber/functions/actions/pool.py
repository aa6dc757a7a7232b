"""The action processes of one server: started when needed, replaced when they end.

A call goes to the process with the fewest. As long as there are fewer processes than allowed, a
call that finds all of them busy has another one started. Processes that an action holds up do not
count: calls they could not begin go to others, and as many others may be started in their place.
A reload retires all processes: they finish what they run, while new calls go to new ones.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from camber.errors import OverloadedError, TransientError
from camber.functions.actions.host import ActionCall, ActionHost, ActionOutcome, Limits
from camber.functions.actions.messages import Setup
from camber.functions.actions.process import TRANSIENT_TEXT, ActionProcess, start_process
from camber.functions.failure import Failure

PROCESSES: Final = 2
DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """`processes` are those that take calls, `retired` those that end with their last one;
    `started` counts all there ever were. `running` and `waiting` are calls."""

    processes: int
    retired: int
    started: int
    running: int
    waiting: int


class ActionPool:
    """Runs actions, each in one of a few processes.

    Args:
        functions_root: the app's functions folder.
        host: what actions ask while they run.
        processes: how many there are at most, retired and held up ones aside.
        limits: what actions may use.
        environment: the variables that `env` shows while modules load.
    """

    def __init__(
        self,
        functions_root: str | os.PathLike[str],
        host: ActionHost,
        *,
        processes: int = PROCESSES,
        limits: Limits = DEFAULT_LIMITS,
        environment: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._root = Path(functions_root)
        # The version in force; None means what is on disk when a process starts.
        self._sources: dict[str, bytes] | None = None
        self._host = host
        self._processes_max = processes
        self._limits = limits
        self._environment = environment
        # Those that take calls, or did when last looked at.
        self._processes: list[ActionProcess] = []
        # All that have not ended.
        self._alive: set[ActionProcess] = set()
        self._starting: asyncio.Task[None] | None = None
        # Grows with every reload: what was started for an older version is not taken on.
        self._version = 0
        self._started = 0
        self._slots = asyncio.Semaphore(limits.calls_max)
        self._running = 0
        self._nested = 0
        self._waiting = 0
        self._closed = False

    # Calls

    async def run(self, call: ActionCall) -> ActionOutcome:
        """Run an action to its end, and tell what came of it, whatever that is.

        Raises:
            OverloadedError: too many actions run already; this one has not begun.
        """
        await self._admit(call)
        try:
            return await self._run(call)
        finally:
            self._leave(call)

    async def _run(self, call: ActionCall) -> ActionOutcome:
        outcome = None
        while outcome is None:
            try:
                process = await self._choose()
            except OSError as error:
                return _failed(f"The action's process could not start: {error}")
            if process is None:
                return _failed(TRANSIENT_TEXT)
            outcome = await process.run(call)
        return outcome

    async def _admit(self, call: ActionCall) -> None:
        if call.nested:
            # Its caller holds a slot already, and would hold it for ever if this one waited.
            if self._nested >= self._limits.nested_max:
                raise self._too_many()
            self._nested += 1
            self._running += 1
            return
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.admission_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise self._too_many() from None
        finally:
            self._waiting -= 1
        self._running += 1

    def _leave(self, call: ActionCall) -> None:
        self._running -= 1
        if call.nested:
            self._nested -= 1
        else:
            self._slots.release()

    def _too_many(self) -> OverloadedError:
        error = OverloadedError(
            "Too many concurrent requests. Your backend is limited to "
            f"{self._limits.calls_max} concurrent actions. "
            "If you need more resources, please contact support."
        )
        error.code = "TooManyConcurrentRequests"
        return error

    # Processes

    async def _choose(self) -> ActionProcess | None:
        """The process for the next call; None when the pool is closed.

        Raises:
            OSError: there is none, and none can be started.
        """
        while not self._closed:
            self._processes = [process for process in self._processes if process.accepts]
            free = [process for process in self._processes if not process.stuck]
            best = min(free or self._processes, key=lambda process: process.load, default=None)
            if best is not None and best.load == 0:
                self._let_go(free)
                return best
            room = len(self._processes) < 2 * self._processes_max
            if room and len(free) < self._processes_max:
                self.warm()
            if free or self._starting is None:
                return best
            # Shielded: others may wait for the same one.
            await asyncio.shield(self._starting)
        return None

    def _let_go(self, free: list[ActionProcess]) -> None:
        """Retire what was started in place of processes that are no longer held up."""
        for process in free[self._processes_max :]:
            if process.load == 0:
                process.retire()

    def warm(self) -> None:
        """Start a process now, so that the next call need not wait for one."""
        if self._starting is None and not self._closed:
            self._starting = asyncio.create_task(self._start())
            # Also when nobody waits for it, its failure is looked at.
            self._starting.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _start(self) -> None:
        try:
            version = self._version
            setup = Setup(
                str(self._root),
                self._sources,
                dict(self._environment()),
                self._limits.memory_bytes,
            )
            process = await start_process(setup, self._host, self._limits)
            self._started += 1
            self._alive.add(process)
            process.when_ended(self._alive.discard)
            if version == self._version and not self._closed:
                self._processes.append(process)
            else:
                process.retire()
        finally:
            self._starting = None

    def reload(
        self,
        functions_root: str | os.PathLike[str],
        sources: Mapping[str, bytes] | None = None,
    ) -> None:
        """Run another version of the app from now on. What runs already ends as it began.

        Args:
            functions_root: the app's functions folder.
            sources: what its files held when this version was loaded (`App.sources`), so that a
                broken save later on does not reach a process that starts later on.
        """
        self._root = Path(functions_root)
        self._sources = None if sources is None else dict(sources)
        self._version += 1
        used = bool(self._processes)
        for process in self._processes:
            process.retire()
        self._processes = []
        if used:
            self.warm()

    async def close(self) -> None:
        """End all processes, within a few seconds. Safe to call twice."""
        self._closed = True
        if self._starting is not None:
            await asyncio.wait((self._starting,))
        await asyncio.gather(*(process.stop() for process in list(self._alive)))
        self._processes = []

    def statistics(self) -> PoolStatistics:
        """What there is at this moment."""
        accepting = sum(process.accepts for process in self._processes)
        return PoolStatistics(
            accepting, len(self._alive) - accepting, self._started, self._running, self._waiting
        )


def _failed(text: str) -> ActionOutcome:
    error = TransientError(text)
    return ActionOutcome(None, (), Failure(text), error)
