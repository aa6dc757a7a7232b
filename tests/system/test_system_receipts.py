"""Receipts as documents."""

import asyncio
from typing import Any

import pytest

from camber.clock import ManualClock
from camber.database.check import check_database
from camber.database.database import Database, complete
from camber.database.transaction import Transaction
from camber.storage.memory import MemoryEngine
from camber.system.receipts import (
    ClientRequest,
    Receipt,
    RequestReusedError,
    claim_of,
    find_receipt,
    leave_receipt,
    remove_receipts,
)
from camber.system.tables import SYSTEM_TABLES
from camber.values.id import decode_id

SESSION = "6e0d8fd4-27a1-4d0c-a0fe-0d3d7e0a4c55"
CLAIM = claim_of(ClientRequest(SESSION, 1), "", "m:f", "{}")


def test_the_id_of_a_receipt_is_that_of_the_formats() -> None:
    """docs/formats.md: table 13, twelve bytes of the session's hash, the number."""
    number, internal = decode_id(CLAIM.receipt_id)
    assert number == 13
    assert internal.hex() == "f03b92d76711499c31a296a9" + "00000001"
    assert len(CLAIM.digest) == 24


def test_receipts_of_one_session_are_neighbours_in_the_order_of_their_numbers() -> None:
    requests = [ClientRequest(SESSION, number) for number in (0, 1, 200, 300, 70_000, 2**32 - 1)]
    ids = [claim_of(request, "", "m:f", "{}").receipt_id for request in requests]
    assert ids == sorted(ids)
    assert len({id[:20] for id in ids}) == 1


@pytest.mark.parametrize(
    ("session", "caller", "path", "arguments"),
    [
        (SESSION, "", "m:f", '{"a":1}'),
        (SESSION, "", "m:g", "{}"),
        (SESSION, "https://id.example|ada", "m:f", "{}"),
        (SESSION.replace("6", "7"), "", "m:f", "{}"),
    ],
)
def test_a_claim_differs_with_everything_it_is_made_of(
    session: str, caller: str, path: str, arguments: str
) -> None:
    assert claim_of(ClientRequest(session, 1), caller, path, arguments).digest != CLAIM.digest


def test_a_receipt_tells_the_commit_it_is_part_of_and_counts_nothing() -> None:
    async def main() -> None:
        database = await Database.open(MemoryEngine(), ManualClock(), SYSTEM_TABLES)

        def work(tx: Transaction) -> tuple[int, ...]:
            assert complete(find_receipt(tx, CLAIM)) is None
            leave_receipt(tx, CLAIM, '"done"', [("LOG", "x", 5, False)])
            usage = tx.usage
            return usage.documents_written, usage.bytes_written, usage.documents_read, usage.ranges

        done = await database.run(work)
        assert done.value == (0, 0, 0, 0)
        assert done.ts == database.visible_ts
        found = complete(find_receipt(database.snapshot(), CLAIM))
        assert found == Receipt(CLAIM.digest, '"done"', [["LOG", "x", 5, False]], done.ts)
        other = claim_of(ClientRequest(SESSION, 1), "", "m:g", "{}")
        with pytest.raises(RequestReusedError, match="this has not"):
            complete(find_receipt(database.snapshot(), other))
        assert await check_database(database) == []
        await database.close()

    asyncio.run(main())


def test_they_are_removed_in_slices_the_oldest_first() -> None:
    clock = ManualClock()

    def leave(number: int, result: str) -> Any:
        claim = claim_of(ClientRequest(SESSION, number), "", "m:f", "{}")
        return lambda tx: leave_receipt(tx, claim, result, ())

    async def main() -> None:
        database = await Database.open(MemoryEngine(), clock, SYSTEM_TABLES)
        large = '"' + "x" * (3 << 20) + '"'
        for number in range(8):
            await database.run(leave(number, large))
        for number in range(8, 300):
            await database.run(leave(number, "null"))
        clock.advance(1.0)
        end = clock.now_ns()
        clock.advance(1.0)
        await database.run(leave(300, "null"))
        counts: list[int] = []
        while not counts or counts[-1]:
            done = await database.write(lambda tx: remove_receipts(tx, end))
            counts.append(done.value)
        assert counts == [2, 2, 2, 2, 200, 92, 0], "few of the large ones at once"
        assert await check_database(database) == []
        await database.close()

    asyncio.run(main())
