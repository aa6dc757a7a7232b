"""The same two tables as the peers have (`bench/dataset.py`)."""

from camber import Schema, Table, index


class messages(Table):
    author: str
    body: str
    by_author = index("author")


class counters(Table):
    name: str
    value: int
    by_name = index("name")


schema = Schema(messages, counters)
