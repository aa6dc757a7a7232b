"""What a context does not have, and what to do instead.

A query that writes, or an action that asks for `ctx.db`, is a beginner's mistake: the answer is the
call, its file and line, and the cure, not the name of a class of ours. Type checkers are not told
of these members, so that they find the mistake first.
"""

from typing import Any, Final, NoReturn

from camber.functions.frames import refusal

WRITE: Final = "Move it to a mutation."
CALL_OUTSIDE: Final = "Move it to an action."
NO_TRANSACTION: Final = "Run a query or a mutation: ctx.run_query(), ctx.run_mutation()."


class Absent:
    """Stands in a class in place of a member that a kind of function does not have.

    To touch it raises AttributeError, so `hasattr` says that it is not there.
    """

    __slots__ = ("_cure", "_phrase", "_what")

    def __init__(self, what: str, phrase: str, cure: str) -> None:
        """
        Args:
            what: the member as app code calls it, such as `ctx.db.insert()`.
            phrase: where that is not available, such as `a query`.
            cure: what to do instead, a whole sentence.
        """
        self._what = what
        self._phrase = phrase
        self._cure = cure

    def __get__(self, owner: object, kind: Any = None) -> NoReturn:
        raise AttributeError(str(refusal(self._what, self._phrase, self._cure)))
