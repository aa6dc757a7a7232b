"""Frames over a socket: four bytes of length (big-endian), then one message as MessagePack.

The server reads and writes without blocking its loop. A process has a thread that does nothing
but read, and writes at once, whichever thread has something to say: what was said before a crash
has arrived, and a process that says too much waits until the server has taken it.
"""

import socket
import threading
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from typing import Final

import msgspec

from camber.errors import LimitError
from camber.functions.actions.messages import Downward, Upward

FRAME_BYTES_MAX: Final = 256 << 20
"""No message is longer. Larger files go through an upload URL."""

_LENGTH_BYTES: Final = 4

_encode = msgspec.msgpack.Encoder().encode


class BrokenFrameError(Exception):
    """What arrived is no frame: the other side is out of its mind."""


def _frame(message: Downward | Upward) -> bytes:
    content = _encode(message)
    if len(content) > FRAME_BYTES_MAX:
        size = len(content) >> 20
        raise LimitError(
            f"{size} MiB are too much to hand to or from an action at once (limit: "
            f"{FRAME_BYTES_MAX >> 20} MiB). Use an upload URL for large files."
        )
    return len(content).to_bytes(_LENGTH_BYTES) + content


def _length(head: bytes | bytearray) -> int:
    length = int.from_bytes(head)
    if length > FRAME_BYTES_MAX:
        raise BrokenFrameError(f"a frame of {length} bytes")
    return length


class ServerEnd:
    """The server's end, on its event loop."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._decode = msgspec.msgpack.Decoder(Upward).decode

    async def send(self, message: Downward) -> None:
        """Send `message`, and wait while the process is behind in reading.

        Raises:
            ConnectionError: the process has ended.
            LimitError: the message is too long.
        """
        self._writer.write(_frame(message))
        await self._writer.drain()

    def send_nowait(self, message: Downward) -> None:
        """Send a short `message`; nothing happens if the process has ended."""
        if not self._writer.is_closing():
            self._writer.write(_frame(message))

    async def receive(self) -> Upward | None:
        """The next message; None once the process has closed the channel.

        Raises:
            BrokenFrameError: what arrived is no message.
        """
        try:
            length = _length(await self._reader.readexactly(_LENGTH_BYTES))
            content = await self._reader.readexactly(length)
        except (IncompleteReadError, ConnectionError):
            return None
        try:
            message: Upward = self._decode(content)
        except msgspec.MsgspecError as error:
            raise BrokenFrameError(str(error)) from error
        return message

    def close(self) -> None:
        """Say goodbye. Safe to call twice."""
        self._writer.close()


class ProcessEnd:
    """A process's end: one thread reads, all may write."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        # A whole frame is written under it, so that frames of threads do not mix.
        self._writing = threading.Lock()
        self._decode = msgspec.msgpack.Decoder(Downward).decode

    def send(self, message: Upward) -> None:
        """Send `message`, and wait until the server has taken it.

        Raises:
            LimitError: the message is too long.
        """
        frame = _frame(message)
        with self._writing:
            self._socket.sendall(frame)

    def receive(self) -> Downward | None:
        """The next message; None once the server has closed the channel, or has ended."""
        head = self._read(_LENGTH_BYTES)
        content = None if head is None else self._read(_length(head))
        return None if content is None else self._decode(content)

    def _read(self, size: int) -> bytearray | None:
        content = bytearray(size)
        view, filled = memoryview(content), 0
        while filled < size:
            try:
                count = self._socket.recv_into(view[filled:])
            except ConnectionError:
                return None
            if count == 0:
                return None
            filled += count
        return content
