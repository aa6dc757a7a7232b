"""Reading a form out of a body: `multipart/form-data` and `application/x-www-form-urlencoded`.

The body is parsed as it arrives, and every count is bounded: a form within the limits costs
memory in proportion to its size, one beyond them is refused at the byte that goes too far.
"""

import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from camber.errors import LimitError
from camber.functions.fetch.blob import File
from camber.functions.fetch.form_data import FormData, FormValue
from camber.functions.fetch.search_params import parse_query

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELDS_MAX = 1_000
PART_HEADERS_BYTES_MAX = 16 * 1024
FORM_BYTES_MAX = 20 * 1024 * 1024

_NAME_UNESCAPES = (("%22", '"'), ("%0D", "\r"), ("%0d", "\r"), ("%0A", "\n"), ("%0a", "\n"))

# What the parser finds wrong is raised, and so reported once; its warnings would only let a
# caller fill the function's log.
_SILENT = logging.Logger("camber.form", logging.CRITICAL + 1)


async def parse_form(content_type: str | None, body: AsyncIterator[bytes]) -> FormData:
    """The form in `body`.

    Raises:
        TypeError: the content type is not that of a form.
        ValueError: the body is not what the content type says.
        LimitError: more than 1,000 fields, 16 KiB of headers in a part, or 20 MiB in all.
    """
    kind, options = parse_options_header(content_type)
    if kind == b"application/x-www-form-urlencoded":
        return await _parse_urlencoded(body)
    if kind != b"multipart/form-data":
        raise TypeError(f"the content type is not that of a form: {content_type!r}")
    boundary = options.get(b"boundary")
    if not boundary:
        raise TypeError("the content type multipart/form-data lacks its boundary")
    return await _parse_multipart(boundary, body)


class _Total:
    """How many bytes of the body there have been."""

    def __init__(self) -> None:
        self._size = 0

    def add(self, chunk: bytes) -> bytes:
        self._size += len(chunk)
        if self._size > FORM_BYTES_MAX:
            raise LimitError(f"a form may have at most {FORM_BYTES_MAX} bytes")
        return chunk


def _too_many_fields() -> LimitError:
    return LimitError(f"a form may have at most {FIELDS_MAX} fields")


async def _parse_urlencoded(body: AsyncIterator[bytes]) -> FormData:
    total = _Total()
    text = b"".join([total.add(chunk) async for chunk in body])
    if text.count(b"&") >= FIELDS_MAX and sum(map(bool, text.split(b"&"))) > FIELDS_MAX:
        raise _too_many_fields()
    return FormData._of(list(parse_query(text.decode("utf-8", "replace"))))


async def _parse_multipart(boundary: bytes, body: AsyncIterator[bytes]) -> FormData:
    parts = _Parts()
    total = _Total()
    try:
        parser = MultipartParser(
            boundary,
            parts.callbacks(),
            max_header_count=PART_HEADERS_BYTES_MAX,
            max_header_size=PART_HEADERS_BYTES_MAX + 1,
        )
        parser.logger = _SILENT
        async for chunk in body:
            parser.write(total.add(chunk))
    except FormParserError as error:
        raise ValueError(f"the body is not a multipart form: {error}") from None
    if parser.state != MultipartState.END:
        raise ValueError("the body is not a multipart form: it ends before the last boundary")
    return FormData._of(parts.entries)


class _Parts:
    """What the parser has found so far: whole entries, and one part still growing."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, FormValue]] = []
        self._headers: dict[str, str] = {}
        self._headers_size = 0
        self._field = bytearray()
        self._value = bytearray()
        self._content = bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_content,
            "on_part_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.entries) >= FIELDS_MAX:
            raise _too_many_fields()
        self._headers = {}
        self._headers_size = 0
        self._content = bytearray()

    def _count_header_bytes(self, size: int) -> None:
        self._headers_size += size
        if self._headers_size > PART_HEADERS_BYTES_MAX:
            raise LimitError(
                f"a part of a form may have at most {PART_HEADERS_BYTES_MAX} bytes of headers"
            )

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        # The colon and the line break count too, or empty values would be free.
        self._count_header_bytes(end - start + 3)
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header_bytes(end - start)
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        name = self._field.decode("latin-1").lower()
        self._headers[name] = self._value.decode("latin-1").strip(" \t")
        self._field.clear()
        self._value.clear()

    def _on_content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _end(self) -> None:
        kind, options = parse_options_header(self._headers.get("content-disposition"))
        name = options.get(b"name")
        if kind != b"form-data" or name is None:
            raise ValueError(
                f"the body is not a multipart form: part {len(self.entries) + 1} has no name"
            )
        content = bytes(self._content)
        filename = options.get(b"filename")
        value: FormValue
        if filename is None:
            value = content.decode("utf-8", "replace")
        else:
            media_type = self._headers.get("content-type", "text/plain")
            value = File([content], _unescape(filename), media_type)
        self.entries.append((_unescape(name), value))


def _unescape(name: bytes) -> str:
    """A name as its sender meant it: forms escape quotes and line breaks, and nothing else."""
    text = name.decode("utf-8", "replace")
    if "%" in text:
        for escape, character in _NAME_UNESCAPES:
            text = text.replace(escape, character)
    return text
