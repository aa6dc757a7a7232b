"""What keeps a WebSocket's peer from holding memory, time or the others: on both event loops."""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest
import uvloop
from raw_http import PATIENCE_SECONDS, connected, get, serving
from raw_http import TEXT as PLAIN
from raw_websocket import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    UPGRADE,
    Echo,
    Peer,
    Recorder,
    closing,
    frame,
    peer,
    talking,
    upgrading,
)

from camber.server.exchange import Exchange
from camber.server.limits import Limits
from camber.server.listener import Listener, listen
from camber.server.websocket import WebSocket, WebSocketLimits

Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]
LONG = b"x" * 100_000
NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def on_this_loop(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(main, 20))

    return on_this_loop


def fill(receiver: Recorder) -> int:
    """Write until the peer takes no more. The number of messages."""
    count = 0
    while not receiver.socket.is_full:
        receiver.socket.send([LONG])
        count += 1
    return count


# ---- slow readers ----


def test_the_system_keeps_little_for_a_slow_reader(run: Run) -> None:
    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver) as client:
            await receiver.has_opened.wait()
            client.client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            written = 0
            while not receiver.socket.is_full:
                receiver.socket.send([LONG])
                written += len(LONG)
                await asyncio.sleep(0)  # The system takes what it will.
            assert written < 2 << 20

    run(main())


def test_a_slow_reader_is_full_until_it_has_read(run: Run) -> None:
    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver) as client:
            await receiver.has_opened.wait()
            client.client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            assert not receiver.socket.is_full
            count = fill(receiver)
            assert receiver.socket.buffered_bytes >= WebSocketLimits().full_bytes
            assert receiver.writable_count == 0
            client.client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            for _ in range(count):
                assert await client.text() == LONG
            await asyncio.wait_for(receiver.is_writable.wait(), PATIENCE_SECONDS)
            assert receiver.writable_count == 1
            assert not receiver.socket.is_full
            receiver.socket.send([b"and on"])
            assert await client.text() == b"and on"

    run(main())


def test_a_peer_that_reads_nothing_is_cut(run: Run) -> None:
    limits = WebSocketLimits(write_seconds=0.05)

    async def main() -> None:
        receiver = Recorder()
        async with serving(upgrading(lambda: receiver, limits)) as listener:
            async with peer(listener) as client:
                await receiver.has_opened.wait()
                client.client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                fill(receiver)
                assert await receiver.wait_code() == 1006
                assert receiver.writable_count == 0
            assert listener.statistics().timeouts == 1

    run(main())


def test_a_peer_that_reads_nothing_is_cut_although_it_was_closed(run: Run) -> None:
    limits = WebSocketLimits(write_seconds=0.05, close_seconds=0.05)

    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver, limits) as client:
            await receiver.has_opened.wait()
            client.client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            fill(receiver)
            receiver.socket.close(1000)
            assert await receiver.wait_code() == 1006

    run(main())


def test_a_flood_of_pings_by_a_peer_that_reads_nothing_is_answered_by_one_pong(run: Run) -> None:
    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver) as client:
            await receiver.has_opened.wait()
            client.client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            count = fill(receiver)
            before = receiver.socket.buffered_bytes
            client.send(*[frame(PING, b"%125d" % n) for n in range(5000)], frame(TEXT, b"there"))
            await asyncio.wait_for(receiver.has_received.wait(), PATIENCE_SECONDS)
            assert receiver.socket.buffered_bytes <= before
            client.client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            for _ in range(count):
                assert await client.text() == LONG
            assert await client.next() == (PONG, b"%125d" % 4999)
            client.send(closing())
            assert await client.end() is None

    run(main())


# ---- backpressure the other way ----


def test_a_receiver_that_pauses_gets_no_further_message_until_it_resumes(run: Run) -> None:
    class Pausing(Recorder):
        def received(self, text: bytes) -> None:
            super().received(text)
            self.socket.pause_reading()

    async def main() -> None:
        receiver = Pausing()
        async with talking(receiver) as client:
            client.send(*[frame(TEXT, b"%d" % n) for n in range(3000)])
            for n in range(3000):
                await asyncio.wait_for(receiver.has_received.wait(), PATIENCE_SECONDS)
                assert receiver.messages == [b"%d" % n]
                receiver.messages.clear()
                receiver.has_received.clear()
                await asyncio.sleep(0)
                assert receiver.messages == []
                receiver.socket.resume_reading()

    run(main())


def test_a_paused_receiver_makes_its_peer_wait(run: Run) -> None:
    class Pausing(Recorder):
        def opened(self, socket: WebSocket) -> None:
            super().opened(socket)
            socket.pause_reading()

    async def main() -> None:
        receiver = Pausing()
        async with talking(receiver) as client:
            client.send(*[frame(TEXT, LONG)] * 200)
            transport = client.client.writer.transport
            await receiver.has_opened.wait()
            assert transport.get_write_buffer_size() > 1_000_000
            assert receiver.messages == []
            receiver.socket.resume_reading()
            await asyncio.wait_for(client.client.writer.drain(), PATIENCE_SECONDS)
            client.send(closing())
            assert await client.end() is None
            assert receiver.messages == [LONG] * 200

    run(main())


def test_a_close_is_understood_also_while_reading_was_paused(run: Run) -> None:
    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver) as client:
            await receiver.has_opened.wait()
            receiver.socket.pause_reading()
            client.send(frame(TEXT, b"not taken"))
            await asyncio.sleep(0)
            receiver.socket.close(1000)
            assert (await client.next()).opcode == CLOSE
            client.send(closing(1000))
            assert await client.client.rest() == b""
            assert await receiver.wait_code() == 1000
            assert receiver.messages == []

    run(main())


def test_one_peers_flood_does_not_make_others_wait_for_its_end(run: Run) -> None:
    flooder, other = Recorder(), Echo()

    def application(exchange: Exchange) -> None:
        exchange.open_websocket(flooder if exchange.path == "/flood" else other)

    async def main() -> None:
        async with (
            serving(application) as listener,
            peer(listener, "/flood") as first,
            peer(listener) as second,
        ):
            first.send(frame(TEXT) * 300_000)
            await asyncio.wait_for(flooder.has_received.wait(), PATIENCE_SECONDS)
            second.send(frame(TEXT, b"hello"))
            assert await second.text() == b"hello"
            assert len(flooder.messages) < 300_000

    run(main())


# ---- silence ----


def test_peers_are_pinged(run: Run) -> None:
    async def main() -> None:
        async with talking(Recorder(), WebSocketLimits(ping_seconds=0.02)) as client:
            for _ in range(3):
                assert await client.next_of_all() == (PING, b"")

    run(main())


def test_a_silent_peer_is_closed(run: Run) -> None:
    limits = WebSocketLimits(ping_seconds=0.02, silence_seconds=0.05, close_seconds=0.05)

    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver, limits) as client:
            assert await client.next() == (CLOSE, b"\x03\xe8ClientDisconnected")
            assert await client.client.rest() == b""
            assert await receiver.wait_code() == 1006

    run(main())


@pytest.mark.parametrize("sign", [frame(PONG), frame(PONG, b"x"), frame(TEXT, b"x")])
def test_whatever_a_peer_sends_is_a_sign_of_life(run: Run, sign: bytes) -> None:
    limits = WebSocketLimits(ping_seconds=0.02, silence_seconds=0.06)

    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver, limits) as client:
            for _ in range(10):  # Far longer than the limit, one sign for each ping.
                assert await client.next_of_all() == (PING, b"")
                client.send(sign)
            assert receiver.codes == []

    run(main())


def test_silence_is_not_counted_while_reading_is_paused(run: Run) -> None:
    limits = WebSocketLimits(ping_seconds=0.02, silence_seconds=0.03, close_seconds=0.05)

    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver, limits) as client:
            await receiver.has_opened.wait()
            receiver.socket.pause_reading()
            for _ in range(6):
                assert await client.next_of_all() == (PING, b"")
            assert receiver.codes == []
            receiver.socket.resume_reading()
            assert (await client.next()).opcode == CLOSE

    run(main())


def test_a_peer_that_does_not_answer_a_close_is_not_waited_for(run: Run) -> None:
    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver, WebSocketLimits(close_seconds=0.05)) as client:
            await receiver.has_opened.wait()
            receiver.socket.close(1000)
            assert (await client.next()).opcode == CLOSE
            assert await client.client.rest() == b""
            assert await receiver.wait_code() == 1006

    run(main())


def test_a_peer_that_sends_on_after_breaking_a_rule_is_cut(run: Run) -> None:
    limits = WebSocketLimits(close_seconds=0.05)

    async def send_on(client: Peer) -> None:
        while True:
            client.send(frame(TEXT, b"x" * 1000))
            await client.client.writer.drain()

    async def main() -> None:
        receiver = Recorder()
        async with talking(receiver, limits) as client:
            client.send(frame(TEXT, bits=1))
            assert (await client.next()).opcode == CLOSE
            assert await receiver.wait_code() == 1006
            with pytest.raises(ConnectionError):
                await send_on(client)

    run(main())


# ---- receivers that fail ----


@pytest.mark.parametrize("where", ["opened", "received", "writable"])
def test_a_receiver_that_fails_is_logged_once_and_closed(
    run: Run, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Recorder):
        def opened(self, socket: WebSocket) -> None:
            super().opened(socket)
            assert where != "opened", "a mistake of ours"

        def received(self, text: bytes) -> None:
            assert where != "received", "a mistake of ours"
            fill(self)

        def writable(self) -> None:
            raise AssertionError("a mistake of ours")

    async def main() -> None:
        receiver = Failing()
        async with talking(receiver) as client:
            client.send(frame(TEXT, b"one"), frame(TEXT, b"two"))
            while (found := await client.next()).opcode == TEXT:
                pass
            assert found == (CLOSE, b"\x03\xf3InternalServerError")
            assert await client.client.rest() == b""
            assert await receiver.wait_code() == 1006

    with caplog.at_level(logging.ERROR):
        run(main())
    assert len(caplog.records) == 1
    assert "a mistake of ours" in caplog.text


def test_a_receiver_that_fails_at_the_end_is_logged(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Recorder):
        def closed(self, code: int) -> None:
            super().closed(code)
            raise ValueError("a mistake of ours")

    async def main() -> None:
        receiver = Failing()
        async with talking(receiver) as client:
            client.send(closing(1000))
            assert await client.end() == 1000
            assert await receiver.wait_code() == 1000

    with caplog.at_level(logging.ERROR):
        run(main())
    assert len(caplog.records) == 1


# ---- the listener ----


def test_websockets_count_as_connections(run: Run) -> None:
    async def main() -> None:
        async with (
            serving(upgrading(Echo), Limits(connections=2)) as listener,
            peer(listener) as client,
            peer(listener),
        ):
            assert listener.statistics().connections_open == 2
            assert listener.statistics().websockets_open == 2
            async with connected(listener) as third:
                assert (await third.answer()).status == 503
            client.send(closing())
            assert await client.end() is None
            assert listener.statistics().websockets_open == 1
            async with peer(listener) as fourth:
                fourth.send(frame(TEXT, b"hello"))
                assert await fourth.text() == b"hello"

    run(main())


def test_closing_the_listener_says_goodbye_and_waits(run: Run) -> None:
    async def main() -> None:
        receivers: list[Recorder] = []

        def application(exchange: Exchange) -> None:
            receivers.append(Recorder())
            exchange.open_websocket(receivers[-1])

        listener = await listen(application)
        async with peer(listener) as first, peer(listener) as second:
            end = asyncio.create_task(listener.close())
            assert await first.next() == (CLOSE, b"\x03\xe9")
            assert await second.next() == (CLOSE, b"\x03\xe9")
            first.send(closing(1001))
            assert await receivers[0].wait_code() == 1001
            assert not end.done()
            second.send(closing(1001))
            await end
            assert receivers[1].codes == [1001]
            assert listener.statistics().connections_open == 0

    run(main())


def test_closing_the_listener_cuts_who_does_not_answer(run: Run) -> None:
    async def main() -> None:
        receiver = Recorder()
        listener = await listen(upgrading(lambda: receiver))
        async with peer(listener):
            await receiver.has_opened.wait()
            await listener.close(grace_seconds=0.01)
            assert receiver.codes == [1006]
            await listener.close()

    run(main())


def test_small_messages_are_not_held_back_by_nagle(run: Run) -> None:
    seen: list[int] = []

    class Looking(Recorder):
        def opened(self, socket: WebSocket) -> None:
            super().opened(socket)
            transport = socket._transport  # type: ignore[attr-defined]
            raw = transport.get_extra_info("socket")
            seen.append(raw.getsockopt(*NODELAY))

    async def main() -> None:
        receiver = Looking()
        async with talking(receiver):
            await receiver.has_opened.wait()
            assert seen != [0]  # The option's value is some number that is not zero.

    run(main())


def test_plain_requests_are_served_beside_websockets(run: Run) -> None:
    def application(exchange: Exchange) -> None:
        if exchange.path == "/plain":
            exchange.respond(200, PLAIN, b"hello")
        else:
            exchange.open_websocket(Echo())

    async def check(client: Peer, n: int) -> None:
        client.send(frame(TEXT, b"%d" % n))
        assert await client.text() == b"%d" % n

    async def main() -> None:
        async with (
            serving(application) as listener,
            connected(listener) as client,
            peer(listener) as socket,
        ):
            for n in range(10):
                client.send(get("/plain"))
                assert (await client.answer()).body == b"hello"
                await check(socket, n)

    run(main())


def test_many_requests_may_come_before_a_handshake(run: Run) -> None:
    def application(exchange: Exchange) -> None:
        if exchange.path == "/":
            exchange.open_websocket(Echo())
        else:
            exchange.respond(200, PLAIN, LONG)

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(get("/long") * 20 + get("/", *UPGRADE) + frame(TEXT, b"hello"))
            for _ in range(20):
                assert (await client.answer()).body == LONG
            await client.until(b"\r\n\r\n")
            assert await Peer(client).text() == b"hello"

    run(main())


def test_running_out_of_open_files_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    def connect_while_possible(listener: Listener, found: list[socket.socket]) -> None:
        while True:
            found.append(socket.socket())
            found[-1].setblocking(False)
            found[-1].connect_ex(("127.0.0.1", listener.number))

    async def check(client: Peer) -> None:
        client.send(frame(TEXT, b"hello"))
        assert await client.text() == b"hello"

    async def main() -> None:
        found: list[socket.socket] = []
        async with serving(upgrading(Echo)) as listener, peer(listener) as client:
            await check(client)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            highest = max(map(int, os.listdir("/proc/self/fd")))
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, before[1]))
            try:
                with pytest.raises(OSError, match="Too many open files"):
                    connect_while_possible(listener, found)
                for _ in range(10):
                    await check(client)
            finally:
                for one in found:
                    one.close()
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            await check(client)
            async with peer(listener) as another:
                await check(another)

    uvloop.run(asyncio.wait_for(main(), 20))
    assert caplog.records == []
