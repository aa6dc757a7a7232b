"""The official clients, unchanged, with a token of a provider that the app believes."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from convex.http_client import ConvexHttpClient

from serving import Backend, served
from signing import ISSUER, Signer, claims

NPM = Path(__file__).parent / "npm"
SIGNER = Signer("RS256")
APP = {
    "auth_config.py": """
        from camber import env

        auth_config = {
            "providers": [
                {
                    "type": "customJwt",
                    "issuer": "https://id.example.com",
                    "jwks": env["KEYS"],
                    "algorithm": "RS256",
                    "applicationID": "my-app",
                }
            ]
        }
    """,
    "m.py": """
        from camber import action, mutation, query

        @query
        async def who(ctx):
            return await ctx.auth.get_user_identity()

        @mutation
        async def who_writes(ctx):
            return await ctx.auth.get_user_identity()

        @action
        async def who_acts(ctx):
            return await ctx.auth.get_user_identity()
    """,
}
SCRIPT = """
    import { ConvexHttpClient } from "convex/browser";
    const [url, good, bad] = process.argv.slice(1);
    const client = new ConvexHttpClient(url);
    const told = [await client.query("m:who", {})];
    client.setAuth(good);
    told.push(await client.query("m:who", {}));
    told.push(await client.mutation("m:who_writes", {}));
    told.push(await client.action("m:who_acts", {}));
    client.setAuth(bad);
    told.push(await client.query("m:who", {}).catch((error) => error.message));
    client.clearAuth();
    told.push(await client.query("m:who", {}));
    console.log(JSON.stringify(told));
"""
ADA = {
    "tokenIdentifier": f"{ISSUER}|ada",
    "issuer": ISSUER,
    "subject": "ada",
    "email": "ada@example.com",
}


def token(seconds: int) -> str:
    at = int(time.time())
    return SIGNER.token(claims(sub="ada", email="ada@example.com", iat=at - 60, exp=at + seconds))


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    variables = {"KEYS": SIGNER.data_url()}
    with served(tmp_path_factory.mktemp("client_auth"), APP, variables=variables) as backend:
        yield backend


def test_the_python_client_signs_in_and_out(backend: Backend) -> None:
    client = ConvexHttpClient(backend.api)
    assert client.query("m:who") is None
    client.set_auth(token(3600))
    assert client.query("m:who") == ADA
    assert client.mutation("m:who_writes") == ADA
    assert client.action("m:who_acts") == ADA
    client.set_auth(token(-30))
    with pytest.raises(Exception, match=r"\A401 Unauthenticated: Could not validate token: it has"):
        client.query("m:who")
    client.clear_auth()
    assert client.query("m:who") is None


def test_the_javascript_client_signs_in_and_out(backend: Backend) -> None:
    node = shutil.which("node")
    if node is None or not (NPM / "node_modules" / "convex").is_dir():
        pytest.skip("needs node and the packages of tests/clients/npm (scripts/test installs them)")
    ran = subprocess.run(
        [node, "--input-type=module", "-e", SCRIPT, "--", backend.api, token(3600), token(-30)],
        cwd=NPM,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    *told, refused, last = json.loads(ran.stdout)
    assert told == [None, ADA, ADA, ADA]
    assert json.loads(refused)["code"] == "Unauthenticated"
    assert last is None
