"""The database file and its neighbours: made, locked, looked at before it is trusted.

What can be seen without reading the whole file is seen here, and said in a plain sentence:
whether it is ours, of which format version, and whether its end is missing. All of it happens
before SQLite opens the file, because closing a file takes away the locks that SQLite holds on it
in the same process.
"""

import errno
import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw
import msgspec

from camber.errors import (
    CamberError,
    ConfigError,
    StorageCorruptError,
    StorageError,
    StorageFormatError,
    StorageFullError,
    StorageLockedError,
)

FORMAT_VERSION: Final = 1
"""Kept in the file's `user_version`. Raise it with any change to the tables."""

APPLICATION_ID: Final = 0x434D4252
"""Kept in the file's `application_id`: the letters CMBR."""

PAGE_SIZE: Final = 4096

_HEADER_SIZE: Final = 100
_MAGIC: Final = b"SQLite format 3\0"

# What the operating system says when a file may not grow. SQLite calls only the first "full".
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_ROOM_TO_OPEN: Final = 256 * 1024

_SCHEMA: Final = """
CREATE TABLE _camber_documents (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
);
CREATE TABLE _camber_entries (
    index_number INTEGER NOT NULL,
    key BLOB NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (index_number, key)
) WITHOUT ROWID;
CREATE TABLE _camber_log (
    ts INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    documents INTEGER NOT NULL,
    changes TEXT NOT NULL
);
"""


FAILURES: Final = (apsw.Error, UnicodeDecodeError, msgspec.DecodeError)
"""What reading can end with: an error of SQLite's, or a text that damage made no text."""


def translate(error: Exception, path: Path) -> Exception:
    """What `error`, raised by SQLite over the database `path`, is in Camber's tree."""
    match error:
        case apsw.FullError():
            return StorageFullError("There is no room left on the disk; nothing was written.")
        case (
            apsw.CorruptError()
            | apsw.NotADBError()
            | apsw.FormatError()
            | UnicodeDecodeError()
            | msgspec.DecodeError()
        ):
            return StorageCorruptError(f"The database {path} is damaged: {error}")
        case apsw.BusyError() | apsw.LockedError():
            return StorageError(f"Another program is writing to the database {path}.")
        case apsw.Error():
            code = extended_code(error)
            return StorageError(f"The database {path} failed: {error} (SQLite code {code})")
    return error


def extended_code(error: apsw.Error) -> int:
    """What exactly failed, in SQLite's numbers; 0 when it was not SQLite that failed."""
    code: int = getattr(error, "extendedresult", 0)
    return code


@dataclass(slots=True)
class FileLock:
    """Held by the one process that has the database open; let go of when it ends, in any way."""

    _descriptor: int | None

    @classmethod
    def take(cls, path: Path) -> "FileLock":
        """Lock the database `path` through a file beside it.

        Raises:
            StorageLockedError: another process holds it.
            ConfigError: the folder is missing, or cannot be written to.
        """
        name = path.with_name(path.name + ".lock")
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _folder_trouble(path.parent, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StorageLockedError(
                f"The folder {path.parent} is in use by another process (pid {holder or '?'})."
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise _folder_trouble(path.parent, error) from error
        # For people only. Of one length, so that a full disk does not get in the way twice.
        with suppress(OSError):
            os.pwrite(descriptor, b"%-19d\n" % os.getpid(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Let the next process have it. Safe to call twice."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None


def prepare(path: Path) -> None:
    """See to it that there is a database at `path` that this release can open.

    Raises:
        ConfigError: the folder is missing, or cannot be written to.
        StorageFormatError: a file that is not ours, or of another format version.
        StorageCorruptError: a file whose end is missing, or a log without its database.
        StorageFullError: there is no room for a new database.
    """
    try:
        if path.exists():
            _check_header(path)
        else:
            _create(path)
    except OSError as error:
        raise _folder_trouble(path.parent, error) from error


def _folder_trouble(folder: Path, error: OSError) -> CamberError:
    if error.errno in NO_ROOM:
        return StorageFullError(f"There is no room left in the folder {folder}.")
    if error.errno == errno.ENOENT:
        return ConfigError(f"The folder {folder} does not exist.")
    return ConfigError(f"Cannot keep a database in the folder {folder}: {error.strerror}.")


def opening_error(error: apsw.Error, path: Path) -> Exception:
    """What to raise for `error`, which kept the database `path` from being opened.

    SQLite has to make two small files then, and calls a full disk many things.
    """
    status = os.statvfs(path.parent)
    if isinstance(error, apsw.IOError | apsw.CantOpenError | apsw.FullError) and (
        status.f_bavail * status.f_frsize < _ROOM_TO_OPEN
    ):
        return StorageFullError(f"There is no room left to open {path}.")
    return translate(error, path)


def _check_header(path: Path) -> None:
    if not path.is_file():
        raise StorageFormatError(f"{path} is not a file.")
    with path.open("rb") as file:
        header = file.read(_HEADER_SIZE)
        size = os.fstat(file.fileno()).st_size
    if len(header) < _HEADER_SIZE and _MAGIC.startswith(header[: len(_MAGIC)]):
        raise StorageCorruptError(f"The database {path} is cut short: it has {size} bytes.")
    if not header.startswith(_MAGIC):
        raise StorageFormatError(f"{path} is not a SQLite database.")
    if _number(header, 68) != APPLICATION_ID:
        raise StorageFormatError(f"{path} is a SQLite database, but not one of Camber's.")
    version = _number(header, 60)
    if version != FORMAT_VERSION:
        raise StorageFormatError(
            f"The database {path} is of format {version}; "
            f"this release of Camber reads format {FORMAT_VERSION}."
        )
    # While commits wait in the write-ahead log, the header may rightly be ahead of the file.
    page_size = int.from_bytes(header[16:18], "big")
    expected = _number(header, 28) * (65536 if page_size == 1 else page_size)
    if size < expected and wal_size(path) == 0:
        raise StorageCorruptError(
            f"The database {path} is cut short: it has {size} bytes of {expected}."
        )


def _create(path: Path) -> None:
    """Make an empty database, under another name until it is whole and on the disk."""
    if wal_size(path) > 0:
        raise StorageCorruptError(
            f"The database {path} is missing, but its log {path.name}-wal is there. "
            "Put the database back, or move the log away."
        )
    draft = path.with_name(path.name + ".new")
    for leftover in (draft, _beside(draft, "-journal"), _beside(path, "-shm")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        _write_schema(draft)
    except apsw.Error as error:
        raise opening_error(error, path) from error
    draft.rename(path)
    _sync_folder(path.parent)


def _write_schema(draft: Path) -> None:
    connection = apsw.Connection(str(draft))
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        connection.execute(_SCHEMA)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
    finally:
        connection.close()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _number(header: bytes, offset: int) -> int:
    return int.from_bytes(header[offset : offset + 4], "big")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def size_on_disk(path: Path) -> int:
    """Bytes of the database and of its write-ahead log. Opens neither."""
    return _size(path) + wal_size(path)


def wal_size(path: Path) -> int:
    """Bytes of the write-ahead log, 0 when there is none."""
    return _size(_beside(path, "-wal"))
