"""Which tables the platform keeps for itself, and their numbers.

App code sees `_storage` (read only, through `ctx.db.system`); the others are the platform's alone.
Numbers are part of the format on disk: never changed, never given twice.
"""

from typing import Final

from camber.database.catalog import system_table

STORAGE: Final = "_storage"
FILES: Final = "_files"
ENVIRONMENT: Final = "_environment"
RECEIPTS: Final = "_receipts"

SYSTEM_TABLES: Final = (
    system_table(10, STORAGE, {}),
    system_table(11, FILES, {"by_file": ("file",), "by_uuid": ("uuid",), "by_blob": ("blob",)}),
    system_table(12, ENVIRONMENT, {"by_name": ("name",)}),
    system_table(13, RECEIPTS, {}),
)

PUBLIC_TABLES: Final = frozenset((STORAGE,))
"""The system tables that app code may read."""
