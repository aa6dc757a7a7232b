"""What a WebSocket's peer may send, well-meaning or not: strategies for Hypothesis."""

from itertools import pairwise

from hypothesis import strategies as st
from raw_websocket import BINARY, CLOSE, CONT, PING, PONG, TEXT, closing, fragments, frame

texts = st.text(max_size=200) | st.integers(120, 130).map("x".__mul__) | st.just("é" * 33_000)


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, bytes]:
    """A text, and frames that say it: in fragments, with control frames between them."""
    text = draw(texts)
    encoded = text.encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(encoded)), max_size=4)))
    pieces = [encoded[begin:end] for begin, end in pairwise([0, *cuts, len(encoded)])]
    control = st.sampled_from([b"", frame(PING, b"p"), frame(PONG), frame(PONG, b"q" * 125)])
    return text, b"".join([draw(control) + data for data in fragments(*pieces)])


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` as it may arrive."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=20)))
    return [data[begin:end] for begin, end in pairwise([0, *cuts, len(data)]) if begin < end]


hostile = st.one_of(
    st.binary(max_size=40),
    messages().map(lambda message: message[1]),
    st.builds(
        frame,
        st.sampled_from([CONT, TEXT, BINARY, CLOSE, PING, PONG, 3, 15]),
        st.binary(max_size=130),
        fin=st.booleans(),
        mask=st.sampled_from([True, True, True, False]),
        bits=st.sampled_from([0, 0, 0, 1, 4]),
    ),
    st.builds(closing, st.integers(0, 5000), st.binary(max_size=10)),
)
