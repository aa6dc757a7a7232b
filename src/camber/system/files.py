"""Stored files as rows.

A file is two rows, written and deleted together: its `_storage` document, which app code sees, and
a `_files` document, which says where the bytes lie (`blob`) and under which secret name they are
served (`uuid`). A row is written only after its bytes are durable, and bytes without a row are
collected, so the two never disagree for long and a row never lacks its bytes.
"""

import base64
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from camber.database.plan import Comparison, Plan
from camber.database.scan import open_scan
from camber.database.transaction import Transaction
from camber.errors import InvalidArgumentError
from camber.storage.blobs import StoredBlob
from camber.system.tables import FILES, STORAGE
from camber.values.id import table_number_of
from camber.values.value import Document

_STORAGE_NUMBER: Final = 10


class FileNotFoundInStorageError(InvalidArgumentError):
    """No file has this id."""

    code = "StorageIdNotFound"


@dataclass(frozen=True, slots=True)
class File:
    """A stored file. `sha256` are the 32 bytes, `size` is in bytes."""

    id: str
    uuid: str
    blob: str
    sha256: bytes
    size: int
    content_type: str | None


def insert_file(tx: Transaction, blob: StoredBlob, content_type: str | None) -> str:
    """Record bytes that are durable already; returns the id of the new file."""
    fields: dict[str, Any] = {
        "sha256": base64.b64encode(blob.sha256).decode(),
        "size": float(blob.size),
    }
    if content_type is not None:
        fields["contentType"] = content_type
    id = tx.insert(STORAGE, fields)
    tx.insert(FILES, {"file": id, "uuid": str(uuid.uuid4()), "blob": blob.key})
    return id


async def find_file(tx: Transaction, storage_id: str) -> File | None:
    """The file with this id, in either form: the document id, or the UUID of its URL."""
    if _looks_like_uuid(storage_id):
        return await find_file_by_uuid(tx, storage_id)
    check_storage_id(storage_id)
    row = await _row(tx, "by_file", "file", storage_id)
    return None if row is None else await _file(tx, row)


async def find_file_by_uuid(tx: Transaction, uuid: str) -> File | None:
    """The file that is served under this UUID."""
    row = await _row(tx, "by_uuid", "uuid", uuid)
    return None if row is None else await _file(tx, row)


async def delete_file(tx: Transaction, storage_id: str) -> None:
    """Delete both rows; the bytes are collected later.

    Raises:
        FileNotFoundInStorageError: there is no such file.
    """
    if _looks_like_uuid(storage_id):
        row = await _row(tx, "by_uuid", "uuid", storage_id)
    else:
        check_storage_id(storage_id)
        row = await _row(tx, "by_file", "file", storage_id)
    if row is None:
        raise FileNotFoundInStorageError(f"storage id {storage_id} not found")
    await tx.delete(row["file"])
    await tx.delete(row["_id"])


async def unknown_blobs(tx: Transaction, blobs: Sequence[str]) -> list[str]:
    """Those of `blobs` that no file row names."""
    return [blob for blob in blobs if await _row(tx, "by_blob", "blob", blob) is None]


def check_storage_id(storage_id: Any) -> None:
    """Raise an InvalidArgumentError unless this is the id of some `_storage` document."""
    number = table_number_of(storage_id) if isinstance(storage_id, str) else None
    if number is None:
        raise InvalidArgumentError(
            f'Invalid storage ID: "{storage_id}". Storage ID should be an\n'
            " Id of '_storage' table, or a UUID string."
        )
    if number != _STORAGE_NUMBER:
        raise InvalidArgumentError(
            "Invalid storage ID. Storage ID cannot be an ID on any table other than '_storage'."
        )


def _looks_like_uuid(text: Any) -> bool:
    return isinstance(text, str) and len(text) == 36 and text.count("-") == 4


async def _row(tx: Transaction, index: str, field: str, value: str) -> Document | None:
    scan = open_scan(tx, Plan(FILES, index, (Comparison("eq", field, value),)))
    found = await scan.take(1)
    return found[0] if found else None


async def _file(tx: Transaction, row: Document) -> File:
    document = await tx.get(row["file"])
    assert document is not None, "the two rows of a file come and go together"
    return File(
        id=row["file"],
        uuid=row["uuid"],
        blob=row["blob"],
        sha256=base64.b64decode(document["sha256"]),
        size=int(document["size"]),
        content_type=document.get("contentType"),
    )
