"""RFC 6455 as a peer sees it kept, on both event loops. The categories are those of Autobahn."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest
import uvloop
from raw_http import connected, get, post, serving
from raw_websocket import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONT,
    KEY,
    PING,
    PONG,
    TEXT,
    UPGRADE,
    Echo,
    Recorder,
    closing,
    fragments,
    frame,
    peer,
    talking,
    upgrading,
)
from websockets.asyncio.client import connect

from camber.errors import InvalidArgumentError
from camber.server.exchange import Exchange
from camber.server.websocket import WebSocketLimits

Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def on_this_loop(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(main, 20))

    return on_this_loop


def check_refused(run: Run, code: int, *frames: bytes) -> None:
    """These frames end the connection with `code`, and are no message."""

    async def main() -> None:
        receiver = Echo()
        async with talking(receiver) as client:
            client.send(*frames, frame(TEXT, b"not heard any more"))
            assert await client.end() == code
            assert await receiver.wait_code() == 1006
            assert receiver.messages == []

    run(main())


def check_received(run: Run, messages: list[bytes], *frames: bytes) -> None:
    """These frames, sent in one write and then each in a write of its own, are `messages`."""

    async def main() -> None:
        receiver = Echo()
        async with talking(receiver) as client:
            client.send(*frames)
            for data in frames:
                client.send(data)
                await asyncio.sleep(0)
            for message in messages * 2:
                assert await client.text() == message
            client.send(closing(1000))
            assert await client.end() == 1000
            assert await receiver.wait_code() == 1000
            assert receiver.messages == messages * 2

    run(main())


# ---- the handshake ----


def test_a_handshake_is_answered_as_the_rfc_says(run: Run) -> None:
    async def main() -> None:
        async with serving(upgrading(Echo)) as listener, connected(listener) as client:
            client.send(get("/", *UPGRADE, "sec-websocket-extensions: permessage-deflate"))
            assert (await client.until(b"\r\n\r\n")).split(b"\r\n")[:-2] == [
                b"HTTP/1.1 101 Switching Protocols",
                b"upgrade: websocket",
                b"connection: Upgrade",
                b"sec-websocket-accept: " + ACCEPT.encode(),
            ]

    run(main())


def test_frames_that_come_with_the_handshake_are_not_lost(run: Run) -> None:
    async def main() -> None:
        async with serving(upgrading(Echo)) as listener, connected(listener) as client:
            client.send(get("/", *UPGRADE) + frame(TEXT, b"at once") + closing())
            await client.until(b"\r\n\r\n")
            assert await client.rest() == b"\x81\x07at once\x88\x00"

    run(main())


REFUSED = {
    "POST": (post(b"", *UPGRADE), "MethodNotGet"),
    "a body": (get("/", *UPGRADE, "content-length: 3") + b"abc", "MethodNotGet"),
    "no Connection": (get("/", *UPGRADE[1:]), "InvalidConnectionHeader"),
    "another Connection": (
        get("/", "connection: keep-alive", *UPGRADE[1:]),
        "InvalidConnectionHeader",
    ),
    "no Upgrade": (get("/", UPGRADE[0], *UPGRADE[2:]), "InvalidUpgradeHeader"),
    "another Upgrade": (get("/", UPGRADE[0], "upgrade: h2c", *UPGRADE[2:]), "InvalidUpgradeHeader"),
    "HTTP/1.0": (
        get("/", *UPGRADE).replace(b"HTTP/1.1", b"HTTP/1.0"),
        "InvalidUpgradeHeader",
    ),
    "no version": (get("/", *UPGRADE[:2], UPGRADE[3]), "InvalidWebSocketVersionHeader"),
    "version 8": (
        get("/", *UPGRADE[:2], "sec-websocket-version: 8", UPGRADE[3]),
        "InvalidWebSocketVersionHeader",
    ),
    "no key": (get("/", *UPGRADE[:3]), "WebSocketKeyHeaderMissing"),
    "a key of 15 bytes": (
        get("/", *UPGRADE[:3], "sec-websocket-key: QUFBQUFBQUFBQUFBQUFB"),
        "WebSocketKeyHeaderMissing",
    ),
    "a key that is not base64": (
        get("/", *UPGRADE[:3], "sec-websocket-key: \xe9GhlIHNhbXBsZSBub25jZQ=="),
        "WebSocketKeyHeaderMissing",
    ),
    "two keys": (get("/", *UPGRADE, f"sec-websocket-key: {KEY}"), "WebSocketKeyHeaderMissing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_unsound_handshake_is_refused(run: Run, case: str) -> None:
    request, code = REFUSED[case]

    async def main() -> None:
        receiver = Recorder()
        async with serving(upgrading(lambda: receiver)) as listener, connected(listener) as client:
            client.send(request)
            answer = await client.answer()
            assert answer.status == 400
            assert f'"code":"{code}"'.encode() in answer.body
            assert not receiver.has_opened.is_set()
            assert listener.statistics().websockets_open == 0

    run(main())


def test_a_refused_handshake_leaves_the_connection_usable(run: Run) -> None:
    def application(exchange: Exchange) -> None:
        if exchange.path == "/plain":
            exchange.respond(200, [], b"plain")
            with pytest.raises(InvalidArgumentError, match="answered already"):
                exchange.open_websocket(Echo())
        else:
            exchange.open_websocket(Echo())

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(get("/", *UPGRADE[:3]) + get("/plain") + get("/", *UPGRADE))
            assert (await client.answer()).status == 400
            assert (await client.answer()).body == b"plain"
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")

    run(main())


def test_a_websocket_may_be_opened_after_some_waiting(run: Run) -> None:
    async def application(exchange: Exchange) -> None:
        await asyncio.sleep(0)
        assert exchange.open_websocket(Echo()) is None

    async def main() -> None:
        async with serving(application) as listener, peer(listener) as client:
            client.send(frame(TEXT, b"hello"))
            assert await client.text() == b"hello"

    run(main())


# ---- 1: framing ----

LENGTHS = (0, 1, 125, 126, 127, 128, 65534, 65535, 65536, 65537, 1_000_000)


@pytest.mark.parametrize("length", LENGTHS)
def test_1_messages_of_every_length_arrive_unchanged(run: Run, length: int) -> None:
    text = ("é" * (length // 2) + "x" * (length % 2)).encode()
    check_received(run, [text], frame(TEXT, text))


@pytest.mark.parametrize("length", [0, 125, 126, 65535, 65536])
def test_1_binary_messages_are_not_understood(run: Run, length: int) -> None:
    check_refused(run, 1003, frame(BINARY, b"x" * length))


def test_1_pieces_of_a_message_are_one_message(run: Run) -> None:
    class Sender(Recorder):
        def received(self, text: bytes) -> None:
            size = int(text)
            self.socket.send([])
            self.socket.send([b"a", b"", b"b" * size, *[b"c"] * 3000, b"d" * size])

    async def main() -> None:
        async with talking(Sender()) as client:
            for size in (3, 40_000, 3_000_000):
                client.send(frame(TEXT, b"%d" % size))
                assert await client.text() == b""
                expected = b"a" + b"b" * size + b"c" * 3000 + b"d" * size
                assert await client.text() == expected

    run(main())


def test_the_official_client_gets_back_what_it_sends(run: Run) -> None:
    async def main() -> None:
        receiver = Echo()
        async with (
            serving(upgrading(lambda: receiver)) as listener,
            connect(f"ws://127.0.0.1:{listener.number}/", max_size=None) as client,
        ):
            for length in LENGTHS:
                await client.send("x" * length)
                assert await client.recv() == "x" * length
            await client.send(iter(["fr", "ag", "ments"]))
            assert await client.recv() == "fragments"
            await (await client.ping(b"anybody there?"))
            await client.close(3000, "enough")
            assert await receiver.wait_code() == 3000

    run(main())


# ---- 2: pings and pongs ----


@pytest.mark.parametrize("payload", [b"", b"hello", b"\x00\xff\xfe\x80", b"x" * 125])
def test_2_a_ping_is_answered_by_its_pong(run: Run, payload: bytes) -> None:
    async def main() -> None:
        async with talking(Echo()) as client:
            client.send(frame(PING, payload))
            assert await client.next() == (PONG, payload)

    run(main())


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_2_a_control_frame_of_126_bytes_is_refused(run: Run, opcode: int) -> None:
    check_refused(run, 1002, frame(opcode, b"\x03\xe8" + b"x" * 124))


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_2_a_control_frame_in_fragments_is_refused(run: Run, opcode: int) -> None:
    check_refused(run, 1002, frame(opcode, b"\x03\xe8", fin=False))


def test_2_pongs_that_nobody_asked_for_are_ignored(run: Run) -> None:
    check_received(run, [b"x"], frame(PONG), frame(PONG, b"why"), frame(TEXT, b"x"), frame(PONG))


def test_2_many_pings_are_answered_in_order(run: Run) -> None:
    async def main() -> None:
        async with talking(Echo()) as client:
            client.send(*[frame(PING, b"%d" % n) for n in range(1000)])
            for n in range(1000):
                assert await client.next() == (PONG, b"%d" % n)

    run(main())


# ---- 3 and 4: reserved bits and opcodes ----


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, PING, CLOSE])
def test_3_reserved_bits_are_refused(run: Run, bits: int, opcode: int) -> None:
    check_refused(run, 1002, frame(opcode, bits=bits))


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"payload"])
def test_4_reserved_opcodes_are_refused(run: Run, opcode: int, payload: bytes) -> None:
    check_refused(run, 1002, frame(opcode, payload))


@pytest.mark.parametrize("opcode", [TEXT, PING, CLOSE])
def test_frames_that_are_not_masked_are_refused(run: Run, opcode: int) -> None:
    check_refused(run, 1002, frame(opcode, mask=False))


def test_what_came_before_a_broken_rule_counts(run: Run) -> None:
    async def main() -> None:
        receiver = Echo()
        async with talking(receiver) as client:
            client.send(frame(TEXT, b"one"), frame(PING, b"two"), frame(TEXT, b"three", bits=4))
            assert await client.text() == b"one"
            assert await client.next() == (PONG, b"two")
            assert await client.end() == 1002
            assert receiver.messages == [b"one"]

    run(main())


# ---- 5: fragments ----


@pytest.mark.parametrize(
    "pieces",
    [(b"a", b"b"), (b"", b""), (b"", b"a", b"", b"b", b""), ("é".encode()[:1], "é".encode()[1:])],
)
def test_5_fragments_are_put_together(run: Run, pieces: tuple[bytes, ...]) -> None:
    check_received(run, [b"".join(pieces)], *fragments(*pieces))


def test_5_a_ping_between_fragments_is_answered_first(run: Run) -> None:
    async def main() -> None:
        async with talking(Echo()) as client:
            first, second, third = fragments(b"a", b"b", b"c")
            client.send(first, frame(PING, b"1"), second, frame(PING, b"2"), third)
            assert await client.next() == (PONG, b"1")
            assert await client.next() == (PONG, b"2")
            assert await client.text() == b"abc"

    run(main())


UNSOUND_FRAGMENTS = {
    "a fragment of nothing": frame(CONT, b"x"),
    "an unfinished fragment of nothing": frame(CONT, b"x", fin=False),
    "a text within a text": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
    "a binary within a text": frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"),
}


@pytest.mark.parametrize("case", UNSOUND_FRAGMENTS)
def test_5_unsound_fragments_are_refused(run: Run, case: str) -> None:
    check_refused(run, 1002, UNSOUND_FRAGMENTS[case])


def test_5_a_fragment_after_the_last_is_refused(run: Run) -> None:
    async def main() -> None:
        async with talking(Echo()) as client:
            client.send(*fragments(b"a", b"b"), frame(CONT, b"c"))
            assert await client.text() == b"ab"
            assert await client.end() == 1002

    run(main())


def test_5_the_first_fragment_of_a_binary_message_is_not_understood(run: Run) -> None:
    check_refused(run, 1003, frame(BINARY, b"a", fin=False))


# ---- 6: UTF-8 ----

VALID = {
    "Greek": "κόσμε",
    "the ends of the lengths": "\0\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff",
    "beside the surrogates": "\ud7ff\ue000",
    "not characters, but valid": "\ufffe\uffff\U0001fffe",
}
INVALID = {
    "a lone continuation": b"\x80",
    "a cut character": b"\xce\xba\xe1\xbd",
    "overlong, two bytes": b"\xc0\xaf",
    "overlong, three bytes": b"\xe0\x80\xaf",
    "overlong, four bytes": b"\xf0\x80\x80\xaf",
    "a surrogate": b"\xed\xa0\x80",
    "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "FF": b"\xff",
    "in the middle": b"hello\xffworld",
}


@pytest.mark.parametrize("case", VALID)
def test_6_utf_8_arrives_unchanged_wherever_it_is_cut(run: Run, case: str) -> None:
    text = VALID[case].encode()
    cut = [piece for n in range(len(text)) for piece in fragments(text[:n], text[n:])]
    check_received(run, [text] * (len(text) + 1), frame(TEXT, text), *cut)


@pytest.mark.parametrize("case", INVALID)
def test_6_what_is_not_utf_8_is_refused(run: Run, case: str) -> None:
    check_refused(run, 1007, frame(TEXT, INVALID[case]))
    check_refused(run, 1007, *fragments(*[bytes((byte,)) for byte in INVALID[case]], b""))


# ---- 7: closing ----


@pytest.mark.parametrize(
    "code",
    [
        1000,
        1001,
        1002,
        1003,
        1007,
        1008,
        1009,
        1010,
        1011,
        1012,
        1013,
        1014,
        3000,
        3999,
        4000,
        4999,
    ],
)
def test_7_a_close_is_answered_with_its_code(run: Run, code: int) -> None:
    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver) as client:
            client.send(closing(code, b"because"), frame(PING), frame(TEXT, b"too late"))
            assert await client.end() == code
            assert await receiver.wait_code() == code
            assert receiver.messages == []

    run(main())


def test_7_a_close_without_a_code_is_answered_without_one(run: Run) -> None:
    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver) as client:
            client.send(closing())
            assert await client.end() is None
            assert await receiver.wait_code() == 1005

    run(main())


@pytest.mark.parametrize(
    "code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
)
def test_7_codes_that_nobody_may_send_are_refused(run: Run, code: int) -> None:
    check_refused(run, 1002, closing(code))


def test_7_half_a_code_is_refused(run: Run) -> None:
    check_refused(run, 1002, frame(CLOSE, b"\x03"))


def test_7_a_reason_that_is_not_utf_8_is_refused(run: Run) -> None:
    check_refused(run, 1007, closing(1000, b"\xce\xba\xe1"))


def test_7_a_close_within_a_fragmented_message_ends_it(run: Run) -> None:
    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver) as client:
            client.send(frame(TEXT, b"unfinis", fin=False), closing(1001))
            assert await client.end() == 1001
            assert await receiver.wait_code() == 1001
            assert receiver.messages == []

    run(main())


@pytest.mark.parametrize(
    ("code", "reason", "sent"),
    [
        (None, "", b""),
        (1000, "", b"\x03\xe8"),
        (1013, "Overloaded", b"\x03\xf5Overloaded"),
        (1000, "x" * 200, b"\x03\xe8" + b"x" * 123),
        (1000, "x" + "é" * 100, b"\x03\xe8x" + "é".encode() * 61),
    ],
)
def test_7_a_close_of_ours_comes_last_and_awaits_the_peers(
    run: Run, code: int | None, reason: str, sent: bytes
) -> None:
    class Closer(Recorder):
        def received(self, text: bytes) -> None:
            super().received(text)
            self.socket.send([b"x" * 500_000])
            self.socket.close(code, reason)
            self.socket.close(1011, "not this one")
            self.socket.send([b"nor this"])
            assert self.socket.is_closing

    async def main() -> None:
        receiver = Closer()
        async with talking(receiver) as client:
            client.send(frame(TEXT, b"go"), frame(TEXT, b"not any more"))
            assert len(await client.text()) == 500_000
            assert await client.next() == (CLOSE, sent)
            assert receiver.codes == []
            client.send(frame(TEXT, b"not any more"), frame(PING), closing(4000))
            assert await client.client.rest() == b""
            assert await receiver.wait_code() == 4000
            assert receiver.messages == [b"go"]

    run(main())


def test_7_a_peer_that_just_leaves_has_no_code(run: Run) -> None:
    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver) as client:
            client.client.close()
            assert await receiver.wait_code() == 1006

    run(main())


def test_7_a_peer_that_leaves_within_a_frame_has_no_code(run: Run) -> None:
    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver) as client:
            client.send(frame(TEXT, b"hello")[:-1])
            client.client.writer.write_eof()
            assert await client.client.rest() == b""
            assert await receiver.wait_code() == 1006
            assert receiver.messages == []

    run(main())


def test_cutting_sends_no_close_frame(run: Run) -> None:
    class Cutter(Recorder):
        def received(self, text: bytes) -> None:
            self.socket.cut()
            assert self.socket.is_closing
            self.socket.send([b"nobody reads this"])

    async def main() -> None:
        receiver = Cutter()
        async with talking(receiver) as client:
            client.send(frame(TEXT, b"go"))
            assert await client.client.rest() == b""
            assert await receiver.wait_code() == 1006

    run(main())


# ---- 9: limits ----


def test_9_a_message_may_be_as_long_as_the_limit_and_no_longer(run: Run) -> None:
    limits = WebSocketLimits(message_bytes=300)

    async def main() -> None:
        for last, verdict in ((100, None), (101, 1009)):
            receiver = Echo()
            async with talking(receiver, limits) as client:
                # A control frame does not count to the message it interrupts.
                client.send(frame(TEXT, b"x" * 300), frame(TEXT, b"x" * 200, fin=False))
                client.send(frame(PING, b"x" * 125), frame(CONT, b"x" * last))
                assert len(await client.text()) == 300
                assert (await client.next()).opcode == PONG
                if verdict is None:
                    assert len(await client.text()) == 300
                else:
                    assert await client.end() == verdict

    run(main())


@pytest.mark.parametrize("length", [301, 426, 65_000, 70_000, 1 << 40, (1 << 64) - 1])
def test_9_a_frame_that_is_announced_too_long_is_not_waited_for(run: Run, length: int) -> None:
    async def main() -> None:
        async with talking(Echo(), WebSocketLimits(message_bytes=300)) as client:
            if length > 426:
                client.send(b"\x81\xff" + length.to_bytes(8, "big") + b"mask")
            else:
                client.send(frame(TEXT, b"x" * length))
            assert await client.end() == 1009

    run(main())


# ---- 10: pieces of frames ----


def test_10_frames_may_come_byte_by_byte(run: Run) -> None:
    async def main() -> None:
        receiver = Echo()
        async with talking(receiver) as client:
            frames = [
                frame(TEXT, b"a"),
                *fragments(b"b", b"c" * 126),
                frame(PONG, b"x"),
                frame(TEXT, b"d" * 130),
                frame(TEXT),
                closing(1000, b"done"),
            ]
            for byte in b"".join(frames):
                client.send(bytes((byte,)))
                await asyncio.sleep(0)
            for message in (b"a", b"b" + b"c" * 126, b"d" * 130, b""):
                assert await client.text() == message
            assert await client.end() == 1000

    run(main())


@pytest.mark.parametrize("size", [64, 1000, 65_000])
def test_10_a_long_message_in_many_fragments_arrives_unchanged(run: Run, size: int) -> None:
    text = "".join(map(str, range(100_000))).encode()
    pieces = [text[n : n + size] for n in range(0, len(text), size)]
    check_received(run, [text], *fragments(*pieces))


def test_10_a_very_long_message_goes_out_in_frames_that_clients_take(run: Run) -> None:
    text = bytes(range(32, 127)) * (20 << 20 >> 6)

    async def main() -> None:
        receiver = Recorder()
        async with (
            serving(upgrading(lambda: receiver)) as listener,
            connect(f"ws://127.0.0.1:{listener.number}/", max_size=None) as client,
        ):
            receiver.socket.send([text[:1000], text[1000:]])
            parts = [part async for part in client.recv_streaming(decode=False)]
            assert b"".join(parts) == text
            assert len(parts) > 1
            assert max(len(part) for part in parts) <= 8 << 20
            receiver.socket.send([b"and on"])
            assert await client.recv() == "and on"

    run(main())
