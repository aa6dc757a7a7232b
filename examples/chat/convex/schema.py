"""What is stored: rooms, the messages in them, and who is writing right now."""

from camber import Schema, Table, index


class rooms(Table):
    name: str
    # The newest message, for the list of rooms; None while there is none.
    last_author: str | None = None
    last_body: str | None = None
    last_at: float | None = None
    by_name = index("name")


class messages(Table):
    room: str
    author: str
    body: str
    by_room = index("room")


class writers(Table):
    room: str
    author: str
    # When the author last touched a key, in milliseconds: each change of it is a sign of life.
    at: float
    by_room = index("room", "author")


schema = Schema(rooms, messages, writers)
