"""Blobs, files and forms, and forms in bodies."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camber.errors import LimitError
from camber.functions.fetch import Blob, File, FormData, Request, Response, URLSearchParams


class Shelf:
    """A place that keeps bytes for blobs, and remembers what was read from it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.read: list[tuple[int, int]] = []

    async def stream(self, start: int, end: int) -> AsyncIterator[bytes]:
        self.read.append((start, end))
        for place in range(start, end, 2):
            yield self.content[place : min(place + 2, end)]


def read(blob: Blob) -> bytes:
    return asyncio.run(blob.bytes())


async def in_pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for place in range(0, len(data), size):
        yield data[place : place + size]


def form_of(data: bytes, content_type: str, size: int = 65536) -> FormData:
    async def parse() -> FormData:
        request = Request(
            "http://a/", "POST", {"Content-Type": content_type}, in_pieces(data, size)
        )
        return await request.form_data()

    return asyncio.run(parse())


def multipart(*parts: bytes) -> bytes:
    return b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + b"--B--\r\n"


def field(name: bytes, value: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value


TYPE = "multipart/form-data; boundary=B"


def test_a_blob_puts_its_parts_end_to_end() -> None:
    blob = Blob(["é", b"a", bytearray(b"b"), memoryview(b"c"), Blob([b"d"])], "Text/Plain")
    assert read(blob) == "éabcd".encode()
    assert asyncio.run(blob.text()) == "éabcd"
    assert asyncio.run(blob.array_buffer()) == read(blob)
    assert (blob.size, blob.type) == (6, "text/plain")


@pytest.mark.parametrize("parts", ["ab", b"ab", [3], [None], 3])
def test_a_blob_of_anything_else_is_refused(parts: Any) -> None:
    with pytest.raises(TypeError):
        Blob(parts)


def test_a_type_that_cannot_be_one_is_empty() -> None:
    assert Blob([], "a\r\nb").type == Blob([], "é").type == ""


@pytest.mark.parametrize(
    ("start", "end"), [(0, None), (2, None), (-2, None), (1, 3), (3, 1), (-99, 99), (1, -1), (9, 9)]
)
def test_slices_are_those_of_python_held_or_stored(start: int, end: int | None) -> None:
    content = b"012345"
    expected = content[start:end]
    shelf = Shelf(content)
    for blob in (Blob([content]), Blob._stored(shelf, 6, "")):
        piece = blob.slice(start, end, "X/Y")
        assert (read(piece), piece.size, piece.type) == (expected, len(expected), "x/y")
    assert len(shelf.read) == 1


def test_a_stored_blob_is_read_only_when_asked() -> None:
    shelf = Shelf(b"abcdef")
    blob = Blob._stored(shelf, 6, "image/png")
    assert (blob.size, blob.type, shelf.read) == (6, "image/png", [])
    assert read(blob.slice(1, 5).slice(1)) == b"cde"
    assert shelf.read == [(2, 5)]
    with pytest.raises(TypeError, match="read it first"):
        Blob([blob])


def test_a_file_is_a_blob_with_a_name() -> None:
    file = File([b"x"], "a.png", "image/png")
    assert isinstance(file, Blob)
    assert (file.name, file.type, file.size) == ("a.png", "image/png", 1)


def test_a_form_keeps_order_and_repeats() -> None:
    form = FormData()
    form.append("a", "1")
    form.append("b", 2)
    form.append("a", "3")
    assert list(form) == [("a", "1"), ("b", "2"), ("a", "3")]
    assert form.get("a") == form["a"] == "1"
    assert form.get_all("a") == ["1", "3"]
    assert form.has("b")
    form.set("a", "9")
    form.set("c", "4")
    form.delete("b")
    assert list(form.items()) == [("a", "9"), ("c", "4")]
    assert (list(form.keys()), list(form.values()), len(form)) == (["a", "c"], ["9", "4"], 2)
    assert form.get("x") is None


def test_a_blob_in_a_form_becomes_a_file() -> None:
    form = FormData()
    form.append("a", Blob([b"x"]))
    form.append("b", Blob([b"x"]), "n.txt")
    form.append("c", File([b"x"], "own.txt"))
    form.append("d", File([b"x"], "own.txt"), "other.txt")
    assert [value.name for value in form.values() if isinstance(value, File)] == [
        "blob",
        "n.txt",
        "own.txt",
        "other.txt",
    ]


@pytest.mark.parametrize(("value", "filename"), [(None, None), (b"x", None), ("text", "a.txt")])
def test_a_form_refuses_other_values(value: Any, filename: str | None) -> None:
    with pytest.raises(TypeError, match="'a'"):
        FormData().append("a", value, filename)


def test_a_multipart_form_is_read() -> None:
    body = multipart(
        field(b"author", b"User 123"),
        b'Content-Disposition: form-data; name="image"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n\x89PNG\r\n--X\r\n",
        b'content-disposition: form-data; name="t"; filename=""\r\n\r\n',
        field(b"author", b""),
    )
    for size in (1, 3, 7, 65536):
        form = form_of(body, TYPE, size)
        assert list(form.keys()) == ["author", "image", "t", "author"]
        assert form.get_all("author") == ["User 123", ""]
        image, empty = form.get("image"), form.get("t")
        assert isinstance(image, File)
        assert isinstance(empty, File)
        assert (image.name, image.type, read(image)) == (
            "a.png",
            "image/png",
            b"\x89PNG\r\n--X\r\n",
        )
        assert (empty.name, empty.type, empty.size) == ("", "text/plain", 0)


def test_names_are_utf_8_and_escaped_as_browsers_do() -> None:
    name_and_file = 'name="é%22%0D%0A%41"; filename="€.txt"'
    body = multipart(f"Content-Disposition: form-data; {name_and_file}\r\n\r\nx".encode())
    ((name, value),) = form_of(body, TYPE)
    assert isinstance(value, File)
    assert (name, value.name) == ('é"\r\n%41', "€.txt")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nothing",
        b"--B\r\n",
        b"--B\r\n" + field(b"a", b"1"),
        b"--B\r\n" + field(b"a", b"1") + b"\r\n--B",
        b"--B\r\n" + field(b"a", b"1") + b"\r\n--C--\r\n",
        multipart(b"\r\nno headers"),
        multipart(b"Content-Disposition: form-data\r\n\r\nno name"),
        multipart(b'Content-Disposition: attachment; name="a"\r\n\r\nx'),
        multipart(b"bad header\r\n\r\nx"),
        multipart(b"Content-Disposition: form-data;\n name=a\r\n\r\nx")[:20],
    ],
)
def test_a_broken_multipart_form_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a multipart form"):
        form_of(body, TYPE)


def test_an_empty_multipart_form_is_a_form() -> None:
    assert len(form_of(b"--B--\r\n", TYPE)) == 0


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/json", "multipart/form-data", "multipart/mixed", ""]
)
def test_another_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(TypeError, match="Failed to execute 'form_data' on 'Request'"):
        form_of(b"", content_type)


def test_an_urlencoded_form_is_read() -> None:
    form = form_of(b"author=User+123&a=%E2%82%AC&a=&%ff", "Application/X-WWW-Form-Urlencoded; x=y")
    assert list(form) == [("author", "User 123"), ("a", "€"), ("a", ""), ("\ufffd", "")]


@pytest.mark.parametrize("size", [1, 65536])
def test_a_thousand_fields_pass_and_one_more_does_not(size: int) -> None:
    parts = [field(b"a", b"")] * 1000
    assert len(form_of(multipart(*parts), TYPE, size)) == 1000
    with pytest.raises(LimitError, match="1000 fields"):
        form_of(multipart(*parts, parts[0]), TYPE, size)


def test_a_thousand_urlencoded_fields_pass_and_one_more_does_not() -> None:
    kind = "application/x-www-form-urlencoded"
    assert len(form_of(b"&".join([b"a=1"] * 1000), kind)) == 1000
    assert len(form_of(b"&&".join([b"a=1"] * 1000), kind)) == 1000
    with pytest.raises(LimitError, match="1000 fields"):
        form_of(b"&".join([b"a=1"] * 1001), kind)


@pytest.mark.parametrize("size", [1000, 65536])
@pytest.mark.parametrize(
    "header",
    [b"X: " + b"y" * 16_384, b"y" * 16_385 + b": x", b"\r\n".join([b"X:"] * 6000)],
    ids=["long value", "long name", "many"],
)
def test_headers_of_a_part_beyond_their_limit_are_refused(header: bytes, size: int) -> None:
    with pytest.raises((LimitError, ValueError)):
        form_of(multipart(header + b"\r\n" + field(b"a", b"1")), TYPE, size)


def test_headers_of_a_part_up_to_their_limit_pass() -> None:
    name = b"n" * 16_000
    assert list(form_of(multipart(field(name, b"1")), TYPE)) == [(name.decode(), "1")]


@pytest.mark.parametrize("kind", [TYPE, "application/x-www-form-urlencoded"])
def test_a_form_of_twenty_mebibytes_passes_and_a_byte_more_does_not(kind: str) -> None:
    limit = 20 * 2**20
    around = multipart(field(b"a", b"")) if kind == TYPE else b"a="
    body = around.replace(b"\r\n\r\n", b"\r\n\r\n" + b"x" * (limit - len(around)), 1)
    if kind != TYPE:
        body = around + b"x" * (limit - len(around))
    assert len(body) == limit
    value = form_of(body, kind).get("a")
    assert value == "x" * (limit - len(around))
    with pytest.raises(LimitError, match="20971520 bytes"):
        form_of(body + b" ", kind)


def test_what_the_parser_says_of_a_broken_form_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(ValueError, match="multipart"):
        form_of(b"nothing", TYPE)
    assert not caplog.records


_NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).filter(
    lambda name: not {"%", "\\"} & set(name)
)


@given(st.lists(st.tuples(_NAMES, st.binary(max_size=50), st.none() | _NAMES), max_size=5))
def test_a_form_in_a_response_reads_back_the_same(
    fields: list[tuple[str, bytes, str | None]],
) -> None:
    form = FormData()
    for name, data, filename in fields:
        if filename is None:
            form.append(name, data.hex())
        else:
            form.append(name, File([data], filename, "a/b"))

    async def there_and_back() -> list[tuple[str, Any]]:
        back = await Response(form).form_data()
        return [(n, v if isinstance(v, str) else (v.name, await v.bytes())) for n, v in back]

    assert asyncio.run(there_and_back()) == [
        (name, data.hex() if filename is None else (filename, data))
        for name, data, filename in fields
    ]


def test_search_params_in_a_request_read_back_as_a_form() -> None:
    async def there_and_back() -> FormData:
        return await Request("http://a/", "POST", body=URLSearchParams({"a": "b c"})).form_data()

    assert list(asyncio.run(there_and_back())) == [("a", "b c")]
