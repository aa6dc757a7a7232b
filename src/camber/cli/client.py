"""The HTTP client of the commands: one request at a time, to one server, as its administrator."""

import http.client
import json
from typing import Any, Final
from urllib.parse import urlsplit

from camber.errors import ConfigError, RequestError
from camber.version import VERSION

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 660.0
"""How long a request may take: a little longer than the longest action."""


class Client:
    """Speaks to the server at `url`.

    Args:
        url: the API's origin, perhaps with a path before it, such as `http://127.0.0.1:3210`.
        admin_key: proves that the user may do everything.

    Raises:
        ConfigError: `url` is none.
    """

    def __init__(self, url: str, admin_key: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        try:
            valid = parts.scheme in ("http", "https") and bool(parts.hostname)
            self._port = parts.port
        except ValueError:
            valid = False
        if not valid:
            raise ConfigError(f"{url} is not a URL of a server. Write http://HOST:PORT.")
        assert parts.hostname is not None
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._base = parts.path
        self._headers = {
            "Authorization": f"Convex {admin_key}",
            "Content-Type": "application/json",
            "User-Agent": f"camber-cli/{VERSION}",
        }

    def instance_name(self) -> str:
        """The name of the deployment that answers at the URL. Does not send the key.

        Raises:
            ConfigError: nobody answers, or it is no Camber server.
        """
        return self._exchange("GET", "/instance_name", None, {}).decode("utf-8", "replace")

    def get(self, path: str) -> Any:
        """The JSON at `path`. Raises as `post`."""
        return self._json(self._exchange("GET", path, None, self._headers))

    def post(self, path: str, body: Any) -> Any:
        """Post `body` as JSON.

        Returns:
            The answer's JSON, None for an empty one.

        Raises:
            RequestError: the server refused.
            ConfigError: nobody answers, or it is no Camber server.
        """
        answer = self._exchange("POST", path, json.dumps(body).encode(), self._headers)
        return self._json(answer) if answer else None

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> bytes:
        maker = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = maker(self._host, self._port, timeout=CONNECT_SECONDS)
        try:
            connection.connect()
            connection.sock.settimeout(ANSWER_SECONDS)
            connection.request(method, self._base + path, body, headers)
            response = connection.getresponse()
            content = response.read()
        except TimeoutError as error:
            raise ConfigError(f"The server at {self.url} took too long to answer.") from error
        except OSError as error:
            cause = error.strerror or str(error)
            raise ConfigError(f"No server answers at {self.url}: {cause}.") from error
        except (http.client.HTTPException, ValueError) as error:
            raise self._not_ours() from error
        finally:
            connection.close()
        if response.status != 200:
            raise self._refusal(response.status, content)
        return content

    def _json(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError as error:
            raise self._not_ours() from error

    def _refusal(self, status: int, content: bytes) -> RequestError | ConfigError:
        try:
            fields = json.loads(content)
            return RequestError(status, fields["code"], fields["message"])
        except (ValueError, KeyError, TypeError):
            return self._not_ours()

    def _not_ours(self) -> ConfigError:
        return ConfigError(f"What answers at {self.url} is not the API port of a Camber server.")
