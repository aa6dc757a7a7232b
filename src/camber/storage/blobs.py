"""The bytes of stored files: written once, read in pieces, deleted.

A blob has no name but a random key, and no properties but its size and its hash; who may see it
and what type it is are facts of the row that names it. Bytes come first and the row after, so a
row never lacks its bytes, and bytes without a row are found by `keys` and deleted.
"""

import asyncio
import errno
import hashlib
import os
import re
import secrets
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar

from camber.clock import Clock, SystemClock
from camber.errors import ConfigError, StorageError, StorageFullError

P = ParamSpec("P")
T = TypeVar("T")

READ_SIZE: Final = 128 * 1024
"""The largest chunk that `Blobs.read` yields, in bytes."""


class BlobNotFoundError(KeyError):
    """There is no blob with this key, or it is not a key at all."""

    def __str__(self) -> str:
        return f"there is no blob {self.args[0]!r}"


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """What is known of bytes that are on the disk. `size` in bytes, `sha256` as 32 bytes."""

    key: str
    size: int
    sha256: bytes


class Blobs(Protocol):
    """A place that keeps bytes under keys of its own making."""

    async def put(self, chunks: AsyncIterable[bytes], /) -> StoredBlob:
        """Keep all of `chunks`. Durable on return; nothing is kept on an error or cancellation.

        One chunk is asked for after the one before was written.

        Raises:
            StorageFullError: there is no room.
            StorageError: the store failed.
        """

    def read(self, key: str, /, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in chunks of up to `READ_SIZE`.

        `end=None`, and an `end` beyond the last byte, mean the last byte. A blob that is deleted
        while it is read is read to its end.

        Raises:
            BlobNotFoundError: at the first chunk, when there is no such blob.
            StorageError: the store failed.
        """

    async def delete(self, key: str, /) -> None:
        """Delete the blob, if there is one.

        Raises:
            StorageError: the store failed.
        """

    async def keys(self, /, *, older_than_seconds: float) -> list[str]:
        """The keys of all blobs that were stored longer ago than that."""

    async def close(self) -> None:
        """Let go of the place. Safe to call twice."""


_KEY: Final = re.compile(r"[0-9a-f]{40}")
_KEY_BYTES: Final = 20
_FOLDER: Final = re.compile(r"[0-9a-f]{2}")
_DRAFT_PREFIX: Final = "draft-"

# Chunks are gathered up to this size before they are sent to a thread.
_WRITE_SIZE: Final = 64 * 1024
_THREADS: Final = 4

_FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC


class DirectoryBlobs:
    """Blobs as files in a folder: the blob `3f…` is the file `3f/3f…`.

    Bytes are written to a draft beside those folders, which gets its name when it is whole and
    on the disk. Drafts that a crash left are removed when the folder is opened; so it belongs to
    one process at a time, which the database's lock sees to.

    Args:
        folder: made if it is missing, but not its parent.
        clock: what the age of a blob is measured with.

    Raises:
        ConfigError: the folder cannot be made, or not be written to.
    """

    def __init__(self, folder: Path, *, clock: Clock | None = None) -> None:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for name in os.listdir(self._root):
                if name.startswith(_DRAFT_PREFIX):
                    os.unlink(name, dir_fd=self._root)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise ConfigError(f"Cannot keep files in {folder}: {error.strerror}.") from error
        self._clock = clock or SystemClock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="camber-blobs")
        # Subfolders known to be on the disk, not only in memory. Guarded by the lock.
        self._folders: set[str] = set()
        self._folders_lock = threading.Lock()
        # When this process stored which blob, on the clock that does not jump.
        self._stored_at: dict[str, float] = {}
        self._closed = False

    async def put(self, chunks: AsyncIterable[bytes], /) -> StoredBlob:
        draft = _Draft(self._root)
        try:
            async for piece in _gather(chunks):
                await self._call(draft.write, piece)
            return await self._call(self._keep, draft)
        except BaseException:
            # A write may still be under way over there: `discard` waits for it.
            await asyncio.shield(self._call(draft.discard))
            raise

    def _keep(self, draft: "_Draft") -> StoredBlob:
        key = secrets.token_hex(_KEY_BYTES)
        self._make_folder(key[:2])
        self._stored_at[key] = self._clock.monotonic()
        draft.keep(key, self._clock.now_ns())
        return StoredBlob(key, draft.size, draft.sha256())

    def _make_folder(self, name: str) -> None:
        with self._folders_lock:
            if name in self._folders:
                return
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self._root)
            os.fsync(self._root)
            self._folders.add(name)

    async def read(
        self, key: str, /, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        assert start >= 0, f"a blob has no byte {start}"
        file = _BlobFile(self._root, _checked(key), start, end)
        try:
            while chunk := await self._call(file.next_chunk):
                yield chunk
        finally:
            # Not awaited: a generator that is being closed must not wait.
            if not file.closed and not self._closed:
                self._threads.submit(file.close)

    async def delete(self, key: str, /) -> None:
        with suppress(BlobNotFoundError, FileNotFoundError):
            await self._call(self._unlink, _checked(key))

    def _unlink(self, key: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(f"{key[:2]}/{key}", dir_fd=self._root)
        self._stored_at.pop(key, None)

    async def keys(self, /, *, older_than_seconds: float) -> list[str]:
        return await self._call(self._keys, older_than_seconds)

    def _keys(self, older_than_seconds: float) -> list[str]:
        # A wall clock that was set forward must not make a new blob old: what this process
        # stored is old only when the other clock agrees.
        newest_ns = self._clock.now_ns() - round(older_than_seconds * 1e9)
        newest = self._clock.monotonic() - older_than_seconds
        for key, stored_at in list(self._stored_at.items()):
            if stored_at < newest:
                self._stored_at.pop(key, None)
        return [
            key
            for key, modified_ns in _files(self._root)
            if modified_ns < newest_ns and key not in self._stored_at
        ]

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        os.close(self._root)

    async def _call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` on a thread."""
        if self._closed:
            raise StorageError("The store of files is closed.")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, partial(work, *args, **kwargs))
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise StorageFullError("There is no room left for stored files.") from error
            raise StorageError(f"The store of files failed: {error.strerror}") from error


_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def _checked(key: str) -> str:
    if _KEY.fullmatch(key) is None:
        raise BlobNotFoundError(key)
    return key


async def _gather(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth a thread's while."""
    piece = bytearray()
    async for chunk in chunks:
        piece += chunk
        if len(piece) >= _WRITE_SIZE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _files(root: int) -> Iterator[tuple[str, int]]:
    """Every blob's key, and when it was stored in nanoseconds since the epoch."""
    for folder in os.listdir(root):
        if _FOLDER.fullmatch(folder) is None:
            continue
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=root)
        try:
            for name in os.listdir(descriptor):
                if _KEY.fullmatch(name) is not None:
                    with suppress(FileNotFoundError):
                        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                        yield name, status.st_mtime_ns
        finally:
            os.close(descriptor)


class _Draft:
    """A file that is being written. Made by the first byte, or by `keep`.

    Its methods run on threads, one at a time: when the waiting side is cancelled it does not know
    whether the last one has ended, so each holds the lock, and none does anything after `discard`.
    """

    def __init__(self, root: int) -> None:
        self.size = 0
        self._root = root
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        # Where the file is now, relative to the root; None before it is made, and in the end.
        self._name: str | None = None
        self._descriptor: int | None = None
        self._discarded = False

    def sha256(self) -> bytes:
        return self._hash.digest()

    def write(self, piece: bytes) -> None:
        with self._lock:
            descriptor = self._open()
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            self._hash.update(piece)
            self.size += len(piece)

    def keep(self, key: str, now_ns: int) -> None:
        """Make the file durable, then name it `key`, then make the name durable."""
        with self._lock:
            descriptor = self._open()
            os.utime(descriptor, ns=(now_ns, now_ns))
            os.fsync(descriptor)
            self._close()
            assert self._name is not None, "an open draft has a name"
            os.rename(self._name, f"{key[:2]}/{key}", src_dir_fd=self._root, dst_dir_fd=self._root)
            self._name = f"{key[:2]}/{key}"
            _sync_folder(self._root, key[:2])

    def discard(self) -> None:
        """Remove the file, under whatever name it has by now."""
        with self._lock:
            self._discarded = True
            self._close()
            if self._name is not None:
                name, self._name = self._name, None
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._root)

    def _open(self) -> int:
        if self._discarded:
            raise StorageError("The draft was discarded.")
        if self._descriptor is None:
            name = _DRAFT_PREFIX + secrets.token_hex(_KEY_BYTES)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
            self._descriptor = os.open(name, flags, 0o600, dir_fd=self._root)
            self._name = name
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def _sync_folder(root: int, name: str) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=root)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _BlobFile:
    """A blob that is being read, from the first chunk until the last, or until closed."""

    def __init__(self, root: int, key: str, start: int, end: int | None) -> None:
        self._root = root
        self._key = key
        self._position = start
        self._end = end
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self.closed = False

    def next_chunk(self) -> bytes:
        """The next bytes, none at the end."""
        with self._lock:
            if self.closed:
                return b""
            if self._descriptor is None:
                self._descriptor = self._open()
            size = READ_SIZE if self._end is None else min(READ_SIZE, self._end - self._position)
            chunk = os.pread(self._descriptor, size, self._position) if size > 0 else b""
            self._position += len(chunk)
            if not chunk:
                self._close()
            return chunk

    def _open(self) -> int:
        try:
            folder = os.open(
                self._key[:2], os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=self._root
            )
        except FileNotFoundError:
            raise BlobNotFoundError(self._key) from None
        try:
            return os.open(self._key, os.O_RDONLY | _FLAGS, dir_fd=folder)
        except FileNotFoundError:
            raise BlobNotFoundError(self._key) from None
        finally:
            os.close(folder)

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        self.closed = True
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)
