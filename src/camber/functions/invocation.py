"""What is to be run: a function, its arguments, who calls it, and what a client says besides."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from camber.functions.definition import Function
from camber.functions.identity import Identity
from camber.system.receipts import ClientRequest

AnyFunction: TypeAlias = Function[..., Any]


class Invocation(NamedTuple):
    """A top-level call of a query, mutation or action."""

    function: AnyFunction
    arguments: Mapping[str, Any]
    identity: Identity
    request_id: str = ""
    # Whether a running action waits for it.
    nested: bool = False
    # Where the page ended that the query last read, for a client that has this page on view.
    journal: str | None = None
    # The arguments as stored text, for one that is made again and again (see `passing.key_of`).
    packed: str | None = None
    # How a client numbered a mutation, so that it is done once however often it is sent.
    request: ClientRequest | None = None


def new_request_id() -> str:
    """16 hex digits that find a request in the logs."""
    return os.urandom(8).hex()
