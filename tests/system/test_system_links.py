"""The links to files: upload tokens are good for an hour, and only if this deployment made them."""

import base64

import pytest

from camber.errors import RequestError
from camber.system.links import UPLOAD_NS, FileLinks

NOW = 1_760_000_000_000_000_000
LINKS = FileLinks("http://127.0.0.1:3210", b"secret")


def token_of(links: FileLinks, now: int = NOW) -> str:
    url = links.upload_url(now)
    assert url.startswith("http://127.0.0.1:3210/api/storage/upload?token=")
    return url.partition("token=")[2]


def refused(token: str, now: int = NOW) -> tuple[int, str, str]:
    with pytest.raises(RequestError) as caught:
        LINKS.check_upload(token, now)
    return caught.value.status, caught.value.code, str(caught.value)


def test_a_file_is_served_under_its_uuid() -> None:
    url = LINKS.file_url("1234")
    assert url == "http://127.0.0.1:3210/api/storage/1234"


def test_an_upload_token_is_good_for_an_hour() -> None:
    token = token_of(LINKS)
    LINKS.check_upload(token, NOW)
    LINKS.check_upload(token, NOW + UPLOAD_NS)
    assert refused(token, NOW + UPLOAD_NS + 1) == (
        401,
        "StorageTokenExpired",
        "Store File Authorization expired",
    )
    assert UPLOAD_NS == 3_600_000_000_000


def test_a_token_of_another_deployment_or_none_at_all_is_refused() -> None:
    good = token_of(LINKS)
    raw = base64.urlsafe_b64decode(good + "=" * (-len(good) % 4))
    later = (int.from_bytes(raw[:8]) + 1).to_bytes(8) + raw[8:]
    wrong = [
        "",
        "x",
        "é",
        "\ud800",
        good[:-4],
        good + "AAAA",
        token_of(FileLinks("http://127.0.0.1:3210", b"another")),
        base64.urlsafe_b64encode(later).decode().rstrip("="),
    ]
    for token in wrong:
        assert refused(token) == (
            401,
            "StorageTokenInvalid",
            "Couldn't decode the StoreFileAuthorization token",
        )
