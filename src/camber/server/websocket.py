"""A WebSocket (RFC 6455): where a transport and whoever talks over it meet.

The transport does the handshake, frames, fragments, UTF-8, pings, pongs and the closing handshake,
and holds the peer to the limits; it hands over whole text messages and takes whole text messages.
A peer that breaks the RFC is closed with the code that the RFC names; the receiver only learns that
it is over.

An exchange becomes a WebSocket by `exchange.open_websocket(receiver, limits)`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WebSocketLimits:
    """Sizes in bytes, times in seconds."""

    message_bytes: int = 32 * 1024 * 1024
    """A message, all fragments together; close code 1009 beyond."""

    ping_seconds: float = 5.0
    """Between two pings to the peer."""

    silence_seconds: float = 120.0
    """How long a peer may send nothing, not even a pong, before it counts as gone. Not counted
    while reading is paused."""

    full_bytes: int = 256 * 1024
    """Unsent bytes from which on `is_full` is true; until a quarter of them is left."""

    write_seconds: float = 30.0
    """How long a full socket may take none of what was written before it is cut."""

    close_seconds: float = 2.0
    """How long the peer has to answer a close frame, once all that was sent before has left; for
    that it has `write_seconds`."""


class Receiver(Protocol):
    """Who talks over a WebSocket. None of these may wait; what they raise is logged and cuts the
    connection with 1011."""

    def opened(self, socket: "WebSocket") -> None:
        """The handshake is done. Called once, before anything else."""

    def received(self, text: bytes) -> None:
        """One whole text message: valid UTF-8, at most `message_bytes`."""

    def writable(self) -> None:
        """The socket was full and is no longer."""

    def closed(self, code: int) -> None:
        """It is over, and nothing more can be sent. Called once, after `opened`.

        Args:
            code: of the peer's close frame; 1005 if it had none, 1006 if there was no close frame,
                also because the peer broke the RFC and was not heard to the end.
        """


class WebSocket(ABC):
    """An open WebSocket."""

    __slots__ = ()

    @property
    @abstractmethod
    def is_full(self) -> bool:
        """Whether the peer takes less than is written. Nothing is lost, but whoever writes on
        lets memory grow: wait for `Receiver.writable`."""

    @property
    @abstractmethod
    def is_closing(self) -> bool:
        """Whether a close frame was sent, or the connection is gone: `send` does nothing."""

    @property
    @abstractmethod
    def buffered_bytes(self) -> int:
        """What was written and has not left yet."""

    @abstractmethod
    def send(self, pieces: Sequence[bytes]) -> None:
        """Send one text message, the pieces joined. Long pieces are not copied."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Take no further message for now. Behind an ASGI server, one may still come. A peer is
        not cut off for its silence meanwhile, and its leaving may not be noticed."""

    @abstractmethod
    def resume_reading(self) -> None: ...

    @abstractmethod
    def close(self, code: int | None = None, reason: str = "") -> None:
        """Send a close frame, without a code if None, after all that was sent; then wait for the
        peer's, but not for long. `reason` is cut to 123 bytes. Safe to call twice."""

    @abstractmethod
    def cut(self) -> None:
        """End the connection now, without a close frame."""
