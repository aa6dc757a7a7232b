"""A request's body on its way from a transport to an application.

One side feeds, the other waits. What has arrived and was not taken is held here, so whoever feeds
must stop while it `is_full`.
"""

import asyncio
from typing import Final

from camber.errors import InvalidArgumentError, RequestError

HIGH_WATER: Final = 256 * 1024
"""Bytes held before the client is made to wait, unless the whole body was asked for."""

LOW_WATER: Final = 64 * 1024
"""Bytes held when it may go on."""


class RequestBody:
    """What has arrived of one body."""

    __slots__ = (
        "_buffer",
        "_enough",
        "_is_taken",
        "_waiter",
        "error",
        "is_complete",
        "is_wanted_whole",
        "received",
    )

    def __init__(self) -> None:
        # Bytes until a second piece arrives: most bodies come in one and are never copied.
        self._buffer: bytes | bytearray = b""
        self._waiter: asyncio.Future[None] | None = None
        # Whoever waits is woken once more than this many bytes are held.
        self._enough = 0
        # From the first piece taken by `take`: the whole can no longer be had.
        self._is_taken = False
        self.received = 0
        self.is_complete = False
        self.is_wanted_whole = False
        self.error: RequestError | None = None

    @property
    def is_full(self) -> bool:
        """Whether the client should wait."""
        return len(self._buffer) > HIGH_WATER and not self.is_wanted_whole

    @property
    def is_low(self) -> bool:
        """Whether a client that waited may go on."""
        return len(self._buffer) <= LOW_WATER or self.is_wanted_whole

    # ---- the transport's side ----

    def feed(self, data: bytes) -> None:
        self.received += len(data)
        if not self._buffer:
            self._buffer = data
        else:
            if type(self._buffer) is bytes:
                self._buffer = bytearray(self._buffer)
            self._buffer += data
        if len(self._buffer) > self._enough:
            self._wake()

    def finish(self) -> None:
        """All of it has arrived."""
        self.is_complete = True
        self._wake()

    def fail(self, error: RequestError) -> None:
        """The rest will never arrive. Does nothing once complete."""
        if not self.is_complete and self.error is None:
            self.error = error
            self._wake()

    # ---- the application's side ----

    def whole(self) -> bytes:
        """Everything, once complete. May be called again."""
        assert self.is_complete
        if self._is_taken:
            raise InvalidArgumentError("The request's body was already read as a stream.")
        if type(self._buffer) is not bytes:
            self._buffer = bytes(self._buffer)
        return self._buffer

    def take(self) -> bytes:
        """What is held now; from then on it is the taker's."""
        piece, self._buffer = bytes(self._buffer), b""
        self._is_taken = True
        return piece

    async def wait(self, *, more_than: int) -> None:
        """Until complete, failed, or more than `more_than` bytes are held."""
        if self.is_complete or self.error is not None or len(self._buffer) > more_than:
            return
        if self._waiter is not None:
            raise InvalidArgumentError("The request's body is being read by another task.")
        self._enough = more_than
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
