"""Work that many may wait for, and that is done once for all of them."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """What is under way, by key."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}

    async def join(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the work of this key comes to; begun unless it is under way.

        Whoever waits may be cancelled: the others go on waiting, and the work ends by itself.
        """
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(begin())
            task.add_done_callback(lambda _: self._end(key))
        return await asyncio.shield(task)

    def _end(self, key: Hashable) -> None:
        task = self._tasks.pop(key)
        if not task.cancelled():
            task.exception()  # Seen, also if nobody waits any more.

    def close(self) -> None:
        """Cancel what is under way."""
        for task in self._tasks.values():
            task.cancel()
