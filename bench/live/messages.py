"""What a client of the sync protocol says, as finished frames."""

import time
import uuid
from typing import Final

import msgspec
from bench.live.frames import TEXT, client_frame

SYNC_PATH: Final = "/api/1.27.0/sync"
"""As of a client that takes no transition in chunks."""

TRANSITION: Final = b'"type":"Transition"'
UPDATED: Final = b'"type":"QueryUpdated"'
FAILED: Final = b'"type":"QueryFailed"'
MUTATION_RESPONSE: Final = b'"type":"MutationResponse"'
SUCCEEDED: Final = b'"success":true'

# Within so many bytes from its beginning a message says of what type it is.
_TYPE_WITHIN: Final = 40

_encode: Final = msgspec.json.Encoder().encode


def _frame(message: dict[str, object]) -> bytes:
    return client_frame(TEXT, _encode(message))


def connect() -> bytes:
    """The first message of a new session."""
    return _frame(
        {
            "type": "Connect",
            "sessionId": str(uuid.uuid4()),
            "connectionCount": 0,
            "lastCloseReason": "InitialConnect",
            "clientTs": int(time.time() * 1000),
        }
    )


def subscribe(path: str, **args: object) -> bytes:
    """The first query of a connection, with the id 0."""
    query = {"type": "Add", "queryId": 0, "udfPath": path, "args": [args]}
    return _frame(
        {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [query]}
    )


def subscribe_to_nothing() -> bytes:
    """The first set of queries of a client that has none."""
    return _frame(
        {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": []}
    )


def mutation(request_id: int, path: str, **args: object) -> bytes:
    return _frame({"type": "Mutation", "requestId": request_id, "udfPath": path, "args": [args]})


def is_transition(message: bytes) -> bool:
    return message.find(TRANSITION, 0, _TYPE_WITHIN) >= 0


def is_mutation_response(message: bytes) -> bool:
    return message.find(MUTATION_RESPONSE, 0, _TYPE_WITHIN) >= 0
