"""The terminal: slow ones, closed ones, and those without colours."""

import io
import os
import threading

import pytest

from camber.cli.terminal import BACKLOG_CHARACTERS, Terminal, harmless, has_colour


class Screen(io.StringIO):
    """A terminal of glass."""

    def isatty(self) -> bool:
        return True


class StuckScreen(Screen):
    """One that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.released = threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        self.released.wait()
        return super().write(text)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_lines_come_out_in_order() -> None:
    screen = Screen()
    terminal = Terminal(screen)
    for number in range(100):
        terminal.say(str(number))
    terminal.close()
    assert screen.getvalue().split() == [str(number) for number in range(100)]


def test_a_terminal_that_takes_nothing_holds_nobody_up() -> None:
    screen = StuckScreen()
    terminal = Terminal(screen)
    terminal.say("first")
    screen.entered.wait()
    line = "x" * (BACKLOG_CHARACTERS // 4)
    for _ in range(10):
        terminal.say(line)
    screen.released.set()
    terminal.close()
    lines = screen.getvalue().splitlines()
    assert lines[0] == "first"
    assert lines.count(line) == 3
    assert lines[-1] == "… 7 lines left out: the terminal was too slow"


def test_a_reader_who_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        terminal = Terminal(stream)
        os.close(reading)
        terminal.say("nobody")
        terminal.close()
        # Afterwards the stream can be written to and flushed, as the interpreter does at its end.
        stream.write("silence")


def test_colours_are_for_terminals_whose_users_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_colour(Screen())
    assert not has_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colour(Screen())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(Screen())


def test_a_plain_terminal_has_no_colours() -> None:
    terminal = Terminal(Screen(), colour=False)
    assert terminal.style("text", fg="red") == "text"
    terminal.close()


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert harmless("a\x1b[2Jb\r\x9b\x7f") == "a\\x1b[2Jb\\x0d\\x9b\\x7f"
    assert harmless("tab\tline\nä✔") == "tab\tline\nä✔"
