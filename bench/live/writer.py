"""One client of the sync protocol that calls mutations, one at a time."""

from time import perf_counter
from typing import Final

from bench.live import messages
from bench.live.pool import LoadError, Pool, Receive, WebSocketClient

_ANSWER_MAX: Final = 30.0


class Writer:
    """A client without queries. A mutation is over at the transition after its response, as
    for the official clients."""

    def __init__(self, pool: Pool, port: int, on_done: Receive | None = None) -> None:
        """Connect.

        Args:
            on_done: told of each mutation that is over.
        """
        self._requests = 0
        self._is_answered = False
        self._on_done = on_done
        self.is_ready = False
        self.is_waiting = False
        self.sent_at = 0.0
        greeting = messages.connect() + messages.subscribe_to_nothing()
        self._client = WebSocketClient(
            pool, port, messages.SYNC_PATH, greeting, self._receive_message
        )

    def mutate(self, path: str, **args: object) -> None:
        """Send a mutation; `sent_at` is when."""
        self._begin()
        frame = messages.mutation(self._requests, path, **args)
        self.sent_at = perf_counter()
        self._client.send(frame)

    def _begin(self) -> None:
        assert not self.is_waiting, "one mutation at a time"
        self._requests += 1
        self.is_waiting = True
        self._is_answered = False

    def _receive_message(self, message: bytes, now: float) -> None:
        if messages.is_transition(message):
            self.is_ready = True
            if self._is_answered:
                self._finish(message, now)
        elif messages.is_mutation_response(message):
            if messages.SUCCEEDED not in message:
                raise LoadError(f"a mutation failed: {message[:500]!r}")
            self._is_answered = True

    def _finish(self, message: bytes, now: float) -> None:
        self._is_answered = self.is_waiting = False
        if self._on_done is not None:
            self._on_done(message, now)


def ready_writer(pool: Pool, port: int) -> Writer:
    """A writer whose connection is open."""
    writer = Writer(pool, port)
    pool.run(lambda: writer.is_ready, seconds=_ANSWER_MAX, what="a first transition")
    return writer
