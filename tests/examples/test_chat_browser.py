"""The page of examples/chat in a real browser, with its real functions behind it.

What happens in the windows is in `browser/chat.mjs`; a picture of each window stays in the
temporary folder of a case that fails.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from serving import served

EXAMPLE = Path(__file__).parents[2] / "examples" / "chat"
BROWSER = Path(__file__).parent / "browser"
CASES = re.findall(r'^cases\["([^"]+)"\]', (BROWSER / "chat.mjs").read_text(), re.MULTILINE)


def _needed() -> tuple[str, str]:
    """Node, and a browser that is Chromium under any of its names."""
    node = shutil.which("node")
    browsers = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for name in browsers if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip("needs Chromium (on Debian: apt-get install chromium)")
    folders = (EXAMPLE, BROWSER)
    if node is None or not all((each / "node_modules").is_dir() for each in folders):
        pytest.skip("needs node, and the packages of the chat (scripts/test installs them)")
    return node, browser


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    node, browser = _needed()
    scratch = tmp_path_factory.mktemp("chat")
    with served(scratch, EXAMPLE / "convex") as backend:
        ran = subprocess.run(
            [node, "chat.mjs", backend.api, str(EXAMPLE), str(scratch), browser],
            cwd=BROWSER,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert ran.returncode == 0, ran.stderr
    results: dict[str, str | None] = json.loads(ran.stdout)
    return results


@pytest.mark.parametrize("case", CASES)
def test_people_at_the_chat_find_that(case: str, results: dict[str, str | None]) -> None:
    assert results[case] is None, results[case]


def test_no_case_of_the_chat_is_left_out(results: dict[str, str | None]) -> None:
    assert sorted(results) == sorted(CASES)
