"""Removes the receipts of mutations that no client will send again."""

import asyncio
import logging
from typing import Final

from camber.clock import Clock
from camber.database.database import Database
from camber.errors import CamberError
from camber.system.receipts import KEPT_DAYS, remove_receipts

ROUND_SECONDS: Final = 600.0

# Between two slices, so that the mutations of clients come first.
_PAUSE_SECONDS: Final = 0.05
_DAY_NS: Final = 86_400 * 10**9
_LOGGER: Final = logging.getLogger("camber.receipts")


async def remove_old_receipts(database: Database, clock: Clock) -> int:
    """Remove the receipts that are older than 14 days, in slices; returns how many."""
    before_ts = clock.now_ns() - KEPT_DAYS * _DAY_NS
    removed = 0
    while True:
        done = await database.write(lambda tx: remove_receipts(tx, before_ts))
        if not done.value:
            return removed
        removed += done.value
        await asyncio.sleep(_PAUSE_SECONDS)


async def keep_removing(database: Database, clock: Clock) -> None:
    """Remove from time to time, until cancelled."""
    while True:
        await asyncio.sleep(ROUND_SECONDS)
        try:
            await remove_old_receipts(database, clock)
        except CamberError:
            _LOGGER.exception("Removing old receipts failed; it is tried again later.")
