"""The official JavaScript client over HTTP, unchanged, against a real deployment."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from client_app import APP

from serving import served

NPM = Path(__file__).parent / "npm"
KINDS = ("query", "mutation", "action")
CASES = [
    *re.findall(r'^cases\["([^"]+)"\]', (NPM / "cases.mjs").read_text(), re.MULTILINE),
    *(f"every value comes back from a {kind}" for kind in (*KINDS, "consistentQuery")),
    *(f"a ConvexError of a {kind} arrives with its data" for kind in KINDS),
    *(f"an ordinary error of a {kind} arrives as text" for kind in KINDS),
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    node = shutil.which("node")
    if node is None or not (NPM / "node_modules" / "convex").is_dir():
        pytest.skip("needs node and the packages of tests/clients/npm (scripts/test installs them)")
    with served(tmp_path_factory.mktemp("npm"), APP) as backend:
        ran = subprocess.run(
            [node, "cases.mjs", backend.api, backend.admin_key],
            cwd=NPM,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ran.returncode == 0, ran.stderr
    results: dict[str, str | None] = json.loads(ran.stdout)
    return results


@pytest.mark.parametrize("case", CASES)
def test_the_javascript_client_finds_that(case: str, results: dict[str, str | None]) -> None:
    assert results[case] is None, results[case]


def test_no_case_of_the_javascript_client_is_left_out(results: dict[str, str | None]) -> None:
    assert sorted(results) == sorted(CASES)
