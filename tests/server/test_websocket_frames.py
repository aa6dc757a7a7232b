"""Frames taken apart without a socket: where they are cut, and which way they take, never shows."""

from frame_strategies import cut, hostile, messages
from hypothesis import given
from hypothesis import strategies as st
from raw_websocket import PING, TEXT, fragments, frame

from camber.server.websocket_frames import FrameReader, Incoming, Kind, encode_close, text_at

BIG = 1 << 25


def read(pieces: list[bytes], limit: int = BIG) -> list[Incoming]:
    """What the long way makes of `pieces`."""
    reader = FrameReader(limit)
    return [incoming for piece in pieces for incoming in reader.feed(piece)]


def read_both_ways(pieces: list[bytes], limit: int = BIG) -> list[Incoming]:
    """What a socket makes of `pieces`: the short way wherever it may be taken."""
    reader = FrameReader(limit)
    found: list[Incoming] = []
    for piece in pieces:
        at = 0
        while reader.is_between and (short := text_at(piece, at, limit)) is not None:
            found.append(Incoming(Kind.TEXT, short[0]))
            at = short[1]
        found += reader.feed(piece[at:])
    return found


@given(st.lists(messages(), max_size=4), st.data())
def test_messages_arrive_unchanged_wherever_they_are_cut(
    sent: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    pieces = data.draw(cut(b"".join([frames for _, frames in sent])))
    found = read_both_ways(pieces)
    assert [x.payload.decode() for x in found if x.kind is Kind.TEXT] == [text for text, _ in sent]
    assert {x.kind for x in found} <= {Kind.TEXT, Kind.PING, Kind.PONG}


@given(st.lists(hostile, max_size=6), st.data())
def test_the_short_way_and_any_cut_come_to_the_same_verdict(
    sent: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(sent)
    long_way = read([whole], 1000)
    assert read_both_ways([whole], 1000) == long_way
    assert read_both_ways(sent, 1000) == long_way
    assert read_both_ways(data.draw(cut(whole)), 1000) == long_way
    ends = [x.kind in (Kind.CLOSE, Kind.BROKEN) for x in long_way]
    assert not any(ends[:-1]), "nothing comes after the end"


@given(st.binary(max_size=20), st.binary(max_size=130), st.booleans())
def test_the_short_way_takes_nothing_that_the_long_way_refuses(
    head: bytes, payload: bytes, begins_well: bool
) -> None:
    data = (b"\x81" if begins_well else b"") + head + payload
    for begin in range(3):
        found = text_at(data, begin, BIG)
        if found is not None:
            assert read([data[begin : found[1]]]) == [Incoming(Kind.TEXT, found[0])]


@given(st.text(max_size=70_000), st.binary(max_size=9), st.binary(max_size=9))
def test_the_short_way_is_taken_for_every_small_message(
    text: str, before: bytes, after: bytes
) -> None:
    encoded = text.encode()
    data = before + frame(TEXT, encoded)
    expected = (encoded, len(data)) if len(encoded) < 65536 else None
    assert text_at(data + after, len(before), BIG) == expected
    assert text_at(data + after, len(before), len(encoded) - 1) is None
    assert text_at(data[:-1], len(before), BIG) is None


def test_a_length_in_more_bytes_than_it_needs_is_no_short_way() -> None:
    sound = frame(TEXT, b"hello")
    assert text_at(sound[:1] + b"\xfe\x00\x05" + sound[2:], 0, BIG) is None


def test_nothing_is_kept_between_messages() -> None:
    reader = FrameReader(BIG)
    first, last = fragments(b"a" * 1000, b"b")
    whole = frame(TEXT, b"x")
    assert reader.is_between
    for data, is_between in (
        (first, False),
        (frame(PING), False),
        (last, True),
        (whole[:5], False),
        (whole[5:], True),
        (whole * 3, True),
        (whole * 3 + b"\x81", False),
    ):
        reader.feed(data)
        assert reader.is_between is is_between


@given(st.none() | st.integers(3000, 4999), st.text(max_size=200))
def test_a_close_frame_says_as_much_of_its_reason_as_fits(code: int | None, reason: str) -> None:
    sent = encode_close(code, reason)
    size = sent[1]
    assert size == len(sent) - 2 <= 125
    if code is None:
        assert size == 0
    else:
        told = sent[4:].decode()
        assert reason.startswith(told)
        assert told == reason or len((told + reason[len(told)]).encode()) > 123
