"""A URL, whole and by its parts.

The parts are read from the text when one of them is first asked for, so that a request whose
handler only looks at the query pays for nothing else.
"""

from camber.functions.fetch import percent, url_parts
from camber.functions.fetch.search_params import URLSearchParams
from camber.functions.fetch.url_parts import URLParts


class URL:
    """An absolute URL. Every part can be read, and all but `origin` can be set.

    Equal to another URL, and to text, that is written the same.

    Args:
        url: absolute, or relative to `base`.
        base: an absolute URL.

    Raises:
        TypeError: `url` or `base` is not a URL.
    """

    __slots__ = ("__weakref__", "_params", "_parts", "_text")

    def __init__(self, url: "str | URL", base: "str | URL | None" = None) -> None:
        parts = url_parts.parse(str(url), None if base is None else url_parts.parse(str(base)))
        # The parsed form; None as long as nobody asked for a part of `_text`.
        self._parts: URLParts | None = parts
        # The written form; what `str` gives. Always up to date.
        self._text = str(parts)
        self._params: URLSearchParams | None = None

    @classmethod
    def _as_written(cls, text: str) -> "URL":
        """A URL that keeps the text it arrived with, and is parsed when a part is asked for."""
        url = cls.__new__(cls)
        url._parts = None
        url._text = text
        url._params = None
        return url

    @staticmethod
    def can_parse(url: "str | URL", base: "str | URL | None" = None) -> bool:
        """Whether `URL(url, base)` would succeed."""
        try:
            URL(url, base)
        except TypeError:
            return False
        return True

    def _parsed(self) -> URLParts:
        if self._parts is None:
            self._parts = url_parts.parse(self._text)
        return self._parts

    def _become(self, parts: URLParts) -> None:
        self._parts = parts
        self._text = str(parts)

    @property
    def href(self) -> str:
        """The whole URL; the same as `str(url)`."""
        return self._text

    @href.setter
    def href(self, value: str) -> None:
        self._become(url_parts.parse(value))
        if self._params is not None:
            self._params._reload(self._parsed().query or "")

    @property
    def origin(self) -> str:
        """Scheme, host and port, as in `https://example.com:8080`; `null` where there is none."""
        parts = self._parsed()
        if not parts.special or parts.scheme == "file":
            return "null"
        return f"{parts.scheme}://{parts.authority}"

    @property
    def protocol(self) -> str:
        """The scheme with its colon, as in `https:`."""
        return self._parsed().scheme + ":"

    @protocol.setter
    def protocol(self, value: str) -> None:
        parts, scheme = self._parsed(), value.partition(":")[0].lower()
        if (
            parts.special
            and scheme in url_parts.DEFAULT_PORTS
            and "file"
            not in (
                scheme,
                parts.scheme,
            )
        ):
            own = parts.port == url_parts.DEFAULT_PORTS[scheme]
            self._become(parts._replace(scheme=scheme, port=None if own else parts.port))

    @property
    def username(self) -> str:
        """The user's name before the host, percent-encoded; empty when there is none."""
        return self._parsed().username

    @username.setter
    def username(self, value: str) -> None:
        if self._parsed().host:
            self._become(self._parsed()._replace(username=percent.encode_userinfo(value)))

    @property
    def password(self) -> str:
        """The password before the host, percent-encoded; empty when there is none."""
        return self._parsed().password

    @password.setter
    def password(self, value: str) -> None:
        if self._parsed().host:
            self._become(self._parsed()._replace(password=percent.encode_userinfo(value)))

    @property
    def host(self) -> str:
        """Host and port, as in `example.com:8080`."""
        return self._parsed().authority

    @host.setter
    def host(self, value: str) -> None:
        name, port = url_parts.split_port(value)
        self.hostname = name
        if port is not None:
            self.port = port

    @property
    def hostname(self) -> str:
        """The host without its port."""
        return self._parsed().host or ""

    @hostname.setter
    def hostname(self, value: str) -> None:
        parts = self._parsed()
        try:
            host = url_parts.parse_host(value, parts.scheme)
        except ValueError:
            return  # As in the standard, a value that does not fit changes nothing.
        if host and not isinstance(parts.path, str):
            self._become(parts._replace(host=host))

    @property
    def port(self) -> str:
        """The port as text; empty when it is the scheme's own."""
        port = self._parsed().port
        return "" if port is None else str(port)

    @port.setter
    def port(self, value: str | int) -> None:
        parts = self._parsed()
        try:
            port = url_parts.parse_port(str(value), parts.scheme)
        except ValueError:
            return
        if parts.host and parts.scheme != "file":
            self._become(parts._replace(port=port))

    @property
    def pathname(self) -> str:
        """The path, with its escapes as they were written."""
        return self._parsed().pathname

    @pathname.setter
    def pathname(self, value: str) -> None:
        parts = self._parsed()
        if not isinstance(parts.path, str):
            text = value.replace("\\", "/") if parts.special else value
            self._become(parts._replace(path=url_parts.parse_path(text.removeprefix("/"))))

    @property
    def search(self) -> str:
        """The query with its question mark; empty when there is none."""
        query = self._parsed().query
        return f"?{query}" if query else ""

    @search.setter
    def search(self, value: str) -> None:
        parts, query = self._parsed(), value.removeprefix("?")
        encoded = url_parts.encode_query(percent.scalar_text(query), special=parts.special)
        self._become(parts._replace(query=encoded if value else None))
        if self._params is not None:
            self._params._reload(encoded)

    @property
    def search_params(self) -> URLSearchParams:
        """The query as names and values. Live: changing one changes the other."""
        if self._params is None:
            self._params = URLSearchParams._attached(self._query(), self)
        return self._params

    def _query(self) -> str:
        """The query, found without parsing the rest."""
        if self._parts is not None:
            return self._parts.query or ""
        return self._text.partition("#")[0].partition("?")[2]

    def _set_query(self, query: str) -> None:
        self._become(self._parsed()._replace(query=query or None))

    @property
    def hash(self) -> str:
        """The fragment with its mark, as in `#top`; empty when there is none."""
        fragment = self._parsed().fragment
        return f"#{fragment}" if fragment else ""

    @hash.setter
    def hash(self, value: str) -> None:
        fragment = percent.encode_fragment(percent.scalar_text(value.removeprefix("#")))
        self._become(self._parsed()._replace(fragment=fragment if value else None))

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"URL({self._text!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, URL | str):
            return self._text == str(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes
