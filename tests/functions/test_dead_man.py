"""A process that freezes ends, and says where."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from camber.functions.dead_man import Freeze, take_freeze

PROGRAM = """
import sys
import threading
from pathlib import Path
from camber.functions.dead_man import DeadManSwitch
from camber.functions.watchdog import Watchdog

sys.path.insert(0, sys.argv[1] + "/convex")
import worst

switch = DeadManSwitch(Path(sys.argv[1], "freeze.txt"))
switch.arm()
watchdog = Watchdog()
watchdog.switch = switch
watchdog.start()
what = getattr(worst, sys.argv[2])
if sys.argv[3] == "side thread":
    thread = threading.Thread(target=watchdog.call, args=(None, 1.0, worst.body, what))
    thread.start()
    thread.join()
else:
    watchdog.call(None, float(sys.argv[4]), worst.body, what)
print("went on")
watchdog.stop()
switch.disarm()
"""

WORST = """
import re
import time

def wild():
    re.match("(a+)+$", "a" * 60 + "b")

def adds():
    sum(range(10**12))

def works():
    # Longer than the switch would wait for nothing, but it lets others have their turn.
    end = time.process_time() + 2
    while time.process_time() < end:
        pass

def body(what):
    what()
"""


def run(folder: Path, what: str, where: str, limit: str = "1") -> subprocess.CompletedProcess[str]:
    (folder / "convex").mkdir()
    (folder / "convex" / "worst.py").write_text(WORST)
    command = [sys.executable, "-c", PROGRAM, str(folder), what, where, limit]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def taken(folder: Path) -> Freeze | None:
    return take_freeze(folder / "freeze.txt", folder / "convex")


@pytest.mark.parametrize(
    ("what", "where"),
    [("wild", "side thread"), ("adds", "side thread"), ("adds", "main thread")],
)
def test_code_that_keeps_the_interpreter_lock_ends_the_process_and_is_named(
    tmp_path: Path, what: str, where: str
) -> None:
    assert run(tmp_path, what, where).returncode == -signal.SIGPROF
    freeze = taken(tmp_path)
    assert freeze is not None
    assert [frame.function for frame in freeze.frames] == [what, "body"]
    assert freeze.place == f"convex/worst.py:{6 if what == 'wild' else 9}"
    assert taken(tmp_path) is None


def test_what_lets_the_watchdog_have_its_turn_is_left_alone(tmp_path: Path) -> None:
    ended = run(tmp_path, "works", "main thread", "60")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "went on\n", "")
    assert list(tmp_path.glob("freeze*")) == []


def test_a_process_that_was_killed_left_no_word(tmp_path: Path) -> None:
    (tmp_path / "freeze.txt").touch()
    assert taken(tmp_path) is None


APP_STACK = 'Thread 0x1 (most recent call first):\n  File "/app/convex/a.py", line 3 in f\n\n'
OUR_STACK = 'Current thread 0x2 (most recent call first):\n  File "/lib/b.py", line 3 in f\n\n'


def test_where_two_could_be_to_blame_nobody_is(tmp_path: Path) -> None:
    (tmp_path / "freeze.txt").write_text(APP_STACK + OUR_STACK + APP_STACK)
    freeze = take_freeze(tmp_path / "freeze.txt", Path("/app/convex"))
    assert freeze == Freeze(())
    assert freeze.place == "a place that is not in the app"


def test_the_only_one_that_could_be_to_blame_is(tmp_path: Path) -> None:
    (tmp_path / "freeze.txt").write_text(OUR_STACK + APP_STACK)
    freeze = take_freeze(tmp_path / "freeze.txt", Path("/app/convex"))
    assert freeze is not None
    assert freeze.place == "convex/a.py:3"
