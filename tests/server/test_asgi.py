"""The same application behind an ASGI server: driven by hand, and by httpx."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx
import pytest
from raw_http import TEXT, echo, say_hello

from camber.errors import RequestError
from camber.server.asgi import AsgiApplication
from camber.server.exchange import Application, Exchange
from camber.server.limits import Limits

Message = MutableMapping[str, Any]


class Server:
    """One request of an ASGI server, as a script."""

    def __init__(self, *pieces: bytes, disconnects: bool = False, **scope: Any) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST" if pieces else "GET",
            "scheme": "https",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"a")],
            "client": ("192.0.2.1", 1234),
            "server": ("127.0.0.1", 3210),
        } | scope
        if pieces and "headers" not in scope:
            self.scope["headers"].append((b"transfer-encoding", b"chunked"))
        self.received = 0
        self.sent: list[Message] = []
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        for n, piece in enumerate(pieces or (b"",)):
            more = n < len(pieces) - 1
            self._incoming.put_nowait({"type": "http.request", "body": piece, "more_body": more})
        if disconnects:
            self.disconnect()

    def disconnect(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        self.received += 1
        return await self._incoming.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def serve(self, application: Application, limits: Limits | None = None) -> None:
        asgi = AsgiApplication(application, limits=limits, port_name="site")
        await asyncio.wait_for(asgi(self.scope, self.receive, self.send), 8)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        assert self.sent[-1]["more_body"] is False
        return b"".join([message["body"] for message in self.sent[1:]])


def check(server: Server, application: Application, limits: Limits | None = None) -> Server:
    asyncio.run(server.serve(application, limits))
    return server


def test_a_scope_becomes_an_exchange() -> None:
    def application(exchange: Exchange) -> None:
        assert exchange.method == "GET"
        assert exchange.target == "/a%2Fb?c=%20d"
        assert exchange.path == "/a%2Fb"
        assert exchange.query == "c=%20d"
        assert exchange.host == "h:1"
        assert exchange.headers == (("host", "h:1"), ("x", "caf\xe9"))
        assert exchange.header("x") == "caf\xe9"
        assert exchange.scheme == "https"
        assert exchange.http_version == "1.1"
        assert exchange.client == ("192.0.2.1", 1234)
        assert exchange.local_port == 3210
        assert exchange.port_name == "site"
        assert exchange.read_nowait() == b""
        exchange.respond(201, [("Set-Cookie", "a"), ("set-cookie", "b"), ("date", "x")], b"ok")

    headers = [(b"Host", b"h:1"), (b"x", b"caf\xe9")]
    server = Server(path="/a/b", raw_path=b"/a%2Fb", query_string=b"c=%20d", headers=headers)
    check(server, application)
    assert server.status == 201
    assert server.headers == [
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"content-length", b"2"),
    ]
    assert server.body == b"ok"


@pytest.mark.parametrize(
    ("root", "path", "raw", "seen"),
    [
        ("", "/x", b"/x", "/x"),
        ("", "/x y", None, "/x%20y"),
        ("/app", "/app/x", b"/app/x", "/x"),
        ("/app", "/app", b"/app", "/"),
        ("/app/", "/app/", b"/app/", "/"),
        ("/app", "/app/x y", None, "/x%20y"),
        ("/a b", "/a b/x", b"/a%20b/x", "/x"),
        ("/app", "/apple", b"/apple", "/apple"),
        ("/app", "/x", b"/x", "/x"),
    ],
)
def test_the_path_is_the_one_below_the_mount(
    root: str, path: str, raw: bytes | None, seen: str
) -> None:
    def application(exchange: Exchange) -> None:
        exchange.respond(200, TEXT, exchange.path.encode())

    server = check(Server(root_path=root, path=path, raw_path=raw), application)
    assert server.body == seen.encode()


@pytest.mark.parametrize(
    ("scope", "status"),
    [
        ({"method": "TRACE"}, 405),
        ({"method": "FROB"}, 501),
        ({"headers": [(b"host", b"a b")]}, 400),
        ({"headers": [(b"host", b"a"), (b"host", b"a")]}, 400),
        ({"headers": [(b"host", b"a"), (b"content-length", b"+1")]}, 400),
        ({"headers": [(b"host", b"a")] + [(b"x", b"y")] * 100}, 431),
        ({"headers": [(b"host", b"a"), (b"x", b"y" * 70_000)]}, 431),
        ({"raw_path": b"/" + b"a" * 17_000}, 414),
    ],
)
def test_what_a_lenient_server_lets_pass_is_refused(scope: dict[str, Any], status: int) -> None:
    server = check(Server(**scope), say_hello)
    assert server.status == status
    assert (b"content-type", b"application/json") in server.headers


def test_a_body_is_read_whole_or_streamed() -> None:
    async def stream(exchange: Exchange) -> None:
        pieces = [piece async for piece in exchange.stream()]
        exchange.respond(200, TEXT, b"".join(pieces))

    assert check(Server(b"ab", b"c", b"", b"de"), echo).body == b"abcde"
    assert check(Server(b"ab", b"c", b"", b"de"), stream).body == b"abcde"


@pytest.mark.parametrize(("size", "status"), [(9, 200), (10, 200), (11, 413)])
@pytest.mark.parametrize("announced", [True, False])
def test_the_body_limit_is_exact(size: int, status: int, announced: bool) -> None:
    headers = [(b"host", b"a"), (b"transfer-encoding", b"chunked")]
    if announced:
        headers[1] = (b"content-length", b"%d" % size)
    server = Server(b"x" * 5, b"x" * (size - 5), headers=headers)
    assert check(server, echo, Limits(body_bytes=10)).status == status


def test_a_server_is_not_read_from_faster_than_the_application_reads() -> None:
    received: list[int] = []

    async def application(exchange: Exchange) -> None:
        async for _ in exchange.stream():
            received.append(server.received)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        exchange.respond(200, TEXT, b"")

    server = Server(*[b"x" * 100_000] * 50)
    check(server, application)
    assert server.status == 200
    assert max(b - a for a, b in itertools.pairwise(received)) <= 4


def test_an_answer_in_pieces() -> None:
    async def application(exchange: Exchange) -> None:
        await exchange.start(200, TEXT, length=4)
        await exchange.send(b"ab")
        await exchange.send(b"")
        await exchange.send(b"cd")
        await exchange.finish()

    server = check(Server(), application)
    assert (b"content-length", b"4") in server.headers
    assert server.body == b"abcd"
    server = check(Server(method="HEAD"), application)
    assert (b"content-length", b"4") in server.headers
    assert server.body == b""


def test_head_keeps_the_length_and_drops_the_body() -> None:
    server = check(Server(method="HEAD"), say_hello)
    assert (b"content-length", b"5") in server.headers
    assert server.body == b""


def test_an_unfinished_answer_is_left_for_the_server_to_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def application(exchange: Exchange) -> None:
        await exchange.start(200, TEXT)
        await exchange.send(b"half")
        raise ValueError("in the middle")

    server = check(Server(), application)
    assert server.sent[-1]["more_body"] is True
    assert "in the middle" in caplog.text


def test_what_escapes_is_hidden_unless_it_is_a_request_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def late(exchange: Exchange) -> None:
        raise ValueError("secret")

    def early(exchange: Exchange) -> None:
        raise RequestError(418, "Teapot", "I am a teapot.")

    def silent(exchange: Exchange) -> None:
        return None

    for application in (late, silent):
        server = check(Server(), application)
        assert server.status == 500
        assert b"secret" not in server.body
    assert "secret" in caplog.text
    server = check(Server(), early)
    assert (server.status, server.body) == (418, b'{"code":"Teapot","message":"I am a teapot."}')


def test_a_client_that_goes_away_cancels_the_application() -> None:
    seen: list[bool] = []

    async def application(exchange: Exchange) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append(exchange.is_gone)
            raise

    assert check(Server(disconnects=True), application).sent == []
    assert seen == [True]


def test_an_application_may_outlive_its_client() -> None:
    seen: list[bool] = []

    async def application(exchange: Exchange) -> None:
        exchange.cancel_on_disconnect = False
        await exchange.disconnected
        seen.append(True)
        exchange.respond(200, TEXT, b"")

    assert check(Server(disconnects=True), application).sent == []
    assert seen == [True]


def test_an_expected_continue_is_asked_for_by_reading() -> None:
    headers = [(b"host", b"a"), (b"content-length", b"3"), (b"expect", b"100-continue")]

    async def refuse(exchange: Exchange) -> None:
        assert server.received == 0
        exchange.respond(403, TEXT, b"")

    server = Server(b"abc", headers=headers)
    assert check(server, refuse).received == 0
    assert check(Server(b"abc", headers=headers), echo).body == b"abc"


def events(*types: str) -> tuple[list[Message], Callable[[], Awaitable[Message]]]:
    script = [{"type": kind} for kind in types]
    sent: list[Message] = []

    async def receive() -> Message:
        return script.pop(0)

    return sent, receive


def test_the_lifespan_runs_the_hooks() -> None:
    calls: list[str] = []

    async def start() -> None:
        calls.append("start")

    async def stop() -> None:
        calls.append("stop")

    async def main() -> None:
        sent, receive = events("lifespan.startup", "lifespan.shutdown")

        async def send(message: Message) -> None:
            sent.append(message)

        asgi = AsgiApplication(say_hello, on_startup=start, on_shutdown=stop)
        await asgi({"type": "lifespan"}, receive, send)
        assert [message["type"] for message in sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]

    asyncio.run(main())
    assert calls == ["start", "stop"]


def test_a_start_that_fails_is_told_to_the_server() -> None:
    async def start() -> None:
        raise RequestError(500, "X", "no disk")

    async def main() -> None:
        sent, receive = events("lifespan.startup")

        async def send(message: Message) -> None:
            sent.append(message)

        await AsgiApplication(say_hello, on_startup=start)({"type": "lifespan"}, receive, send)
        assert sent == [{"type": "lifespan.startup.failed", "message": "no disk"}]

    asyncio.run(main())


def test_httpx_talks_to_it() -> None:
    async def main() -> None:
        transport = httpx.ASGITransport(app=AsgiApplication(echo))
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            assert (await client.post("/", content=b"abc")).content == b"abc"
            assert (await client.get("/x%20y?z=1")).text == "/x%20y?z=1"
            answer = await client.head("/abc")
            assert (answer.headers["content-length"], answer.content) == ("4", b"")

            async def pieces() -> Any:
                yield b"a" * 70_000
                yield b"b" * 70_000

            assert len((await client.post("/", content=pieces())).content) == 140_000

    asyncio.run(main())
