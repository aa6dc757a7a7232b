"""The handshake that turns a request into a WebSocket (RFC 6455, 4.2): judged, and answered.

Sub-protocols and extensions are never agreed on; cookies, `Authorization` and `Origin` mean nothing
here. ASGI servers do this part themselves.
"""

import base64
import binascii
import hashlib
from typing import Final

from camber.errors import RequestError
from camber.server.exchange import Exchange

# Fixed by the RFC; it makes the answer one that only a WebSocket server gives.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES: Final = 16


def accept(exchange: Exchange) -> bytes:
    """The whole answer with status 101 to the handshake that `exchange` asks for.

    Raises:
        RequestError: 400, the request is not a sound handshake.
    """
    if exchange.method != "GET" or exchange.has_body:
        raise _refused("MethodNotGet", "A WebSocket begins with a GET request without a body")
    if "upgrade" not in _tokens(exchange, "connection"):
        raise _refused("InvalidConnectionHeader", "Connection header did not include 'upgrade'")
    if "websocket" not in _tokens(exchange, "upgrade") or exchange.http_version == "1.0":
        raise _refused("InvalidUpgradeHeader", "Upgrade header did not include 'websocket'")
    if exchange.header("sec-websocket-version") != "13":
        raise _refused("InvalidWebSocketVersionHeader", "Sec-WebSocket-Version header must be 13")
    keys = [value for name, value in exchange.headers if name == "sec-websocket-key"]
    if len(keys) != 1 or not _is_key(keys[0]):
        raise _refused(
            "WebSocketKeyHeaderMissing", "Sec-WebSocket-Key header must be 16 bytes in base64"
        )
    digest = hashlib.sha1(keys[0].encode("ascii") + _GUID, usedforsecurity=False).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"upgrade: websocket\r\n"
        b"connection: Upgrade\r\n"
        b"sec-websocket-accept: " + base64.b64encode(digest) + b"\r\n\r\n"
    )


def _tokens(exchange: Exchange, wanted: str) -> set[str]:
    values = [value for name, value in exchange.headers if name == wanted]
    return {token.strip(" \t").lower() for value in values for token in value.split(",")}


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _refused(code: str, message: str) -> RequestError:
    return RequestError(400, code, message)
