"""Document ids: one text for one table and sixteen bytes."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camber.clock import ManualClock
from camber.errors import InvalidArgumentError
from camber.values.id import (
    ALPHABET,
    DocumentId,
    IdMint,
    decode_id,
    encode_id,
    id_range,
    table_number_of,
)

MANUAL = Path(__file__).parents[2] / "docs" / "formats.md"
# number, internal id, text
VECTORS = [
    (int(number), bytes.fromhex(internal), text)
    for number, internal, text in re.findall(
        r"^\| (\d+) \| `([0-9a-f]{32})` \| `(\w+)` \|$",
        MANUAL.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
]
VALID = "j57000820c20a1g7104gm2rc1m70ynr8"

table_numbers = st.one_of(
    st.integers(1, 2**32 - 1),
    st.integers(10001, 10100),
    st.sampled_from([1, 127, 128, 2**14 - 1, 2**14, 2**21 - 1, 2**21, 2**28 - 1, 2**28]),
)
internals = st.binary(min_size=16, max_size=16)


def mint_at(clock: ManualClock) -> IdMint:
    return IdMint(lambda: clock.now_ns() // 1_000_000)


@pytest.mark.parametrize(("number", "internal", "text"), VECTORS)
def test_the_manual_tells_the_truth_about_ids(number: int, internal: bytes, text: str) -> None:
    assert encode_id(number, internal) == text
    assert decode_id(text) == DocumentId(number, internal)
    assert table_number_of(text) == number
    assert len(VECTORS) == 7


@given(table_numbers, internals)
def test_what_is_encoded_is_decoded(number: int, internal: bytes) -> None:
    text = encode_id(number, internal)
    assert decode_id(text) == (number, internal)
    assert table_number_of(text) == table_number_of(text) == number


@given(st.text(ALPHABET, min_size=30, max_size=38) | st.text(max_size=40))
def test_what_is_accepted_is_what_would_be_written(text: str) -> None:
    try:
        found = decode_id(text)
    except InvalidArgumentError:
        return
    assert encode_id(*found) == text


@given(st.sampled_from(VECTORS), st.integers(0, 36), st.sampled_from(ALPHABET))
def test_an_id_with_one_character_changed_is_no_id(
    vector: tuple[int, bytes, str], place: int, character: str
) -> None:
    text = vector[2]
    changed = text[:place] + character + text[place + 1 :]
    if place < len(text) and changed != text:
        with pytest.raises(InvalidArgumentError):
            decode_id(changed)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "Invalid ID length 0"),
        ("abc", "Invalid ID length 3"),
        (VALID + "000000", "Invalid ID length 38"),
        (VALID.upper(), "ID wasn't valid base32"),
        (VALID.replace("j", "l"), "ID wasn't valid base32"),
        (" " + VALID[1:], "ID wasn't valid base32"),
        ("+" + VALID[1:], "ID wasn't valid base32"),
        (VALID[:4] + "_" + VALID[5:], "ID wasn't valid base32"),
        ("é" + VALID[1:], "ID wasn't valid base32"),
        ("٣" + VALID[1:], "ID wasn't valid base32"),
        (VALID + "0", "ID wasn't valid base32"),
        (VALID + "00", "Invalid ID length 34"),
        ("0000000000000000000000000000000", "Invalid table number"),
        ("zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "Invalid table number"),
        (VALID[:-1] + "9", "Invalid ID version 256 (expected 0)"),
        ("fw0020g30g2gc1r81450p30d1r7ze5s", "ID wasn't valid base32"),
    ],
)
def test_a_bad_id_says_what_is_wrong(text: str, cause: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        decode_id(text)
    assert str(caught.value) == f"Unable to decode ID: {cause}"


@pytest.mark.parametrize(
    "text", ["", "abc", "j57", VALID + "0", VALID[:-1], VALID.upper(), "0" * 31, "z" * 37, "é" * 32]
)
def test_what_cannot_be_an_id_has_no_table_number(text: str) -> None:
    assert table_number_of(text) is None
    assert table_number_of(text) is None


def test_made_up_ids_do_not_fill_the_memory_and_do_not_confuse_real_ones() -> None:
    for number in range(1, 8000):
        assert table_number_of(encode_id(number, bytes(16))) == number
    assert table_number_of(VALID) == 10001


@given(table_numbers, table_numbers, internals)
def test_a_range_holds_the_ids_of_its_table_and_no_others(
    number: int, other: int, internal: bytes
) -> None:
    first, end = id_range(number)
    assert (first <= encode_id(other, internal) < end) == (number == other)


@pytest.mark.parametrize("number", [1, 300, 10001, 2**32 - 1])
def test_a_minted_id_carries_its_table_and_its_day(number: int) -> None:
    clock = ManualClock(1_760_000_000_000_000_000)
    found = decode_id(mint_at(clock).mint(number))
    assert found.table_number == number
    assert found.internal[-2:] == (1_760_000_000 // 86_400).to_bytes(2, "big")


def test_ids_minted_later_sort_later() -> None:
    clock = ManualClock()
    mint = mint_at(clock)
    ids = []
    for _ in range(50):
        ids.append(mint.mint(10001))
        clock.advance(0.001)
    assert all(earlier < later for earlier, later in pairwise(ids))


def test_no_two_minted_ids_are_the_same() -> None:
    mint = mint_at(ManualClock())
    assert len({mint.mint(10001) for _ in range(2000)}) == 2000
