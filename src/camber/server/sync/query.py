"""One query of a client: what was asked, what the client has of it, and who tells when that
changes."""

from typing import Any, Protocol

from camber.database.pagination import InvalidCursorError
from camber.functions.outcome import Outcome
from camber.server.sync.messages import AddQuery


class Result(Protocol):
    """What an evaluation came to, and where to wait for its end."""

    @property
    def outcome(self) -> Outcome: ...

    @property
    def is_current(self) -> bool:
        """False once a later commit touched what was read, or other code is in force."""

    def watch(self, watcher: "Query", /) -> None: ...

    def unwatch(self, watcher: "Query", /) -> None:
        """Safe when not watching."""


class Owner(Protocol):
    """Whose query it is."""

    def query_changed(self, query: "Query") -> None:
        """Its result is no longer current. Must not wait or raise."""


class Query:
    """One query of a session. It is the watcher of its result."""

    __slots__ = (
        "_result",
        "_session",
        "args",
        "component_path",
        "journal",
        "outcome",
        "path",
        "prepared",
        "query_id",
    )

    def __init__(self, session: Owner, added: AddQuery) -> None:
        self.query_id = added.query_id
        self.path = added.path
        self.args = added.args
        self.component_path = added.component_path
        # Where its page ends, from the client at first and from each execution then.
        self.journal = added.journal
        # What the client got last, or would see no difference from. None until the first.
        self.outcome: Outcome | None = None
        # What the owner made of path and arguments, for the next evaluation. Nothing here reads it.
        self.prepared: Any = None
        # Watched from each `take` until it changes or another is taken; None in between.
        self._result: Result | None = None
        # None once the query was removed.
        self._session: Owner | None = session

    def changed(self) -> None:
        """The result is no longer current: the session will want it evaluated again."""
        self._result = None
        if self._session is not None:
            self._session.query_changed(self)

    def take(self, result: Result) -> bool:
        """Go over to `result`. Returns whether it is still current, and is watched now."""
        watched, self._result = self._result, None
        is_current = result.is_current
        if watched is not None and watched is not result:
            watched.unwatch(self)
        if is_current:
            if watched is not result:
                result.watch(self)
            self._result = result
        return is_current

    def drop(self) -> None:
        """The query is in no set any more."""
        self._session = None
        watched, self._result = self._result, None
        if watched is not None:
            watched.unwatch(self)

    def keep_journal(self, outcome: Outcome) -> None:
        """Remember where the page ends. A failure does not move it: once the query is well again
        it shall show the same range."""
        if outcome.failure is None or outcome.journal is not None:
            self.journal = outcome.journal
        elif isinstance(outcome.error, InvalidCursorError):
            # It may be the journal that is wrong.
            self.journal = None
