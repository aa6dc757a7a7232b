"""The README of examples/messages, replayed: its commands in a shell, its answers compared."""

import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving import Backend, served

EXAMPLE = Path(__file__).parents[2] / "examples" / "messages"
MARK = "--- the end of a command ---"


@dataclass(frozen=True)
class Step:
    """A command, and what it prints; `…` stands for anything within a line."""

    command: str
    answer: str


def steps(text: str) -> list[Step]:
    """The commands in the `console` blocks, each with the lines up to the next one."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.split("\n")
            end = next(i for i, line in enumerate(lines) if not line.endswith("\\"))
            found.append(Step("\n".join(lines[: end + 1]), "\n".join(lines[end + 1 :])))
    return found


def replay(commands: list[str], backend: Backend, folder: Path) -> list[str]:
    """What each command printed, all of them in one shell, with the ports of the README."""
    script = "".join(f"{command}\nprintf '%s\\n' '{MARK}'\n" for command in commands)
    for known, actual in ((3210, backend.api_port), (3211, backend.site_port)):
        script = script.replace(f":{known}", f":{actual}")
    ran = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, timeout=60)
    printed = ran.stdout.decode().replace("\r\n", "\n")
    for known, actual in ((3210, backend.api_port), (3211, backend.site_port)):
        printed = printed.replace(f":{actual}", f":{known}")
    return printed.split(f"{MARK}\n")[:-1]


def matches(expected: str, printed: str) -> bool:
    # A terminal begins a new line after an answer that does not end with one.
    pattern = ".*".join(re.escape(part) for part in expected.rstrip("\n").split("…"))
    return re.fullmatch(pattern, printed.rstrip("\n")) is not None


def test_the_readme_of_the_example_is_true(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    transcript = steps((EXAMPLE / "README.md").read_text())
    assert len(transcript) > 15
    variables = tomllib.loads((EXAMPLE / "camber.toml").read_text())["env"]
    with served(tmp_path, EXAMPLE / "convex", variables=variables) as backend:
        printed = replay([step.command for step in transcript], backend, tmp_path)
    assert len(printed) == len(transcript)
    for step, actual in zip(transcript, printed, strict=True):
        assert matches(step.answer, actual), f"{step.command}\n{actual}"


def test_the_commands_of_the_seed_are_in_the_readme() -> None:
    text = (EXAMPLE / "README.md").read_text()
    for piece in (
        """curl -i -d '{ "author": "User 123", "body": "Hello world" }'""",
        '"http://127.0.0.1:3211/postMessage"',
        '"http://127.0.0.1:3211/getMessagesByAuthor?author=User%20123"',
    ):
        assert piece in text
