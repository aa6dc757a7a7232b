"""The official Python client over the WebSocket, unchanged, against a real deployment."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from client_app import APP
from test_npm_live_client import AUTH

from serving import served
from signing import Signer, claims

PROGRAM = Path(__file__).with_name("python_live.py")
SIGNER = Signer("RS256")
CASES = re.findall(r'^    "([^"]+)": (?:\(|\w+_\w+,)', PROGRAM.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    at = int(time.time())
    token = SIGNER.token(claims(sub="ada", iat=at - 60, exp=at + 3600))
    folder = tmp_path_factory.mktemp("python_live")
    with served(folder, APP | AUTH, variables={"KEYS": SIGNER.data_url()}) as backend:
        ran = subprocess.run(
            [sys.executable, str(PROGRAM), backend.api, token],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert ran.returncode == 0, ran.stderr
    results: dict[str, str | None] = json.loads(ran.stdout.splitlines()[-1])
    return results


@pytest.mark.parametrize("case", CASES)
def test_the_live_python_client_finds_that(case: str, results: dict[str, str | None]) -> None:
    assert results[case] is None, results[case]


def test_no_case_of_the_live_python_client_is_left_out(results: dict[str, str | None]) -> None:
    assert sorted(results) == sorted(CASES)
