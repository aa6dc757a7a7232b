"""What may be written. A page shows `message` beside the `field` that it is about."""

import re

from camber import ConvexError

BODY_MAX = 2000
NAME_MAX = 40
ROOM_MAX = 30


def refuse(field: str, message: str) -> ConvexError:
    return ConvexError({"field": field, "message": message})


def checked_body(body: str) -> str:
    body = body.strip()
    if not body:
        raise refuse("body", "There is nothing in this message yet.")
    if len(body) > BODY_MAX:
        raise refuse(
            "body", f"A message has at most {BODY_MAX:,} characters; this one has {len(body):,}."
        )
    return body


def checked_author(author: str) -> str:
    author = " ".join(author.split())
    if not author:
        raise refuse("author", "Choose a name first.")
    if len(author) > NAME_MAX:
        raise refuse("author", f"A name has at most {NAME_MAX} characters.")
    return author


def checked_room(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise refuse("room", "Name a room with small letters, digits and single dashes.")
    if len(name) > ROOM_MAX:
        raise refuse("room", f"The name of a room has at most {ROOM_MAX} characters.")
    return name
