"""The URLs that a deployment hands out for files, and the tokens in them.

An upload token says until when it is good and proves that this deployment made it:
base64url of  expiry in nanoseconds (8 bytes, big-endian) · MAC (16 bytes).
"""

import base64
import hmac
from typing import Final

from camber.errors import RequestError

UPLOAD_NS: Final = 3600 * 1_000_000_000
_MAC_SIZE: Final = 16


class FileLinks:
    """Makes and checks the links of one deployment.

    Args:
        origin: what clients reach the API at, such as `http://127.0.0.1:3210`.
        secret: the deployment's own.
    """

    def __init__(self, origin: str, secret: bytes) -> None:
        # Set anew once the port is known.
        self.origin = origin
        self._secret = secret

    def file_url(self, uuid: str, /) -> str:
        """Where the file with this UUID is downloaded."""
        return f"{self.origin}/api/storage/{uuid}"

    def upload_url(self, now_ns: int, /) -> str:
        """Where a file may be uploaded, for an hour from `now_ns`."""
        expiry = (now_ns + UPLOAD_NS).to_bytes(8)
        token = base64.urlsafe_b64encode(expiry + self._mac(expiry)).decode().rstrip("=")
        return f"{self.origin}/api/storage/upload?token={token}"

    def check_upload(self, token: str, now_ns: int) -> None:
        """Let a token pass that this deployment made less than an hour ago.

        Raises:
            RequestError: 401.
        """
        try:
            raw = base64.b64decode(
                token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
            )
        except ValueError:
            raw = b""
        expiry, mac = raw[:8], raw[8:]
        if len(raw) != 8 + _MAC_SIZE or not hmac.compare_digest(mac, self._mac(expiry)):
            raise RequestError(
                401, "StorageTokenInvalid", "Couldn't decode the StoreFileAuthorization token"
            )
        if int.from_bytes(expiry) < now_ns:
            raise RequestError(401, "StorageTokenExpired", "Store File Authorization expired")

    def _mac(self, expiry: bytes) -> bytes:
        return hmac.digest(self._secret, b"upload" + expiry, "sha256")[:_MAC_SIZE]
