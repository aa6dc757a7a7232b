"""What one listener grants a client: sizes, counts and times.

Each limit is there because a client, by malice or by mistake, would otherwise hold memory or a
connection for ever. Times are kept by a sweep over all connections, once a second or four times
per the shortest time, so a connection may live that much longer than its limit says.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    header_seconds: float = 10.0
    """From the first byte of a request's head (or the connection's start) to the head's end."""

    body_seconds: float = 10.0
    """The window in which a body must make progress."""

    body_rate: float = 1000.0
    """The least bytes per second, averaged over each window, that a body may arrive with. Time
    in which the application does not read is not counted."""

    idle_seconds: float = 75.0
    """Between an answer and the next request."""

    write_seconds: float = 30.0
    """The window in which a client must read what was written to it."""

    write_rate: float = 1000.0
    """The least bytes per second, averaged over each window, that a client may read with."""

    linger_seconds: float = 2.0
    """How long input is discarded after an answer that ends the connection early, so that the
    client sees the answer and not a reset. Also how long a client that closed its sending side
    waits for its answer before it counts as gone."""

    linger_bytes: int = 32 * 1024 * 1024
    """How much input is discarded at most after such an answer."""

    target_bytes: int = 16 * 1024
    """The request target; 414 beyond."""

    header_bytes: int = 64 * 1024
    """All header lines together; 431 beyond."""

    header_count: int = 100
    """Header lines; 431 beyond. As many trailers."""

    body_bytes: int | None = 20 * 1024 * 1024
    """A request's body, unless the application sets another `Exchange.body_limit`; 413 beyond."""

    pipelined: int = 32
    """Requests of one connection that wait for earlier answers; beyond, it is not read from."""

    connections: int = 20_000
    """Open connections, WebSockets among them; 503 beyond."""

    @property
    def sweep_seconds(self) -> float:
        """How often deadlines are looked at."""
        shortest = min(
            self.header_seconds,
            self.body_seconds,
            self.idle_seconds,
            self.write_seconds,
            self.linger_seconds,
        )
        return min(1.0, shortest / 4)
