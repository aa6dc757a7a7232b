"""What a listener promises to applications and to well-meaning clients, on both event loops."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest
import uvloop
from raw_http import CHUNKED, TEXT, connected, echo, get, post, say_hello, serving, talk

from camber.errors import ConfigError, InvalidArgumentError, RequestError
from camber.server.exchange import Exchange, HeaderList
from camber.server.limits import Limits
from camber.server.listener import listen

Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]
MIB = 1024 * 1024


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def on_this_loop(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(main, 20))

    return on_this_loop


# ---- requests as the application sees them ----


def test_a_request_is_shown_as_it_was_sent(run: Run) -> None:
    seen: list[Exchange] = []

    def application(exchange: Exchange) -> None:
        seen.append(exchange)
        exchange.respond(200, TEXT, b"")

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            lines = ("X-One: a", "x-one:b", "X-Two:  caf\xe9 ")
            client.send(get("/a%2Fb?c=%20d&e", *lines))
            await client.answer()
            exchange = seen[0]
            assert exchange.method == "GET"
            assert exchange.target == "/a%2Fb?c=%20d&e"
            assert exchange.path == "/a%2Fb"
            assert exchange.query == "c=%20d&e"
            assert exchange.host == "a"
            pairs = [("host", "a"), ("x-one", "a"), ("x-one", "b"), ("x-two", "caf\xe9")]
            assert list(exchange.headers) == pairs
            assert exchange.header("x-one") == "a"
            assert exchange.header("x-three") is None
            assert exchange.scheme == "http"
            assert exchange.http_version == "1.1"
            assert exchange.port_name == "site"
            assert exchange.local_port == listener.number
            assert exchange.client is not None
            assert exchange.client[0] == "127.0.0.1"
            assert (exchange.has_body, exchange.content_length) == (False, None)

    run(main())


def test_an_absolute_target_is_shortened_and_names_the_host(run: Run) -> None:
    def application(exchange: Exchange) -> None:
        exchange.respond(200, TEXT, f"{exchange.host} {exchange.target}".encode())

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(b"GET HTTP://b:81?x HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await client.answer()).body == b"b:81 /?x"

    run(main())


def test_a_body_that_came_with_its_head_is_read_without_waiting(run: Run) -> None:
    def application(exchange: Exchange) -> None:
        exchange.respond(200, TEXT, exchange.read_nowait() or b"not there")

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(post(b"abc"))
            assert (await client.answer()).body == b"abc"
            client.send(CHUNKED + b"2\r\nde\r\n1\r\nf\r\n0\r\n\r\n")
            assert (await client.answer()).body == b"def"

    run(main())


def test_a_body_in_pieces_is_put_together(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as listener, connected(listener) as client:
            for byte in post(b"hello") + CHUNKED + b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nt: u\r\n\r\n":
                client.send(bytes((byte,)))
                await asyncio.sleep(0)
            assert (await client.answer()).body == b"hello"
            assert (await client.answer()).body == b"abcde"

    run(main())


def test_a_body_may_be_read_twice_but_not_after_it_was_streamed(run: Run) -> None:
    async def application(exchange: Exchange) -> None:
        if exchange.path == "/twice":
            assert await exchange.read() == await exchange.read()
        else:
            pieces = [piece async for piece in exchange.stream()]
            assert b"".join(pieces) == b"x" * 100_000
            with pytest.raises(InvalidArgumentError, match="already read"):
                await exchange.read()
        exchange.respond(200, TEXT, b"ok")

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            for path in ("/twice", "/stream"):
                data = post(b"x" * 100_000, path=path)
                client.send(data[:1000])
                await asyncio.sleep(0.01)
                client.send(data[1000:])
                assert (await client.answer()).body == b"ok"

    run(main())


def test_an_unread_body_that_arrived_does_not_end_the_connection(run: Run) -> None:
    async def main() -> None:
        async with serving(say_hello) as listener, connected(listener) as client:
            client.send(post(b"ignored") + get())
            assert (await client.answer()).header("connection") is None
            assert (await client.answer()).body == b"hello"

    run(main())


def test_an_unread_body_on_its_way_ends_the_connection_after_the_answer(run: Run) -> None:
    async def main() -> None:
        async with serving(say_hello) as listener, connected(listener) as client:
            client.send(post(b"x" * 3 * MIB)[: 2 * MIB])
            answer = await client.answer()
            assert (answer.body, answer.header("connection")) == (b"hello", "close")
            assert await client.rest() == b""

    run(main())


# ---- body limits ----


@pytest.mark.parametrize(("extra", "status"), [(-1, 200), (0, 200), (1, 413)])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_the_body_limit_is_exact_to_the_byte(extra: int, status: int, framing: str) -> None:
    body = b"x" * (20 * MIB + extra)

    async def application(exchange: Exchange) -> None:
        exchange.respond(200, TEXT, str(len(await exchange.read())).encode())

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            if framing == "length":
                client.send(post(body))
            else:
                half = len(body) // 2
                for piece in (CHUNKED, body[:half], body[half:], b""):
                    head = b"" if piece is CHUNKED else b"%x\r\n" % len(piece)
                    client.send(head + piece + (b"\r\n" if head else b""))
            answer = await client.answer()
            assert answer.status == status
            if status == 200:
                assert answer.body == b"%d" % len(body)
            else:
                assert b'"RequestTooLarge"' in answer.body

    uvloop.run(main())


def test_too_great_an_announced_length_is_refused_before_any_of_it_is_read(run: Run) -> None:
    async def main() -> None:
        async with serving(echo, Limits(body_bytes=10)) as listener:
            head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n"
            assert (await talk(listener, head)).startswith(b"HTTP/1.1 413 ")

    run(main())


def test_one_byte_too_many_of_unknown_length_is_refused_at_once(run: Run) -> None:
    async def main() -> None:
        async with serving(echo, Limits(body_bytes=10)) as listener:
            seen = await talk(listener, CHUNKED + b"6\r\naaaaaa\r\n9\r\nbbbbb")
            assert seen.startswith(b"HTTP/1.1 413 ")

    run(main())


def test_an_application_sets_its_own_limit(run: Run) -> None:
    async def application(exchange: Exchange) -> None:
        exchange.body_limit = None if exchange.path == "/any" else 3
        size = 0
        async for piece in exchange.stream():
            size += len(piece)
        exchange.respond(200, TEXT, str(size).encode())

    async def main() -> None:
        limits = Limits(body_bytes=10)
        async with serving(application, limits) as listener, connected(listener) as client:
            client.send(post(b"x" * 100, path="/any"))
            assert (await client.answer()).body == b"100"
            client.send(post(b"abc"))
            assert (await client.answer()).body == b"3"
            client.send(post(b"abcd"))
            assert (await client.answer()).status == 413

    run(main())


def test_a_body_shorter_than_announced_is_not_taken_for_whole(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as listener, connected(listener) as client:
            client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc")
            client.writer.write_eof()
            assert (await client.answer()).status == 400

    run(main())


# ---- Expect ----


def test_continue_is_sent_when_the_body_is_first_read(run: Run) -> None:
    may_read = asyncio.Event()

    async def application(exchange: Exchange) -> None:
        await may_read.wait()
        exchange.respond(200, TEXT, await exchange.read())

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(post(b"abc", "expect: 100-Continue")[:-3])
            may_read.set()
            assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(b"abc" + get())
            assert (await client.answer()).body == b"abc"
            assert (await client.answer()).status == 200

    run(main())


@pytest.mark.parametrize(("size", "status"), [(3, 200), (99, 413)])
def test_no_continue_when_the_body_is_not_wanted(run: Run, size: int, status: int) -> None:
    async def application(exchange: Exchange) -> None:
        if size > 3:
            await exchange.read()
        exchange.respond(200, TEXT, b"")

    async def main() -> None:
        async with serving(application, Limits(body_bytes=10)) as listener:
            seen = await talk(listener, post(b"x" * size, "expect: 100-continue")[:-size])
            assert seen.startswith(b"HTTP/1.1 %d " % status)
            assert b"connection: close\r\n" in seen

    run(main())


# ---- answers ----


def test_an_answer_carries_its_length_the_date_and_repeated_headers(run: Run) -> None:
    headers = [
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Content-Length", "99"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("x", "caf\xe9"),
    ]

    def application(exchange: Exchange) -> None:
        exchange.respond(201, headers, b"hello")

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            for _ in range(2):
                client.send(get())
                answer = await client.answer()
                assert answer.status == 201
                assert answer.body == b"hello"
                names = [name for name, _ in answer.headers]
                assert names.count("Set-Cookie") == 2
                assert names.count("content-length") == 1
                assert answer.header("content-length") == "5"
                assert answer.header("x") == "caf\xe9"
                assert (answer.header("date") or "").endswith(" GMT")
                assert "Transfer-Encoding" not in names
                assert "Connection" not in names

    run(main())


def test_head_gets_the_head_only(run: Run) -> None:
    async def application(exchange: Exchange) -> None:
        if exchange.path == "/whole":
            exchange.respond(200, TEXT, b"hello")
            return
        await exchange.start(200, TEXT, length=5 if exchange.path == "/length" else None)
        await exchange.send(b"hello")
        await exchange.finish()

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            for path, length in (("/whole", "5"), ("/length", "5"), ("/chunks", None)):
                client.send(get(path).replace(b"GET", b"HEAD"))
                answer = await client.answer(has_body=False)
                assert answer.header("content-length") == length
            client.send(get("/whole"))
            assert (await client.answer()).body == b"hello"

    run(main())


@pytest.mark.parametrize(("status", "length"), [(204, None), (304, None), (205, "0")])
def test_answers_without_a_body_have_none(run: Run, status: int, length: str | None) -> None:
    def application(exchange: Exchange) -> None:
        exchange.respond(status, TEXT, b"dropped")

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            for _ in range(2):
                client.send(get())
                answer = await client.answer()
                assert (answer.status, answer.header("content-length")) == (status, length)

    run(main())


def test_pieces_are_sent_in_chunks_or_under_their_length(run: Run) -> None:
    async def application(exchange: Exchange) -> None:
        await exchange.start(200, TEXT, length=10 if exchange.path == "/length" else None)
        for piece in (b"hello", b"", b"world"):
            await exchange.send(piece)
        await exchange.finish()

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(get("/chunks") + get("/length"))
            answer = await client.answer()
            assert answer.header("transfer-encoding") == "chunked"
            assert answer.body == b"helloworld"
            answer = await client.answer()
            assert answer.header("content-length") == "10"
            assert answer.body == b"helloworld"
            old = await talk(listener, b"GET /chunks HTTP/1.0\r\n\r\n")
            assert b"connection: close\r\n" in old
            assert old.endswith(b"\r\n\r\nhelloworld")

    run(main())


@pytest.mark.parametrize("length", [4, 11])
def test_a_wrong_length_cuts_the_connection(run: Run, length: int) -> None:
    async def application(exchange: Exchange) -> None:
        await exchange.start(200, TEXT, length=length)
        await exchange.send(b"hello")
        await exchange.send(b"world")
        await exchange.finish()

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(get())
            seen = await client.rest()
            assert b"helloworld" not in seen or length == 11

    run(main())


@pytest.mark.parametrize(
    "headers",
    [[("x", "a\r\nb: c")], [("x", "a\0")], [("x y", "a")], [("x\n", "a")], [("x", "\u20ac")]],
)
def test_headers_that_would_break_the_answer_are_refused(run: Run, headers: HeaderList) -> None:
    def application(exchange: Exchange) -> None:
        exchange.respond(200, headers, b"")

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(get())
            answer = await client.answer()
            assert answer.status == 500
            assert b"InternalServerError" in answer.body

    run(main())


@pytest.mark.parametrize("status", [0, 101, 199, 600, "200"])
def test_a_status_that_is_none_is_refused(run: Run, status: int) -> None:
    def application(exchange: Exchange) -> None:
        with pytest.raises(InvalidArgumentError, match="from 200 to 599"):
            exchange.respond(status, TEXT, b"")
        exchange.respond(200, TEXT, b"")
        with pytest.raises(InvalidArgumentError, match="answered already"):
            exchange.respond(200, TEXT, b"")

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(get())
            assert (await client.answer()).status == 200

    run(main())


# ---- applications that fail ----


def test_what_escapes_an_application_is_logged_and_not_told(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def late(exchange: Exchange) -> None:
        raise ValueError("secret\r\nforged line \x1b[31m")

    def application(exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        match exchange.path:
            case "/late":
                return late(exchange)
            case "/refuse":
                raise RequestError(418, "Teapot", "I am a teapot.")
            case "/silent":
                return None
        raise ValueError("secret\r\nforged line \x1b[31m")

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            for path in ("/early", "/late", "/silent"):
                client.send(get(path))
                answer = await client.answer()
                assert answer.status == 500
                assert answer.body == (
                    b'{"code":"InternalServerError",'
                    b'"message":"Your request couldn\'t be completed. Try again later."}'
                )
            client.send(get("/refuse"))
            answer = await client.answer()
            assert (answer.status, answer.body) == (
                418,
                b'{"code":"Teapot","message":"I am a teapot."}',
            )

    with caplog.at_level(logging.ERROR, "camber.server"):
        run(main())
    assert len(caplog.records) == 3
    assert "secret\\r\\nforged line \\x1b[31m" in caplog.text
    assert "\nforged" not in caplog.text


def test_a_failure_in_the_middle_of_an_answer_cuts_it(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def application(exchange: Exchange) -> None:
        await exchange.start(200, TEXT)
        await exchange.send(b"half")
        raise ValueError("in the middle")

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(get())
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await client.answer()

    run(main())
    assert "in the middle" in caplog.text


# ---- several requests on one connection ----


@pytest.mark.parametrize(
    ("version", "lines", "option"),
    [
        ("1.1", [], None),
        ("1.1", ["connection: close"], "close"),
        ("1.1", ["connection: x, Close"], "close"),
        ("1.0", [], "close"),
        ("1.0", ["connection: keep-alive"], "keep-alive"),
    ],
)
def test_a_connection_is_kept_when_the_client_wants_it(
    run: Run, version: str, lines: list[str], option: str | None
) -> None:
    async def main() -> None:
        async with serving(say_hello) as listener, connected(listener) as client:
            request = "\r\n".join([f"GET / HTTP/{version}", "host: a", *lines, "", ""]).encode()
            client.send(request)
            assert (await client.answer()).header("connection") == option
            client.send(request)
            if option == "close":
                assert await client.rest() == b""
            else:
                assert (await client.answer()).body == b"hello"

    run(main())


def test_pipelined_requests_are_answered_in_order(run: Run) -> None:
    async def slow(exchange: Exchange) -> None:
        await asyncio.sleep(0.001)
        exchange.respond(200, TEXT, exchange.path.encode())

    def application(exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        if exchange.path.endswith("7"):
            return slow(exchange)
        exchange.respond(200, TEXT, exchange.path.encode())
        return None

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(
                b"".join([get(f"/{n}") if n % 3 else post(b"x", path=f"/{n}") for n in range(300)])
            )
            for n in range(300):
                assert (await client.answer()).body == b"/%d" % n

    run(main())


def test_one_exchange_at_a_time_is_with_the_application(run: Run) -> None:
    at_once: list[int] = [0]

    async def application(exchange: Exchange) -> None:
        at_once[0] += 1
        assert at_once[0] == 1
        await asyncio.sleep(0)
        at_once[0] -= 1
        exchange.respond(200, TEXT, b"")

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(get() * 50)
            for _ in range(50):
                assert (await client.answer()).status == 200

    run(main())


# ---- backpressure ----


def test_a_slowly_read_body_makes_the_client_wait(run: Run) -> None:
    pieces: list[int] = []

    async def application(exchange: Exchange) -> None:
        async for piece in exchange.stream():
            pieces.append(len(piece))
            await asyncio.sleep(0)
        exchange.respond(200, TEXT, b"")

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(post(b"x" * 15 * MIB))
            assert (await client.answer()).status == 200

    run(main())
    assert sum(pieces) == 15 * MIB
    assert max(pieces) <= 600 * 1024


def test_a_client_that_does_not_read_makes_the_application_wait_and_is_cut(run: Run) -> None:
    sent: list[int] = [0]
    is_over = asyncio.Event()

    async def application(exchange: Exchange) -> None:
        try:
            await exchange.start(200, TEXT)
            while True:
                await exchange.send(b"x" * 65536)
                sent[0] += 65536
        finally:
            is_over.set()

    async def main() -> None:
        limits = Limits(write_seconds=0.2)
        async with serving(application, limits) as listener, connected(listener) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's own
            client.send(get())
            await asyncio.wait_for(is_over.wait(), 8)
            assert sent[0] < 64 * MIB
            assert listener.statistics().timeouts == 1

    run(main())


# ---- clients that go away ----


def test_a_client_that_goes_away_cancels_the_application(run: Run) -> None:
    is_cancelled, has_begun = asyncio.Event(), asyncio.Event()

    async def application(exchange: Exchange) -> None:
        has_begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert exchange.is_gone
            assert exchange.disconnected.done()
            is_cancelled.set()
            raise

    async def main() -> None:
        async with serving(application, Limits(linger_seconds=0.05)) as listener:
            async with connected(listener) as client:
                client.send(get())
                await asyncio.wait_for(has_begun.wait(), 8)
            await asyncio.wait_for(is_cancelled.wait(), 8)

    run(main())


def test_an_application_may_outlive_its_client(run: Run) -> None:
    has_begun, is_done = asyncio.Event(), asyncio.Event()

    async def application(exchange: Exchange) -> None:
        exchange.cancel_on_disconnect = False
        has_begun.set()
        await exchange.disconnected
        exchange.respond(200, TEXT, b"nobody reads this")
        is_done.set()

    async def main() -> None:
        async with serving(application, Limits(linger_seconds=0.05)) as listener:
            async with connected(listener) as client:
                client.send(get())
                await asyncio.wait_for(has_begun.wait(), 8)
            await asyncio.wait_for(is_done.wait(), 8)

    run(main())


def test_a_client_that_goes_away_ends_the_reading_of_its_body(run: Run) -> None:
    seen: list[RequestError] = []
    is_over, has_begun = asyncio.Event(), asyncio.Event()

    async def application(exchange: Exchange) -> None:
        exchange.cancel_on_disconnect = False
        has_begun.set()
        try:
            await exchange.read()
        except RequestError as error:
            seen.append(error)
        is_over.set()

    async def main() -> None:
        async with serving(application) as listener:
            async with connected(listener) as client:
                client.send(post(b"abc")[:-1])
                await asyncio.wait_for(has_begun.wait(), 8)
                client.writer.transport.abort()
            await asyncio.wait_for(is_over.wait(), 8)

    run(main())
    assert seen[0].status == 400


def test_a_client_that_closed_its_sending_side_still_gets_its_answer(run: Run) -> None:
    async def application(exchange: Exchange) -> None:
        await asyncio.sleep(0.01)
        exchange.respond(200, TEXT, b"late")

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(get())
            client.writer.write_eof()
            assert (await client.answer()).body == b"late"
            assert await client.rest() == b""

    run(main())


# ---- deadlines ----


@pytest.mark.parametrize("part", [b"G", b"GET / HTTP/1.1\r\n", get()[:-2]])
def test_a_slow_head_is_given_up(run: Run, part: bytes) -> None:
    async def main() -> None:
        async with serving(say_hello, Limits(header_seconds=0.1)) as listener:
            seen = await talk(listener, part)
            assert seen.startswith(b"HTTP/1.1 408 ")

    run(main())


def test_a_head_that_trickles_does_not_extend_its_deadline(run: Run) -> None:
    async def trickle(send: Callable[[bytes], None]) -> None:
        send(b"GET / HTTP/1.1\r\n")
        while True:
            send(b"x: y\r\n")
            await asyncio.sleep(0.02)

    async def main() -> None:
        limits = Limits(header_seconds=0.1)
        async with serving(say_hello, limits) as listener, connected(listener) as client:
            task = asyncio.create_task(trickle(client.send))
            assert (await client.answer()).status == 408
            task.cancel()

    run(main())


@pytest.mark.parametrize("before", [b"", get()])
def test_a_silent_connection_is_closed(run: Run, before: bytes) -> None:
    async def main() -> None:
        limits = Limits(header_seconds=0.1, idle_seconds=0.1)
        async with serving(say_hello, limits) as listener:
            seen = await talk(listener, before)
            assert seen.count(b"HTTP/1.1 ") == (1 if before else 0)

    run(main())


@pytest.mark.parametrize("head", [post(b"x" * 99)[:-99], CHUNKED + b"9\r\n"])
def test_a_slow_body_is_given_up(run: Run, head: bytes) -> None:
    async def trickle(send: Callable[[bytes], None]) -> None:
        while True:
            send(b"x")
            await asyncio.sleep(0.05)

    async def main() -> None:
        limits = Limits(body_seconds=0.2)
        async with serving(echo, limits) as listener, connected(listener) as client:
            client.send(head)
            task = asyncio.create_task(trickle(client.send))
            assert (await client.answer()).status == 408
            task.cancel()

    run(main())


def test_a_client_is_not_blamed_for_an_application_that_does_not_read(run: Run) -> None:
    limits = Limits(body_seconds=0.08, linger_seconds=0.08)

    async def application(exchange: Exchange) -> None:
        await asyncio.sleep(0.4)
        exchange.respond(200, TEXT, str(len(await exchange.read())).encode())

    async def main() -> None:
        async with serving(application, limits) as listener, connected(listener) as client:
            client.send(post(b"x" * 8 * MIB))
            assert (await client.answer()).body == b"%d" % (8 * MIB)

    run(main())


def test_a_working_application_has_no_deadline(run: Run) -> None:
    limits = Limits(header_seconds=0.05, body_seconds=0.05, idle_seconds=0.05, write_seconds=0.05)

    async def application(exchange: Exchange) -> None:
        await asyncio.sleep(0.3)
        exchange.respond(200, TEXT, b"done")

    async def main() -> None:
        async with serving(application, limits) as listener, connected(listener) as client:
            client.send(post(b"abc"))
            assert (await client.answer()).body == b"done"

    run(main())


# ---- the port itself ----


def test_a_port_in_use_is_said_plainly(run: Run) -> None:
    async def main() -> None:
        async with serving(say_hello) as listener:
            with pytest.raises(ConfigError, match=f"Port {listener.number} .* already in use"):
                await listen(say_hello, port=listener.number)
        with pytest.raises(ConfigError, match="not an address of this machine"):
            await listen(say_hello, "192.0.2.1")
        with pytest.raises(ConfigError, match="not a port"):
            await listen(say_hello, port=70_000)

    run(main())


def test_closing_lets_requests_finish_and_takes_no_new_ones(run: Run) -> None:
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def application(exchange: Exchange) -> None:
        has_begun.set()
        await may_end.wait()
        exchange.respond(200, TEXT, b"done")

    async def main() -> None:
        async with (
            serving(application) as listener,
            connected(listener) as busy,
            connected(listener) as idle,
        ):
            busy.send(get())
            await asyncio.wait_for(has_begun.wait(), 8)
            closing = asyncio.create_task(listener.close(grace_seconds=8))
            assert await idle.rest() == b""
            with pytest.raises(OSError, match=r"refused|Connect call failed"):
                await asyncio.open_connection("127.0.0.1", listener.number)
            may_end.set()
            answer = await busy.answer()
            assert (answer.body, answer.header("connection")) == (b"done", "close")
            busy.close()
            await closing

    run(main())


def test_closing_cuts_what_does_not_finish(run: Run) -> None:
    has_begun = asyncio.Event()

    async def application(exchange: Exchange) -> None:
        has_begun.set()
        await asyncio.Event().wait()

    async def main() -> None:
        async with serving(application) as listener, connected(listener) as client:
            client.send(get())
            await asyncio.wait_for(has_begun.wait(), 8)
            await listener.close(grace_seconds=0.01)
            assert await client.rest() == b""
            statistics = listener.statistics()
            assert (statistics.connections_open, statistics.tasks) == (0, 0)
            await listener.close()

    run(main())


def test_statistics_count_what_happened(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as listener, connected(listener) as client:
            client.send(get() + get())
            await client.answer()
            await client.answer()
            await talk(listener, b"BAD\r\n\r\n")
            statistics = listener.statistics()
            assert statistics.name == "site"
            assert statistics.port == listener.number
            assert statistics.requests == 2
            assert statistics.refused == 1
            assert statistics.connections_accepted == 2

    run(main())
