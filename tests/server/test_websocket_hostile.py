"""Peers that send anything at all: each is closed, nobody else notices, and nothing is logged."""

import asyncio
import logging

import pytest
import uvloop
from frame_strategies import cut, hostile, messages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_http import serving
from raw_websocket import CLOSE, TEXT, Echo, Peer, closing, frame, peer, upgrading

from camber.server.websocket import WebSocketLimits

LIMITS = WebSocketLimits(message_bytes=100_000, close_seconds=1.0)

# Many peers talk to one server in each example: opening a port is dear.
conversations = st.lists(st.lists(hostile, max_size=6), min_size=1, max_size=20)
quick = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def hear_out(client: Peer) -> None:
    """Read up to the close frame and the end."""
    while (await client.next()).opcode != CLOSE:
        pass
    assert await client.client.rest() == b""


@quick
@given(conversations)
def test_whatever_peers_send_ends_in_a_close_that_disturbs_nobody(
    caplog: pytest.LogCaptureFixture, sent: list[list[bytes]]
) -> None:
    receivers: list[Echo] = []

    def next_receiver() -> Echo:
        receivers.append(Echo())
        return receivers[-1]

    async def attack(client: Peer, frames: list[bytes]) -> None:
        client.send(*frames)
        # An unfinished frame may have swallowed the close: the end of the stream is one, too.
        client.send(closing(1000))
        client.client.writer.write_eof()
        await client.client.rest()

    async def main() -> None:
        application = upgrading(next_receiver, LIMITS)
        async with serving(application) as listener, peer(listener) as bystander:
            for frames in sent:
                async with peer(listener) as client:
                    await attack(client, frames)
                    await receivers[-1].wait_code()
            bystander.send(frame(TEXT, b"still there?"))
            assert await bystander.text() == b"still there?"
            assert listener.statistics().websockets_open == 1

    with caplog.at_level(logging.INFO):
        uvloop.run(asyncio.wait_for(main(), 20))
    assert caplog.records == []


@quick
@given(st.lists(messages(), min_size=1, max_size=10), st.data())
def test_sound_messages_come_back_however_the_network_cuts_them(
    caplog: pytest.LogCaptureFixture, sent: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    pieces = data.draw(cut(b"".join([frames for _, frames in sent])))

    async def main() -> None:
        receiver = Echo()
        application = upgrading(lambda: receiver, LIMITS)
        async with serving(application) as listener, peer(listener) as client:
            for piece in pieces:
                client.send(piece)
                await asyncio.sleep(0)
            client.send(closing(1000))
            await hear_out(client)
            assert await receiver.wait_code() == 1000
            assert [text.decode() for text in receiver.messages] == [text for text, _ in sent]

    uvloop.run(asyncio.wait_for(main(), 20))
    assert caplog.records == []
