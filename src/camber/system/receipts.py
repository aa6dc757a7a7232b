"""Receipts: what came of the mutations that clients have numbered.

A client that loses its connection sends again what it has not heard of. The receipt, written in
the mutation's own transaction, is how the second time is told from the first, and what the second
time is answered with. A mutation that failed has changed nothing and leaves no receipt.

A receipt is found by its document id, which follows from session and number: a hash of the
session, then the number, so that the receipts of one session are neighbours in the store.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from camber.database.transaction import Pending, Transaction
from camber.errors import UserError
from camber.storage.engine import Timestamp
from camber.system.tables import RECEIPTS
from camber.values.id import encode_id
from camber.values.key import encode
from camber.values.wire import pack, unpack

KEPT_DAYS: Final = 14
"""For how long a mutation that is sent again is known to have been done."""

_NUMBER: Final = 13
_SLICE: Final = 200
_SLICE_BYTES: Final = 4 << 20


class ClientRequest:
    """A mutation as a client numbered it: done at most once, however often it is sent.

    Args:
        session: the client's session, a canonical UUID.
        number: of this mutation within the session, from 0 to 2^32 - 1.
    """

    __slots__ = ("is_committing", "number", "session")

    def __init__(self, session: str, number: int) -> None:
        self.session = session
        self.number = number
        # True from the moment the body has run and its writes head for the commit, until the call
        # of the mutation returns. Kept by the runner, on the event loop's thread.
        self.is_committing = False


class RequestReusedError(UserError):
    """A client has given the number of one mutation to another, or is another user by now."""

    code = "RequestReused"


class Claim(NamedTuple):
    """What a mutation that was sent says it is: the id of its receipt, and a digest of session,
    caller, path and arguments that tells it from any other."""

    receipt_id: str
    digest: str


class Receipt(NamedTuple):
    """How a mutation ended: its result as stored text, its log as plain JSON, and when it was
    committed."""

    digest: str
    result: str
    log: Sequence[Any]
    ts: Timestamp


@lru_cache(maxsize=4096)
def _of_session(session: str) -> tuple[bytes, bytes]:
    """What all receipts of a session have in common: how their ids begin, and its name."""
    name = session.encode()
    return hashlib.sha256(name).digest()[:12], name + b"\0"


def claim_of(request: ClientRequest, caller: str, path: str, arguments: str) -> Claim:
    """The claim of a request to call a function.

    Args:
        caller: who asks (`Identity.caller`).
        path: canonical.
        arguments: as stored text, sorted by name.
    """
    beginning, session = _of_session(request.session)
    # What may hold a zero byte is the caller alone, so it is clear where each of them ends.
    what = session + f"{caller}\0{path}\0{arguments}".encode()
    digest = base64.b64encode(hashlib.sha256(what).digest()[:18]).decode()
    return Claim(encode_id(_NUMBER, beginning + request.number.to_bytes(4)), digest)


async def find_receipt(tx: Transaction, claim: Claim) -> Receipt | None:
    """The receipt of what is claimed, if it was done. That there is none has been read.

    Raises:
        RequestReusedError: something else was done under this number.
    """
    text = await tx.text(claim.receipt_id)
    if text is None:
        return None
    fields = unpack(text)
    if fields["digest"] != claim.digest:
        raise RequestReusedError(
            "This session has already sent another mutation under this request number, or the same "
            "one as another user. What was sent first has been done; this has not."
        )
    return Receipt(fields["digest"], fields["result"], fields["log"], int(fields["ts"]))


def leave_receipt(tx: Transaction, claim: Claim, result: str, log: Sequence[Any]) -> None:
    """Write, as part of `tx`, that it has done what is claimed. Counts as no write of the app's,
    and may be as large as a result may be, which is more than documents of the app may."""
    id, digest = claim
    table = tx.catalog.find(RECEIPTS)
    assert table is not None, "the platform's tables are always there"

    index = table.maintained[0].number
    # All but the timestamp is made here, where an error is still the mutation's own.
    rest = pack({"digest": digest, "log": log, "result": result}, plain=True)[1:]

    def stamp(ts: Timestamp) -> tuple[str, Pending]:
        created = ts / 1e6
        text = f'{{"_id":"{id}","_creationTime":{created!r},"ts":"{ts}",{rest}'
        part = encode(created)
        # By creation time, which is the only index of this table.
        return id, Pending(table, None, (), text, ((index, part + id.encode(), (part,)),))

    tx.stamp = stamp


async def remove_receipts(tx: Transaction, before_ts: Timestamp) -> int:
    """Remove some receipts of what was committed before `before_ts`, the oldest first.

    Returns:
        How many; 0 when none is left.
    """
    table = tx.catalog.find(RECEIPTS)
    assert table is not None, "the platform's tables are always there"
    (index,) = table.maintained
    lower, upper = b"", encode(before_ts / 1e6)
    found: list[str] = []
    size = 0
    # One at a time, because one may be many megabytes.
    while len(found) < _SLICE and size < _SLICE_BYTES:
        rows = await tx.rows(index.number, lower, upper, reverse=False, limit=1)
        if not rows:
            break
        ((key, text),) = rows
        found.append(text)
        size += len(text)
        lower = key + b"\0"
    for text in found:
        tx.discard(unpack(text)["_id"], text)
    return len(found)
