"""The official Python client over HTTP, unchanged, against a real deployment."""

import math
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from client_app import APP
from convex import ConvexError, ConvexInt64
from convex.http_client import ConvexExecutionError, ConvexHttpClient
from convex.values import json_to_convex

from serving import Backend, served


def nested(depth: int) -> Any:
    return "core" if depth == 0 else [nested(depth - 1)]


VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "zero": 0.0,
    "one": 1.0,
    "minus zero": -0.0,
    "fraction": 0.1,
    "largest float": sys.float_info.max,
    "smallest float": 5e-324,
    "beyond safe": 2.0**60,
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "int64 0": ConvexInt64(0),
    "int64 42": ConvexInt64(42),
    "int64 max": ConvexInt64(2**63 - 1),
    "int64 min": ConvexInt64(-(2**63)),
    "empty string": "",
    "text": 'grüße 漢字 🦀 \0 \u2028 "\\',
    "empty bytes": b"",
    "bytes": bytes(range(256)),
    "empty array": [],
    "array": [1.0, [ConvexInt64(2), ["three", None]], -0.0],
    "empty object": {},
    "empty name": {"": 1.0},
    "object": {"a": {"b": {"c": [b"\7", ConvexInt64(8), {"d": -math.inf}]}}},
    "deep": nested(60),
}


def same(one: Any, other: Any) -> bool:
    """Equal to the bit: NaN is NaN, and -0.0 is not 0.0."""
    if isinstance(one, float) and isinstance(other, float):
        return struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, ConvexInt64):
        return isinstance(other, ConvexInt64) and one.value == other.value
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(value, other[key]) for key, value in one.items())
        )
    return type(one) is type(other) and bool(one == other)


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with served(tmp_path_factory.mktemp("python"), APP) as backend:
        yield backend


@pytest.fixture
def client(backend: Backend) -> ConvexHttpClient:
    return ConvexHttpClient(backend.api)


def call_of(client: ConvexHttpClient, kind: str) -> Callable[..., Any]:
    call: Callable[..., Any] = getattr(client, kind)
    return call


KINDS = ("query", "mutation", "action")


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_comes_back(kind: str, client: ConvexHttpClient) -> None:
    for name, value in VALUES.items():
        answered = call_of(client, kind)(f"echo:{kind}", {"value": value})
        assert same(value, answered), (name, value, answered)


def test_python_integers_arrive_as_numbers(client: ConvexHttpClient) -> None:
    assert client.query("echo:typed", {"count": 3}) == "x3"
    assert same(client.query("echo:one"), 1.0)


def test_a_call_without_arguments_and_without_a_result(client: ConvexHttpClient) -> None:
    assert client.query("echo:nothing") is None
    assert client.query("echo:query") is None


def test_what_was_written_is_there_to_be_read(client: ConvexHttpClient) -> None:
    before = len(client.query("notes:list"))
    assert client.mutation("notes:add", {"text": "first"}) == before + 1
    assert client.query("notes:list")[-1] == "first"


@pytest.mark.parametrize("kind", KINDS)
def test_a_convex_error_arrives_with_its_data(kind: str, client: ConvexHttpClient) -> None:
    for name, data in VALUES.items():
        with pytest.raises(ConvexError) as raised:
            call_of(client, kind)(f"echo:raise_{kind}", {"data": data})
        assert same(json_to_convex(raised.value.data), data), name


def test_a_convex_error_raised_as_a_class_has_no_data(client: ConvexHttpClient) -> None:
    with pytest.raises(ConvexError) as raised:
        client.query("echo:bare")
    assert raised.value.data is None


@pytest.mark.parametrize(
    ("kind", "path"),
    [("query", "echo:fail"), ("mutation", "echo:fail_mutation"), ("action", "echo:fail_action")],
)
def test_an_ordinary_error_is_no_convex_error(
    kind: str, path: str, client: ConvexHttpClient
) -> None:
    with pytest.raises(
        ConvexExecutionError,
        match=r"\A\[Request ID: [0-9a-f]{16}\] Server Error\n"
        r"Uncaught ValueError: no stock\n    at \S+ \(convex/echo\.py:\d+\)\n\Z",
    ):
        call_of(client, kind)(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["notes:nope", "nowhere:at_all", "notes:secret"])
def test_unknown_and_internal_functions_read_the_same(
    kind: str, path: str, client: ConvexHttpClient
) -> None:
    with pytest.raises(
        ConvexExecutionError, match=rf"\nCould not find public function for '{path}'\.\n\Z"
    ):
        call_of(client, kind)(path)


def test_wrong_arguments_are_named(client: ConvexHttpClient) -> None:
    with pytest.raises(ConvexExecutionError, match=r"ArgumentValidationError: .*\bcount\b"):
        client.query("echo:typed", {})


def test_a_path_that_is_none_is_refused_with_code_and_message(client: ConvexHttpClient) -> None:
    with pytest.raises(Exception, match=r"\A400 BadConvexFunctionIdentifier: a b is not a valid"):
        client.query("a b")


def test_log_lines_are_printed(
    client: ConvexHttpClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.set_debug(True)
    client.mutation("notes:add", {"text": "logged"})
    printed = capsys.readouterr().out
    assert "[LOG] 'added logged'" in printed or "[LOG] added logged" in printed
    assert "[WARN] " in printed


def test_a_token_of_nobodys_is_refused_with_its_reason(client: ConvexHttpClient) -> None:
    client.set_auth("eyJhbGciOiJub25lIn0.e30.")
    with pytest.raises(Exception, match=r"\A401 NoAuthProvider: "):
        client.query("notes:who")
    client.clear_auth()
    assert client.query("notes:who") is None


def test_an_administrator_calls_what_is_internal(
    backend: Backend, client: ConvexHttpClient
) -> None:
    client.set_admin_auth(backend.admin_key)
    assert client.query("notes:secret") == "secret"
    client.set_admin_auth(backend.admin_key + "0")
    with pytest.raises(Exception, match=r"\A401 Bad(Admin|Deploy)Key: "):
        client.query("notes:secret")


def test_the_client_is_found_beside_a_functions_folder_of_its_name(
    backend: Backend, tmp_path: Path
) -> None:
    """Apps have a folder `convex`, and scripts beside it want the client of that name."""
    (tmp_path / "convex").mkdir()
    (tmp_path / "convex" / "notes.py").write_text("raise SystemExit('not to be imported')")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from convex.http_client import ConvexHttpClient\n"
        "print(ConvexHttpClient(sys.argv[1]).query('echo:typed', {'count': 7}))\n"
    )
    ran = subprocess.run(
        [sys.executable, str(script), backend.api],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.stdout, ran.returncode) == ("x7\n", 0), ran.stderr
