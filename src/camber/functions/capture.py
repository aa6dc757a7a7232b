"""The log lines of one execution: what `print` and `logging` said while a function ran.

A capture is bounded: 256 lines, the last of which says that there were more, and 32,768 bytes of
text per line. Lines are kept as values; `wire_lines` is the form clients know, `[LEVEL] text`.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Level: TypeAlias = Literal["DEBUG", "LOG", "INFO", "WARN", "ERROR"]

LINES_MAX: Final = 256
LINE_BYTES_MAX: Final = 32_768
OVERFLOW_TEXT: Final = f"Log overflow (maximum {LINES_MAX}). Remaining log lines omitted."
TRUNCATED_SUFFIX: Final = " (truncated due to length)"

# Bound at import, before an app could see other functions under these names.
_now_ns = time.time_ns


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line: `text` may hold line breaks; `timestamp_ms` counts from the Unix epoch."""

    level: Level
    text: str
    timestamp_ms: int
    truncated: bool = False

    def wire(self) -> str:
        """`[LEVEL] text`, as clients and terminals show it."""
        return f"[{self.level}] {self.text}{TRUNCATED_SUFFIX if self.truncated else ''}"


class LogCapture:
    """Collects lines, in order. Creating one allocates nothing but itself."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        # None until the first line: most executions say nothing.
        self._lines: list[LogLine] | None = None

    @property
    def lines(self) -> Sequence[LogLine]:
        """What was collected so far, oldest first."""
        return self._lines or ()

    def add(self, level: Level, text: str) -> None:
        """Keep one line, cut to 32,768 bytes. The 256th says that the rest is left out."""
        lines = self._lines
        if lines is None:
            lines = self._lines = []
        if len(lines) >= LINES_MAX:
            return
        timestamp_ms = _now_ns() // 1_000_000
        if len(lines) == LINES_MAX - 1:
            lines.append(LogLine("ERROR", OVERFLOW_TEXT, timestamp_ms))
            return
        text, truncated = _cut(text)
        lines.append(LogLine(level, text, timestamp_ms, truncated))

    def extend(self, lines: Sequence[LogLine]) -> None:
        """Keep the lines of a function that this one called, within the same bounds."""
        for line in lines:
            own = self._lines
            if own is None:
                own = self._lines = []
            if len(own) < LINES_MAX - 1:
                own.append(line)
            else:
                self.add(line.level, line.text)

    def wire_lines(self) -> list[str]:
        """The lines as `[LOG] text`."""
        if self._lines is None:
            return []
        return [line.wire() for line in self._lines]


def _cut(text: str) -> tuple[str, bool]:
    """The longest beginning of `text` that fits into a line, and whether that is less than all.

    Lone surrogates, which no client could decode, become question marks.
    """
    if len(text) * 4 <= LINE_BYTES_MAX and text.isascii():
        return text, False
    # One character is at least one byte, so the rest could not fit: not encoded in vain.
    encoded = text[: LINE_BYTES_MAX + 1].encode("utf-8", "replace")
    if len(encoded) <= LINE_BYTES_MAX:
        return encoded.decode("utf-8"), False
    return encoded[:LINE_BYTES_MAX].decode("utf-8", "ignore"), True


class CaptureHandler(logging.Handler):
    """Routes the records of `logging` to the capture of the execution that emitted them.

    Args:
        find: tells the capture of the execution that is current, None outside of one.
    """

    def __init__(self, find: Callable[[], LogCapture | None]) -> None:
        super().__init__()
        self._find = find

    def emit(self, record: logging.LogRecord) -> None:
        capture = self._find()
        if capture is None:
            self._fall_back(record)
            return
        try:
            text = self.format(record)
        except Exception as error:
            text = f"{record.msg!r} (this log record cannot be formatted: {type(error).__name__})"
        capture.add(_level(record.levelno), text)

    def _fall_back(self, record: logging.LogRecord) -> None:
        """Do what `logging` does where nobody set it up, which our presence prevents."""
        last = logging.lastResort
        alone = logging.getLogger().handlers == [self]
        if alone and last is not None and record.levelno >= last.level:
            last.handle(record)


def _level(number: int) -> Level:
    if number >= logging.ERROR:
        return "ERROR"
    if number >= logging.WARNING:
        return "WARN"
    if number >= logging.INFO:
        return "INFO"
    return "DEBUG"


def install(find: Callable[[], LogCapture | None]) -> CaptureHandler:
    """Put a `CaptureHandler` on the root logger, once, and return the one that is there.

    A root logger at its default level, WARNING, is set to INFO: app authors who log something
    want to see it.
    """
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, CaptureHandler):
            return handler
    handler = CaptureHandler(find)
    root.addHandler(handler)
    if root.level == logging.WARNING:
        root.setLevel(logging.INFO)
    return handler
