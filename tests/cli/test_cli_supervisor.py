"""`camber dev` comes back by itself when code of the app's has frozen it."""

import http.client
import json
import os
import signal
from pathlib import Path

import pytest
from console import camber, serving, write_app

APP = {
    "worst.py": """
        from camber import query

        @query
        async def adds(ctx) -> int:
            return sum(range(10**12))

        @query
        async def fine(ctx) -> str:
            return "fine"
    """
}


def server_pid(folder: Path) -> int:
    address = json.loads((folder / ".camber/server.json").read_text())
    return int(address["pid"])


def test_a_frozen_server_is_started_again_and_says_why(tmp_path: Path) -> None:
    folder = write_app(tmp_path, APP)
    with serving(folder) as dev:
        dev.wait_ready().wait_for("Ctrl-C stops")
        connection = http.client.HTTPConnection(dev.api.removeprefix("http://"), timeout=20)
        body = json.dumps({"path": "worst:adds", "args": {}})
        connection.request("POST", "/api/query", body, {"content-type": "application/json"})
        with pytest.raises(ConnectionError):
            pytest.fail(connection.getresponse().read().decode())
        connection.close()
        dev.wait_ready().wait_for(r"The server froze at convex/worst\.py:6: ")
        assert camber(folder, "run", "worst:fine").stdout == '"fine"\n'
        refused = camber(folder, "run", "worst:adds")
        assert refused.returncode == 1
        assert "it froze the server at convex/worst.py:6" in refused.stderr
        # Other code is another matter.
        (folder / "convex" / "worst.py").write_text(
            "from camber import query\n\n@query\nasync def adds(ctx) -> int:\n    return 3\n"
        )
        dev.wait_for("reloaded in")
        assert camber(folder, "run", "worst:adds").stdout == "3.0\n"
        assert dev.stop() == 0


def test_a_server_ends_with_whoever_started_it(tmp_path: Path) -> None:
    folder = write_app(tmp_path, APP)
    with serving(folder) as dev:
        dev.wait_ready().wait_for("Ctrl-C stops")
        dev.process.kill()
        dev.wait_for("Stopped.")


def test_a_server_that_was_killed_is_not_started_again(tmp_path: Path) -> None:
    folder = write_app(tmp_path, APP)
    with serving(folder) as dev:
        dev.wait_ready().wait_for("Ctrl-C stops")
        os.kill(server_pid(folder), signal.SIGKILL)
        assert dev.process.wait(20) == 128 + signal.SIGKILL
