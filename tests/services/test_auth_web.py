"""Over TLS, a key set is taken from a server only that proves to be the one that is asked."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from camber.services.auth.web import Web, WebError, one_line
from signing import private_key

BODY = b'{"keys":[]}'


def write_certificate(folder: Path, host: str) -> Path:
    """A certificate for `host` that vouches for itself, with its key in one file."""
    key = private_key("ES256", 5)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / f"{host}.pem"
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return file


@asynccontextmanager
async def secure_site(certificate: Path) -> AsyncIterator[int]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY)
        await writer.drain()
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def fetched(certificate: Path) -> bytes | str:
    """What a fetch from `localhost` brings: a body, or why there is none."""
    async with secure_site(certificate) as port:
        try:
            return (await Web(development=True).get(f"https://localhost:{port}/jwks")).body
        except WebError as error:
            return str(error)


def test_a_server_whose_certificate_is_trusted_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = write_certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert asyncio.run(fetched(certificate)) == BODY


def test_a_server_that_vouches_for_itself_is_not(tmp_path: Path) -> None:
    told = asyncio.run(fetched(write_certificate(tmp_path, "localhost")))
    assert isinstance(told, str)
    assert told.startswith("no connection: ")


def test_a_server_of_another_name_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = write_certificate(tmp_path, "id.example.com")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    told = asyncio.run(fetched(certificate))
    assert isinstance(told, str)
    assert told.startswith("no connection: ")


def test_what_a_stranger_wrote_stays_on_its_line() -> None:
    assert one_line("a\r\nb\x1b[31m\u2028é") == "a  b [31m é"
