"""`ctx.storage`: stored files, as each kind of function may use them.

Storing happens outside of transactions: the bytes are made durable first, then a row is committed
that names them, so a row never lacks its bytes. Deleting a row ends the file; its bytes are
collected later.
"""

import base64
import binascii
from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from camber.clock import Clock
from camber.database.database import Database
from camber.errors import InvalidArgumentError, RequestError, TransientError
from camber.functions.absent import WRITE, Absent
from camber.functions.call import Call, Links
from camber.functions.fetch import Blob, Request
from camber.functions.frames import refusal
from camber.storage.blobs import Blobs
from camber.system.files import File, delete_file, find_file, find_file_by_uuid, insert_file

_DIGEST: Final = "sha-256="


class FileStore:
    """The deployment's files: bytes in a blob store, rows in the database."""

    def __init__(self, database: Database, blobs: Blobs, links: Links, clock: Clock) -> None:
        self.database = database
        self.blobs = blobs
        self.links = links
        self._clock = clock

    async def store(
        self,
        chunks: AsyncIterable[bytes],
        content_type: str | None,
        *,
        sha256: bytes | None = None,
        size: int | None = None,
    ) -> str:
        """Keep a file; durable on return.

        Args:
            sha256, size: what the sender says of the bytes; the file is refused if it is not so.

        Returns:
            The id of its `_storage` document.

        Raises:
            RequestError: 400 `Sha256Mismatch` or `SizeMismatch`; nothing is stored.
        """
        blob = await self.blobs.put(chunks)
        flaw = None
        if sha256 is not None and sha256 != blob.sha256:
            expected, actual = (base64.b64encode(d).decode() for d in (sha256, blob.sha256))
            flaw = ("Sha256Mismatch", f"Sha256 mismatch. Expected: {expected} Actual: {actual}")
        elif size is not None and size != blob.size:
            flaw = ("SizeMismatch", f"Size mismatch. Expected: {size} Actual: {blob.size}")
        if flaw is not None:
            await self.blobs.delete(blob.key)
            raise RequestError(400, *flaw)

        async def record(tx: Any) -> str:
            return insert_file(tx, blob, content_type)

        try:
            return (await self.database.write(record)).value
        except TransientError:
            # Surely not recorded: no need to let the bytes wait for the collector.
            await self.blobs.delete(blob.key)
            raise

    async def find(self, storage_id: str) -> File | None:
        """The file with this id, or None."""
        return await find_file(self.database.snapshot(), storage_id)

    async def find_by_uuid(self, uuid: str) -> File | None:
        """The file that is served under this UUID, or None."""
        return await find_file_by_uuid(self.database.snapshot(), uuid)

    def read(self, file: File, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`."""
        return self.blobs.read(file.blob, start=start, end=end)

    async def delete(self, storage_id: str) -> None:
        """End a file at once.

        Raises:
            FileNotFoundInStorageError: there is no such file.
        """
        await self.database.write(lambda tx: delete_file(tx, storage_id))

    def upload_url(self) -> str:
        """Where a client may upload a file, for an hour from now."""
        return self.links.upload_url(self._clock.now_ns())


class StorageReader:
    """Stored files in a query: what there is, and where it is served."""

    __slots__ = ("_call",)

    if not TYPE_CHECKING:
        delete = Absent("ctx.storage.delete()", "a query", WRITE)
        generate_upload_url = Absent("ctx.storage.generate_upload_url()", "a query", WRITE)

    def __init__(self, call: Call) -> None:
        self._call = call

    async def get_url(self, storage_id: str, /) -> str | None:
        """Where the file is served; None if there is no such file."""
        file = await find_file(self._call.tx, storage_id)
        return None if file is None else self._call.platform.links.file_url(file.uuid)

    async def get_metadata(self, storage_id: str, /) -> dict[str, Any] | None:
        """`storageId`, `sha256` (hex), `size` in bytes and `contentType`; None if missing."""
        file = await find_file(self._call.tx, storage_id)
        return None if file is None else metadata_of(file)

    async def store(self, *_: Any) -> str:
        raise _outside_only("storage.store()")

    async def get(self, *_: Any) -> Blob:
        raise _outside_only("storage.get()")


class StorageWriter(StorageReader):
    """Stored files in a mutation: also upload URLs, and deletion with the transaction."""

    __slots__ = ()

    async def delete(self, storage_id: str, /) -> None:
        """End a file when this mutation commits.

        Raises:
            FileNotFoundInStorageError: there is no such file.
        """
        await delete_file(self._call.tx, storage_id)

    async def generate_upload_url(self) -> str:
        """Where a client may POST a file, for an hour. Writes nothing."""
        return self._call.platform.links.upload_url(self._call.tx.now_ns)


class EndpointStorage:
    """Stored files outside of transactions: everything, each step at once."""

    __slots__ = ("_files",)

    def __init__(self, files: FileStore) -> None:
        self._files = files

    async def store(
        self, source: Request | Blob | bytes | AsyncIterable[bytes], /, *, sha256: str | None = None
    ) -> str:
        """Keep a file; durable on return.

        Args:
            source: a request (its body, its Content-Type, its `Digest: sha-256=` if any), a blob
                with its type, bytes, or bytes in pieces.
            sha256: the expected hash, in base64 or hex; the file is refused if it is another.

        Returns:
            The id of the new `_storage` document.
        """
        expected = None if sha256 is None else digest_of(sha256)
        if isinstance(source, Request):
            header = source.headers.get("digest")
            if expected is None and header is not None:
                expected = digest_header(header)
            body = source.body
            chunks = _one(b"") if body is None else body
            return await self._files.store(
                chunks, source.headers.get("content-type"), sha256=expected
            )
        if isinstance(source, Blob):
            return await self._files.store(source.stream(), source.type or None, sha256=expected)
        if isinstance(source, bytes | bytearray | memoryview):
            return await self._files.store(_one(bytes(source)), None, sha256=expected)
        if hasattr(source, "__aiter__"):
            return await self._files.store(source, None, sha256=expected)
        raise InvalidArgumentError(
            "storage.store() takes a Request, a Blob, bytes or an async iterable of bytes, "
            f"got {type(source).__name__}"
        )

    async def get(self, storage_id: str, /) -> Blob | None:
        """The file, or None. Its bytes are read when the blob is."""
        file = await self._files.find(storage_id)
        if file is None:
            return None
        return Blob._stored(_StoredBytes(self._files, file), file.size, file.content_type or "")

    async def get_url(self, storage_id: str, /) -> str | None:
        """Where the file is served; None if there is no such file."""
        file = await self._files.find(storage_id)
        return None if file is None else self._files.links.file_url(file.uuid)

    async def get_metadata(self, storage_id: str, /) -> dict[str, Any] | None:
        """`storageId`, `sha256` (hex), `size` in bytes and `contentType`; None if missing."""
        file = await self._files.find(storage_id)
        return None if file is None else metadata_of(file)

    async def delete(self, storage_id: str, /) -> None:
        """End a file at once.

        Raises:
            FileNotFoundInStorageError: there is no such file.
        """
        await self._files.delete(storage_id)

    async def generate_upload_url(self) -> str:
        """Where a client may POST a file, for an hour."""
        return self._files.upload_url()


class _StoredBytes:
    """A file as the source of a blob."""

    __slots__ = ("_file", "_files")

    def __init__(self, files: FileStore, file: File) -> None:
        self._files = files
        self._file = file

    def stream(self, start: int, end: int) -> AsyncIterator[bytes]:
        return self._files.read(self._file, start, end)


def metadata_of(file: File) -> dict[str, Any]:
    """What `get_metadata` tells of a file."""
    return {
        "storageId": file.uuid,
        "sha256": file.sha256.hex(),
        "size": float(file.size),
        "contentType": file.content_type,
    }


def digest_header(header: str) -> bytes:
    """The hash in a `Digest: sha-256=<base64>` header.

    Raises:
        RequestError: 400 `BadHeader`.
    """
    first = header.split(",")[0].strip()
    try:
        if not first.startswith(_DIGEST):
            raise ValueError(first)
        digest = base64.b64decode(first.removeprefix(_DIGEST), validate=True)
        if len(digest) != 32:
            raise ValueError(first)
    except ValueError:
        raise RequestError(400, "BadHeader", "Bad header for digest: invalid HTTP header") from None
    return digest


def digest_of(text: str) -> bytes:
    """A SHA-256 given in base64 or hex."""
    try:
        if len(text) == 64:
            return bytes.fromhex(text)
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise InvalidArgumentError("sha256 is the hash of the file in base64 or hex") from None


def _outside_only(call: str) -> Exception:
    return refusal(call, "a query or mutation")


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
