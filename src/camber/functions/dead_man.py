"""The dead-man switch: ends a process whose watchdog does not get a turn any more.

C code that keeps the interpreter lock for ever, such as a regular expression that runs wild on a
side thread, stops all Python there is, the watchdog's thread too. Nothing in the process can mend
that, and a server that answers nobody is worse than one that begins again: what it acknowledged is
durable. So the system counts the processor time that the process uses, and unless the watchdog
puts it off, sends a signal whose handler, in C, writes down where every thread is, and ends the
process. The next start reads it, names the line, and knows which function to refuse.

Processor time, as on a machine that is busy or was asleep the watchdog is late for no fault of the
app's.
"""

import atexit
import faulthandler
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

FROZEN_SECONDS: Final = 1.5
"""How much processor time may go by without a turn of the watchdog."""

SLACK_SECONDS: Final = 0.5
"""How much more than the time limit of what runs, if that is longer."""

SIGNAL: Final = signal.SIGPROF

_THREAD: Final = re.compile(r"^(?:Current thread|Thread) 0x", re.MULTILINE)
_FRAME: Final = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class FrozenFrame:
    """Where a thread was: a line of a function, in a file named in full."""

    path: Path
    line: int
    function: str


@dataclass(frozen=True, slots=True)
class Freeze:
    """Why an earlier process ended. The frames are those of the app, innermost first; none when
    no code of the app kept the interpreter lock."""

    frames: tuple[FrozenFrame, ...]

    @property
    def place(self) -> str:
        """File and line as the author knows them: `convex/messages.py:12`."""
        if not self.frames:
            return "a place that is not in the app"
        frame = self.frames[0]
        return f"{frame.path.parent.name}/{frame.path.name}:{frame.line}"


class DeadManSwitch:
    """Armed from `arm` to `disarm`, on the main thread. One for a process.

    Args:
        path: the file in which it leaves word.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def arm(self) -> None:
        """From now on, end the process when it is not put off in time."""
        assert self._file is None, "a switch is armed once"
        self._file = self._path.open("w")
        signal.signal(SIGNAL, signal.SIG_DFL)
        faulthandler.register(SIGNAL, self._file, all_threads=True, chain=True)
        # At the very end of the process the watchdog's thread is gone, and all is well.
        atexit.register(_stop_counting)
        self.put_off(0.0)

    def put_off(self, limit_seconds: float) -> None:
        """The watchdog has its turn. What runs now may take `limit_seconds`. Safe on any thread,
        and harmless when not armed."""
        if self._file is not None:
            seconds = max(FROZEN_SECONDS, limit_seconds + SLACK_SECONDS)
            signal.setitimer(signal.ITIMER_PROF, seconds)

    def press(self, thread: int) -> None:
        """End the process now, for what `thread` does."""
        if self._file is not None:
            signal.pthread_kill(thread, SIGNAL)

    def disarm(self) -> None:
        """Leave no trace: the process may end as it likes. Harmless when not armed."""
        file, self._file = self._file, None
        if file is not None:
            _stop_counting()
            atexit.unregister(_stop_counting)
            faulthandler.unregister(SIGNAL)
            file.close()
            self._path.unlink(missing_ok=True)


def _stop_counting() -> None:
    signal.setitimer(signal.ITIMER_PROF, 0.0)


def take_freeze(path: Path, functions: Path) -> Freeze | None:
    """What the switch of an earlier process left at `path`, and remove it; None: nothing.

    Args:
        path: the file that the switch was given.
        functions: the functions folder, which tells the app's frames from others.
    """
    try:
        text = path.read_text(errors="replace")
        path.unlink()
    except FileNotFoundError:
        return None
    if not text:
        return None  # It was armed and not needed: the process was killed.
    threads = [
        tuple(frame for frame in _frames(stack) if frame.path.is_relative_to(functions))
        for stack in _THREAD.split(text)
    ]
    current = _frames(_THREAD.split(text.partition("Current thread ")[2])[0])
    # The signal is handled by the thread that was using the processor: mostly the one to blame,
    # but it may have met one that was only looking whether it can go on.
    blamed = tuple(frame for frame in current if frame.path.is_relative_to(functions))
    suspects = [frames for frames in threads if frames]
    return Freeze(suspects[0] if not blamed and len(suspects) == 1 else blamed)


def _frames(stack: str) -> list[FrozenFrame]:
    return [
        FrozenFrame(Path(name), int(line), function)
        for name, line, function in _FRAME.findall(stack)
    ]
