"""Stored files over HTTP: uploads with a token, downloads by UUID, with ranges.

A download is shown by the browser only if its type cannot run scripts; everything else is offered
for saving, because whoever uploaded a file must not speak with the deployment's voice.
"""

import base64
import re
from collections.abc import Awaitable
from typing import Final
from urllib.parse import parse_qs, unquote

from camber.clock import Clock
from camber.errors import RequestError
from camber.functions.files import FileStore, digest_header
from camber.server.exchange import Exchange
from camber.system.files import File
from camber.system.links import FileLinks
from camber.values.wire import dump_json

PREFIX: Final = "/api/storage/"
UPLOAD: Final = "/api/storage/upload"

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_UNIT: Final = re.compile(r"bytes[ \t]*=", re.IGNORECASE)
_RANGE: Final = re.compile(r"([0-9]*)-([0-9]*)")
# More digits than any file's size has: such a number is beyond the end, however great it is.
_DIGITS_MAX: Final = 18
_JSON: Final = ("content-type", "application/json")

# Shown in place. Others (HTML, SVG, XML, PDF …) could run scripts in the deployment's origin.
_INLINE: Final = re.compile(
    r"(image/(png|jpeg|gif|webp|avif|bmp|x-icon|vnd\.microsoft\.icon)"
    r"|audio/[\w.+-]+|video/[\w.+-]+|text/plain|application/json)\s*(;|\Z)",
    re.IGNORECASE,
)

Headers = list[tuple[str, str]]


class Files:
    """Serves the stored files of one deployment."""

    def __init__(self, store: FileStore, links: FileLinks, clock: Clock) -> None:
        self._store = store
        self._links = links
        self._clock = clock

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods that `path` takes; empty when it is not one of ours."""
        if path == UPLOAD:
            return ("POST",)
        return ("GET", "HEAD") if path.startswith(PREFIX) else ()

    def serve(self, exchange: Exchange, headers: Headers) -> Awaitable[None]:
        """Answer a request whose path and method `methods` knows."""
        if exchange.path == UPLOAD:
            return self._upload(exchange, headers)
        return self._download(exchange, headers)

    async def _upload(self, exchange: Exchange, headers: Headers) -> None:
        tokens = parse_qs(exchange.query).get("token")
        if tokens is None:
            raise RequestError(
                400, "BadQueryArgs", "Failed to deserialize query string: missing field `token`"
            )
        self._links.check_upload(tokens[0], self._clock.now_ns())
        exchange.body_limit = None
        digest = exchange.header("digest")
        id = await self._store.store(
            exchange.stream(),
            exchange.header("content-type"),
            sha256=None if digest is None else digest_header(digest),
            size=exchange.content_length,
        )
        exchange.respond(200, [_JSON, *headers], dump_json({"storageId": id}))

    async def _download(self, exchange: Exchange, headers: Headers) -> None:
        name = unquote(exchange.path.removeprefix(PREFIX))
        if not _UUID.match(name):
            raise RequestError(
                400,
                "InvalidStoragePath",
                f'Invalid storage path: "{name}". Please use `storage.getUrl(storageId: '
                'Id<"_storage">)` to generate a valid URL to retrieve files. See '
                "https://docs.convex.dev/file-storage/serve-files for more details",
            )
        file = await self._store.find_by_uuid(name)
        if file is None:
            raise RequestError(404, "FileNotFound", f"File {name} not found")
        await self._send(exchange, file, headers)

    async def _send(self, exchange: Exchange, file: File, headers: Headers) -> None:
        part = None if file.size == 0 else _asked_part(exchange, file.size)
        if part == UNSATISFIABLE:
            exchange.respond(416, [("content-range", f"bytes */{file.size}"), *headers], b"")
            return
        headers = [*_file_headers(file), *headers]
        if part is None:
            digest = base64.b64encode(file.sha256).decode()
            start, end, status = 0, file.size, 200
            headers.append(("digest", f"sha-256={digest}"))
        else:
            start, end = part
            status = 206
            headers.append(("content-range", f"bytes {start}-{end - 1}/{file.size}"))
        await exchange.start(status, headers, length=end - start)
        if exchange.method != "HEAD":
            async for chunk in self._store.read(file, start, end):
                await exchange.send(chunk)
        await exchange.finish()


def _asked_part(exchange: Exchange, size: int) -> tuple[int, int] | None:
    """The part of a file that this request is about; None for the whole."""
    header = exchange.header("range")
    if header is None or exchange.method != "GET":
        return None
    # We hand out nothing that an `If-Range` could match, so whatever it says, it does not.
    return None if exchange.header("if-range") is not None else parse_range(header, size)


def _file_headers(file: File) -> Headers:
    headers = [
        ("cache-control", "private, max-age=2592000"),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'"),
    ]
    if file.content_type is not None:
        headers.append(("content-type", file.content_type))
    if file.content_type is None or not _INLINE.match(file.content_type):
        headers.append(("content-disposition", "attachment"))
    return headers


UNSATISFIABLE: Final = (0, 0)
"""What `parse_range` gives for a range that holds no byte of the file."""


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The bytes that a `Range` header asks for, as (first, behind the last); RFC 9110, 14.

    Returns:
        None if the header is to be ignored: another unit, or not well-formed. `UNSATISFIABLE` for
        a range beyond the end, and for more than one range, which is never served.
    """
    unit = _UNIT.match(header)
    if unit is None:
        return None
    elements = [element.strip(" \t") for element in header[unit.end() :].split(",")]
    matches = [_RANGE.fullmatch(element) for element in elements if element]
    spans = [_span(match, size) for match in matches if match is not None]
    if not spans or None in spans or len(spans) < len(matches):
        return None
    return spans[0] if len(spans) == 1 else UNSATISFIABLE


def _span(match: re.Match[str], size: int) -> tuple[int, int] | None:
    """What one element asks for; None if it is not well-formed."""
    first, last = (_number(text) for text in match.groups())
    if first is None:
        return None if last is None else (max(size - last, 0), size) if last else UNSATISFIABLE
    if last is not None and last < first:
        return None
    end = size if last is None else min(last + 1, size)
    return (first, end) if first < size else UNSATISFIABLE


def _number(digits: str) -> int | None:
    if not digits:
        return None
    significant = digits.lstrip("0") or "0"
    return int(significant) if len(significant) <= _DIGITS_MAX else 10**_DIGITS_MAX
