"""`camber serve`: production."""

import signal
import urllib.request
from pathlib import Path

from console import HTTP, PORTS, call, camber, get, serving, write_app

FAILING = """
    from camber import mutation

    @mutation
    async def fail(ctx):
        print("about to fail")
        raise ValueError("the secret cause")
"""


def test_clients_are_told_nothing_and_the_log_everything(tmp_path: Path) -> None:
    folder = write_app(tmp_path, {"messages.py": FAILING, "http.py": HTTP})
    with serving(folder, name="serve") as server:
        server.wait_ready()
        answer = call(server, "messages:fail", {})
        assert answer["errorMessage"].endswith("Server Error")
        assert "logLines" not in answer
        moment = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d M\(messages:fail\) "
        server.wait_for(moment + r"\[LOG\] .*about to fail")
        request = server.wait_for(moment + r"Uncaught ValueError: the secret cause.*request (\w+)")
        assert f"[Request ID: {request[1]}]" in answer["errorMessage"]
        server.wait_for(r"at fail \(convex/messages\.py:7\)")
        assert server.stop(signal.SIGTERM) == 0
        assert server.output.endswith("\nStopped.\n")


def test_urls_behind_a_proxy_are_those_that_callers_use(tmp_path: Path) -> None:
    urls = ("--api-url", "https://api.example.com/", "--site-url", "https://example.com")
    with serving(write_app(tmp_path), *urls, name="serve") as server:
        server.wait_ready()
        assert get(server.site + "/where") == '["https://api.example.com","https://example.com"]'


def test_an_app_that_does_not_load_is_not_served(tmp_path: Path) -> None:
    folder = write_app(tmp_path, {"messages.py": "x = 1\nimport nowhere"})
    done = camber(folder, "serve", *PORTS)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: convex/messages.py:2: ModuleNotFoundError")
    assert "import nowhere" in done.stderr
    assert not (folder / ".camber/server.json").exists()


def test_a_request_under_way_is_finished_before_the_end(tmp_path: Path) -> None:
    slow = """
        import asyncio
        from camber import Response, http_endpoint, http_router

        @http_endpoint
        async def slow(ctx, request):
            print("begun")

            async def pieces():
                yield b"first "
                await asyncio.sleep(0.3)
                yield b"last"

            return Response(pieces())

        http = http_router()
        http.route(path="/slow", method="GET", handler=slow)
    """
    with serving(write_app(tmp_path, {"http.py": slow}), name="serve") as server:
        server.wait_ready()
        with urllib.request.urlopen(server.site + "/slow") as response:
            assert response.read(6) == b"first "
            server.process.send_signal(signal.SIGTERM)
            assert response.read() == b"last"
        assert server.process.wait(20) == 0


def test_a_url_that_is_none_is_a_matter_of_usage(tmp_path: Path) -> None:
    done = camber(write_app(tmp_path), "serve", "--api-url", "example.com")
    assert done.returncode == 2
    assert "must begin with http:// or https://" in done.stderr
