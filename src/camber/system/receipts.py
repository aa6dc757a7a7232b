"""Receipts: what came of the mutations that clients have numbered.

A client that loses its connection sends again what it has not heard of. The receipt, written in
the mutation's own transaction, is how the second time is told from the first.
"""


class ClientRequest:
    """A mutation as a client numbered it: done at most once, however often it is sent.

    Args:
        session: the client's session, a canonical UUID.
        number: of this mutation within the session, from 0 to 2^32 - 1.
    """

    __slots__ = ("is_committing", "number", "session")

    def __init__(self, session: str, number: int) -> None:
        self.session = session
        self.number = number
        # True from the moment the body has run and its writes head for the commit, until the call
        # of the mutation returns. Kept by the runner, on the event loop's thread.
        self.is_committing = False
