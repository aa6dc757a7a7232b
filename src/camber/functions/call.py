"""A function under way in a transaction: what its context and everything reached from it share.

A top-level call and the calls nested in it run in one transaction, with one identity, one log and
one budget; each has a `Call` of its own, which knows how deep it is.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

from msgspec import Struct, field

from camber.database.pagination import Cursors, PageRequest, read_page
from camber.database.plan import Plan
from camber.database.transaction import Transaction
from camber.errors import InvalidArgumentError
from camber.functions.definition import Function, Kind
from camber.functions.identity import Identity
from camber.system.variables import variable_interval

DEPTH_MAX: Final = 8


class Links(Protocol):
    """Makes the URLs that app code hands out."""

    def file_url(self, uuid: str, /) -> str:
        """Where the file with this UUID is downloaded."""

    def upload_url(self, now_ns: int, /) -> str:
        """Where a file may be uploaded, for an hour from `now_ns`."""


class Platform(Protocol):
    """What contexts ask of the runner."""

    @property
    def cursors(self) -> Cursors: ...

    @property
    def links(self) -> Links: ...

    @property
    def variables(self) -> Mapping[str, str]: ...

    async def run_nested(
        self, caller: "Call", target: object, arguments: Mapping[str, Any], kind: Kind, /
    ) -> Any:
        """Run a query or mutation inside the caller's transaction."""


class Call(Struct, eq=False):
    """One function under way."""

    platform: Platform
    function: Function[..., Any]
    tx: Transaction
    identity: Identity
    # The call that this one is nested in.
    caller: "Call | None" = None
    # Where the page ended that this query last read, for a client that has it on view.
    journal: str | None = None
    # Bound to the parameters, for the one that runs the body.
    arguments: dict[str, Any] = field(default_factory=dict)
    # Noted on the root of the tree of calls, because they concern all of it: whether anything
    # looked at who is calling (then the result is that caller's alone), whether a page was read
    # (one in each execution), and where that page ends.
    identity_read: bool = False
    paginated: bool = False
    page_end: str | None = None
    _children: asyncio.Lock | None = None

    @property
    def root(self) -> "Call":
        """The call that the tree of calls began with."""
        return self if self.caller is None else self.caller.root

    @property
    def depth(self) -> int:
        """How many calls there are from the root to this one, both counted."""
        return 1 if self.caller is None else self.caller.depth + 1

    def children(self) -> asyncio.Lock:
        """Held while a nested mutation runs: siblings take turns, also under `gather`."""
        if self._children is None:
            self._children = asyncio.Lock()
        return self._children

    def nested(self, function: Function[..., Any]) -> "Call":
        """The call of `function` by this one.

        Raises:
            InvalidArgumentError: too deep.
        """
        if self.depth >= DEPTH_MAX:
            raise InvalidArgumentError(
                "Cross component call depth limit exceeded. "
                "Do you have an infinite loop in your app?"
            )
        return Call(self.platform, function, self.tx, self.identity, self)

    def read_identity(self) -> dict[str, Any] | None:
        """Who is calling, as app code sees it. From now on the result depends on it."""
        self.root.identity_read = True
        if self.identity.refusal is not None:
            raise self.identity.refusal
        return self.identity.shown()

    def read_variable(self, name: str) -> str | None:
        """An environment variable. From now on the result depends on it."""
        self.tx.reads.intervals.append(variable_interval(self.tx.catalog, name))
        return self.platform.variables.get(name)

    async def read_page(self, plan: Plan, request: PageRequest, /) -> dict[str, Any]:
        root = self.root
        if root.paginated:
            raise InvalidArgumentError(
                "This query or mutation function ran multiple paginated queries. Convex only "
                "supports a single paginated query in each function."
            )
        root.paginated = True
        page = await read_page(self.tx, plan, request, self.platform.cursors, root.journal)
        root.page_end = page["continueCursor"]
        return page


def arguments_of(
    name: str, positional: tuple[Any, ...], named: dict[str, Any]
) -> Mapping[str, Any]:
    """The arguments of a nested call: by name, or as one dict.

    Raises:
        InvalidArgumentError: anything else.
    """
    if not positional:
        return named
    if len(positional) == 1 and not named and isinstance(positional[0], Mapping):
        return positional[0]
    raise InvalidArgumentError(
        f"{name}() takes the function's arguments by name, or all of them as one dict."
    )


def check_kind(function: Function[..., Any], kind: Kind) -> None:
    """Raise an InvalidArgumentError if `function` is not of `kind`."""
    if function.kind is not kind:
        raise InvalidArgumentError(
            f"Trying to execute {function.path} as {kind.value}, but it is defined as "
            f"{function.kind.value}."
        )
