"""The bytes of the sync protocol's messages.

A message goes out as pieces: what only one client gets, and what all watchers of a result share
and is encoded once. Nothing here waits or keeps time: `server_ts_ns` is given.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

from camber.functions.failure import Failure, data_on_wire
from camber.functions.invocation import new_request_id
from camber.functions.outcome import Outcome
from camber.server.sync.farewell import ProtocolError, broken
from camber.server.sync.messages import (
    ActionRequest,
    ActionResponse,
    AddQuery,
    Authenticate,
    AuthError,
    ClientMessage,
    Connect,
    Event,
    FatalError,
    ModifyQuerySet,
    MutationRequest,
    MutationResponse,
    QueryResult,
    RemoveQuery,
    Transition,
    Version,
)
from camber.storage.engine import Timestamp
from camber.values.wire import MalformedJsonError, dump_json, parse_json

Pieces: TypeAlias = Sequence[bytes]
"""One message, to be joined."""

PING: Final[Pieces] = [b'{"type":"Ping"}']
CHUNK_BYTES: Final = 5_000_000
"""A transition larger than that goes to clients that know how in parts of at most that size."""

TS_MAX: Final = (1 << 63) - 1

# What is that short is cheaper to copy into a message than to send as a piece of its own.
_JOINED_BYTES_MAX: Final = 4096
_DETAIL_MAX: Final = 200
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SEMVER: Final = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(-[^+]+)?(\+.*)?")
_CHUNKS_SINCE: Final = (1, 28, 0)


# Messages from clients: their shapes, as the JSON has them.

_U32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]


class _Shape(msgspec.Struct, tag_field="type", rename="camel"):
    def message(self, size: int) -> ClientMessage:
        """What the shape says. `size` is that of the whole message, in bytes."""
        raise AssertionError("every shape says something")


class _Connect(_Shape, tag="Connect"):
    session_id: str
    connection_count: _U32 = 0
    last_close_reason: str | None = None
    max_observed_timestamp: str | None = None
    client_ts: float | None = None

    def message(self, size: int) -> Connect:
        if _UUID.fullmatch(self.session_id) is None:
            raise _invalid("Expected a UUID - at `$.sessionId`")
        return Connect(
            self.session_id.lower(),
            self.connection_count,
            self.last_close_reason,
            _timestamp(self.max_observed_timestamp),
            self.client_ts,
        )


class _Add(msgspec.Struct, tag_field="type", rename="camel", tag="Add"):
    query_id: _U32
    udf_path: str
    args: list[Any]
    journal: str | None = None
    component_path: str | None = None


class _Remove(msgspec.Struct, tag_field="type", rename="camel", tag="Remove"):
    query_id: _U32


class _ModifyQuerySet(_Shape, tag="ModifyQuerySet"):
    base_version: _U32
    new_version: _U32
    modifications: list[_Add | _Remove]

    def message(self, size: int) -> ModifyQuerySet:
        # What each took of the message is not known; the sum is what counts.
        share = size // max(1, len(self.modifications))
        return ModifyQuerySet(
            self.base_version,
            self.new_version,
            tuple([_modification(shape, share) for shape in self.modifications]),
        )


def _modification(shape: _Add | _Remove, size: int) -> AddQuery | RemoveQuery:
    if isinstance(shape, _Remove):
        return RemoveQuery(shape.query_id)
    return AddQuery(
        shape.query_id, shape.udf_path, shape.args, shape.journal, shape.component_path, size
    )


class _Request(_Shape):
    request_id: _U32
    udf_path: str
    args: list[Any]
    component_path: str | None = None


class _Mutation(_Request, tag="Mutation"):
    def message(self, size: int) -> MutationRequest:
        return MutationRequest(self.request_id, self.udf_path, self.args, self.component_path, size)


class _Action(_Request, tag="Action"):
    def message(self, size: int) -> ActionRequest:
        return ActionRequest(self.request_id, self.udf_path, self.args, self.component_path, size)


class _Authenticate(_Shape, tag="Authenticate"):
    base_version: _U32
    token_type: Literal["User", "Admin", "None"]
    # Of any type, because beside `None` nobody looks at it.
    value: Any = None
    impersonating: dict[str, Any] | None = None
    acting_as: dict[str, Any] | None = msgspec.field(default=None, name="acting_as")

    def message(self, size: int) -> Authenticate:
        if self.token_type == "None":
            return Authenticate(self.base_version, "None")
        if not isinstance(self.value, str):
            raise _invalid("Expected `str` - at `$.value`")
        acting_as = self.impersonating if self.impersonating is not None else self.acting_as
        return Authenticate(self.base_version, self.token_type, self.value, acting_as)


class _Event(_Shape, tag="Event"):
    def message(self, size: int) -> Event:
        return Event()


_decode: Final = msgspec.json.Decoder(
    _Connect | _ModifyQuerySet | _Mutation | _Action | _Authenticate | _Event
).decode


def decode(text: bytes) -> ClientMessage:
    """The message that a client sent. Fields that nobody knows are passed over.

    Raises:
        ProtocolError: it is none; the message says what is wrong, and where.
    """
    try:
        shape: _Shape = _decode(text)
        return shape.message(len(text))
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _invalid(_why_malformed(text, error)) from None


def _why_malformed(text: bytes, error: Exception) -> str:
    try:
        parse_json(text)
    except MalformedJsonError as malformed:
        return str(malformed)
    return str(error)


def _invalid(detail: str) -> ProtocolError:
    # It may quote the client, who may have said a lot.
    cut = detail if len(detail) <= _DETAIL_MAX else detail[:_DETAIL_MAX] + "…"
    return broken(f"Received Invalid JSON on websocket: {cut}", code="WSMessageInvalidJson")


def _timestamp(text: str | None) -> Timestamp:
    if text is None:
        return 0
    try:
        raw = a2b_base64(text, strict_mode=True)
    except (Base64Error, ValueError):
        raw = b""
    ts = int.from_bytes(raw, "little")
    if len(raw) != 8 or ts > TS_MAX:
        raise _invalid("Expected a timestamp, base64 of 8 bytes - at `$.maxObservedTimestamp`")
    return ts


# Messages to clients.


@lru_cache(maxsize=64)
def _ts(ts: Timestamp) -> bytes:
    return b2a_base64(ts.to_bytes(8, "little"), newline=False)


# Forms of one outcome that are kept: its clients are mostly at the same versions.
_ENCODINGS_MAX: Final = 8


@lru_cache(maxsize=64)
def _transition_head(start: Version, end: Version) -> bytes:
    return (
        b'{"type":"Transition",'
        b'"startVersion":{"querySet":%d,"identity":%d,"ts":"%b"},'
        b'"endVersion":{"querySet":%d,"identity":%d,"ts":"%b"},"modifications":['
        % (*start[:2], _ts(start.ts), *end[:2], _ts(end.ts))
    )


def encode_transition(transition: Transition, server_ts_ns: int) -> Pieces:
    """`server_ts_ns` is the wall clock in nanoseconds."""
    start, end, removed, results, skew_ms, tells_time, hidden = transition
    if len(results) == 1 and not removed and not tells_time:
        # What most transitions are, to thousands of clients at a time.
        return _encode_shared(start, end, results[0], hidden)
    pieces = [_transition_head(start, end)]
    separator = b""
    for query_id in removed:
        pieces.append(separator + b'{"type":"QueryRemoved","queryId":%d}' % query_id)
        separator = b","
    for result in results:
        kind, query_id, tail = _encode_result(result, hidden)
        pieces.append(separator + b'{"type":"%b","queryId":%d' % (kind, query_id))
        pieces += tail
        separator = b","
    pieces.append(_transition_tail(skew_ms, server_ts_ns) if tells_time else b"]}")
    return pieces


def _encode_shared(start: Version, end: Version, result: QueryResult, hidden: bool) -> Pieces:
    """The transition of one result: the same bytes for all clients who are at the same versions."""
    query_id, outcome, journal = result
    key = (start, end, query_id, journal, hidden)
    encodings = outcome.encodings
    if encodings is None:
        encodings = outcome.encodings = {}
    pieces = encodings.get(key)
    if pieces is None:
        kind, query_id, tail = _encode_result(result, hidden)
        head = b'%b{"type":"%b","queryId":%d' % (_transition_head(start, end), kind, query_id)
        pieces = _joined_if_short([head, *tail, b"]}"])
        if len(encodings) >= _ENCODINGS_MAX:
            encodings.clear()
        encodings[key] = pieces
    return pieces


def _transition_tail(skew_ms: int | None, server_ts_ns: int) -> bytes:
    if skew_ms is None:
        return b'],"clientClockSkew":null,"serverTs":%d}' % server_ts_ns
    return b'],"clientClockSkew":%d,"serverTs":%d}' % (skew_ms, server_ts_ns)


def _encode_result(result: QueryResult, hidden: bool) -> tuple[bytes, int, Sequence[bytes]]:
    """Kind, query id, and all that follows it, which is the same for all who watch the outcome."""
    query_id, outcome, journal = result
    kind = b"QueryUpdated" if outcome.failure is None else b"QueryFailed"
    if journal is not outcome.journal:
        return kind, query_id, _encode_tail(outcome, journal, hidden)
    encodings = outcome.encodings
    if encodings is None:
        encodings = outcome.encodings = {}
    tail = encodings.get(hidden)
    if tail is None:
        tail = encodings[hidden] = _encode_tail(outcome, journal, hidden)
    return kind, query_id, tail


def _encode_tail(outcome: Outcome, journal: str | None, hidden: bool) -> Sequence[bytes]:
    last = b',"logLines":%b,"journal":%b}' % (_log_lines(outcome, hidden), dump_json(journal))
    failure = outcome.failure
    if failure is None:
        return _joined_if_short([b',"value":', outcome.wire(), last])
    message, data = _shown(outcome, failure, hidden)
    return _joined_if_short([b',"errorMessage":', message, data, last])


def _log_lines(outcome: Outcome, hidden: bool) -> bytes:
    if hidden or not outcome.log:
        return b"[]"
    return dump_json([line.wire() for line in outcome.log])


def _shown(outcome: Outcome, failure: Failure, hidden: bool) -> tuple[bytes, bytes]:
    """A failure's text, and the field of its data, if it has any."""
    request_id = outcome.request_id or new_request_id()
    message = dump_json(failure.shown(request_id, redacted=hidden))
    if failure.data is None:
        return message, b""
    return message, b',"errorData":' + dump_json(data_on_wire(failure.data))


def encode_response(response: MutationResponse | ActionResponse) -> Pieces:
    """The answer to a mutation or an action."""
    request_id, outcome, hidden = response
    is_mutation = isinstance(response, MutationResponse)
    kind = b"MutationResponse" if is_mutation else b"ActionResponse"
    head = b'{"type":"%b","requestId":%d' % (kind, request_id)
    log = b',"logLines":%b}' % _log_lines(outcome, hidden)
    failure = outcome.failure
    if failure is None:
        ts = b',"ts":"%b"' % _ts(outcome.ts) if is_mutation else b""
        return _joined_if_short([head + b',"success":true,"result":', outcome.wire(), ts + log])
    message, data = _shown(outcome, failure, hidden)
    ts = b',"ts":null' if is_mutation else b""
    return _joined_if_short([head + b',"success":false,"result":', message, data, ts + log])


def encode_farewell(message: AuthError | FatalError) -> Pieces:
    """The last message before a connection is closed."""
    if isinstance(message, FatalError):
        return [dump_json({"type": "FatalError", "error": message.error})]
    return [
        dump_json(
            {
                "type": "AuthError",
                "error": message.error,
                "baseVersion": message.base_version,
                "authUpdateAttempted": message.auth_update_attempted,
            }
        )
    ]


def _joined_if_short(pieces: Pieces) -> Pieces:
    if sum(map(len, pieces)) <= _JOINED_BYTES_MAX:
        return [b"".join(pieces)]
    return pieces


# Chunks.


def takes_chunks(path_version: str | None) -> bool:
    """Whether a client puts chunks together: npm since 1.28.0, which is told by the version in
    the path, None if there is none."""
    match = None if path_version is None else _SEMVER.fullmatch(path_version)
    if match is None:
        return False
    version = (int(match[1]), int(match[2]), int(match[3]))
    is_before_release = match[4] is not None
    return version > _CHUNKS_SINCE or (version == _CHUNKS_SINCE and not is_before_release)


def chunks(pieces: Pieces) -> list[Pieces]:
    """The messages to send for one transition, to a client that takes chunks: itself, or parts
    to be sent with nothing between them."""
    size = sum(map(len, pieces))
    if size <= CHUNK_BYTES:
        return [pieces]
    parts = _cut_between_characters(b"".join(pieces), CHUNK_BYTES)
    tail = b',"totalParts":%d,"transitionId":"%d"}' % (len(parts), size)
    return [
        [
            b'{"type":"TransitionChunk","chunk":',
            dump_json(part.decode()),
            b',"partNumber":%d' % number,
            tail,
        ]
        for number, part in enumerate(parts)
    ]


def _cut_between_characters(text: bytes, size: int) -> list[bytes]:
    parts = []
    begin = 0
    while len(text) - begin > size:
        end = begin + size
        # The bytes of a character after its first all look like 10xxxxxx.
        while text[end] & 0xC0 == 0x80:
            end -= 1
        parts.append(text[begin:end])
        begin = end
    return [*parts, text[begin:]]
