"""A form: named fields in order, each of them text or a file.

Written to the wire as `multipart/form-data`; how it is read from there is in `form_body.py`.
"""

import re
from collections.abc import Iterator
from os import urandom
from typing import TypeAlias

from camber.functions.fetch.blob import Blob, File, held_bytes
from camber.functions.fetch.percent import scalar_text
from camber.functions.fetch.search_params import Scalar, form_text

FormValue: TypeAlias = str | File

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_NAME_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


class FormData:
    """Named fields in order; a name may repeat. A value is text or a `File`."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[tuple[str, FormValue]] = []

    @classmethod
    def _of(cls, entries: list[tuple[str, FormValue]]) -> "FormData":
        form = cls()
        form._entries = entries
        return form

    def get(self, name: str, default: FormValue | None = None) -> FormValue | None:
        """The first value of `name`, or `default`."""
        return next((value for key, value in self._entries if key == name), default)

    def get_all(self, name: str) -> list[FormValue]:
        """Every value of `name`, in order."""
        return [value for key, value in self._entries if key == name]

    def has(self, name: str) -> bool:
        """Whether there is a field `name`."""
        return name in self

    def append(self, name: str, value: Scalar | Blob, filename: str | None = None) -> None:
        """Add a field. A blob becomes a `File`, named `filename`, or `blob` if it has no name.

        Raises:
            TypeError: the value is not text, a number or a blob, or text is given a `filename`.
        """
        self._entries.append((scalar_text(name), _entry_value(name, value, filename)))

    def set(self, name: str, value: Scalar | Blob, filename: str | None = None) -> None:
        """Give the first field `name` this value and drop its others; or add it at the end.

        Raises:
            TypeError: as `append`.
        """
        entry = (scalar_text(name), _entry_value(name, value, filename))
        at = next((i for i, (key, _) in enumerate(self._entries) if key == entry[0]), None)
        if at is None:
            self._entries.append(entry)
            return
        rest = [field for field in self._entries[at + 1 :] if field[0] != entry[0]]
        self._entries[at:] = [entry, *rest]

    def delete(self, name: str) -> None:
        """Drop every field `name`. Absent is no error."""
        self._entries = [field for field in self._entries if field[0] != name]

    def items(self) -> Iterator[tuple[str, FormValue]]:
        """Name and value of every field, in order."""
        return iter(self._entries)

    def keys(self) -> Iterator[str]:
        """The name of every field, in order, repeated as often as it occurs."""
        return (name for name, _ in self._entries)

    def values(self) -> Iterator[FormValue]:
        """The value of every field, in order."""
        return (value for _, value in self._entries)

    def __getitem__(self, name: str) -> FormValue:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self._entries)

    def __iter__(self) -> Iterator[tuple[str, FormValue]]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    # A form without fields is still a form.
    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"FormData({self._entries!r})"


def encode_multipart(form: FormData) -> tuple[bytes, str]:
    """The form as `multipart/form-data`, and the boundary between its parts.

    Raises:
        TypeError: a file in it is a stored one that has not been read.
    """
    boundary = f"----camber-form-{urandom(16).hex()}"
    pieces = []
    for name, value in form:
        pieces.append(f"--{boundary}\r\n{_part_headers(name, value)}\r\n\r\n".encode())
        pieces.append(held_bytes(value) if isinstance(value, File) else _lines(value).encode())
        pieces.append(b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces), boundary


def _part_headers(name: str, value: FormValue) -> str:
    disposition = f'Content-Disposition: form-data; name="{_lines(name).translate(_NAME_ESCAPES)}"'
    if isinstance(value, str):
        return disposition
    filename = value.name.translate(_NAME_ESCAPES)
    media_type = value.type or "application/octet-stream"
    return f'{disposition}; filename="{filename}"\r\nContent-Type: {media_type}'


def _lines(text: str) -> str:
    """`text` with every line break as forms write it."""
    return _LINE_BREAK.sub("\r\n", text)


def _entry_value(name: str, value: object, filename: str | None) -> FormValue:
    if isinstance(value, Blob):
        if isinstance(value, File) and filename is None:
            return value
        return File._named(value, "blob" if filename is None else filename)
    if filename is not None:
        raise TypeError(f"the field '{name}' has a file name, so its value must be a Blob")
    return form_text(value, name)
