"""`camber dev` and `auth_config.py`: a save decides whose tokens are believed."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

from console import Server, save, serving, write_app

from signing import Signer, claims

SIGNER = Signer("ES256")
WHO = """
    from camber import query

    @query
    async def who(ctx):
        return (await ctx.auth.get_user_identity())["subject"]
"""
CONFIG = """
    from camber import AuthConfig, CustomJwtProvider

    auth_config = AuthConfig(
        providers=[CustomJwtProvider("https://id.example.com", {keys!r}, "ES256")]
    )
"""


def who(dev: Server) -> str:
    """What a call with a token is answered: a subject, or the code of a refusal."""
    at = int(time.time())
    token = SIGNER.token(claims(iat=at, exp=at + 3600))
    request = urllib.request.Request(
        dev.api + "/api/query",
        json.dumps({"path": "m:who", "args": {}}).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {token}"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return str(json.load(answer)["value"])
    except urllib.error.HTTPError as error:
        with error:
            return str(json.load(error)["code"])


def test_a_saved_configuration_is_in_force_at_once(tmp_path: Path) -> None:
    folder = write_app(tmp_path, {"m.py": WHO})
    file = folder / "convex/auth_config.py"
    with serving(folder) as dev:
        dev.wait_ready().wait_for("Ctrl-C")
        assert who(dev) == "NoAuthProvider"
        save(file, CONFIG.format(keys=SIGNER.data_url()))
        dev.wait_for(r"reloaded in \d+ ms \(auth_config\.py\)")
        assert who(dev) == "user-1"
        save(file, CONFIG.format(keys="nowhere"))
        dev.wait_for(r"✘ .*convex/auth_config\.py:\d+: .*`jwks` must be an http or https URL")
        dev.wait_for("still serving the last good version")
        assert who(dev) == "user-1"
        assert dev.stop() == 0
