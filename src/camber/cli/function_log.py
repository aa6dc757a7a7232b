"""What functions say and how they fail, as lines for the terminal.

    12:03:04 M(messages:send) [LOG] hello
    12:03:04 M(messages:send) Uncaught ValueError: no author  (request 8c1f…)
        at send (convex/messages.py:12)

The letter is the kind: Query, Mutation, Action, HTTP endpoint.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final

from camber.cli.terminal import Terminal, harmless
from camber.functions.definition import Kind
from camber.functions.events import Ended

CLOCK_FORMAT: Final = "%H:%M:%S"
"""For somebody who is watching."""

LOG_FORMAT: Final = "%Y-%m-%d %H:%M:%S"
"""For who reads it later."""

_LETTERS: Final = {Kind.QUERY: "Q", Kind.MUTATION: "M", Kind.ACTION: "A", Kind.HTTP: "H"}
_COLOURS: Final = {"ERROR": "red", "WARN": "yellow", "DEBUG": "bright_black"}


def follow(terminal: Terminal, time_format: str) -> Callable[[Ended], None]:
    """A listener for `Events` that shows everything on `terminal`."""

    def show(ended: Ended) -> None:
        for line in _lines(ended, terminal, time_format):
            terminal.say(line)

    return show


def _lines(ended: Ended, terminal: Terminal, time_format: str) -> Iterator[str]:
    style = terminal.style
    source = style(f"{_LETTERS[ended.kind]}({harmless(ended.path)})", fg="cyan")
    for line in ended.log:
        moment = time.strftime(time_format, time.localtime(line.timestamp_ms / 1000))
        text = harmless(line.wire())
        colour = _COLOURS.get(line.level)
        shown = text if colour is None else style(text, fg=colour)
        yield f"{style(moment, dim=True)} {source} {shown}"
    if ended.failure is not None:
        moment = time.strftime(time_format)
        first, *others = harmless(ended.failure.message).splitlines() or [""]
        request = style(f"(request {ended.request_id})", dim=True)
        yield f"{style(moment, dim=True)} {source} {style(first, fg='red')}  {request}"
        for text in (*others, *map(harmless, ended.failure.frames)):
            yield style(text, fg="red")
