"""HTTP endpoints: from an exchange to a request, through the app's router, and back.

Nothing is added to what an endpoint answers but what the transport needs: no CORS headers, no
automatic OPTIONS. A `HEAD` is answered by the GET endpoint, without the body.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Final, cast

from camber.errors import InternalError, RequestError, TransientError, UserError
from camber.functions.capture import LogCapture
from camber.functions.definition import Kind
from camber.functions.events import Ended, Events
from camber.functions.failure import Failure, error_body
from camber.functions.fetch import Request, Response
from camber.functions.identity import NOBODY
from camber.functions.invocation import AnyFunction, new_request_id
from camber.functions.runner import Runner
from camber.server.access import Access
from camber.server.answer import NO_BODY
from camber.server.api import request_error_of
from camber.server.exchange import Exchange

BODY_MAX: Final = 20 << 20
RESPONSE_MAX: Final = 20 << 20
TOO_LARGE_TEXT: Final = "HttpResponseTooLarge: HTTP actions support responses up to 20 MiB"

_HOST: Final = re.compile(r"[\w.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?", re.ASCII)
_TEXT: Final = [("content-type", "text/plain; charset=utf-8")]
_JSON: Final = [("content-type", "application/json")]


class Endpoints:
    """Serves the app's HTTP routes."""

    def __init__(self, runner: Runner, access: Access, events: Events, *, redact: bool) -> None:
        self._runner = runner
        self._access = access
        self._events = events
        self._redact = redact

    def serve(self, exchange: Exchange, path: str) -> Awaitable[None] | None:
        """Answer a request for `path`, which is the exchange's own or what follows `/http`."""
        router = self._runner.registry.router
        if router is None:
            body = b"This Convex deployment does not have HTTP actions enabled."
            exchange.respond(404, _TEXT, body)
            return None
        match = router.lookup(exchange.method, path)
        if match is None:
            exchange.respond(404, _TEXT, b"No matching routes found")
            return None
        exchange.body_limit = BODY_MAX
        if (exchange.content_length or 0) > BODY_MAX:
            raise RequestError(
                413, "RequestTooLarge", f"The request's body is larger than {BODY_MAX} bytes."
            )
        function = cast(AnyFunction, match.handler)
        return self._run(exchange, path, function, match.route)

    async def _run(self, exchange: Exchange, path: str, function: AnyFunction, route: str) -> None:
        started = time.perf_counter()
        identity = NOBODY
        if exchange.header("authorization") is not None:
            identity = await self._access.identify_leniently(exchange)
        log = LogCapture()
        request_id = exchange.header("convex-request-id") or ""
        request = Request._incoming(
            exchange.method,
            _url_of(exchange, path),
            list(exchange.headers),
            exchange,
            _Signal(exchange),
        )
        failure: Failure | None = None
        try:
            response = await self._runner.run_endpoint(function, request, identity, request_id, log)
            await self._send(exchange, response)
        except BaseException as error:  # the edge of the request: anything may leave app code
            if _is_nobodys(exchange, error):
                raise
            failure = self._runner.explain(error)
            request_id = request_id or new_request_id()
            self._answer_failure(exchange, error, failure, request_id)
        finally:
            if failure is not None or log.lines:
                self._events.tell(
                    Ended(
                        Kind.HTTP,
                        f"{exchange.method} {route}",
                        request_id or new_request_id(),
                        log.lines,
                        failure,
                        time.perf_counter() - started,
                    )
                )

    async def _send(self, exchange: Exchange, response: Response) -> None:
        payload = response._payload
        size = response._size if payload is None else len(payload)
        if size is not None and size > RESPONSE_MAX:
            raise UserError(TOO_LARGE_TEXT, code="HttpResponseTooLarge")
        headers = response._wire_headers()
        if payload is not None:
            exchange.respond(response.status, headers, payload)
            return
        # Asked for before the head goes out: a body that was read already is refused here.
        async with contextlib.aclosing(_closable(response._pieces())) as pieces:
            await exchange.start(response.status, headers, length=size)
            if exchange.method != "HEAD" and response.status not in NO_BODY:
                await _send_pieces(exchange, pieces)
        await exchange.finish()

    def _answer_failure(
        self, exchange: Exchange, error: BaseException, failure: Failure, request_id: str
    ) -> None:
        if exchange.is_answered:
            # Half an answer must not be taken for a whole one.
            exchange.abort()
            return
        told = _request_error_of(error)
        if told is not None:
            raise told
        body = error_body(failure, request_id, redacted=self._redact)
        exchange.respond(500, _JSON, body)


# Refusals of the transport that surface while an endpoint reads its body.
_TRANSPORT_CODES: Final = ("RequestTooLarge", "RequestTimeout", "BadRequest")


def _request_error_of(error: BaseException) -> Exception | None:
    """What is to be answered in place of the endpoint's failure: what the transport refused, and
    the platform's own trouble, said as such. None: it is the endpoint's failure."""
    if isinstance(error, RequestError):
        return error if error.code in _TRANSPORT_CODES else None
    if isinstance(error, TransientError | InternalError):
        return request_error_of(error) or error
    return None


def _is_nobodys(exchange: Exchange, error: BaseException) -> bool:
    """Whether this is no failure of the endpoint's: its client has gone, or the server stops."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return exchange.is_gone and isinstance(error, ConnectionError | RequestError)


async def _send_pieces(exchange: Exchange, pieces: AsyncIterator[bytes]) -> None:
    sent = 0
    async for piece in pieces:
        sent += len(piece)
        if sent > RESPONSE_MAX:
            raise UserError(TOO_LARGE_TEXT, code="HttpResponseTooLarge")
        await exchange.send(piece)


async def _closable(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same pieces; whoever stops in the middle closes what produces them."""
    try:
        async for piece in pieces:
            yield piece
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


def _url_of(exchange: Exchange, path: str) -> Callable[[], str]:
    """The URL as the caller wrote it, composed when it is asked for."""

    def compose() -> str:
        scheme, host = _origin_of(exchange)
        query = f"?{exchange.query}" if exchange.query else ""
        return f"{scheme}://{host}{path}{query}"

    return compose


def _origin_of(exchange: Exchange) -> tuple[str, str]:
    """The scheme and the host that the caller named, as far as is known."""
    forwarded = exchange.header("forwarded")
    proto, via = exchange.header("x-forwarded-proto"), exchange.header("x-forwarded-host")
    if forwarded is None and proto is None and via is None:
        return exchange.scheme.lower(), exchange.host
    hop = _first(forwarded)
    scheme = (_first(proto) or _element(hop, "proto")).lower()
    host = _element(hop, "host") or _first(via)
    # What proxies write is believed as far as it can be part of a URL.
    if scheme not in ("http", "https"):
        scheme = exchange.scheme.lower()
    return scheme, host if _HOST.fullmatch(host) else exchange.host


def _first(header: str | None) -> str:
    """What the first hop, the one that the caller spoke to, wrote into a list."""
    return "" if header is None else header.partition(",")[0].strip()


def _element(hop: str, name: str) -> str:
    """An element of one hop in a `Forwarded` header."""
    for pair in hop.split(";"):
        key, _, value = pair.strip().partition("=")
        if key.lower() == name:
            return value.strip('"')
    return ""


class _Signal:
    """Tells an endpoint that its caller has gone."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @property
    def aborted(self) -> bool:
        return self._exchange.disconnected.done()

    async def wait(self) -> None:
        await asyncio.shield(self._exchange.disconnected)
