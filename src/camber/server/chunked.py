"""The chunked body coding of HTTP/1.1, taken apart as strictly as it is written down.

    size in hex [;extensions] CRLF  data CRLF   ...   0 CRLF  [trailers]  CRLF

Extensions and trailers are checked, limited and dropped.
"""

import re
from collections.abc import Callable
from typing import Final

from camber.errors import RequestError

LINE_BYTES_MAX: Final = 8 * 1024
"""The longest size line (with its extensions) and the longest trailer line."""

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED: Final = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_EXTENSIONS: Final = rb"(?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*"

_AFTER_DATA: Final = re.compile(rb"\r\n([0-9A-Fa-f]{1,15})\r\n")
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})" + _EXTENSIONS + rb"\r\n")
_PART_OF_SIZE: Final = re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:;[\t -~\x80-\xff]*)?\r?)?")
_TRAILER: Final = re.compile(_TOKEN + rb":[\t -~\x80-\xff]*\r\n")
_PART_OF_TRAILER: Final = re.compile(rb"(?:" + _TOKEN + rb"(?::[\t -~\x80-\xff]*\r?)?|\r)?")


class ChunkedDecoder:
    """Takes a body's bytes in whatever pieces they arrive, hands on its data."""

    __slots__ = ("_after_data", "_in_trailers", "_line", "_remaining", "_sink", "_trailers_left")

    def __init__(self, sink: Callable[[bytes], None], *, trailers_max: int) -> None:
        self._sink = sink
        # Bytes of data still to come in the present chunk.
        self._remaining = 0
        # Whether the CRLF that closes a chunk's data comes next.
        self._after_data = False
        self._in_trailers = False
        self._trailers_left = trailers_max
        # The line that has begun and not ended.
        self._line = b""

    def feed(self, data: bytes) -> tuple[int, bool]:
        """Take what belongs to the body. How many bytes that was, and whether the body ended.

        Raises:
            RequestError: 400, not the chunked coding, or a limit was passed.
        """
        position = 0
        size = len(data)
        while position < size:
            if self._remaining:
                piece = data[position : position + self._remaining]
                position += len(piece)
                self._remaining -= len(piece)
                self._after_data = not self._remaining
                self._sink(piece)
                continue
            # The usual case in one step: the end of one chunk and the size of the next.
            if self._after_data and not self._line:
                match = _AFTER_DATA.match(data, position)
                if match is not None:
                    position = match.end()
                    self._open_chunk(match[1])
                    continue
            position, line = self._take_line(data, position)
            if line is not None and self._read_line(line):
                return position, True
        return position, False

    def _take_line(self, data: bytes, position: int) -> tuple[int, bytes | None]:
        end = data.find(b"\n", position) + 1
        line = self._line + data[position : end or None]
        if len(line) > LINE_BYTES_MAX:
            raise _bad("a chunk's size line or a trailer is too long")
        if not end:
            self._check_part(line)
            self._line = line
            return len(data), None
        self._line = b""
        return end, line

    def _check_part(self, line: bytes) -> None:
        """Refuse at once what cannot become a line, instead of waiting for its end."""
        if self._after_data:
            sound = line == b"\r"
        elif self._in_trailers:
            sound = _PART_OF_TRAILER.fullmatch(line) is not None
        else:
            sound = _PART_OF_SIZE.fullmatch(line) is not None
        if not sound:
            raise _bad("a chunk must be its size in hex, CR LF, its data, CR LF")

    def _read_line(self, line: bytes) -> bool:
        """Whether this line ended the body."""
        if self._after_data:
            if line != b"\r\n":
                raise _bad("a chunk's data must be as long as its size says, then CR LF")
            self._after_data = False
            return False
        if self._in_trailers:
            return self._read_trailer(line)
        match = _SIZE.fullmatch(line)
        if match is None:
            raise _bad("a chunk's size must be a number in hex, then CR LF")
        self._open_chunk(match[1])
        return False

    def _open_chunk(self, size: bytes) -> None:
        self._after_data = False
        self._remaining = int(size, 16)
        self._in_trailers = not self._remaining

    def _read_trailer(self, line: bytes) -> bool:
        if line == b"\r\n":
            return True
        self._trailers_left -= 1
        if self._trailers_left < 0:
            raise _bad("too many trailers")
        if _TRAILER.fullmatch(line) is None:
            raise _bad("a trailer must read name: value, then CR LF")
        return False


def _bad(what: str) -> RequestError:
    return RequestError(400, "BadRequest", f"The request's body is not sound HTTP/1.1: {what}.")
