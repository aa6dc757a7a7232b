"""Collects stored bytes that no file names any more.

Bytes are orphaned by a deleted file, or by a crash between storing them and recording them. The
second kind looks for a moment like a file that is just being stored, so only bytes older than an
hour are collected.
"""

import asyncio
import logging
from typing import Final

from camber.database.database import Database
from camber.errors import CamberError
from camber.storage.blobs import Blobs
from camber.system.files import unknown_blobs

GRACE_SECONDS: Final = 3600.0
ROUND_SECONDS: Final = 600.0

_CHUNK: Final = 100
_LOGGER: Final = logging.getLogger("camber.files")


async def collect_orphans(
    database: Database, blobs: Blobs, *, older_than_seconds: float = GRACE_SECONDS
) -> int:
    """Delete the bytes that no file row names; returns how many files' worth that was."""
    keys = await blobs.keys(older_than_seconds=older_than_seconds)
    collected = 0
    for start in range(0, len(keys), _CHUNK):
        for key in await unknown_blobs(database.snapshot(), keys[start : start + _CHUNK]):
            await blobs.delete(key)
            collected += 1
    return collected


async def keep_collecting(database: Database, blobs: Blobs) -> None:
    """Collect from time to time, until cancelled."""
    while True:
        await asyncio.sleep(ROUND_SECONDS)
        try:
            await collect_orphans(database, blobs)
        except CamberError:
            _LOGGER.exception("Collecting orphaned files failed; it is tried again later.")
