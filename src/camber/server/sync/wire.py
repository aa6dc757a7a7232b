"""The bytes of the sync protocol's messages.

A message goes out as pieces: what only one client gets, and what all watchers of a result share
and is encoded once. Nothing here waits or keeps time: `server_ts_ns` is given.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from camber.server.sync.messages import (
    ActionResponse,
    AuthError,
    ClientMessage,
    FatalError,
    MutationResponse,
    Transition,
)

Pieces: TypeAlias = list[bytes]
"""One message, to be joined."""

PING: Final[Pieces] = [b'{"type":"Ping"}']
CHUNK_BYTES: Final = 5_000_000
"""A transition larger than that goes to clients that know how in parts of at most that size."""


def decode(text: bytes) -> ClientMessage:
    """The message that a client sent.

    Raises:
        ProtocolError: it is none; the message says what is wrong, and where.
    """
    raise AssertionError("the body follows")


def encode_transition(transition: Transition, server_ts_ns: int) -> Pieces:
    """`server_ts_ns` is the wall clock in nanoseconds."""
    raise AssertionError("the body follows")


def encode_response(response: MutationResponse | ActionResponse) -> Pieces:
    raise AssertionError("the body follows")


def encode_farewell(message: AuthError | FatalError) -> Pieces:
    raise AssertionError("the body follows")


def takes_chunks(path_version: str | None) -> bool:
    """Whether a client puts chunks together: npm since 1.28.0, which is told by the version in
    the path, None if there is none."""
    raise AssertionError("the body follows")


def chunks(pieces: Sequence[bytes]) -> list[Pieces]:
    """The messages to send for one transition, to a client that takes chunks: itself, or parts
    to be sent with nothing between them."""
    raise AssertionError("the body follows")
