"""What an action says: `print`, `logging` and the standard streams, as log lines of its run.

Lines go to the server as they come, within the bounds of `capture`. What is written while no run
is current (by a module that loads, by a thread that a library keeps) goes to the process's own
output, which the server collects as well.
"""

import builtins
import io
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TextIO

from camber.functions.capture import Level, LogCapture, LogLine


class StreamedLog(LogCapture):
    """A capture that also hands on each line that it keeps. For any number of threads."""

    __slots__ = ("_lock", "_send", "_unfinished")

    def __init__(self, send: Callable[[LogLine], None]) -> None:
        super().__init__()
        self._send = send
        self._lock = threading.Lock()
        # What was written to a standard stream, and not yet ended by a line break.
        self._unfinished: dict[Level, str] = {}

    def add(self, level: Level, text: str) -> None:
        with self._lock:
            before = len(self.lines)
            super().add(level, text)
            if len(self.lines) > before:
                self._send(self.lines[-1])

    def write(self, level: Level, text: str) -> None:
        """Keep the lines that `text` ends; the rest waits for its line break."""
        *lines, rest = (self._unfinished.pop(level, "") + text).split("\n")
        for line in lines:
            self.add(level, line)
        # A line that never ends must not fill the memory: it would be cut anyway.
        if rest:
            self._unfinished[level] = rest[:_UNFINISHED_MAX]

    def finish(self) -> None:
        """Keep what was never ended by a line break."""
        unfinished, self._unfinished = self._unfinished, {}
        for level, text in unfinished.items():
            self.add(level, text)


_UNFINISHED_MAX: Final = 40_000


class RunStream(io.TextIOBase):
    """Stands for `sys.stdout` or `sys.stderr`: what a run writes goes to its log."""

    def __init__(
        self, original: TextIO, level: Level, find: Callable[[], StreamedLog | None]
    ) -> None:
        super().__init__()
        self._original = original
        self._level = level
        self._find = find

    def write(self, text: str) -> int:
        log = self._find()
        if log is None:
            self._original.write(text)
            self._original.flush()
        else:
            log.write(self._level, text)
        return len(text)

    def flush(self) -> None:
        self._original.flush()

    def fileno(self) -> int:
        return self._original.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]  # it is never set
        return self._original.encoding

    @property
    def buffer(self) -> Any:
        return self._original.buffer


def app_print(find: Callable[[], StreamedLog | None]) -> Callable[..., None]:
    """The `print` of app modules: one call is one log line, however many lines its text has."""

    def print(
        *values: object,
        sep: str | None = None,
        end: str | None = None,
        file: Any = None,
        flush: bool = False,
    ) -> None:
        log = find()
        if log is None or (file is not None and file is not sys.stdout and file is not sys.stderr):
            builtins.print(*values, sep=sep, end=end, file=file, flush=flush)
            return
        text = (" " if sep is None else sep).join(map(str, values)) + ("\n" if end is None else end)
        log.add("ERROR" if file is sys.stderr else "LOG", text.removesuffix("\n"))

    return print
