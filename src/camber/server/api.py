"""The function API over HTTP: `/api/query`, `/api/mutation`, `/api/action` and their relatives.

A function that ran answers 200, whether it returned or raised: `status` tells. Anything that kept
it from running is an HTTP error with `code` and `message`.
"""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, unquote

from camber.errors import (
    InternalError,
    InvalidValueError,
    RequestError,
    TransientError,
    UserError,
)
from camber.functions.definition import Kind
from camber.functions.failure import data_on_wire
from camber.functions.identity import Identity
from camber.functions.invocation import Invocation, new_request_id
from camber.functions.outcome import Outcome
from camber.functions.runner import Runner
from camber.server.access import Access
from camber.server.calls import find_function, named_arguments
from camber.server.exchange import Exchange
from camber.values.wire import dump_json, from_wire, parse_json, to_clean, unpack_value

BODY_MAX: Final = (16 << 20) + 2000
BATCH_MAX: Final = 100

_JSON: Final = [("content-type", "application/json")]
_ENCODED: Final = ("convex_encoded_json", "convex_json")
_CLEAN: Final = ("json", "convex_clean_json")
_JSON_TYPE: Final = re.compile(r"application/([\w.+-]+\+)?json\s*(;|\Z)", re.IGNORECASE)

# Clients older than this get the lossless form when they do not ask for one.
_CLEAN_SINCE: Final = {
    "npm": (1, 4, 1),
    "npm-cli": (1, 4, 1),
    "actions": (1, 4, 1),
    "python": (0, 5, 0),
}


class CallRequest(NamedTuple):
    """What a body asks for. `args` are plain JSON still; `clean` is the lossy result format."""

    path: str
    args: Any
    clean: bool
    fields: Mapping[str, Any]


class FunctionApi:
    """Serves the function API of one deployment.

    Args:
        redact: keep errors and log lines from clients, as in production.
    """

    def __init__(self, runner: Runner, access: Access, *, redact: bool) -> None:
        self._runner = runner
        self._access = access
        self._redact = redact
        self._routes: dict[str, Callable[[Exchange], Awaitable[bytes]]] = {
            "/api/query": self._query,
            "/api/mutation": self._mutation,
            "/api/action": self._action,
            "/api/function": self._any,
            "/api/query_ts": self._query_ts,
            "/api/query_at_ts": self._query_at_ts,
            "/api/query_batch": self._query_batch,
        }

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods that `path` takes; empty when it is not one of ours."""
        if path == "/api/query":
            return ("GET", "POST")
        return ("POST",) if path in self._routes or path.startswith("/api/run/") else ()

    async def serve(self, exchange: Exchange, headers: list[tuple[str, str]]) -> None:
        """Answer a request whose path and method `methods` knows."""
        exchange.body_limit = BODY_MAX
        route = self._routes.get(exchange.path, self._run_by_path)
        body = await route(exchange)
        exchange.respond(200, _JSON + headers, body)

    # Routes

    async def _query(self, exchange: Exchange) -> bytes:
        return await self._call(exchange, await self._read(exchange), Kind.QUERY)

    async def _mutation(self, exchange: Exchange) -> bytes:
        return await self._call(exchange, await self._read(exchange), Kind.MUTATION)

    async def _action(self, exchange: Exchange) -> bytes:
        return await self._call(exchange, await self._read(exchange), Kind.ACTION)

    async def _any(self, exchange: Exchange) -> bytes:
        identity = await self._access.identify(exchange)
        if not identity.is_admin:
            raise RequestError(
                403,
                "BadDeployKey",
                "This operation needs the admin key: Authorization: Convex <key>",
            )
        request = await self._read(exchange)
        if request.fields.get("componentPath"):
            raise RequestError(400, "NoSuchComponent", "This deployment has no components.")
        return await self._call(exchange, request, None, identity)

    async def _run_by_path(self, exchange: Exchange) -> bytes:
        segments = [unquote(s) for s in exchange.path.removeprefix("/api/run/").split("/")]
        if len(segments) < 2 or not all(segments):
            raise RequestError(
                400,
                "MissingIdentifier",
                "Path or function name not provided in path, e.g. /api/run/messages/list",
            )
        path = "/".join(segments[:-1]) + ":" + segments[-1]
        fields = await _read_json(exchange)
        clean = _is_clean(fields.get("format") or "json")
        request = CallRequest(path, fields.get("args", {}), clean, fields)
        return await self._call(exchange, request, None)

    async def _query_ts(self, exchange: Exchange) -> bytes:
        await exchange.read()
        ts = self._runner.database.visible_ts
        return dump_json({"ts": base64.b64encode(ts.to_bytes(8, "little")).decode()})

    async def _query_at_ts(self, exchange: Exchange) -> bytes:
        identity = await self._access.identify(exchange)
        request = await self._read(exchange)
        ts = _timestamp(_required(request.fields, "ts"))
        # The newest timestamp is the present state, which needs no undoing.
        ts = min(ts, self._runner.database.visible_ts)
        invocation = self._invocation(exchange, request, Kind.QUERY, identity)
        if isinstance(invocation, UserError):
            return self._refused(exchange, invocation, identity)
        outcome = await self._runner.run_query_at(invocation, ts)
        return self._answer(outcome, request.clean, identity)

    async def _query_batch(self, exchange: Exchange) -> bytes:
        identity = await self._access.identify(exchange)
        fields = await _read_json(exchange)
        queries = _required(fields, "queries")
        if not isinstance(queries, list) or not all(isinstance(q, dict) for q in queries):
            raise _bad_body("`queries` must be an array of objects")
        if len(queries) > BATCH_MAX:
            raise _bad_body(f"at most {BATCH_MAX} queries in a batch")
        requests = [_call_request(exchange, query) for query in queries]
        # One timestamp for all of them, though others have their turn between two.
        ts = self._runner.database.visible_ts
        answers = []
        for request in requests:
            await asyncio.sleep(0)
            invocation = self._invocation(exchange, request, Kind.QUERY, identity)
            if isinstance(invocation, UserError):
                answers.append(self._refused(exchange, invocation, identity))
                continue
            outcome = await self._runner.run_query_at(invocation, ts)
            answers.append(self._answer(outcome, request.clean, identity))
        return b'{"results":[' + b",".join(answers) + b"]}"

    # A call

    async def _read(self, exchange: Exchange) -> CallRequest:
        if exchange.method == "GET":
            return _call_request_of_query(exchange)
        return _call_request(exchange, await _read_json(exchange))

    async def _call(
        self,
        exchange: Exchange,
        request: CallRequest,
        kind: Kind | None,
        identity: Identity | None = None,
    ) -> bytes:
        if identity is None:
            identity = await self._access.identify(exchange)
        invocation = self._invocation(exchange, request, kind, identity)
        if isinstance(invocation, UserError):
            return self._refused(exchange, invocation, identity)
        outcome = await self._runner.run(invocation)
        return self._answer(outcome, request.clean, identity)

    def _invocation(
        self, exchange: Exchange, request: CallRequest, kind: Kind | None, identity: Identity
    ) -> Invocation | UserError:
        """The call to make, or why it is not made: which is for the caller to see as the
        function's own error."""
        value = _decoded(request.args)
        try:
            function = find_function(self._runner, request.path, kind, identity)
            arguments = named_arguments(value)
        except UserError as error:
            if error.code == "BadConvexFunctionIdentifier":
                raise RequestError(400, error.code, str(error)) from None
            return error
        request_id = exchange.header("convex-request-id") or ""
        return Invocation(function, arguments, identity, request_id)

    # Answers

    def _answer(self, outcome: Outcome, clean: bool, identity: Identity) -> bytes:
        hidden = self._redact and not identity.is_admin
        lines = b""
        if outcome.log and not hidden:
            lines = b',"logLines":' + dump_json([line.wire() for line in outcome.log])
        if outcome.failure is None:
            assert outcome.text is not None
            value = to_clean(unpack_value(outcome.text)) if clean else outcome.wire()
            return b'{"status":"success","value":' + value + lines + b"}"
        failure = outcome.failure
        request_id = outcome.request_id or new_request_id()
        message = failure.shown(request_id, redacted=hidden)
        data = b""
        if failure.data is not None:
            if clean:
                value = to_clean(unpack_value(failure.data))
            else:
                value = dump_json(data_on_wire(failure.data))
            data = b',"errorData":' + value
        return b'{"status":"error","errorMessage":' + dump_json(message) + data + lines + b"}"

    def _refused(self, exchange: Exchange, error: UserError, identity: Identity) -> bytes:
        request_id = exchange.header("convex-request-id") or new_request_id()
        head = f"[Request ID: {request_id}] Server Error"
        hidden = self._redact and not identity.is_admin
        return dump_json(
            {"status": "error", "errorMessage": head if hidden else f"{head}\n{error}\n"}
        )


# Reading requests


async def _read_json(exchange: Exchange) -> dict[str, Any]:
    if not _JSON_TYPE.match(exchange.header("content-type") or ""):
        raise _bad_body("Expected request with `Content-Type: application/json`")
    try:
        body = await exchange.read()
    except RequestError as error:
        if error.status == 413:
            message = "Failed to buffer the request body: length limit exceeded"
            raise RequestError(413, "RequestTooLarge", message) from None
        raise
    try:
        fields = parse_json(body)
    except UserError as error:
        raise _bad_body(f"Failed to parse the request body as JSON: {error}") from None
    if not isinstance(fields, dict):
        raise _bad_body(
            "Failed to deserialize the JSON body into the target type: expected an object"
        )
    return fields


def _bad_body(message: str) -> RequestError:
    return RequestError(400, "BadJsonBody", message)


def _required(fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise _bad_body(
            "Failed to deserialize the JSON body into the target type: "
            f"missing field `{name}` at line 1 column 1"
        )
    return fields[name]


def _call_request(exchange: Exchange, fields: Mapping[str, Any]) -> CallRequest:
    path = _required(fields, "path")
    if not isinstance(path, str):
        raise _bad_body(
            "Failed to deserialize the JSON body into the target type: `path` must be a string"
        )
    wanted = fields.get("format")
    clean = _is_clean_by_default(exchange) if wanted is None else _is_clean(wanted)
    return CallRequest(path, _required(fields, "args"), clean, fields)


def _call_request_of_query(exchange: Exchange) -> CallRequest:
    parameters = parse_qs(exchange.query, keep_blank_values=True)

    def one(name: str) -> str | None:
        values = parameters.get(name)
        return None if values is None else values[0]

    path = one("path")
    if path is None:
        raise RequestError(
            400, "BadQueryArgs", "Failed to deserialize query string: missing field `path`"
        )
    try:
        args = parse_json((one("args") or "{}").encode("utf-8", "surrogateescape"))
    except UserError as error:
        raise RequestError(
            400, "BadQueryArgs", f"Failed to deserialize query string: `args`: {error}"
        ) from None
    wanted = one("format")
    clean = _is_clean_by_default(exchange) if wanted is None else _is_clean(wanted)
    return CallRequest(path, args, clean, {})


def _is_clean(name: Any) -> bool:
    if name in _CLEAN:
        return True
    if name in _ENCODED:
        return False
    raise RequestError(400, "BadFormat", f"format param must be one of [`json`]. Got {name}")


def _is_clean_by_default(exchange: Exchange) -> bool:
    header = exchange.header("convex-client")
    if header is None:
        return True
    match = re.fullmatch(r"(.+?)-(\d+)\.(\d+)\.(\d+)([-+].*)?", header)
    since = None if match is None else _CLEAN_SINCE.get(match[1])
    if match is None or since is None:
        return True
    return (int(match[2]), int(match[3]), int(match[4])) >= since


def _decoded(args: Any) -> Any:
    """The value that plain JSON in the lossless form stands for.

    Raises:
        RequestError: none at all.
    """
    try:
        return from_wire(args)
    except InvalidValueError as error:
        raise _bad_body(f"Invalid arguments: {error}") from None


def _timestamp(text: Any) -> int:
    try:
        raw = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raw = b""
    if len(raw) != 8:
        raise _bad_body("`ts` must be the base64 of 8 bytes, as /api/query_ts answers it")
    return int.from_bytes(raw, "little")


def request_error_of(error: Exception) -> RequestError | None:
    """How an error that kept a function from running is answered; None: it is not for clients."""
    match error:
        case RequestError():
            return error
        case TransientError():
            return RequestError(503, error.code, str(error))
        case InternalError():
            return None
        case UserError():
            return RequestError(400, error.code, str(error))
    return None
