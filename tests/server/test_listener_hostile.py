"""Ambiguous, malformed and greedy requests are refused, and the next client notices nothing."""

import asyncio
import json

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_http import CHUNKED, connected, echo, get, read_head, serving, talk

from camber.errors import RequestError
from camber.server.chunked import ChunkedDecoder
from camber.server.listener import Limits
from camber.server.request_head import read_fields, read_start_line

H = b"host: a\r\n"
CL3 = b"content-length: 3\r\n"
TE = b"transfer-encoding: chunked\r\n"
LINE = b"GET / HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\n"
END = b"0\r\n\r\n"

REFUSED: list[tuple[str, bytes, int]] = [
    # Two lengths, or a length that is none.
    ("length and chunked", POST + H + CL3 + TE + b"\r\nabc", 400),
    ("chunked and length", POST + H + TE + CL3 + b"\r\n" + END, 400),
    ("two different lengths", POST + H + CL3 + b"content-length: 4\r\n\r\nabcd", 400),
    ("two equal lengths", POST + H + CL3 + CL3 + b"\r\nabc", 400),
    ("a list of lengths", POST + H + b"content-length: 3, 3\r\n\r\nabc", 400),
    ("length +3", POST + H + b"content-length: +3\r\n\r\nabc", 400),
    ("length -1", POST + H + b"content-length: -1\r\n\r\nabc", 400),
    ("length 0x3", POST + H + b"content-length: 0x3\r\n\r\nabc", 400),
    ("length 3.0", POST + H + b"content-length: 3.0\r\n\r\nabc", 400),
    ("length 3_0", POST + H + b"content-length: 3_0\r\n\r\nabc", 400),
    ("length with a space in it", POST + H + b"content-length: 3 0\r\n\r\nabc", 400),
    ("empty length", POST + H + b"content-length:\r\n\r\n", 400),
    ("length in words", POST + H + b"content-length: three\r\n\r\nabc", 400),
    ("length of 20 digits", POST + H + b"content-length: 99999999999999999999\r\n\r\n", 400),
    ("length in other digits", POST + H + b"content-length: \xb2\r\n\r\nabc", 400),
    # Transfer codings.
    ("gzip", POST + H + b"transfer-encoding: gzip\r\n\r\n", 400),
    ("gzip, chunked", POST + H + b"transfer-encoding: gzip, chunked\r\n\r\n" + END, 501),
    ("chunked, gzip", POST + H + b"transfer-encoding: chunked, gzip\r\n\r\n" + END, 400),
    ("chunked twice", POST + H + TE + TE + b"\r\n" + END, 400),
    ("chunked, chunked", POST + H + b"transfer-encoding: chunked, chunked\r\n\r\n" + END, 400),
    ("xchunked", POST + H + b"transfer-encoding: xchunked\r\n\r\n" + END, 400),
    (",chunked", POST + H + b"transfer-encoding: ,chunked\r\n\r\n" + END, 501),
    ("quoted chunked", POST + H + b'transfer-encoding: "chunked"\r\n\r\n' + END, 400),
    ("identity", POST + H + b"transfer-encoding: identity\r\n\r\n", 400),
    ("empty coding", POST + H + b"transfer-encoding:\r\n\r\n" + END, 400),
    ("vertical tab before chunked", POST + H + b"transfer-encoding: \x0bchunked\r\n\r\n", 400),
    ("chunked in HTTP/1.0", b"POST / HTTP/1.0\r\n" + TE + b"\r\n" + END, 400),
    # Lines.
    ("folded header", LINE + H + b"x: a\r\n b\r\n\r\n", 400),
    ("folded header, tab", LINE + H + b"x: a\r\n\tb\r\n\r\n", 400),
    ("folded empty header", LINE + H + b"x:\r\n b\r\n\r\n", 400),
    ("space before the first header", LINE + b" x: a\r\n" + H + b"\r\n", 400),
    ("bare LF everywhere", b"GET / HTTP/1.1\nhost: a\n\n", 400),
    ("bare LF after the first line", b"GET / HTTP/1.1\nhost: a\r\n\r\n", 400),
    ("bare LF after a header", LINE + b"host: a\nx: b\r\n\r\n", 400),
    ("bare LF at the end", LINE + b"host: a\r\n\n", 400),
    ("bare CR in a value", LINE + b"host: a\r\nx: a\rb\r\n\r\n", 400),
    ("bare CR for a line end", LINE + b"host: a\rx: b\r\n\r\n", 400),
    ("CR CR LF", LINE + b"host: a\r\r\n\r\n", 400),
    ("NUL in a value", LINE + H + b"x: a\0b\r\n\r\n", 400),
    ("NUL in a name", LINE + H + b"x\0: a\r\n\r\n", 400),
    ("control character in a value", LINE + H + b"x: a\x01b\r\n\r\n", 400),
    ("DEL in a value", LINE + H + b"x: a\x7fb\r\n\r\n", 400),
    ("space before the colon", LINE + b"host : a\r\n\r\n", 400),
    ("tab before the colon", LINE + H + b"x\t: a\r\n\r\n", 400),
    ("no colon", LINE + H + b"x\r\n\r\n", 400),
    ("empty name", LINE + H + b": a\r\n\r\n", 400),
    ("a name that is no token", LINE + H + b"a(b): c\r\n\r\n", 400),
    ("a name beyond ASCII", LINE + H + b"\xe9: c\r\n\r\n", 400),
    ("two empty lines before", b"\r\n\r\n" + get(), 400),
    ("LF before", b"\n" + get(), 400),
    # Host.
    ("no Host", LINE + b"\r\n", 400),
    ("two Hosts", LINE + H + b"host: b\r\n\r\n", 400),
    ("two equal Hosts", LINE + H + H + b"\r\n", 400),
    ("empty Host", LINE + b"host:\r\n\r\n", 400),
    ("Host with a space", LINE + b"host: a b\r\n\r\n", 400),
    ("Host with a comma", LINE + b"host: a,b\r\n\r\n", 400),
    ("Host with a user", LINE + b"host: u@a\r\n\r\n", 400),
    ("Host with a path", LINE + b"host: a/b\r\n\r\n", 400),
    ("Host with a bad port", LINE + b"host: a:b\r\n\r\n", 400),
    ("Host with too great a port", LINE + b"host: a:65536\r\n\r\n", 400),
    ("Host with two ports", LINE + b"host: a:1:2\r\n\r\n", 400),
    ("Host of half an address", LINE + b"host: [::1\r\n\r\n", 400),
    ("Host beyond ASCII", LINE + b"host: \xe9\r\n\r\n", 400),
    # The first line.
    ("HTTP/0.9", b"GET /\r\n", 400),
    ("HTTP/0.9 by number", b"GET / HTTP/0.9\r\n" + H + b"\r\n", 505),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\n" + H + b"\r\n", 505),
    ("HTTP/1.10", b"GET / HTTP/1.10\r\n" + H + b"\r\n", 400),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\n" + H + b"\r\n", 505),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("http in lower case", b"GET / http/1.1\r\n" + H + b"\r\n", 400),
    ("RTSP", b"GET / RTSP/1.0\r\n" + H + b"\r\n", 400),
    ("ICE", b"SOURCE / ICE/1.0\r\n" + H + b"\r\n", 400),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("two spaces after the method", b"GET  / HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("two spaces before the version", b"GET /  HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("tab after the method", b"GET\t/ HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("space after the version", b"GET / HTTP/1.1 \r\n" + H + b"\r\n", 400),
    ("space before the method", b" GET / HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("space in the target", b"GET /a b HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("target beyond ASCII", b"GET /\xff HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("control character in the target", b"GET /\x01 HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("NUL in the target", b"GET /\0 HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("fragment", b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("target without a slash", b"GET a HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("GET *", b"GET * HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("absolute target, another scheme", b"GET ftp://a/ HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("absolute target with a user", b"GET http://u:p@a/ HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("absolute target without a host", b"GET http:///x HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("absolute target, no Host header", b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
    ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\n" + H + b"\r\n", 405),
    ("TRACE", b"TRACE / HTTP/1.1\r\n" + H + b"\r\n", 405),
    ("PROPFIND", b"PROPFIND / HTTP/1.1\r\n" + H + b"\r\n", 405),
    ("unknown method", b"FROB / HTTP/1.1\r\n" + H + b"\r\n", 501),
    ("method in lower case", b"get / HTTP/1.1\r\n" + H + b"\r\n", 501),
    ("method of 33 letters", b"A" * 33 + b" / HTTP/1.1\r\n" + H + b"\r\n", 400),
    ("method that is no token", b"G(T / HTTP/1.1\r\n" + H + b"\r\n", 400),
    # Expectations.
    ("another expectation", POST + H + b"expect: 200-maybe\r\n" + CL3 + b"\r\nabc", 417),
    ("two expectations", POST + H + b"expect: 100-continue\r\n" * 2 + CL3 + b"\r\nabc", 417),
    # Chunks.
    ("no size", CHUNKED + b"\r\nabc\r\n" + END, 400),
    ("size -3", CHUNKED + b"-3\r\nabc\r\n" + END, 400),
    ("size 0x3", CHUNKED + b"0x3\r\nabc\r\n" + END, 400),
    ("size in no hex", CHUNKED + b"g\r\nabc\r\n" + END, 400),
    ("size too great", CHUNKED + b"ffffffffffffffff\r\nabc\r\n" + END, 400),
    ("size with many zeros", CHUNKED + b"0" * 30 + b"3\r\nabc\r\n" + END, 400),
    ("space after the size", CHUNKED + b"3 \r\nabc\r\n" + END, 400),
    ("space before the size", CHUNKED + b" 3\r\nabc\r\n" + END, 400),
    ("LF after the size", CHUNKED + b"3\nabc\r\n" + END, 400),
    ("CR after the size", CHUNKED + b"3\rabc\r\n" + END, 400),
    ("LF in an extension", CHUNKED + b"3;a\nabc\r\n" + END, 400),
    ("control character in an extension", CHUNKED + b"3;a\x01\r\nabc\r\n" + END, 400),
    ("an extension that is none", CHUNKED + b"3;a=b c\r\nabc\r\n" + END, 400),
    ("an extension left open", CHUNKED + b'3;a="b\r\nabc\r\n' + END, 400),
    ("endless extension", CHUNKED + b"3;" + b"a" * 9000, 400),
    ("data shorter than its size", CHUNKED + b"4\r\nabc\r\n" + END, 400),
    ("data longer than its size", CHUNKED + b"2\r\nabc\r\n" + END, 400),
    ("nothing after the data", CHUNKED + b"3\r\nabc" + END, 400),
    ("LF after the data", CHUNKED + b"3\r\nabc\n" + END, 400),
    ("LF after the last chunk", CHUNKED + b"0\r\n\n", 400),
    ("folded trailer", CHUNKED + b"0\r\nx: a\r\n b\r\n\r\n", 400),
    ("trailer without a colon", CHUNKED + b"0\r\nx\r\n\r\n", 400),
    ("too many trailers", CHUNKED + b"0\r\n" + b"x: y\r\n" * 101 + b"\r\n", 400),
    ("endless trailer", CHUNKED + b"0\r\nx: " + b"y" * 9000, 400),
    # Floods.
    ("long target", b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\n" + H + b"\r\n", 414),
    ("endless target", b"GET /" + b"a" * 17_000, 414),
    ("101 headers", LINE + H + b"x: y\r\n" * 100 + b"\r\n", 431),
    ("10,000 headers", LINE + H + b"x: y\r\n" * 10_000 + b"\r\n", 431),
    ("a header of 70 kB", LINE + H + b"x: " + b"y" * 70_000 + b"\r\n\r\n", 431),
    ("an endless header", LINE + H + b"x: " + b"y" * 70_000, 431),
]

ACCEPTED: list[tuple[str, bytes, bytes]] = [
    ("nothing but Host", get(), b"/"),
    ("one empty line before", b"\r\n" + get(), b"/"),
    ("an empty value", get("/", "x:"), b"/"),
    ("spaces around a value", LINE + b"host: \t a \t\r\n\r\n", b"/"),
    ("spaces after the length", POST + H + b"content-length: 3 \r\n\r\nabc", b"abc"),
    ("zeros before the length", POST + H + b"content-length: 003\r\n\r\nabc", b"abc"),
    ("CHUNKED", POST + H + b"transfer-encoding: CHUNKED\r\n\r\n3\r\nabc\r\n" + END, b"abc"),
    ("an extension", CHUNKED + b'3;a="b c";d\r\nabc\r\n' + END, b"abc"),
    ("trailers", CHUNKED + b"3\r\nabc\r\n0\r\nx: y\r\ncontent-length: 9\r\n\r\n", b"abc"),
    ("a value beyond ASCII", get("/", "x: \xe9"), b"/"),
    ("100 headers", LINE + H + b"x: y\r\n" * 99 + b"\r\n", b"/"),
    ("a header of 60 kB", LINE + H + b"x: " + b"y" * 60_000 + b"\r\n\r\n", b"/"),
    ("a target of 16 kB", get("/" + "a" * 16_383), b"/" + b"a" * 16_383),
    ("an absolute target", b"GET http://b:80/x?y HTTP/1.1\r\n" + H + b"\r\n", b"/x?y"),
    ("an absolute target, no path", b"GET http://b?y HTTP/1.1\r\n" + H + b"\r\n", b"/?y"),
    ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", b"*"),
    ("an IPv6 Host", LINE + b"host: [::1]:3210\r\n\r\n", b"/"),
    ("h2c is not spoken", get("/", "connection: upgrade", "upgrade: h2c"), b"/"),
    (
        "h2c is not spoken, with a body",
        POST + H + CL3 + b"connection: upgrade\r\nupgrade: h2c\r\n\r\nabc",
        b"abc",
    ),
    ("odd characters in a query", get('/?a=|{}^`"<>\\'), b'/?a=|{}^`"<>\\'),
]


@pytest.mark.parametrize(
    ("data", "status"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_hostile_request_is_refused_and_closed(data: bytes, status: int) -> None:
    async def main() -> None:
        async with serving(echo) as listener:
            head, _, body = (await talk(listener, data)).partition(b"\r\n\r\n")
            got, headers = read_head(head + b"\r\n\r\n")
            known = dict(headers)
            assert got == status
            assert known["connection"] == "close"
            assert known["content-type"] == "application/json"
            assert set(json.loads(body)) == {"code", "message"}
            assert len(body) == int(known["content-length"]), "there is a second answer"
            async with connected(listener) as client:
                client.send(get("/next"))
                assert (await client.answer()).body == b"/next"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("data", "body"), [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED]
)
def test_an_odd_but_sound_request_is_answered_and_the_connection_lives(
    data: bytes, body: bytes
) -> None:
    async def main() -> None:
        async with serving(echo) as listener, connected(listener) as client:
            client.send(data + get("/next"))
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, body)
            assert (await client.answer()).body == b"/next"

    asyncio.run(main())


@pytest.mark.parametrize(
    "data", [case[1] for case in REFUSED if len(case[1]) < 300], ids=lambda data: None
)
def test_the_verdict_does_not_depend_on_how_the_bytes_arrive(data: bytes) -> None:
    async def main() -> None:
        async with serving(echo) as listener, connected(listener) as client:
            for byte in data:
                client.send(bytes((byte,)))
                await asyncio.sleep(0)
            at_once = await talk(listener, data)
            assert (await client.rest())[:12] == at_once[:12]

    asyncio.run(main())


def test_a_bad_request_behind_good_ones_is_refused_after_their_answers() -> None:
    async def main() -> None:
        async with serving(echo) as listener, connected(listener) as client:
            client.send(get("/1") + get("/2") + b"BAD\r\n\r\n" + get("/3"))
            assert (await client.answer()).body == b"/1"
            assert (await client.answer()).body == b"/2"
            assert (await client.answer()).status == 400
            assert await client.rest() == b""

    asyncio.run(main())


def test_a_reason_does_not_show_what_was_sent() -> None:
    async def main() -> None:
        async with serving(echo) as listener:
            seen = await talk(listener, LINE + b"host: <script>\x1b[31m\r\n\r\n")
            assert b"script" not in seen
            assert b"\x1b" not in seen

    asyncio.run(main())


def test_too_many_connections_are_told_so() -> None:
    async def main() -> None:
        limits = Limits(connections=2)
        async with (
            serving(echo, limits) as listener,
            connected(listener) as one,
            connected(listener) as two,
        ):
            for client in (one, two):
                client.send(get())
                assert (await client.answer()).status == 200
            seen = await talk(listener, b"")
            assert seen.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in seen
            one.send(get())
            assert (await one.answer()).status == 200

    asyncio.run(main())


TOKENS = st.sampled_from(
    (
        [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"a", b"host: a", b"x: y", b"\0", b","],
        [
            b"content-length: 3",
            b"transfer-encoding: chunked",
            b"connection: upgrade",
            b"upgrade: x",
        ],
    )
).flatmap(st.sampled_from)


@given(st.lists(TOKENS, max_size=12).map(b"".join))
def test_accepted_header_lines_read_the_same_for_llhttp(block: bytes) -> None:
    block += b"\r\n\r\n"
    block = block[: 2 if block.startswith(b"\r\n") else block.index(b"\r\n\r\n") + 4]
    try:
        fields = read_fields(block)
    except RequestError:
        return
    seen: list[tuple[str, str]] = []

    class Listener:
        def on_header(self, name: bytes, value: bytes) -> None:
            seen.append((name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")))

    try:
        httptools.HttpRequestParser(Listener()).feed_data(LINE + block)
    except httptools.HttpParserUpgrade:
        assert fields.upgrades
    assert tuple(seen) == fields.headers


@given(st.text("GET /?a#*:hp.HTTP10 \r\t", max_size=24))
def test_a_first_line_is_read_or_refused_and_nothing_else(text: str) -> None:
    try:
        line = read_start_line(text.encode())
    except RequestError:
        return
    assert line.path.startswith("/") or line.target == "*"
    assert line.target == line.path + ("?" + line.query if "?" in line.target else "")


CHUNK_TOKENS = st.sampled_from(
    [
        b"3\r\nabc\r\n",
        b"1\r\nx\r\n",
        b"0\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"a",
        b"3",
        b";x=y",
        b'="',
        b"x: y",
    ]
)


@given(st.lists(CHUNK_TOKENS, max_size=10).map(b"".join), st.lists(st.integers(1, 7), max_size=30))
def test_an_accepted_chunked_body_reads_the_same_for_llhttp(data: bytes, sizes: list[int]) -> None:
    ours: list[bytes] = []
    theirs: list[bytes] = []
    decoder = ChunkedDecoder(ours.append, trailers_max=100)
    taken, rest = 0, data
    is_complete = False
    try:
        for size in [*sizes, len(data)]:
            if not is_complete:
                used, is_complete = decoder.feed(rest[:size])
                taken, rest = taken + used, rest[used:]
    except RequestError:
        return

    class Listener:
        ended = False

        def on_body(self, piece: bytes) -> None:
            theirs.append(piece)

        def on_message_complete(self) -> None:
            self.ended = True

    listener = Listener()
    try:
        httptools.HttpRequestParser(listener).feed_data(CHUNKED + data[:taken])
    except httptools.HttpParserError:
        assert not is_complete, "a line that has not ended may still be refused"
        return
    assert listener.ended == is_complete
    assert b"".join(theirs) == b"".join(ours)
