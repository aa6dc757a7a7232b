"""One provider's keys, kept for a while and fetched again when they may have changed.

* Keys are good for `FRESH_SECONDS`; a key that the provider takes back is dead after that.
* A token that names an unknown key causes a fetch, for all who wait together, but not sooner than
  `RETRY_SECONDS` after the one before: inventing names does not make us a flood.
* While the provider cannot be reached, what it said last holds for `STALE_SECONDS` longer.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final

from camber.clock import Clock
from camber.errors import RequestError
from camber.services.auth.keys import KeySet, read_keys

FRESH_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 30.0
STALE_SECONDS: Final = 3600.0

# Past this age a use of the keys renews them beside the requests, so that nobody waits for it.
_RENEW_SECONDS: Final = 0.8 * FRESH_SECONDS


class KeyRing:
    """The keys of one provider.

    Args:
        load: fetches the key set document; a RequestError is what users of tokens are told.
        broken: makes the error from why a document is no key set, and logs it, as `load` does.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[bytes]],
        broken: Callable[[str], RequestError],
        clock: Clock,
    ) -> None:
        self._load = load
        self._broken = broken
        self._clock = clock
        self._keys: KeySet | None = None
        # When the fetch of `_keys` began, and when the last fetch did.
        self._loaded_at = -math.inf
        self._tried_at = -math.inf
        # Of fetches without a success between them; and what the last one said.
        self._failures = 0
        self._error: RequestError | None = None
        self._loading: asyncio.Task[None] | None = None

    def fresh(self) -> KeySet | None:
        """The keys, if they need not be fetched before they are used."""
        age = self._clock.monotonic() - self._loaded_at
        if age >= FRESH_SECONDS:
            return None
        if age >= _RENEW_SECONDS and self._loading is None and self._may_try():
            self._begin()
        return self._keys

    async def keys(self) -> KeySet:
        """The keys: fresh, or as they were while the provider cannot be reached.

        Raises:
            RequestError: there are none.
        """
        return self.fresh() or await self.keys_anew()

    async def keys_anew(self) -> KeySet:
        """The keys, fetched now unless they were a moment ago.

        Raises:
            RequestError: there are none.
        """
        if self._loading is None and self._may_try():
            self._begin()
        if self._loading is not None:
            # Whoever stops waiting does not stop the others.
            await asyncio.wait([self._loading])
        return self._usable()

    def stop(self) -> asyncio.Task[None] | None:
        """Stop fetching. Returns the task that ends by it, if there is one."""
        if self._loading is not None:
            self._loading.cancel()
        return self._loading

    def _may_try(self) -> bool:
        pause = RETRY_SECONDS
        if self._failures:
            # A provider that is just starting is found soon.
            pause = min(RETRY_SECONDS, 2.0 ** (self._failures - 1))
        return self._clock.monotonic() - self._tried_at >= pause

    def _begin(self) -> None:
        self._tried_at = self._clock.monotonic()
        # Nothing of the request that happened to be the first belongs to it.
        self._loading = asyncio.create_task(self._reload(self._tried_at), context=Context())

    async def _reload(self, began_at: float) -> None:
        """Fetch. Never raises: the outcome is in the fields."""
        try:
            document = await self._load()
            if self._keys is None or self._keys.document != document:
                # In a thread, as the first one imports the library.
                self._keys = await asyncio.to_thread(self._read, document)
            self._loaded_at, self._failures, self._error = began_at, 0, None
        except RequestError as error:
            self._failures += 1
            self._error = error
        finally:
            self._loading = None

    def _read(self, document: bytes) -> KeySet:
        try:
            return read_keys(document)
        except ValueError as error:
            raise self._broken(str(error)) from None

    def _usable(self) -> KeySet:
        age = self._clock.monotonic() - self._loaded_at
        if self._keys is not None and age < FRESH_SECONDS + STALE_SECONDS:
            return self._keys
        error = self._error
        if error is None:
            error = self._broken("it was stopped")
        # A new one each time: an error that is raised gathers the frames it passed.
        raise RequestError(error.status, error.code, str(error))
