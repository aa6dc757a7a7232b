"""The official JavaScript client over the WebSocket, unchanged, against a real deployment."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from client_app import APP

from serving import served
from signing import ISSUER, Signer, claims

NPM = Path(__file__).parent / "npm"
SIGNER = Signer("RS256")
SHORT_SECONDS = 2
CASES = [
    *re.findall(r'^cases\["([^"]+)"\]', (NPM / "live.mjs").read_text(), re.MULTILINE),
    *(
        f"every value comes back from a {kind} over the socket"
        for kind in ("query", "mutation", "action")
    ),
]
AUTH = {
    "auth_config.py": """
        from camber import AuthConfig, CustomJwtProvider, env

        auth_config = AuthConfig(
            [CustomJwtProvider("https://id.example.com", env["KEYS"], "RS256", "my-app")]
        )
    """
}


def token(subject: str, seconds: int) -> str:
    # No `iat` in a short one: the client would renew it before it expires.
    at = int(time.time())
    return SIGNER.token(claims(sub=subject, iat=at - 60, exp=at + seconds))


def tokens() -> dict[str, object]:
    # Verifiers allow five seconds more.
    return {
        "many": [token(f"user-{number}", 3600) for number in range(10)],
        "last": f"{ISSUER}|user-9",
        "short": token("ada", SHORT_SECONDS - 5),
        "shortSeconds": SHORT_SECONDS + 1,
        "long": token("ada", 3600),
        "user": f"{ISSUER}|ada",
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    node = shutil.which("node")
    if node is None or not (NPM / "node_modules" / "react").is_dir():
        pytest.skip("needs node and the packages of tests/clients/npm (scripts/test installs them)")
    variables = {"KEYS": SIGNER.data_url()}
    folder = tmp_path_factory.mktemp("npm_live")
    with served(folder, APP | AUTH, variables=variables) as backend:
        ran = subprocess.run(
            [node, "live.mjs", backend.api, backend.admin_key, json.dumps(tokens())],
            cwd=NPM,
            capture_output=True,
            text=True,
            timeout=90,
        )
    assert ran.returncode == 0, ran.stderr
    results: dict[str, str | None] = json.loads(ran.stdout.splitlines()[-1])
    return results


@pytest.mark.parametrize("case", CASES)
def test_the_live_javascript_client_finds_that(case: str, results: dict[str, str | None]) -> None:
    assert results[case] is None, results[case]


def test_no_case_of_the_live_javascript_client_is_left_out(
    results: dict[str, str | None],
) -> None:
    assert sorted(results) == sorted(CASES)
