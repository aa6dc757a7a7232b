"""The administration of environment variables over HTTP, as the command line uses it."""

from collections.abc import Mapping
from typing import Any, Final

from camber.database.database import Database
from camber.errors import RequestError
from camber.server.access import Access
from camber.server.exchange import Exchange
from camber.system.variables import change_variables, read_variables
from camber.values.wire import dump_json, parse_json

_JSON: Final = ("content-type", "application/json")
_LIST: Final = ("/api/list_environment_variables", "/api/v1/list_environment_variables")
_UPDATE: Final = ("/api/update_environment_variables", "/api/v1/update_environment_variables")


class Variables:
    """Lists and changes the deployment's environment variables, for administrators."""

    def __init__(self, database: Database, access: Access) -> None:
        self._database = database
        self._access = access

    def methods(self, path: str) -> tuple[str, ...]:
        """The methods that `path` takes; empty when it is not one of ours."""
        if path in _LIST:
            return ("GET",)
        return ("POST",) if path in _UPDATE else ()

    async def serve(self, exchange: Exchange, headers: list[tuple[str, str]]) -> None:
        """Answer a request whose path and method `methods` knows."""
        identity = await self._access.identify(exchange)
        if not identity.is_admin:
            raise RequestError(
                403,
                "BadDeployKey",
                "This operation needs the admin key: Authorization: Convex <key>",
            )
        if exchange.method == "GET":
            variables = await read_variables(self._database.snapshot())
            body = dump_json({"environmentVariables": variables})
        else:
            changes = _changes(parse_json(await exchange.read()))
            await self._database.write(lambda tx: change_variables(tx, changes))
            body = b""
        exchange.respond(200, [_JSON, *headers], body)


def _changes(body: Any) -> Mapping[str, str | None]:
    """`{"changes": [{"name": …, "value": … | null}]}`."""
    changes = body.get("changes") if isinstance(body, dict) else None
    if not isinstance(changes, list):
        raise RequestError(400, "BadJsonBody", 'Expected {"changes": [{"name", "value"}]}')
    result: dict[str, str | None] = {}
    for change in changes:
        name = change.get("name") if isinstance(change, dict) else None
        value = change.get("value") if isinstance(change, dict) else None
        if not isinstance(name, str) or not (value is None or isinstance(value, str)):
            raise RequestError(400, "BadJsonBody", 'A change is {"name": …, "value": … | null}')
        result[name] = value
    return result
