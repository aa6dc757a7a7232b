"""`camber dev`: what a developer sees."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
from pathlib import Path

from console import (
    HTTP,
    MESSAGES,
    PORTS,
    call,
    camber,
    command,
    environment,
    get,
    save,
    serving,
    write_app,
)


def test_it_says_where_everything_is_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    with serving(folder) as dev:
        dev.wait_ready()
        name = dev.wait_for(r"http://([a-z]+-[a-z]+-\d+)\.site\.localhost:\d+")[1]
        dev.wait_for("GET  /hello")
        dev.wait_for(r"Functions +2 functions in convex")
        dev.wait_for("Ctrl-C stops")
        assert get(dev.api + "/instance_name") == name
        assert get(dev.site + "/hello") == "first"
        assert get(dev.site + "/hello", host=f"{name}.site.localhost") == "first"
        assert json.loads(get(dev.site + "/where")) == [dev.api, dev.site]
        address = json.loads((folder / ".camber/server.json").read_text())
        assert address == {"pid": address["pid"], "api": dev.api, "site": dev.site}
        assert (folder / ".camber/.gitignore").read_text() == "*\n"
        assert dev.stop() == 0
        assert dev.output.endswith("Stopped.\n")
        assert "\x1b" not in dev.output
    assert not (folder / ".camber/server.json").exists()


def test_a_broken_save_keeps_the_last_good_version_and_a_fixed_one_replaces_it(
    tmp_path: Path,
) -> None:
    folder = write_app(tmp_path)
    http = folder / "convex/http.py"
    with serving(folder) as dev:
        dev.wait_ready().wait_for("Ctrl-C")
        save(http, HTTP.replace('Response("first")', "Response('first'"))
        dev.wait_for(r"✘ \d\d:\d\d:\d\d convex/http\.py:\d+: SyntaxError")
        dev.wait_for("still serving the last good version")
        assert get(dev.site + "/hello") == "first"

        save(http, HTTP + "\n    http.route(path='/x', method='POST', handler=undefined)")
        dev.wait_for(r"convex/http\.py:16: NameError: name 'undefined' is not defined")
        dev.wait_for(r"http\.route\(path='/x'")

        save(http, HTTP.replace("first", "second").replace("/where", "/there"))
        dev.wait_for(r"✔ \d\d:\d\d:\d\d reloaded in \d+ ms \(http\.py\)")
        dev.wait_for(r"\+ GET /there\n +- GET /where")
        assert get(dev.site + "/hello") == "second"
        assert dev.stop() == 0


def test_a_first_load_that_fails_waits_for_a_fixed_save(tmp_path: Path) -> None:
    folder = write_app(tmp_path, {"messages.py": "import nowhere"})
    with serving(folder) as dev:
        dev.wait_ready().wait_for("Ctrl-C")
        dev.wait_for(r"convex/messages\.py:1: ModuleNotFoundError")
        dev.wait_for("nothing is served until a save loads")
        assert "Could not find" in call(dev, "messages:send", {})["errorMessage"]
        save(folder / "convex/messages.py", MESSAGES)
        dev.wait_for(r"reloaded in \d+ ms \(messages\.py\)")
        dev.wait_for(r"\+ messages:list\n +\+ messages:send")
        assert call(dev, "messages:send", {"body": "hi"})["status"] == "success"


def test_what_functions_say_and_how_they_fail_appears(tmp_path: Path) -> None:
    app = """
        from camber import mutation

        @mutation
        async def send(ctx, body: str):
            print("sending", body)
            if body == "bad":
                raise ValueError("no\\x1b[31m author")
    """
    with serving(write_app(tmp_path, {"messages.py": app})) as dev:
        dev.wait_ready().wait_for("Ctrl-C")
        call(dev, "messages:send", {"body": "hi"})
        dev.wait_for(r"^\d\d:\d\d:\d\d M\(messages:send\) \[LOG\] .*sending hi")
        call(dev, "messages:send", {"body": "bad"})
        dev.wait_for(r"^\d\d:\d\d:\d\d M\(messages:send\) Uncaught ValueError: no\\x1b\[31m author")
        dev.wait_for(r"^    at send \(convex/messages\.py:8\)$")


def test_a_changed_schema_and_camber_toml_are_taken_and_told(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    schema = """
        from camber import Schema, Table, index

        class messages(Table):
            body: {type}
            by_body = index("body")

        schema = Schema(messages)
    """
    with serving(folder) as dev:
        dev.wait_ready().wait_for("Ctrl-C")
        call(dev, "messages:send", {"body": "hi"})
        save(folder / "convex/schema.py", schema.format(type="str"))
        dev.wait_for(r"\+ index messages\.by_body")
        save(folder / "convex/schema.py", schema.format(type="bytes"))
        dev.wait_for(r'✘ .* Document with ID "\w+" in table "messages" does not match the schema')
        dev.wait_for("still serving the last good version")
        save(folder / "camber.toml", '[env]\nMODE = "test"\n')
        dev.wait_for(r"camber\.toml read; set MODE")
        save(folder / "camber.toml", "[env\n")
        dev.wait_for(r"✘ .* camber\.toml:1: ")
        assert call(dev, "messages:send", {"body": "hi"})["status"] == "success"


def test_a_functions_folder_may_go_and_come_back(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    functions, elsewhere = folder / "convex", folder / "elsewhere"
    with serving(folder) as dev:
        dev.wait_ready().wait_for("Ctrl-C")
        functions.rename(elsewhere)
        dev.wait_for("There is no functions folder")
        assert get(dev.site + "/hello") == "first"
        elsewhere.rename(functions)
        dev.wait_for(r"reloaded in \d+ ms")
        save(functions / "http.py", HTTP.replace("first", "second"))
        dev.wait_for(r"reloaded in \d+ ms \(http\.py\)")
        assert get(dev.site + "/hello") == "second"


def test_a_save_that_changes_nothing_reloads_nothing(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    with serving(folder) as dev:
        dev.wait_ready().wait_for("Ctrl-C")
        save(folder / "convex/http.py", HTTP)
        save(folder / "convex/messages.py", MESSAGES + "\n    # changed\n")
        assert "(messages.py)" in dev.wait_for(r"reloaded in \d+ ms (.*)")[0]


def refusal(folder: Path, *args: str) -> str:
    """What a server says that does not start, on standard error alone."""
    done = camber(folder, "dev", *args)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    return done.stderr


def test_a_port_in_use_is_told_plainly(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = refusal(folder, "--port", "0", "--site-port", str(port))
    assert text == (
        f"error: Port {port} on 127.0.0.1 is already in use. Stop the program that uses it, or "
        "choose another port with --port or --site-port.\n"
    )
    assert not (folder / ".camber").exists()


def test_a_missing_folder_is_told_plainly(tmp_path: Path) -> None:
    assert "The folder nowhere does not exist." in refusal(tmp_path, "nowhere")


def test_a_broken_camber_toml_is_told_plainly(tmp_path: Path) -> None:
    write_app(tmp_path)
    (tmp_path / "camber.toml").write_text("functions =\n")
    assert refusal(tmp_path).startswith("error: camber.toml:1: ")


def test_a_state_folder_that_cannot_be_made_is_told_plainly(tmp_path: Path) -> None:
    write_app(tmp_path)
    (tmp_path / "file").touch()
    text = refusal(tmp_path, *PORTS, "--state", "file/state")
    assert "file/state cannot be made: Not a directory" in text


def test_a_second_server_of_one_state_folder_is_told_of_the_first(tmp_path: Path) -> None:
    folder = write_app(tmp_path)
    with serving(folder) as dev:
        dev.wait_ready().wait_for("Ctrl-C")
        text = refusal(folder, *PORTS)
        pid = json.loads((folder / ".camber/server.json").read_text())["pid"]
        assert f"is in use by another process (pid {pid})" in text
        assert f"being served already, at {dev.api} by process {pid}" in text
        assert get(dev.site + "/hello") == "first"
        # The refused one has not taken the first one's address away.
        assert camber(folder, "run", "messages:list").stdout == "[]\n"


def test_a_wrong_option_is_a_matter_of_usage(tmp_path: Path) -> None:
    done = camber(tmp_path, "dev", "--port", "99999")
    assert done.returncode == 2
    assert "Usage: camber dev" in done.stderr


def on_a_terminal(folder: Path, env: dict[str, str]) -> tuple[int, str]:
    """Serve on a pseudo-terminal, press Ctrl-C there once it is ready; exit code and screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        # A session of its own, whose terminal it is: so that Ctrl-C there reaches it.
        ["setsid", "--ctty", "--wait", *command("dev", *PORTS)],
        cwd=folder,
        env=env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = b""
    try:
        while chunk := _read(ours):
            before, screen = screen, screen + chunk
            if b"Ctrl-C stops" in screen and b"Ctrl-C stops" not in before:
                os.write(ours, b"\x03")
        return process.wait(20), screen.decode()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(ours)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # The other side is closed.
        return b""


def test_a_terminal_shows_colours_and_ctrl_c_there_stops_in_peace(tmp_path: Path) -> None:
    code, screen = on_a_terminal(write_app(tmp_path), environment(TERM="xterm"))
    assert code == 0
    assert re.search(r"\x1b\[36mhttp://127\.0\.0\.1:\d+\x1b\[0m", screen)
    assert screen.endswith("^C\r\nStopped.\r\n")


def test_no_color_is_respected(tmp_path: Path) -> None:
    code, screen = on_a_terminal(write_app(tmp_path), environment(TERM="xterm", NO_COLOR="1"))
    assert code == 0
    assert "\x1b" not in screen
