"""What is shown of an exception that left app code."""

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from camber.functions.determinism import app_builtins
from camber.functions.failure import Failure, failure_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "convex"
    folder.mkdir()
    return folder


def failed(root: Path, source: str) -> Failure:
    """What is told of what `run()` in `source` raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever it is
        loaded(root, source).run()
    return failure_of(caught.value)


def loaded(root: Path, source: str) -> Any:
    path = root / "messages.py"
    module = ModuleType("messages")
    module.__dict__["__builtins__"] = app_builtins(root)
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def test_the_frames_of_the_app_are_named_the_innermost_first(root: Path) -> None:
    failure = failed(root, "def run():\n    inner()\ndef inner():\n    {}['author']\n")
    assert failure.trace == (
        "Uncaught KeyError: 'author'\n"
        "    at inner (convex/messages.py:4)\n"
        "    at run (convex/messages.py:2)\n"
    )


def test_a_deep_recursion_is_shown_by_its_two_ends(root: Path) -> None:
    failure = failed(root, "def run():\n    down(100)\ndef down(n):\n    1 / n\n    down(n - 1)\n")
    assert failure.frames[:2] == (
        "    at down (convex/messages.py:4)",
        "    at down (convex/messages.py:5)",
    )
    assert failure.frames[8] == "    … 86 more"
    assert failure.frames[-1] == "    at run (convex/messages.py:2)"
    assert len(failure.frames) == 17
