"""What every side starts with: 100,000 messages by 1,000 authors, and one counter.

Neighbouring messages have different authors, so the twenty newest of one author lie on twenty
different pages of a table in insertion order: nobody reads them with one lucky page.
`camber_app/convex/seed.py` spells the same messages for Camber; the run compares the answers.
"""

from pathlib import Path
from typing import Final

import apsw

MESSAGES: Final = 100_000
AUTHORS: Final = 1_000
COUNTER: Final = "hits"

# The schema of both peers. Camber's is `camber_app/convex/schema.py`.
_SCHEMA: Final = """
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    created REAL NOT NULL,
    author TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX messages_by_author ON messages (author, created);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""

# 2026-01-01, in milliseconds: older than anything a run inserts.
_FIRST_CREATED: Final = 1_767_225_600_000.0


def author_name(number: int) -> str:
    return f"User {number % AUTHORS}"


def body_text(number: int) -> str:
    return f"Message {number}: the quick brown fox jumps over the lazy dog"


def write_database(path: Path) -> None:
    """Make the peers' database at `path`, in WAL mode, with the messages in it."""
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA journal_mode=WAL")
    with connection:
        connection.execute(_SCHEMA)
        connection.executemany(
            "INSERT INTO messages (created, author, body) VALUES (?, ?, ?)",
            ((_FIRST_CREATED + n, author_name(n), body_text(n)) for n in range(MESSAGES)),
        )
    connection.close()
