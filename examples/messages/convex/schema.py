"""What is stored: messages, each with its author, some with an image."""

from camber import Id, Schema, Table, index


class messages(Table):
    author: str
    body: str
    image: Id["_storage"] | None = None
    by_author = index("author")


schema = Schema(messages)
