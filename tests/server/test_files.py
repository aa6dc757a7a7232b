"""Stored files over HTTP: uploads, downloads, ranges, and what must not be possible with them."""

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from file_app import APP, blobs, call, digest, download, path_of, refusal, stored, target_of, upload

from camber.clock import ManualClock
from camber.errors import RequestError
from camber.services.files import collect_orphans
from serving import Backend, Connection, ask, served


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, clock: ManualClock) -> Iterator[Backend]:
    with served(tmp_path_factory.mktemp("files"), APP, clock=clock) as backend:
        yield backend


# ---- uploads ----


def test_a_file_goes_up_and_comes_down(backend: Backend) -> None:
    body = bytes(range(256)) * 100
    answer = upload(backend, body, {"content-type": "image/png"})
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    id = json.loads(answer.body)["storageId"]
    assert json.loads(answer.body) == {"storageId": id}
    url = call(backend, "query", "url", id=id)
    assert url.startswith(f"{backend.api}/api/storage/")
    down = download(backend, id)
    assert (down.status, down.body) == (200, body)
    assert down.header("content-type") == "image/png"
    assert down.header("content-length") == str(len(body))
    assert down.header("digest") == f"sha-256={digest(body)}"
    assert down.header("cache-control") == "private, max-age=2592000"
    assert down.header("accept-ranges") == "bytes"
    for absent in ("etag", "last-modified", "content-disposition"):
        assert down.header(absent) is None


def test_a_file_is_a_document_and_has_metadata(backend: Backend) -> None:
    id = stored(backend, b"hello", "text/plain")
    document = call(backend, "query", "document", id=id)
    assert document.pop("_creationTime") > 0
    assert document == {
        "_id": id,
        "sha256": digest(b"hello"),
        "size": 5.0,
        "contentType": "text/plain",
    }
    metadata = call(backend, "query", "metadata", id=id)
    assert metadata == {
        "storageId": path_of(backend, id).rpartition("/")[2],
        "sha256": hashlib.sha256(b"hello").hexdigest(),
        "size": 5.0,
        "contentType": "text/plain",
    }


def test_a_file_without_a_type_has_none(backend: Backend) -> None:
    id = stored(backend, b"x")
    assert "contentType" not in call(backend, "query", "document", id=id)
    assert call(backend, "query", "metadata", id=id)["contentType"] is None
    assert download(backend, id).header("content-type") is None


def test_an_empty_file_is_a_file(backend: Backend) -> None:
    id = stored(backend, b"", "text/plain")
    answer = download(backend, id, {"range": "bytes=0-0"})
    assert (answer.status, answer.body, answer.header("content-length")) == (200, b"", "0")


def test_a_file_may_be_larger_than_a_request_to_an_endpoint(backend: Backend) -> None:
    body = b"0123456789abcdef" * (21 << 16)
    assert download(backend, stored(backend, body)).body == body


def test_an_upload_need_not_announce_its_length(backend: Backend) -> None:
    target = target_of(call(backend, "mutation", "upload_url"))
    with Connection(backend.api_port) as connection:
        head = f"POST {target} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.socket.sendall(head.encode() + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        id = json.loads(connection.answer().body)["storageId"]
    assert download(backend, id).body == b"abcde"


def test_an_upload_cut_short_is_not_stored(backend: Backend) -> None:
    before = blobs(backend)
    target = target_of(call(backend, "mutation", "upload_url"))
    with Connection(backend.api_port) as connection:
        connection.socket.sendall(
            f"POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n".encode()
            + b"x" * 500_000
        )
        connection.socket.shutdown(1)
        connection.ended()
    # Another upload comes after it, and is all that was added.
    stored(backend, b"next")
    assert blobs(backend) == before + 1


def test_an_upload_url_works_several_times_and_makes_a_file_each_time(backend: Backend) -> None:
    url = call(backend, "mutation", "upload_url")
    ids = {json.loads(upload(backend, b"same", url=url).body)["storageId"] for _ in range(3)}
    assert len(ids) == 3
    assert {download(backend, id).body for id in ids} == {b"same"}


def test_an_upload_url_is_good_for_an_hour(backend: Backend, clock: ManualClock) -> None:
    url = call(backend, "mutation", "upload_url")
    clock.advance(3599)
    assert upload(backend, b"x", url=url).status == 200
    clock.advance(2)
    before = blobs(backend)
    answer = upload(backend, b"x", url=url)
    assert refusal(answer) == (401, "StorageTokenExpired", "Store File Authorization expired")
    assert blobs(backend) == before


@pytest.mark.parametrize(
    "token", ["x", "", "AAAA", "A" * 32, "%00", "%ff", "é".encode().hex(), "a%20b", "." * 100]
)
def test_a_token_that_is_none_is_refused(token: str, backend: Backend) -> None:
    answer = upload(backend, b"x", url=f"{backend.api}/api/storage/upload?token={token}")
    expected = (400, "BadQueryArgs") if not token else (401, "StorageTokenInvalid")
    assert refusal(answer)[:2] == expected


def test_a_token_changed_anywhere_is_refused(backend: Backend) -> None:
    url = call(backend, "mutation", "upload_url")
    head, _, token = url.rpartition("=")
    for i in range(0, len(token) - 1, 3):
        forged = token[:i] + ("A" if token[i] != "A" else "B") + token[i + 1 :]
        answer = upload(backend, b"x", url=f"{head}={forged}")
        assert refusal(answer)[:2] == (401, "StorageTokenInvalid")
    for other in (f"{head}={token}A", f"{head}={token[:-1]}", f"{backend.api}/api/storage/upload"):
        assert upload(backend, b"x", url=other).status in (400, 401)


def test_a_token_of_another_deployment_is_refused(backend: Backend, tmp_path: Path) -> None:
    with served(tmp_path, APP, clock=ManualClock()) as other:
        url = call(other, "mutation", "upload_url")
    assert refusal(upload(backend, b"x", url=url))[:2] == (401, "StorageTokenInvalid")


def test_the_hash_that_is_announced_is_checked(backend: Backend) -> None:
    right = upload(backend, b"hello", {"digest": f"sha-256={digest(b'hello')}"})
    assert right.status == 200
    before = blobs(backend)
    wrong = upload(backend, b"hello", {"digest": f"sha-256={digest(b'other')}"})
    expected, actual = digest(b"other"), digest(b"hello")
    assert refusal(wrong) == (
        400,
        "Sha256Mismatch",
        f"Sha256 mismatch. Expected: {expected} Actual: {actual}",
    )
    assert blobs(backend) == before


def test_a_file_of_another_size_than_announced_is_not_kept(backend: Backend) -> None:
    """Behind a server of somebody else's, the transport may not have checked it."""
    before = blobs(backend)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"hello"

    with pytest.raises(RequestError, match=r"\ASize mismatch\. Expected: 6 Actual: 5\Z") as raised:
        backend.run(backend.deployment.files.store(pieces(), None, size=6))
    assert (raised.value.status, raised.value.code) == (400, "SizeMismatch")
    assert blobs(backend) == before


@pytest.mark.parametrize(
    "header", ["", "x", "sha-256=", "sha-256=AAAA", "sha-256=!!", "md5=1B2M2Y8AsgTpgAmY7PhCfg=="]
)
def test_a_malformed_digest_is_refused(header: str, backend: Backend) -> None:
    answer = upload(backend, b"x", {"digest": header})
    assert refusal(answer) == (400, "BadHeader", "Bad header for digest: invalid HTTP header")


def test_a_page_may_upload_from_another_origin(backend: Backend) -> None:
    url = call(backend, "mutation", "upload_url")
    origin = {"origin": "https://page.example"}
    preflight = ask(
        backend.api,
        "OPTIONS",
        target_of(url),
        headers={
            **origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type, digest",
        },
    )
    assert preflight.status == 200
    assert preflight.header("access-control-allow-headers") == "content-type, digest"
    answer = upload(backend, b"x", origin, url)
    assert answer.header("access-control-allow-origin") == "https://page.example"
    bad = upload(backend, b"x", origin, f"{backend.api}/api/storage/upload?token=x")
    assert bad.header("access-control-allow-origin") == "https://page.example"


# ---- downloads ----

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def test_a_file_that_is_not_there_is_not_found(backend: Backend) -> None:
    answer = ask(backend.api, "GET", f"/api/storage/{UNKNOWN}")
    assert refusal(answer) == (404, "FileNotFound", f"File {UNKNOWN} not found")


def test_the_id_of_a_file_is_not_where_it_is_served(backend: Backend) -> None:
    id = stored(backend, b"x")
    status, code, message = refusal(ask(backend.api, "GET", f"/api/storage/{id}"))
    assert (status, code) == (400, "InvalidStoragePath")
    assert message.startswith(f'Invalid storage path: "{id}". Please use `storage.getUrl(')


def _hostile() -> list[str]:
    dots = [
        "..",
        "%2e%2e",
        "%252e%252e",
        ".%2e",
        "%c0%ae%c0%ae",
        "%e0%80%ae",
        "..;",
        "..%00",
        "....",
    ]
    slashes = ["/", "%2f", "%252f", "%5c", "\\", "%c0%af", "//", ";/"]
    ends = ["camber.sqlite3", "etc/passwd", "instance.json"]
    paths = [f"{d}{s}{d}{s}{e}" for d in dots for s in slashes for e in ends]
    names = ["", ".", "%00", "%0d%0a", "*", "?", "nul", "~", "%ff", "x" * 5000, f"{UNKNOWN}%00"]
    more = [f"{UNKNOWN}/..", f"{UNKNOWN}%2f", f"./{UNKNOWN}", UNKNOWN.upper().replace("0", "F")]
    return [*paths, *names, *more, *(f"upload{d}" for d in dots), f"{{{UNKNOWN}}}", f"{UNKNOWN}%0a"]


def test_no_path_leads_anywhere_but_to_a_stored_file(backend: Backend) -> None:
    with Connection(backend.api_port) as connection:
        for path in _hostile():
            answer = connection.ask("GET", f"/api/storage/{path}")
            assert answer.status in (400, 404), path
            assert json.loads(answer.body)["code"] in ("InvalidStoragePath", "FileNotFound"), path


def test_head_tells_of_a_file_without_sending_it(backend: Backend) -> None:
    id = stored(backend, b"hello", "text/plain")
    path = path_of(backend, id)
    with Connection(backend.api_port) as connection:
        head = connection.ask("HEAD", path)
        full = connection.ask("GET", path)
    assert (head.status, head.body) == (200, b"")
    drop = {"date"}
    assert [h for h in head.headers if h[0] not in drop] == [
        h for h in full.headers if h[0] not in drop
    ]


@pytest.mark.parametrize(
    ("content_type", "shown"),
    [
        ("text/html", False),
        ("TEXT/HTML; charset=utf-8", False),
        ("image/svg+xml", False),
        ("application/xhtml+xml", False),
        ("text/xml", False),
        ("application/pdf", False),
        ("text/javascript", False),
        ("application/octet-stream", False),
        ("image/png, text/html", False),
        ("nonsense", False),
        (None, False),
        ("image/png", True),
        ("image/jpeg", True),
        ("text/plain; charset=utf-8", True),
        ("video/mp4", True),
        ("application/json", True),
    ],
)
def test_a_file_that_could_run_scripts_is_offered_for_saving(
    content_type: str | None, shown: bool, backend: Backend
) -> None:
    answer = download(backend, stored(backend, b"<script>alert(1)</script>", content_type))
    assert answer.header("content-type") == content_type
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("content-security-policy") == "sandbox; default-src 'none'"
    assert answer.header("content-disposition") == (None if shown else "attachment")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain\r\nset-cookie: a=1", "text/pl\u00e4in", "漢字/字", "a\0b", " ", "x"],
)
def test_a_type_that_an_app_makes_up_cannot_break_the_answer(
    content_type: str, backend: Backend
) -> None:
    answer = ask(backend.site, "POST", "/store/odd_type", content_type.encode())
    if answer.status == 200:
        down = download(backend, answer.body.decode())
        assert (down.status, down.body) == (200, b"x")
        assert down.header("set-cookie") is None


# ---- deletion ----


def test_a_deleted_file_is_gone_at_once(backend: Backend) -> None:
    id = stored(backend, b"x")
    path = path_of(backend, id)
    call(backend, "mutation", "delete", id=id)
    assert refusal(ask(backend.api, "GET", path))[:2] == (404, "FileNotFound")
    assert call(backend, "query", "url", id=id) is None
    assert call(backend, "query", "metadata", id=id) is None
    assert call(backend, "query", "document", id=id) is None
    assert f"storage id {id} not found" in call(backend, "mutation", "delete", id=id)


def test_a_deletion_is_undone_with_its_mutation(backend: Backend) -> None:
    id = stored(backend, b"kept")
    assert "undone" in call(backend, "mutation", "delete_and_fail", id=id)
    assert download(backend, id).body == b"kept"


def test_an_upload_url_made_in_vain_leaves_nothing(backend: Backend) -> None:
    before = blobs(backend)
    assert "never returned" in call(backend, "mutation", "upload_url_and_fail")
    assert blobs(backend) == before


@pytest.mark.parametrize(("route", "path"), [("query", "store"), ("mutation", "get")])
def test_bytes_are_kept_from_queries_and_mutations(route: str, path: str, backend: Backend) -> None:
    args = {"id": "x"} if path == "get" else {}
    message = call(backend, route, path, **args)
    assert f"storage.{path}()" in message
    assert "action" in message


@pytest.mark.parametrize(
    ("id", "text"),
    [
        (
            "nonsense",
            "Invalid storage ID: \"nonsense\". Storage ID should be an\n Id of '_storage'",
        ),
        ("", "Invalid storage ID"),
        ("../../x", "Invalid storage ID"),
    ],
)
def test_an_id_that_is_none_is_named(id: str, text: str, backend: Backend) -> None:
    assert text in call(backend, "query", "url", id=id)


# ---- from an endpoint ----


@pytest.mark.parametrize(
    ("source", "body", "content_type"),
    [
        ("request", b"hello", "text/x-mine"),
        ("blob", b"hello", "text/x-mine"),
        ("bytes", b"hello", None),
        ("iterator", b"HELLO", None),
    ],
)
def test_an_endpoint_stores_and_serves(
    source: str, body: bytes, content_type: str | None, backend: Backend
) -> None:
    headers = {"content-type": "text/x-mine"}
    id = ask(backend.site, "POST", f"/store/{source}", b"hello", headers).body.decode()
    for origin in (backend.site, backend.api):
        prefix = "" if origin == backend.site else "/http"
        answer = ask(origin, "GET", f"{prefix}/get?id={id}")
        assert (answer.status, answer.body) == (200, body)
        assert answer.header("content-type") == content_type
        assert answer.header("content-length") == "5"
    assert download(backend, id).body == body
    part = ask(backend.site, "GET", f"/slice?id={id}")
    assert (part.body, part.header("content-type")) == (body[2:5], "text/x-part")
    described = json.loads(ask(backend.site, "GET", f"/describe?id={id}").body)
    assert described["metadata"]["sha256"] == hashlib.sha256(body).hexdigest()
    assert upload(backend, b"y", url=described["upload"]).status == 200
    assert ask(backend.site, "POST", f"/delete?id={id}", b"").status == 200
    assert ask(backend.site, "GET", f"/get?id={id}").status == 404


def test_a_request_is_stored_only_with_the_hash_it_announces(backend: Backend) -> None:
    before = blobs(backend)
    for headers in ({"digest": f"sha-256={digest(b'other')}"}, {"digest": "nonsense"}):
        answer = ask(backend.site, "POST", "/store/request", b"hello", headers)
        assert answer.status == 500
    assert blobs(backend) == before
    right = {"digest": f"sha-256={digest(b'hello')}"}
    assert ask(backend.site, "POST", "/store/request", b"hello", right).status == 200


def test_an_endpoint_may_say_what_hash_it_expects(backend: Backend) -> None:
    def attempt(sha256: str) -> int:
        quoted = sha256.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
        return ask(backend.site, "POST", f"/store/hash?sha256={quoted}", b"hello").status

    assert attempt(digest(b"hello")) == attempt(hashlib.sha256(b"hello").hexdigest()) == 200
    assert attempt(digest(b"other")) == attempt("zz") == attempt("z" * 64) == 500


@pytest.mark.parametrize("path", ["/store/failing", "/store/wrong"])
def test_what_fails_to_be_stored_leaves_nothing(path: str, backend: Backend) -> None:
    before = blobs(backend)
    assert ask(backend.site, "POST", path, b"").status == 500
    assert blobs(backend) == before


def test_storing_a_request_past_twenty_mebibytes_leaves_nothing(backend: Backend) -> None:
    before = blobs(backend)
    with Connection(backend.site_port) as connection:
        head = b"POST /store/request HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.socket.sendall(head)
        for _ in range(20):
            connection.socket.sendall(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")
        connection.socket.sendall(b"1\r\nx")
        assert connection.answer().status == 413
    assert blobs(backend) == before


# ---- bytes that no file names ----


def test_bytes_are_collected_once_no_file_names_them(tmp_path: Path) -> None:
    with served(tmp_path, APP) as backend:
        kept, deleted = stored(backend, b"kept"), stored(backend, b"deleted")

        async def orphan() -> None:
            # What a crash between the bytes and their row leaves behind.
            async def pieces() -> Any:
                yield b"orphan"

            await backend.deployment.files.blobs.put(pieces())

        async def collect(age: float) -> int:
            files = backend.deployment.files
            return await collect_orphans(files.database, files.blobs, older_than_seconds=age)

        backend.run(orphan())
        call(backend, "mutation", "delete", id=deleted)
        assert blobs(backend) == 3
        assert backend.run(collect(3600)) == 0
        assert backend.run(collect(-1)) == 2
        assert download(backend, kept).body == b"kept"
        assert blobs(backend) == 1


def test_files_are_there_after_a_restart_and_drafts_are_not(tmp_path: Path) -> None:
    with served(tmp_path, APP) as backend:
        id = stored(backend, b"kept", "text/plain")
        url = call(backend, "mutation", "upload_url")
    (tmp_path / "state" / "files" / "draft-0123").write_bytes(b"half")
    with served(tmp_path, APP) as backend:
        assert download(backend, id).body == b"kept"
        assert upload(backend, b"x", url=url).status == 200
