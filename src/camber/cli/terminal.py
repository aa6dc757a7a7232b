"""The terminal that a server talks to. It may be slow, gone, or no terminal at all.

Lines are written by a thread of their own: a terminal that is scrolled back, or a pipe that
nobody reads, must not hold up the server. What does not fit into the backlog meanwhile is left
out, and counted.
"""

import os
import threading
from collections import deque
from pathlib import Path
from typing import Any, Final, TextIO

import click

BACKLOG_CHARACTERS: Final = 4 << 20
"""How much may wait to be written."""

_CLOSE_SECONDS: Final = 1.0

# What would move the cursor or recolour the screen is shown instead of obeyed: log lines may
# hold what strangers have sent.
_VISIBLE: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


def has_colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal whose user wants colours (no NO_COLOR, not `dumb`)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def harmless(text: str) -> str:
    """`text` with its control characters made visible, but for line breaks and tabs."""
    return text.translate(_VISIBLE)


def shown_path(path: Path) -> str:
    """`path` as its user would write it: from the current folder if it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


class Terminal:
    """Writes lines to `stream`, later. Until `close`."""

    def __init__(self, stream: TextIO, *, colour: bool = True) -> None:
        """
        Args:
            colour: False for a plain one; True still leaves it to `has_colour`.
        """
        self._stream = stream
        self.interactive = stream.isatty()
        self.colour = colour and has_colour(stream)
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A terminal that knows no ✔ is shown something else in its place.
            reconfigure(errors="replace")
        # All of it guarded by the condition.
        self._changed = threading.Condition()
        self._waiting: deque[str] = deque()
        self._characters = 0
        self._left_out = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="terminal", daemon=True)
        self._thread.start()

    def style(self, text: str, **look: Any) -> str:
        """`text` in colours (see `click.style`), if this terminal has any."""
        return click.style(text, **look) if self.colour else text

    def say(self, text: str = "") -> None:
        """Write `text` and a line break, soon."""
        with self._changed:
            if self._characters + len(text) > BACKLOG_CHARACTERS:
                self._left_out += 1
                return
            self._waiting.append(text)
            self._characters += len(text) + 1
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, but not for longer than a second. Safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_SECONDS)

    def _write(self) -> None:
        while True:
            text = self._take()
            if text is None:
                return
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                self._abandon()
                return

    def _take(self) -> str | None:
        """All that waits, as soon as there is something; None once closed and empty."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            lines = [*self._waiting, ""]
            if self._left_out:
                lines.insert(-1, f"… {self._left_out} lines left out: the terminal was too slow")
            self._waiting.clear()
            self._characters = self._left_out = 0
        return "\n".join(lines)

    def _abandon(self) -> None:
        """Nobody reads any more. Serve on in silence; the interpreter shall not complain either,
        when it flushes the stream at its end."""
        with self._changed:
            self._characters = BACKLOG_CHARACTERS
            self._waiting.clear()
        try:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())
            os.close(nothing)
        except (OSError, ValueError):
            pass
