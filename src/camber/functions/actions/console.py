"""What a process writes to its standard output and error, past every log: lines, bounded.

A library's chatter, a child process's output, the interpreter's last words before a crash. The
server is told a bounded number of lines per second, so that no flood can fill its memory.
"""

import asyncio
from collections import deque
from typing import Final

from camber.functions.actions.host import ActionHost
from camber.functions.capture import LINE_BYTES_MAX


class Console(asyncio.Protocol):
    """The reading end of a process's output."""

    LINES_PER_SECOND: Final = 200
    TAIL: Final = 10

    def __init__(self, host: ActionHost) -> None:
        self._host = host
        self._unfinished = b""
        self._transport: asyncio.BaseTransport | None = None
        self._ended = asyncio.Event()
        self._second = 0
        self._lines = 0
        self._omitted = 0
        # Its last words.
        self.tail: deque[str] = deque(maxlen=self.TAIL)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self._unfinished + data).split(b"\n")
        for line in lines:
            self._tell(line)
        self._unfinished = rest[:LINE_BYTES_MAX]

    def connection_lost(self, error: Exception | None) -> None:
        if self._unfinished:
            self._tell(self._unfinished)
            self._unfinished = b""
        self._ended.set()

    async def wait_ended(self, seconds: float) -> None:
        """Return once everything is read; after `seconds` stop reading."""
        try:
            await asyncio.wait_for(self._ended.wait(), seconds)
        except TimeoutError:
            if self._transport is not None:
                self._transport.close()

    def _tell(self, raw: bytes) -> None:
        text = raw[:LINE_BYTES_MAX].decode("utf-8", "replace")
        self.tail.append(text)
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            if self._omitted:
                self._host.output(f"({self._omitted} lines omitted)")
            self._second, self._lines, self._omitted = second, 0, 0
        if self._lines >= self.LINES_PER_SECOND:
            self._omitted += 1
            return
        self._lines += 1
        self._host.output(text)
