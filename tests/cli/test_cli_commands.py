"""`camber run`, `camber env`, `camber admin-key`: talking to a server, and to none."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from console import Server, camber, serving, talk, write_app

APP = {
    "messages.py": """
        from camber import ConvexError, Int64, env, internal_query, mutation, query

        @mutation
        async def send(ctx, body: str):
            print("sending", body)
            await ctx.db.insert("messages", {"body": body})

        @query
        async def list_(ctx) -> list:
            return [m["body"] for m in await ctx.db.query("messages").collect()]

        @internal_query
        async def mode(ctx):
            return {"mode": env.get("MODE"), "big": Int64(7)}

        @mutation
        async def fail(ctx):
            raise ConvexError({"reason": "never"})
    """
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Server]]:
    folder = write_app(tmp_path_factory.mktemp("app"), APP)
    with serving(folder) as server:
        yield folder, server.wait_ready()


def test_run_calls_a_function_of_the_running_server(served: tuple[Path, Server]) -> None:
    folder, _ = served
    sent = camber(folder, "run", "messages:send", '{"body": "hällo"}')
    assert (sent.returncode, sent.stdout) == (0, "null\n")
    assert "[LOG]" in sent.stderr
    assert "sending hällo" in sent.stderr
    # From a folder inside of the app too, and by another spelling.
    listed = talk(folder / "convex", "run", "api.messages.list")
    assert listed.stdout == '[\n  "hällo"\n]\n'


def test_run_calls_internal_functions_and_json_is_without_loss(
    served: tuple[Path, Server],
) -> None:
    done = talk(served[0], "run", "internal.messages.mode", "--json")
    assert json.loads(done.stdout)["big"] == {"$integer": "BwAAAAAAAAA="}
    assert done.stdout.count("\n") == 1


def test_run_fails_when_the_function_fails(served: tuple[Path, Server]) -> None:
    done = talk(served[0], "run", "messages:fail")
    assert (done.returncode, done.stdout) == (1, "")
    assert 'Uncaught ConvexError: {"reason":"never"}' in done.stderr
    assert "at fail (convex/messages.py:19)" in done.stderr


def test_run_tells_of_a_function_that_is_not_there(served: tuple[Path, Server]) -> None:
    done = talk(served[0], "run", "messages:nothing")
    assert done.returncode == 1
    assert "Could not find function for 'messages:nothing'" in done.stderr


def test_run_tells_of_a_wrong_argument(served: tuple[Path, Server]) -> None:
    done = talk(served[0], "run", "messages:send", '{"body": 3}')
    assert done.returncode == 1
    assert "Path: .body" in done.stderr


def test_run_refuses_arguments_that_are_not_json(served: tuple[Path, Server]) -> None:
    done = talk(served[0], "run", "messages:send", "{body: 3}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ARGS is not JSON: ")
    assert "column 2" in done.stderr


def test_a_server_elsewhere_is_reached_by_url_and_key(
    served: tuple[Path, Server], tmp_path: Path
) -> None:
    folder, server = served
    key = talk(folder, "admin-key").stdout.strip()
    done = talk(tmp_path, "run", "messages:mode", "--url", server.api, "--admin-key", key)
    assert done.returncode == 0
    by_variables = {"CAMBER_URL": server.api + "/", "CAMBER_ADMIN_KEY": key}
    assert talk(tmp_path, "env", "list", env=by_variables).returncode == 0
    wrong = talk(tmp_path, "run", "messages:mode", "--url", server.api, "--admin-key", "x|y")
    assert wrong.returncode == 1
    assert "key was invalid for this instance" in wrong.stderr
    site = talk(tmp_path, "run", "messages:mode", "--url", server.site, "--admin-key", key)
    assert "is not the API port of a Camber server" in site.stderr
    alone = talk(tmp_path, "run", "messages:mode", "--url", server.api)
    assert alone.returncode == 2
    assert "--url needs --admin-key" in alone.stderr


def test_variables_are_set_read_and_removed_and_the_next_call_sees_it(
    served: tuple[Path, Server],
) -> None:
    folder, _ = served
    assert talk(folder, "env", "set", "MODE", "a=b").stdout == "Set MODE.\n"
    assert talk(folder, "env", "get", "MODE").stdout == "a=b\n"
    mode = talk(folder, "run", "messages:mode", "--json").stdout
    assert json.loads(mode)["mode"] == "a=b"
    assert talk(folder, "env", "set", "KEY", stdin="se cret\n").stdout == "Set KEY.\n"
    assert talk(folder, "env", "list").stdout == "KEY=se cret\nMODE=a=b\n"
    talk(folder, "env", "remove", "MODE")
    missing = talk(folder, "env", "get", "MODE")
    assert missing.returncode == 1
    assert missing.stderr == 'error: Environment variable "MODE" not found.\n'
    refused = talk(folder, "env", "set", "GOOD=1", "1BAD=2")
    assert refused.returncode == 1
    assert "The environment variable name 1BAD is invalid" in refused.stderr
    assert talk(folder, "env", "list", "--json").stdout == '{\n  "KEY": "se cret"\n}\n'


def test_without_a_server_variables_are_those_of_the_state_folder(tmp_path: Path) -> None:
    folder = write_app(tmp_path, APP)
    assert talk(folder, "env", "list").stderr == "No environment variables set.\n"
    assert not (folder / ".camber").exists()
    assert talk(folder, "env", "set", "A=1", "B=2").stdout == "Set A, B.\n"
    assert talk(folder, "env", "set", "1C=3").returncode == 1
    assert talk(folder, "env", "list").stdout == "A=1\nB=2\n"
    with serving(folder) as server:
        server.wait_ready()
        assert talk(folder, "env", "list").stdout == "A=1\nB=2\n"


def test_without_a_server_run_says_how_to_start_one(tmp_path: Path) -> None:
    done = talk(write_app(tmp_path), "run", "messages:list")
    assert done.returncode == 1
    assert done.stderr.startswith("error: No server is running for the state folder .camber.")
    assert "camber dev" in done.stderr


def test_outside_of_an_app_commands_say_so(tmp_path: Path) -> None:
    done = talk(tmp_path, "run", "messages:list")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: There is no app in {tmp_path} or above.")


class _Stranger(BaseHTTPRequestHandler):
    """Another program that has the port now; remembers the keys it was sent."""

    keys: list[str | None]

    def do_GET(self) -> None:
        self.keys.append(self.headers["Authorization"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"other-name-123")

    def log_message(self, *_: object) -> None:
        pass


def test_the_key_is_not_sent_to_whoever_has_the_port_now(tmp_path: Path) -> None:
    folder = write_app(tmp_path, APP)
    with serving(folder) as server:
        server.wait_ready().wait_for("Ctrl-C")
        server.process.kill()
        server.process.wait()
    _Stranger.keys = []
    with HTTPServer(("127.0.0.1", 0), _Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{stranger.server_port}"
        # A process that lives, and is not the server, has its number now as well.
        address = {"pid": os.getpid(), "api": url, "site": url}
        (folder / ".camber/server.json").write_text(json.dumps(address))
        done = talk(folder, "run", "messages:list")
        stranger.shutdown()
    assert done.stderr.startswith("error: No server is running")
    assert _Stranger.keys == [None]


def test_help_has_examples_and_the_version_is_told(tmp_path: Path) -> None:
    assert talk(tmp_path, "--version").stdout.startswith("camber ")
    for words in ([], ["dev"], ["serve"], ["run"], ["env"], ["env", "set"], ["admin-key"]):
        text = talk(tmp_path, *words, "--help").stdout
        assert "Example" in text
        assert " ".join(["camber", *words]) in text


def test_an_unknown_command_is_a_matter_of_usage(tmp_path: Path) -> None:
    assert talk(tmp_path, "sevre").returncode == 2
