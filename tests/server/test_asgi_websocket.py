"""WebSockets behind an ASGI server: driven by hand, and by uvicorn."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from raw_http import PATIENCE_SECONDS
from raw_http import TEXT as PLAIN
from raw_websocket import UPGRADE, Echo, Recorder
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from camber.errors import InvalidArgumentError, RequestError
from camber.server.asgi import AsgiApplication
from camber.server.exchange import Application, Exchange
from camber.server.websocket import WebSocket, WebSocketLimits

Message = MutableMapping[str, Any]
WITH_DENIAL = {"websocket.http.response": dict[str, object]()}
LONG = "x" * 100_000


class Server:
    """One handshake at an ASGI server, as a script."""

    def __init__(self, application: Application, **scope: Any) -> None:
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "scheme": "wss",
            "path": "/chat",
            "raw_path": b"/chat",
            "query_string": b"room=1",
            "root_path": "",
            "headers": [(b"host", b"a"), (b"cookie", b"x")],
            "client": ("192.0.2.1", 1234),
            "server": ("127.0.0.1", 3210),
            "subprotocols": [],
        } | scope
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._incoming.put_nowait({"type": "websocket.connect"})
        # Not set while the peer reads nothing.
        self.is_reading = asyncio.Event()
        self.is_reading.set()
        self.is_gone = False
        asgi = AsgiApplication(application, port_name="site")
        self._task = asyncio.create_task(asgi(self.scope, self._incoming.get, self._send))

    async def _send(self, message: Message) -> None:
        await self.is_reading.wait()
        if self.is_gone:
            raise OSError("The client is gone.")
        self.sent.put_nowait(message)

    def text(self, text: str) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", "text": text})

    def binary(self, data: bytes) -> None:
        self._incoming.put_nowait({"type": "websocket.receive", "bytes": data})

    def disconnect(self, code: int | None = None) -> None:
        self._incoming.put_nowait({"type": "websocket.disconnect", "code": code})

    def stop(self) -> None:
        self._task.cancel()

    async def next(self) -> Message:
        return await asyncio.wait_for(self.sent.get(), PATIENCE_SECONDS)

    async def next_text(self) -> str:
        message = await self.next()
        assert message["type"] == "websocket.send"
        return str(message["text"])

    async def end(self) -> None:
        """Wait until the application has returned; nothing unread was sent before."""
        await asyncio.wait_for(asyncio.wait((self._task,)), PATIENCE_SECONDS)
        assert self.sent.empty()
        if not self._task.cancelled():
            self._task.result()


async def accepted(receiver: Recorder, limits: WebSocketLimits | None = None) -> Server:
    server = Server(lambda exchange: exchange.open_websocket(receiver, limits))
    assert await server.next() == {"type": "websocket.accept"}
    await asyncio.wait_for(receiver.has_opened.wait(), PATIENCE_SECONDS)
    return server


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, 20))


def test_a_handshake_is_an_exchange_with_the_method_get() -> None:
    seen: list[tuple[object, ...]] = []

    def application(exchange: Exchange) -> None:
        seen.append((exchange.method, exchange.target, exchange.scheme, exchange.host))
        seen.append((exchange.has_body, exchange.header("cookie"), exchange.port_name))
        exchange.respond(404, PLAIN, b"not here")
        with pytest.raises(InvalidArgumentError, match="answered already"):
            exchange.open_websocket(Recorder())

    async def main() -> None:
        server = Server(application)
        await server.next()
        await server.end()
        assert seen == [("GET", "/chat?room=1", "wss", "a"), (False, "x", "site")]

    run(main())


@pytest.mark.parametrize("is_waiting", [False, True])
def test_an_answer_denies_the_handshake(is_waiting: bool) -> None:
    async def late() -> None:
        await asyncio.sleep(0)
        raise RequestError(400, "ClientVersionUnsupported", "Too old.")

    def application(exchange: Exchange) -> Coroutine[Any, Any, None]:
        if is_waiting:
            return late()
        raise RequestError(400, "ClientVersionUnsupported", "Too old.")

    async def main() -> None:
        server = Server(application, extensions=WITH_DENIAL)
        start = await server.next()
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 400)
        body = await server.next()
        assert body["type"] == "websocket.http.response.body"
        assert body["body"] == b'{"code":"ClientVersionUnsupported","message":"Too old."}'
        await server.end()
        server = Server(application)
        assert await server.next() == {"type": "websocket.close", "code": 1008}
        await server.end()

    run(main())


def test_an_unsound_request_is_denied() -> None:
    async def main() -> None:
        server = Server(lambda exchange: None, headers=[(b"host", b"a"), (b"host", b"b")])
        assert await server.next() == {"type": "websocket.close", "code": 1008}
        await server.end()

    run(main())


def test_a_plain_request_cannot_become_a_websocket() -> None:
    codes: list[str] = []

    def application(exchange: Exchange) -> None:
        with pytest.raises(RequestError) as caught:
            exchange.open_websocket(Recorder())
        codes.append(caught.value.code)
        exchange.respond(200, PLAIN, b"")

    async def main() -> None:
        asked = [(b"host", b"a")]
        asked += [(x.lower().encode(), y.encode()) for x, y in [i.split(": ") for i in UPGRADE]]
        for headers in ([(b"host", b"a")], asked):
            server = Server(
                application, type="http", method="GET", http_version="1.1", headers=headers
            )
            assert (await server.next())["status"] == 200
            await server.next()
            await server.end()
        assert codes == ["InvalidConnectionHeader", "NotImplemented"]

    run(main())


def test_messages_go_both_ways_up_to_the_peers_close() -> None:
    async def main() -> None:
        receiver = Echo()
        server = await accepted(receiver)
        for text in ("hello", "", "κόσμε", LONG):
            server.text(text)
            assert await server.next_text() == text
        server.disconnect(3000)
        assert await receiver.wait_code() == 3000
        await server.end()
        assert receiver.messages[2] == "κόσμε".encode()

    run(main())


def test_a_peer_that_gives_no_code_has_1005() -> None:
    async def main() -> None:
        receiver = Recorder()
        server = await accepted(receiver)
        server.disconnect()
        assert await receiver.wait_code() == 1005
        await server.end()

    run(main())


def test_a_server_that_stops_ends_it_without_a_code() -> None:
    async def main() -> None:
        receiver = Recorder()
        server = await accepted(receiver)
        server.stop()
        await server.end()
        assert receiver.codes == [1006]

    run(main())


def test_a_client_that_leaves_before_it_is_accepted_opens_nothing() -> None:
    async def main() -> None:
        receiver = Recorder()
        server = Server(lambda exchange: exchange.open_websocket(receiver))
        server.is_gone = True
        await server.end()
        assert not receiver.has_opened.is_set()
        assert receiver.codes == []

    run(main())


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_close_of_ours_comes_last_and_awaits_the_peers(is_gone: bool) -> None:
    async def main() -> None:
        receiver = Recorder()
        server = await accepted(receiver)
        server.is_gone = is_gone
        receiver.socket.send([b"a", b"b"])
        receiver.socket.close(1013, "x" * 200)
        receiver.socket.close(1011, "not this one")
        receiver.socket.send([b"nor this"])
        if not is_gone:
            assert await server.next_text() == "ab"
            close = {"type": "websocket.close", "code": 1013, "reason": "x" * 123}
            assert await server.next() == close
            server.text("too late")
        assert receiver.codes == []
        server.disconnect(1013)
        assert await receiver.wait_code() == 1013
        await server.end()
        assert receiver.messages == []

    run(main())


def test_a_peer_that_does_not_answer_a_close_is_not_waited_for() -> None:
    async def main() -> None:
        receiver = Recorder()
        server = await accepted(receiver, WebSocketLimits(close_seconds=0.02))
        receiver.socket.close()
        assert await server.next() == {"type": "websocket.close", "code": 1000, "reason": ""}
        assert await receiver.wait_code() == 1006
        await server.end()

    run(main())


@pytest.mark.parametrize("is_early", [False, True])
def test_cutting_returns_to_the_server(is_early: bool) -> None:
    class Cutter(Recorder):
        def opened(self, socket: WebSocket) -> None:
            super().opened(socket)
            if is_early:
                socket.cut()

        def received(self, text: bytes) -> None:
            self.socket.cut()

    async def main() -> None:
        receiver = Cutter()
        server = await accepted(receiver)
        server.text("go")
        assert await receiver.wait_code() == 1006
        await server.end()

    run(main())


def test_what_breaks_the_rules_is_closed() -> None:
    async def check(code: int, send: Any) -> None:
        receiver = Recorder()
        server = await accepted(receiver, WebSocketLimits(message_bytes=100))
        send(server)
        assert (await server.next())["code"] == code
        server.disconnect(code)
        await server.end()
        assert (receiver.codes, receiver.messages) == ([code], [])

    async def main() -> None:
        await check(1003, lambda server: server.binary(b"x"))
        await check(1009, lambda server: server.text("é" * 51))
        await check(1007, lambda server: server.text("\ud800"))

    run(main())


def test_a_receiver_that_fails_is_logged_once_and_closed(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Recorder):
        def received(self, text: bytes) -> None:
            raise ValueError("a mistake of ours")

    async def main() -> None:
        receiver = Failing()
        server = await accepted(receiver)
        server.text("one")
        server.text("two")
        close = {"type": "websocket.close", "code": 1011, "reason": "InternalServerError"}
        assert await server.next() == close
        server.disconnect(1011)
        await server.end()
        assert receiver.codes == [1011]

    with caplog.at_level(logging.ERROR):
        run(main())
    assert len(caplog.records) == 1


def test_a_slow_reader_is_full_until_it_has_read() -> None:
    async def main() -> None:
        receiver = Recorder()
        server = await accepted(receiver)
        server.is_reading.clear()
        count = 0
        while not receiver.socket.is_full:
            receiver.socket.send([LONG.encode()])
            count += 1
        assert receiver.socket.buffered_bytes == count * len(LONG)
        server.is_reading.set()
        for _ in range(count):
            assert await server.next_text() == LONG
        await asyncio.wait_for(receiver.is_writable.wait(), PATIENCE_SECONDS)
        assert receiver.writable_count == 1
        assert receiver.socket.buffered_bytes <= WebSocketLimits().full_bytes // 4
        server.disconnect()
        await server.end()

    run(main())


def test_a_peer_that_reads_nothing_is_cut() -> None:
    async def main() -> None:
        receiver = Recorder()
        server = await accepted(receiver, WebSocketLimits(write_seconds=0.02))
        server.is_reading.clear()
        receiver.socket.send([b"x"])
        assert await receiver.wait_code() == 1006
        await server.end()

    run(main())


def test_a_receiver_that_pauses_takes_no_more_from_the_server() -> None:
    async def main() -> None:
        receiver = Echo()
        server = await accepted(receiver)
        receiver.socket.pause_reading()
        for n in range(10):
            server.text(str(n))
        server.binary(b"and the end")
        await asyncio.sleep(0)
        assert len(receiver.messages) <= 1
        receiver.socket.resume_reading()
        for n in range(10):
            assert await server.next_text() == str(n)
        assert (await server.next())["code"] == 1003
        server.disconnect(1003)
        await server.end()

    run(main())


# ---- a real server ----


@asynccontextmanager
async def uvicorn_serving(application: Application) -> AsyncIterator[int]:
    config = uvicorn.Config(
        AsgiApplication(application),
        port=0,
        lifespan="off",
        log_config=None,
        ws="websockets-sansio",
    )
    server = uvicorn.Server(config)
    has_started = asyncio.Event()
    startup = server.startup

    async def start(sockets: Any = None) -> None:
        await startup(sockets)
        has_started.set()

    server.startup = start  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve())
    try:
        await asyncio.wait_for(has_started.wait(), PATIENCE_SECONDS)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


def test_uvicorn_serves_it() -> None:
    receivers: list[Echo] = []

    def application(exchange: Exchange) -> Any:
        if exchange.path == "/denied":
            raise RequestError(400, "Nope", "No.")
        receivers.append(Echo())
        return exchange.open_websocket(receivers[-1])

    async def main() -> None:
        async with uvicorn_serving(application) as port:
            async with connect(f"ws://127.0.0.1:{port}/") as client:
                for text in ("hello", LONG):
                    await client.send(text)
                    assert await client.recv() == text
                receivers[0].socket.close(1013, "Overloaded")
                with pytest.raises(ConnectionClosed) as closed:
                    await client.recv()
                assert closed.value.rcvd is not None
                assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1013, "Overloaded")
                await receivers[0].wait_code()
            with pytest.raises(InvalidStatus) as denied:
                await connect(f"ws://127.0.0.1:{port}/denied")
            assert denied.value.response.status_code == 400

    run(main())
