"""Parts of a stored file, as RFC 9110, 14 says they are asked for."""

from collections.abc import Iterator

import pytest
from file_app import APP, path_of, stored

from camber.server.files import UNSATISFIABLE, parse_range
from serving import Backend, Connection, ask, served

TEN = b"0123456789"
RANGES: list[tuple[str, int, bytes, str | None]] = [
    ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
    ("bytes=0-4", 206, b"01234", "bytes 0-4/10"),
    ("bytes=5-9", 206, b"56789", "bytes 5-9/10"),
    ("bytes=9-9", 206, b"9", "bytes 9-9/10"),
    ("bytes=0-", 206, TEN, "bytes 0-9/10"),
    ("bytes=3-", 206, b"3456789", "bytes 3-9/10"),
    ("bytes=9-", 206, b"9", "bytes 9-9/10"),
    ("bytes=-1", 206, b"9", "bytes 9-9/10"),
    ("bytes=-3", 206, b"789", "bytes 7-9/10"),
    ("bytes=-10", 206, TEN, "bytes 0-9/10"),
    ("bytes=-11", 206, TEN, "bytes 0-9/10"),
    ("bytes=0-9", 206, TEN, "bytes 0-9/10"),
    ("bytes=0-10", 206, TEN, "bytes 0-9/10"),
    ("bytes=5-1000", 206, b"56789", "bytes 5-9/10"),
    ("bytes=0-" + "9" * 30, 206, TEN, "bytes 0-9/10"),
    ("bytes=-" + "9" * 30, 206, TEN, "bytes 0-9/10"),
    ("bytes=00000000000000000000002-3", 206, b"23", "bytes 2-3/10"),
    ("Bytes=0-0", 206, b"0", "bytes 0-0/10"),
    ("BYTES=0-0", 206, b"0", "bytes 0-0/10"),
    ("bytes= 0-0", 206, b"0", "bytes 0-0/10"),
    ("bytes=0-0,", 206, b"0", "bytes 0-0/10"),
    ("bytes=,0-0", 206, b"0", "bytes 0-0/10"),
    ("bytes=10-", 416, b"", "bytes */10"),
    ("bytes=10-10", 416, b"", "bytes */10"),
    ("bytes=" + "9" * 30 + "-", 416, b"", "bytes */10"),
    ("bytes=-0", 416, b"", "bytes */10"),
    ("bytes=0-0,2-3", 416, b"", "bytes */10"),
    ("bytes=0-0, -1", 416, b"", "bytes */10"),
    ("bytes=" + ",".join(["0-"] * 1500), 416, b"", "bytes */10"),
    ("bytes=4-3", 200, TEN, None),
    ("bytes=-", 200, TEN, None),
    ("bytes=", 200, TEN, None),
    ("bytes=,", 200, TEN, None),
    ("bytes", 200, TEN, None),
    ("bytes=a-b", 200, TEN, None),
    ("bytes=0-0,x", 200, TEN, None),
    ("bytes=1 - 2", 200, TEN, None),
    ("bytes=0x0-0x1", 200, TEN, None),
    ("bytes=+1-2", 200, TEN, None),
    ("bytes=--1", 200, TEN, None),
    ("bytes=1--2", 200, TEN, None),
    ("bytes=1.0-2", 200, TEN, None),
    ("bytes=\xb2-\xb3", 200, TEN, None),
    ("items=0-0", 200, TEN, None),
    ("0-0", 200, TEN, None),
    ("bytes:0-0", 200, TEN, None),
]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with served(tmp_path_factory.mktemp("ranges"), APP) as backend:
        yield backend


@pytest.fixture(scope="module")
def ten(backend: Backend) -> str:
    return path_of(backend, stored(backend, TEN, "text/plain"))


@pytest.mark.parametrize(
    ("header", "status", "body", "content_range"), RANGES, ids=[row[0][:20] for row in RANGES]
)
def test_a_range(
    header: str, status: int, body: bytes, content_range: str | None, ten: str, backend: Backend
) -> None:
    with Connection(backend.api_port) as connection:
        answer = connection.ask("GET", ten, headers={"range": header})
        assert (answer.status, answer.body) == (status, body)
        assert answer.header("content-range") == content_range
        assert answer.header("content-length") == str(len(body))
        # The hash is the whole file's.
        assert (answer.header("digest") is not None) is (status == 200)
        assert connection.ask("GET", ten).body == TEN


def test_a_range_of_a_head_request_is_ignored(ten: str, backend: Backend) -> None:
    answer = ask(backend.api, "HEAD", ten, headers={"range": "bytes=0-0"})
    assert (answer.status, answer.header("content-length")) == (200, "10")


@pytest.mark.parametrize("condition", ['"x"', 'W/"x"', "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_a_range_under_a_condition_that_cannot_hold_is_ignored(
    condition: str, ten: str, backend: Backend
) -> None:
    headers = {"range": "bytes=0-0", "if-range": condition}
    assert ask(backend.api, "GET", ten, headers=headers).body == TEN


def test_every_range_of_a_small_file_is_what_slicing_says() -> None:
    data = bytes(range(7))
    for first in range(10):
        for last in range(first, 10):
            span = parse_range(f"bytes={first}-{last}", len(data))
            expected = data[first : last + 1]
            if expected:
                assert span is not None
                assert data[span[0] : span[1]] == expected
            else:
                assert span == UNSATISFIABLE
