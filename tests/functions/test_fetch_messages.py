"""Requests and responses, after the Fetch standard."""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from camber.functions.fetch import (
    URL,
    Blob,
    FormData,
    Headers,
    Request,
    Response,
    URLSearchParams,
)

READERS = ["json", "text", "bytes", "array_buffer", "blob", "form_data"]


class Wire:
    """A body that arrives in pieces, and a caller who may go."""

    def __init__(self, *pieces: bytes, failure: Exception | None = None) -> None:
        self.pieces = pieces
        self.failure = failure
        self.closed = False
        self.gone = asyncio.Event()

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self.stream()])

    async def stream(self) -> AsyncIterator[bytes]:
        try:
            for piece in self.pieces:
                yield piece
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed = True

    @property
    def aborted(self) -> bool:
        return self.gone.is_set()

    async def wait(self) -> None:
        await self.gone.wait()


def incoming(
    wire: Wire, method: str = "POST", url: str | Callable[[], str] = "http://a/", **headers: str
) -> Request:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Request._incoming(method, url, fields, wire, wire)


async def gather(pieces: AsyncIterable[bytes] | None) -> list[bytes]:
    assert pieces is not None
    return [piece async for piece in pieces]


def test_an_incoming_request_shows_what_was_sent() -> None:
    url = "http://HOST:3211/getMessagesByAuthor?author=User%20123&x='"
    request = incoming(Wire(), "GET", url, accept="*/*")
    assert request.method == "GET"
    assert str(request.url) == request.url.href == url
    assert request.url.search_params.get("author") == "User 123"
    assert request.url.pathname == "/getMessagesByAuthor"
    assert request.url.hostname == "host"
    assert URL(request.url).search_params.get("author") == "User 123"
    assert request.headers.get("Accept") == "*/*"
    assert request.url is request.url
    assert request.headers is request.headers


def test_the_url_is_composed_only_when_asked_for() -> None:
    asked: list[str] = []

    def compose() -> str:
        asked.append("once")
        return "http://a/b"

    request = incoming(Wire(), url=compose)
    assert asked == []
    assert request.url.pathname == request.url.pathname == "/b"
    assert asked == ["once"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_request_without_a_body_reads_as_empty_again_and_again(method: str) -> None:
    async def check() -> None:
        request = incoming(Wire(b"ignored"), method)
        assert request.body is None
        assert await request.text() == await request.text() == ""
        assert await request.bytes() == b""
        assert (await request.blob()).size == 0
        assert not request.body_used
        with pytest.raises(json.JSONDecodeError):
            await request.json()

    asyncio.run(check())


def test_a_post_without_bytes_has_a_body() -> None:
    async def check() -> None:
        request = incoming(Wire())
        assert request.body is not None
        assert await request.text() == ""
        assert request.body_used

    asyncio.run(check())


def test_every_reader_gives_its_view_of_the_body() -> None:
    async def check() -> None:
        def request() -> Request:
            return incoming(Wire(b'{"a":', b" 1}"), content_type="Application/JSON")

        assert await request().json() == {"a": 1}
        assert await request().text() == '{"a": 1}'
        assert await request().bytes() == await request().array_buffer() == b'{"a": 1}'
        blob = await request().blob()
        assert (await blob.text(), blob.type) == ('{"a": 1}', "application/json")
        assert await gather(request().body) == [b'{"a":', b" 1}"]

    asyncio.run(check())


@pytest.mark.parametrize("first", READERS)
@pytest.mark.parametrize("second", READERS)
def test_a_second_reading_is_refused(first: str, second: str) -> None:
    async def check() -> None:
        request = incoming(Wire(b"[1]"), content_type="application/x-www-form-urlencoded")
        read: Callable[[], Awaitable[Any]] = getattr(request, first)
        await read()
        assert request.body_used
        again: Callable[[], Awaitable[Any]] = getattr(request, second)
        with pytest.raises(TypeError) as caught:
            await again()
        said = f"Failed to execute '{second}' on 'Request': body stream already read"
        assert str(caught.value) == said

    asyncio.run(check())


def test_a_body_read_in_part_is_read() -> None:
    async def check() -> None:
        request = incoming(Wire(b"a", b"b"))
        assert request.body is not None
        stream = aiter(request.body)
        assert request.body_used
        assert await anext(stream) == b"a"
        with pytest.raises(TypeError, match="already read"):
            await request.text()
        with pytest.raises(TypeError, match="already read"):
            aiter(request.body)

    asyncio.run(check())


def test_text_is_utf_8_without_its_mark_and_never_fails() -> None:
    async def check() -> None:
        assert await incoming(Wire(b"\xef\xbb\xbfa\xff\xc3", b"\xa9")).text() == "a\ufffdé"

    asyncio.run(check())


def test_what_ends_a_body_early_reaches_its_reader() -> None:
    async def check() -> None:
        wire = Wire(b"a", failure=ConnectionError("gone"))
        with pytest.raises(ConnectionError, match="gone"):
            await incoming(wire).text()

    asyncio.run(check())


def test_a_refused_form_closes_the_stream() -> None:
    async def check() -> None:
        wire = Wire(b"nothing", b"more")
        with pytest.raises(ValueError, match="not a multipart form"):
            await incoming(wire, content_type="multipart/form-data; boundary=B").form_data()
        assert wire.closed

    asyncio.run(check())


def test_clones_read_the_same_body_each_at_its_own_pace() -> None:
    async def check() -> None:
        request = incoming(Wire(b"a", b"b", b"c"), x="1")
        clone = request.clone()
        clone.headers.set("x", "2")
        assert request.headers.get("x") == "1"
        assert clone.body is not None
        stream = aiter(clone.body)
        assert await anext(stream) == b"a"
        third = request.clone()
        assert set(await asyncio.gather(request.text(), third.text())) == {"abc"}
        assert await gather(stream) == [b"b", b"c"]
        assert (clone.method, str(clone.url)) == ("POST", "http://a/")
        with pytest.raises(TypeError, match="Failed to execute 'clone' on 'Request'"):
            request.clone()

    asyncio.run(check())


def test_a_failing_body_fails_for_both_clones() -> None:
    async def check() -> None:
        request = incoming(Wire(b"a", failure=ConnectionError("gone")))
        clone = request.clone()
        for message in (request, clone):
            with pytest.raises(ConnectionError):
                await message.text()

    asyncio.run(check())


def test_a_clone_whose_twin_was_cancelled_does_not_read_a_short_body() -> None:
    class Stuck(Wire):
        async def stream(self) -> AsyncIterator[bytes]:
            yield b"a"
            await asyncio.Event().wait()

    async def check() -> None:
        request = incoming(Stuck())
        clone = request.clone()
        reading = asyncio.ensure_future(request.text())
        for _ in range(5):
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(ConnectionError):
            await clone.text()

    asyncio.run(check())


def test_the_signal_tells_that_the_caller_has_gone() -> None:
    async def check() -> None:
        wire = Wire()
        request = incoming(wire)
        assert not request.signal.aborted
        waiting = asyncio.ensure_future(request.clone().signal.wait())
        wire.gone.set()
        await waiting
        assert request.signal.aborted
        assert not Request("http://a/").signal.aborted

    asyncio.run(check())


def test_a_request_can_be_made_by_hand() -> None:
    async def check() -> None:
        request = Request("http://a/b", "post", {"X-A": "1"}, '{"a": 1}')
        assert (request.method, str(request.url)) == ("POST", "http://a/b")
        assert list(request.headers) == [
            ("content-type", "text/plain;charset=UTF-8"),
            ("x-a", "1"),
        ]
        assert await request.json() == {"a": 1}
        assert Request(URL("http://a")).method == "GET"
        assert Request("http://a", "patch").method == "patch"

    asyncio.run(check())


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "/a"},
        {"url": "http://a", "method": "TRACE"},
        {"url": "http://a", "method": "connect"},
        {"url": "http://a", "method": "A B"},
        {"url": "http://a", "method": ""},
        {"url": "http://a", "body": "x"},
        {"url": "http://a", "method": "HEAD", "body": "x"},
        {"url": "http://a", "method": "POST", "body": {"a": 1}},
        {"url": "http://a", "headers": {"a": "b\nc"}},
    ],
)
def test_a_request_that_cannot_be_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        Request(**arguments)


async def numbers() -> AsyncIterator[Any]:
    yield b"1"
    yield "é"
    yield bytearray(b"2")
    yield memoryview(b"3")


def form() -> FormData:
    result = FormData()
    result.append("a", "1")
    return result


@pytest.mark.parametrize(
    ("body", "payload", "content_type"),
    [
        (None, b"", None),
        ("é", "é".encode(), "text/plain;charset=UTF-8"),
        ("", b"", "text/plain;charset=UTF-8"),
        ("\ud800", "\ufffd".encode(), "text/plain;charset=UTF-8"),
        (b"x", b"x", None),
        (bytearray(b"x"), b"x", None),
        (memoryview(b"xyz")[1:2], b"y", None),
        (Blob([b"x"], "image/png"), b"x", "image/png"),
        (Blob([b"x"]), b"x", None),
        (
            URLSearchParams({"a": "b c"}),
            b"a=b+c",
            "application/x-www-form-urlencoded;charset=UTF-8",
        ),
    ],
)
def test_a_body_brings_its_content_type(
    body: Any, payload: bytes, content_type: str | None
) -> None:
    response = Response(body)
    assert response.status == 200
    assert response._payload == payload
    assert response._size == len(payload)
    assert response.headers.get("content-type") == content_type
    explicit = Response(body, headers={"Content-Type": "a/b"})
    assert explicit._wire_headers() == [("content-type", "a/b")]


def test_a_form_is_sent_with_its_boundary() -> None:
    response = Response(form())
    kind, _, boundary = (response.headers.get("content-type") or "").partition("; boundary=")
    assert kind == "multipart/form-data"
    assert (
        response._payload
        == (
            f"--{boundary}\r\n"
            'Content-Disposition: form-data; name="a"\r\n\r\n1\r\n'
            f"--{boundary}--\r\n"
        ).encode()
    )


def test_an_asynchronous_iterator_is_streamed() -> None:
    async def check() -> None:
        response = Response(numbers())
        assert (response._payload, response._size) == (None, None)
        assert response._wire_headers() == []
        assert await gather(response._pieces()) == [b"1", "é".encode(), b"2", b"3"]
        with pytest.raises(TypeError, match="already read"):
            response._pieces()
        assert await Response(numbers()).text() == "1é23"

    asyncio.run(check())


def test_a_stored_blob_is_streamed_with_its_size() -> None:
    class Shelf:
        async def stream(self, start: int, end: int) -> AsyncIterator[bytes]:
            yield b"abc"[start:end]

    async def check() -> None:
        response = Response(Blob._stored(Shelf(), 3, "a/b"))
        assert (response._payload, response._size) == (None, 3)
        assert response.headers.get("content-type") == "a/b"
        assert await gather(response._pieces()) == [b"abc"]

    asyncio.run(check())


def test_a_stream_that_is_abandoned_ends_the_author_s_generator() -> None:
    ended: list[bool] = []

    async def pieces() -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
        finally:
            ended.append(True)

    async def check() -> None:
        stream: Any = Response(pieces())._pieces()
        assert await anext(stream) == b"x"
        await stream.aclose()
        assert ended == [True]

    asyncio.run(check())


def test_a_stream_of_something_else_says_what_it_gave() -> None:
    async def pieces() -> AsyncIterator[Any]:
        yield 3

    async def check() -> None:
        with pytest.raises(TypeError, match="it gave int"):
            await Response(pieces()).bytes()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ((piece for piece in "ab"), "would block the server"),
        ({"a": 1}, "use Response.json"),
        ([1], "use Response.json"),
        (3, "got int"),
        (numbers, "call it: numbers(...)"),
        (iter([b"x"]), "got list_iterator"),
    ],
)
def test_a_body_of_another_type_is_refused_with_advice(body: Any, said: str) -> None:
    with pytest.raises(TypeError) as caught:
        Response(body)
    assert str(caught.value).startswith("Failed to construct 'Response': ")
    assert said in str(caught.value)


@pytest.mark.parametrize("status", [200, 204, 304, 599, "404"])
def test_a_status_in_its_range_is_taken(status: Any) -> None:
    assert Response("body", status).status == int(status)


@pytest.mark.parametrize("status", [199, 600, 0, -1, 100, "x", "", None, 2.5, True, 10**9])
def test_a_status_outside_its_range_is_refused(status: Any) -> None:
    for make in (Response, Response.json):
        with pytest.raises(ValueError, match="Failed to construct 'Response'") as caught:
            make(None, status=status)
        assert str(caught.value) == (
            "Failed to construct 'Response': The status provided is outside the range [200, 599]."
        )


def test_ok_is_the_two_hundreds() -> None:
    assert [Response(status=status).ok for status in (200, 299, 300, 404)] == [True, True] + [
        False
    ] * 2
    assert Response(status_text="Fine").status_text == "Fine"
    with pytest.raises(TypeError, match="Invalid statusText"):
        Response(status_text="a\r\nb")


def test_json_is_always_application_json() -> None:
    plain = Response.json([{"a": 1}])
    assert (plain._payload, plain.status) == (b'[{"a":1}]', 200)
    assert plain._wire_headers() == [("content-type", "application/json")]
    full = Response.json(None, status=201, headers=[("Content-Type", "x/y"), ("A", "1")])
    assert (full._payload, full.status) == (b"null", 201)
    assert full._wire_headers() == [("content-type", "application/json"), ("a", "1")]


def test_one_json_response_s_headers_are_not_another_s() -> None:
    Response.json(1).headers.set("content-type", "x/y")
    Response.json(1).headers.append("a", "1")
    assert Response.json(1)._wire_headers() == [("content-type", "application/json")]


def test_what_is_not_serializable_says_where() -> None:
    with pytest.raises(TypeError) as caught:
        Response.json({"a": [object()]})
    assert str(caught.value) == (
        "Failed to execute 'json' on 'Response': "
        "The data is not JSON serializable: object at $.a[0]"
    )


def test_a_response_is_read_like_a_request() -> None:
    async def check() -> None:
        response = Response.json({"a": 1})
        clone = response.clone()
        assert await response.json() == {"a": 1}
        with pytest.raises(TypeError) as caught:
            await response.text()
        assert str(caught.value) == (
            "Failed to execute 'text' on 'Response': body stream already read"
        )
        assert await clone.text() == '{"a":1}'
        assert clone.status == 200
        with pytest.raises(json.JSONDecodeError):
            await Response("{").json()

    asyncio.run(check())


def test_a_whole_response_may_be_sent_any_number_of_times() -> None:
    response = Response("gone", status=410)
    assert response._payload == response._payload == b"gone"


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("http://A/b c", "http://a/b%20c"),
        (URL("http://a/"), "http://a/"),
        ("/login?next=/x", "/login?next=/x"),
        ("../é\r\nx: y", "../%C3%A9%0D%0Ax:%20y"),
    ],
)
def test_a_redirect_names_its_target(url: str | URL, location: str) -> None:
    response = Response.redirect(url)
    assert (response.status, response.headers.get("location")) == (302, location)
    assert Response.redirect(url, 308).status == 308


@pytest.mark.parametrize("status", [200, 300, 304, 305, 400])
def test_a_redirect_with_another_status_is_refused(status: int) -> None:
    with pytest.raises(ValueError, match="Invalid status code"):
        Response.redirect("http://a/", status)


def test_an_error_response_is_a_500_without_a_body() -> None:
    response = Response.error()
    assert (response.status, response._payload, response.body) == (500, b"", None)


def test_repeated_cookies_are_sent_apart_and_in_order() -> None:
    headers = Headers()
    headers.append("Set-Cookie", "a=1; Path=/")
    headers.append("X-A", "1")
    headers.append("Set-Cookie", "b=2")
    assert Response(None, headers=headers)._wire_headers() == [
        ("set-cookie", "a=1; Path=/"),
        ("x-a", "1"),
        ("set-cookie", "b=2"),
    ]
