"""What HTTP endpoints stream, how much they may, and what happens when their client leaves."""

import json
from collections.abc import Iterator

import pytest
from endpoint_app import APP

from camber.server.limits import Limits
from serving import Answer, Backend, Connection, ask, served


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    # A client that closes is taken for gone as soon as that is certain.
    limits = Limits(linger_seconds=0.2)
    with served(tmp_path_factory.mktemp("endpoints"), APP, limits=limits) as backend:
        yield backend


def get(backend: Backend, target: str, headers: dict[str, str] | None = None) -> Answer:
    return ask(backend.site, "GET", target, headers=headers)


def post(
    backend: Backend, target: str, body: bytes, headers: dict[str, str] | None = None
) -> Answer:
    return ask(backend.site, "POST", target, body, headers)


@pytest.mark.parametrize("path", ["/stream/fail", "/stream/wrong"])
def test_a_stream_that_fails_is_cut_and_its_failure_logged(path: str, backend: Backend) -> None:
    with Connection(backend.site_port) as connection:
        connection.send("GET", path)
        with pytest.raises(ConnectionError):
            connection.answer()
    assert backend.wait_event(f"GET {path}").failure is not None


def test_a_stream_nobody_reads_waits_and_ends_with_its_client(backend: Backend) -> None:
    with Connection(backend.site_port) as connection:
        connection.send("GET", "/stream/endless")
        connection.until(b"\r\n\r\n")
    event = backend.wait_event("GET /stream/endless")
    lines = [line.wire() for line in event.log]
    assert any("stopped after" in line and "few" in line for line in lines), lines
    assert event.failure is None


def test_a_stream_that_waits_ends_with_its_client(backend: Backend) -> None:
    with Connection(backend.site_port) as connection:
        connection.send("GET", "/stream/waiting")
        connection.until(b"one")
    event = backend.wait_event("GET /stream/waiting")
    assert any("stream stopped" in line.wire() for line in event.log)
    assert event.failure is None


def test_an_endpoint_ends_with_its_client(backend: Backend) -> None:
    with Connection(backend.site_port) as connection:
        connection.send("GET", "/hang")
    event = backend.wait_event("GET /hang")
    assert any("stopped, aborted" in line.wire() for line in event.log)
    assert event.failure is None


def test_a_body_streams_in(backend: Backend) -> None:
    with Connection(backend.site_port) as connection:
        head = b"POST /pieces HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.socket.sendall(head)
        for _ in range(64):
            connection.socket.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        connection.socket.sendall(b"0\r\n\r\n")
        assert connection.answer().body == b"4194304"
        assert connection.ask("GET", "/body/text").status == 200


MIB = 1 << 20


def test_a_body_of_twenty_mebibytes_is_taken_announced_or_not(backend: Backend) -> None:
    body = b"x" * (20 * MIB)
    assert post(backend, "/pieces", body).body == str(20 * MIB).encode()
    with Connection(backend.site_port) as connection:
        head = b"POST /pieces HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.socket.sendall(head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
        assert connection.answer().body == str(20 * MIB).encode()


@pytest.mark.parametrize("path", ["/pieces", "/bytes", "/ignore"])
def test_an_announced_body_of_one_byte_more_is_refused_unread(path: str, backend: Backend) -> None:
    with Connection(backend.site_port) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {20 * MIB + 1}\r\n\r\n"
        connection.socket.sendall(head.encode())
        answer = connection.answer()
    assert answer.status == 413
    assert json.loads(answer.body)["code"] == "RequestTooLarge"


@pytest.mark.parametrize("path", ["/pieces", "/bytes"])
def test_an_unannounced_body_of_one_byte_more_is_refused_at_that_byte(
    path: str, backend: Backend
) -> None:
    with Connection(backend.site_port) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.socket.sendall(head.encode())
        for _ in range(20):
            connection.socket.sendall(b"100000\r\n" + b"x" * MIB + b"\r\n")
        # One byte, and the end of the body is never sent.
        connection.socket.sendall(b"1\r\nx")
        answer = connection.answer()
    assert answer.status == 413
    assert json.loads(answer.body)["code"] == "RequestTooLarge"


@pytest.mark.parametrize("how", ["whole", "text", "stream"])
@pytest.mark.parametrize("more", [-1, 0])
def test_a_response_of_twenty_mebibytes_is_sent(how: str, more: int, backend: Backend) -> None:
    answer = get(backend, f"/large?how={how}&more={more}")
    assert (answer.status, len(answer.body)) == (200, 20 * MIB + more)


@pytest.mark.parametrize("how", ["whole", "text"])
def test_a_whole_response_of_one_byte_more_is_a_failure(how: str, backend: Backend) -> None:
    answer = get(backend, f"/large?how={how}&more=1")
    assert answer.status == 500
    text = "HttpResponseTooLarge: HTTP actions support responses up to 20 MiB"
    assert text in json.loads(answer.body)["code"]


def test_a_streamed_response_of_one_byte_more_is_cut(backend: Backend) -> None:
    backend.events.clear()
    with Connection(backend.site_port) as connection:
        connection.send("GET", "/large?how=stream&more=1")
        with pytest.raises(ConnectionError):
            connection.answer()
    event = backend.wait_event("GET /large")
    assert event.failure is not None
    assert "HttpResponseTooLarge" in event.failure.message
