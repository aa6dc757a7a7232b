"""Actions in real processes: what they can do, and what they cannot do to others."""

import asyncio
import os
import re
import signal
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from camber.errors import (
    ArgumentValidationError,
    ConflictError,
    ConvexError,
    FunctionNotFoundError,
    InternalError,
    InvalidArgumentError,
    OverloadedError,
    OverrunError,
    ReturnsValidationError,
    TransientError,
)
from camber.functions.actions.host import ActionCall, ActionOutcome, Answer, HostCall, Limits
from camber.functions.actions.pool import ActionPool
from camber.functions.actions.raised import CalledFunctionError
from camber.functions.capture import LogLine
from camber.functions.loader import load_app
from camber.values.wire import pack_value, unpack_value

APP = """
    import asyncio, ctypes, logging, os, random, socket, subprocess, sys, threading, time, warnings
    from dataclasses import dataclass
    from camber.errors import ConflictError, ValidationError
    from camber import ConvexError, Blob, api, action, env, query, v
    from .lib import helper, deep

    @dataclass
    class Point:
        x: int
        y: int

    @action
    async def add(ctx, a: int, b: int = 10) -> int:
        return a + b

    @action
    def add_sync(ctx, a: int, b: int = 10) -> int:
        return a + b

    @action
    async def move(ctx, point: Point) -> Point:
        assert type(point) is Point
        return Point(point.x + 1, point.y)

    @action
    async def wrong_result(ctx) -> int:
        return "text"

    @action
    async def no_value(ctx):
        return object()

    @action
    async def huge(ctx):
        return "x" * (17 << 20)

    @query
    async def a_query(ctx): ...

    # Outside world

    @action
    async def outside(ctx):
        before = time.time()
        await asyncio.sleep(0.001)
        out = subprocess.run(["echo", "hi"], capture_output=True, text=True).stdout
        with open(__file__) as file:
            return [time.time() > before, out, file.readline() != "", sys.stdin.read()]

    @action
    async def meet(ctx):
        # Returns only if two of it run in one process at the same time.
        global barrier
        if "barrier" not in globals():
            barrier = asyncio.Event()
            await barrier.wait()
        barrier.set()
        return os.getpid()

    sync_barrier = threading.Barrier(2)

    @action
    def meet_sync(ctx):
        sync_barrier.wait(20)
        return os.getpid()

    @action
    async def variables(ctx):
        return [env["NAME"], env.get("OTHER"), helper()]

    @action
    def variables_sync(ctx):
        return [env["NAME"], env.get("OTHER"), helper()]

    @action
    async def identity(ctx):
        return await ctx.auth.get_user_identity()

    @action
    def identity_sync(ctx):
        return ctx.auth.get_user_identity()

    @action
    async def pid(ctx):
        return os.getpid()

    # The server

    @action
    async def calls(ctx):
        run = ctx.run_query
        return [
            await run("messages:list", {"limit": 1}),
            await ctx.run_mutation(api.messages.send, body="hi"),
            await ctx.run_action(add, a=1),
        ]

    @action
    def calls_sync(ctx):
        run = ctx.run_query
        return [
            run("messages:list", {"limit": 1}),
            ctx.run_mutation(api.messages.send, body="hi"),
            ctx.run_action(add, a=1),
        ]

    @action
    async def catches(ctx, what: str):
        try:
            await ctx.run_mutation("fail:" + what)
        except (ConvexError, ValidationError, ConflictError) as error:
            return [type(error).__name__, getattr(error, "data", None), str(error)]

    @action
    async def gathers(ctx):
        return await asyncio.gather(*(ctx.run_query("echo:n", n=n) for n in range(30)))

    @action
    async def files(ctx):
        storage = ctx.storage
        id = await storage.store(Blob([b"abc"], type="text/plain"))
        async def pieces():
            yield b"ab"
            yield b"cd"
        other = await storage.store(pieces())
        blob = await storage.get(id)
        return [
            await blob.text(), blob.type, await (await storage.get(other)).text(),
            await storage.get("missing"), await storage.get_url(id),
            await storage.get_metadata(id), await storage.delete(id),
            await storage.generate_upload_url(),
        ]

    @action
    def files_sync(ctx):
        storage = ctx.storage
        id = storage.store(Blob([b"abc"], type="text/plain"))
        other = storage.store([b"ab", b"cd"])
        return [
            storage.get(id).decode(), storage.get(other).decode(), storage.get("missing"),
            storage.get_url(id), storage.get_metadata(id), storage.delete(id),
            storage.generate_upload_url(),
        ]

    @action
    async def stores_nonsense(ctx):
        await ctx.storage.store("text")

    @action
    async def forgets(ctx):
        ctx.run_query("messages:list")
        asyncio.create_task(ctx.run_mutation("wait:for_ever"))
        await asyncio.sleep(0)
        return "done"

    kept = []

    @action
    async def keeps(ctx):
        kept.append(ctx)

    @action
    async def uses_kept(ctx):
        await kept[0].run_query("messages:list")

    # Logs

    @action
    async def says(ctx):
        print("two", {"a": 1}, sep="-")
        print("to stderr", file=sys.stderr)
        logging.getLogger("x").warning("careful %d", 3)
        sys.stdout.write("first\\nsec")
        sys.stdout.write("ond\\nunfinished")

    @action
    def says_sync(ctx):
        print("a\\nb")

    @action
    async def floods(ctx):
        for n in range(10_000):
            print(n)
        print("x" * 100_000)

    @action
    async def one_long_line(ctx):
        print("x" * 100_000)

    @action
    async def raw(ctx):
        os.write(1, b"raw line\\n")
        subprocess.run(["echo", "of a child"])

    @action
    async def raw_flood(ctx):
        for _ in range(200):
            os.write(1, b"flood\\n" * 500)

    # Errors

    @action
    async def raises(ctx):
        deep()

    @action
    async def raises_convex(ctx):
        raise ConvexError({"code": 7})

    @action
    async def raises_odd_data(ctx):
        raise ConvexError(object())

    class Unprintable(Exception):
        def __str__(self): raise SystemExit(3)
        __repr__ = __str__

    @action
    async def raises_unprintable(ctx):
        raise Unprintable

    @action
    async def exits(ctx):
        sys.exit(4)

    @action
    def exits_sync(ctx):
        sys.exit(4)

    @action
    async def recurses(ctx):
        def again(): again()
        again()

    @action
    async def cancels_itself(ctx):
        asyncio.current_task().cancel()
        await asyncio.sleep(1)

    # Ends of the process

    @action
    async def ends(ctx, how: str):
        print("last words")
        match how:
            case "exit": os._exit(3)
            case "kill": os.kill(os.getpid(), 9)
            case "segfault": ctypes.string_at(0)
            case "abort": os.abort()
            case "thread": threading.Thread(target=os._exit, args=(5,)).start()
            case "channel": socket.socket(fileno=int(sys.orig_argv[3])).shutdown(2)
        await asyncio.sleep(60)

    @action
    async def forks(ctx):
        if not (child := os.fork()):
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    @action
    async def sleeps(ctx):
        await ctx.run_query("tell:started")
        await asyncio.sleep(60)

    @action
    def sleeps_sync(ctx):
        ctx.run_query("tell:started")
        while True:
            time.sleep(0.001)

    @action
    def blocks_sync(ctx):
        ctx.run_query("tell:started")
        time.sleep(60)

    @action
    async def blocks(ctx):
        await ctx.run_query("tell:started")
        time.sleep(60)

    @action
    async def leaves_a_block(ctx):
        asyncio.get_running_loop().call_soon(time.sleep, 60)

    @action
    async def stubborn(ctx):
        await ctx.run_query("tell:started")
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass

    @action
    def holds_memory(ctx):
        ctx.run_query("tell:started")
        hoard = []
        while True:
            hoard.append(bytearray(8 << 20))
            time.sleep(0.001)

    @action
    async def too_big_an_allocation(ctx):
        try:
            bytearray(8 << 30)
        except MemoryError:
            return "refused"

    @action
    async def grows(ctx):
        global grown
        grown = bytearray(200 << 20)
        return os.getpid()

    @action
    async def leaves_a_child(ctx):
        return subprocess.Popen(["sleep", "60"]).pid
"""

LIB = """
    from camber import env
    at_load = env.get("NAME")
    def helper(): return at_load
    def deep():
        raise ValueError("too deep")
"""


class Server:
    """The server's side: answers what actions ask, and keeps what they say."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.outputs: list[str] = []
        self.files: dict[str, tuple[Any, bytes]] = {}
        self.started = asyncio.Event()
        self.said = asyncio.Event()
        self.calls: list[HostCall] = []

    async def call(self, request: HostCall) -> Answer:
        self.calls.append(request)
        value = unpack_value(request.text)
        if request.operation == "storage.get" and value not in self.files:
            return Answer("null")
        if request.operation == "storage.get":
            type, content = self.files[value]
            return Answer(pack_value({"type": type}), content)
        return Answer(pack_value(await self._answer(request, value)))

    async def _answer(self, request: HostCall, value: Any) -> Any:
        operation = request.operation
        if operation == "storage.store":
            id = f"file{len(self.files)}"
            assert request.body is not None
            self.files[id] = (value["type"], request.body)
            return id
        if operation == "storage.delete":
            return None
        if operation.startswith("storage."):
            return f"{operation}({value})"
        path, arguments = value["path"], value["arguments"]
        if path.startswith("fail:"):
            raise FAILURES[path]
        if path == "wait:for_ever":
            await asyncio.Event().wait()
        if path == "tell:started":
            self.started.set()
        if path == "echo:n":
            return arguments["n"]
        return [operation, path, arguments]

    def log(self, call: ActionCall, line: LogLine) -> None:
        self.lines.append(line)

    def output(self, text: str) -> None:
        self.outputs.append(text)
        self.said.set()

    async def output_with(self, text: str) -> None:
        while not any(text in line for line in self.outputs):
            self.said.clear()
            await self.said.wait()


FAILURES: dict[str, Exception] = {
    "fail:convex": ConvexError({"code": 3}),
    "fail:validation": ArgumentValidationError("ArgumentValidationError: no"),
    "fail:conflict": ConflictError("Changed meanwhile"),
    "fail:value": ValueError("of the app"),
    "fail:internal": InternalError("secret"),
}


class Rig:
    """One event loop, one server and one pool for many tests."""

    def __init__(self, root: Path) -> None:
        self.loop = asyncio.Runner()
        self.root = root
        self.server = self.loop.run(self._make_server())
        self.pool = ActionPool(
            root, self.server, processes=1, environment=lambda: {"NAME": "at load"}
        )

    async def _make_server(self) -> Server:
        return Server()

    def run(self, action: str, *, call: dict[str, Any] | None = None, **arguments: Any) -> Any:
        """The result of an action; raises what it raised."""
        outcome = self.outcome(action, call=call, **arguments)
        if outcome.error is not None:
            raise outcome.error
        assert outcome.text is not None
        return unpack_value(outcome.text)

    def outcome(
        self, action: str, *, call: dict[str, Any] | None = None, **arguments: Any
    ) -> ActionOutcome:
        request = ActionCall(f"acts:{action}", pack_value(arguments), **(call or {}))
        return self.loop.run(self.pool.run(request))


def write_app(folder: Path) -> Path:
    root = folder / "convex"
    root.mkdir()
    (root / "acts.py").write_text(textwrap.dedent(APP))
    (root / "lib.py").write_text(textwrap.dedent(LIB))
    return root


@pytest.fixture(scope="module", autouse=True)
def _compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let processes keep Camber's own bytecode, wherever this runs: they start twice as fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        patch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path_factory.mktemp("bytecode")))
        yield


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(write_app(tmp_path_factory.mktemp("app")))
    yield rig
    rig.loop.run(rig.pool.close())
    rig.loop.close()


@asynccontextmanager
async def pool_of(
    root: Path, server: Server, *, processes: int = 1, **limits: Any
) -> AsyncIterator[ActionPool]:
    """A pool of its own, for tests that end processes on purpose."""
    pool = ActionPool(root, server, processes=processes, limits=Limits(**limits))
    try:
        yield pool
    finally:
        await pool.close()


def act(name: str, **arguments: Any) -> ActionCall:
    return ActionCall(f"acts:{name}", pack_value(arguments))


def error_of(outcome: ActionOutcome) -> Exception:
    assert outcome.error is not None
    assert outcome.failure is not None
    assert outcome.text is None
    return outcome.error


# Running.


@pytest.mark.parametrize("name", ["add", "add_sync"])
def test_an_action_runs_and_returns(rig: Rig, name: str) -> None:
    assert rig.run(name, a=1, b=2) == 3
    assert rig.run(name, a=1.0) == 11


def test_arguments_and_result_are_converted(rig: Rig) -> None:
    assert rig.run("move", point={"x": 1, "y": 2}) == {"x": 2, "y": 2}


def test_arguments_are_checked(rig: Rig) -> None:
    with pytest.raises(ArgumentValidationError, match="missing the required field `a`"):
        rig.run("add")


def test_results_are_checked(rig: Rig) -> None:
    with pytest.raises(ReturnsValidationError):
        rig.run("wrong_result")


def test_a_result_that_is_no_value_is_refused(rig: Rig) -> None:
    outcome = rig.outcome("no_value")
    assert "Function acts:no_value return value invalid: " in str(outcome.error)


def test_a_result_that_is_too_large_is_refused(rig: Rig) -> None:
    with pytest.raises(Exception, match=r"too large \(actual: 17\.00 MiB, limit: 16 MiB\)"):
        rig.run("huge")


def test_only_actions_run_here(rig: Rig) -> None:
    with pytest.raises(FunctionNotFoundError, match="Could not find function for 'acts:gone'"):
        rig.run("gone")
    text = r"Trying to execute acts\.js:a_query as Action, but it is defined as Query\."
    with pytest.raises(InvalidArgumentError, match=text):
        rig.run("a_query")


def test_the_outside_world_is_open(rig: Rig) -> None:
    assert rig.run("outside") == [True, "hi\n", True, ""]


@pytest.mark.parametrize("name", ["meet", "meet_sync"])
def test_many_actions_run_at_once_in_one_process(rig: Rig, name: str) -> None:
    async def meet() -> set[Any]:
        both = await asyncio.gather(*(rig.pool.run(act(name)) for _ in range(2)))
        return {outcome.text for outcome in both}

    assert len(rig.loop.run(meet())) == 1


@pytest.mark.parametrize("name", ["variables", "variables_sync"])
def test_the_environment_is_that_of_the_call(rig: Rig, name: str) -> None:
    for value in ("one", "two"):
        call = {"environment": {"NAME": value}}
        assert rig.run(name, call=call) == [value, None, "at load"]


@pytest.mark.parametrize("name", ["identity", "identity_sync"])
def test_the_identity_is_that_of_the_caller(rig: Rig, name: str) -> None:
    assert rig.run(name) is None
    call = {"identity": pack_value({"subject": "ada"})}
    assert rig.run(name, call=call) == {"subject": "ada"}


# The server.


@pytest.mark.parametrize("name", ["calls", "calls_sync"])
def test_actions_call_functions_by_function_reference_and_path(rig: Rig, name: str) -> None:
    assert rig.run(name) == [
        ["run_query", "messages:list", {"limit": 1}],
        ["run_mutation", "messages:send", {"body": "hi"}],
        ["run_action", "acts:add", {"a": 1}],
    ]
    assert rig.server.calls[-1].call.path == f"acts:{name}"


def test_questions_are_asked_at_once(rig: Rig) -> None:
    assert rig.run("gathers") == list(range(30))


@pytest.mark.parametrize(
    ("what", "caught"),
    [
        ("convex", ["ConvexError", {"code": 3}, "{'code': 3}"]),
        ("validation", ["ArgumentValidationError", None, "ArgumentValidationError: no"]),
        ("conflict", ["ConflictError", None, "Changed meanwhile"]),
    ],
)
def test_errors_of_functions_are_raised_at_the_call(rig: Rig, what: str, caught: object) -> None:
    assert rig.run("catches", what=what) == caught


def test_errors_of_the_app_arrive_by_name(rig: Rig) -> None:
    with pytest.raises(CalledFunctionError, match="ValueError: of the app"):
        rig.run("catches", what="value")


def test_internal_errors_are_not_told(rig: Rig) -> None:
    with pytest.raises(InternalError, match=r"couldn't be completed\. Try again later\."):
        rig.run("catches", what="internal")


def test_files_are_stored_and_read(rig: Rig) -> None:
    result = rig.run("files")
    assert result[:4] == ["abc", "text/plain", "abcd", None]
    assert [str(each).partition("(")[0] for each in result[4:]] == [
        "storage.get_url",
        "storage.get_metadata",
        "None",
        "storage.generate_upload_url",
    ]


def test_files_are_stored_and_read_in_plain_functions(rig: Rig) -> None:
    result = rig.run("files_sync")
    assert result[:3] == ["abc", "abcd", None]
    assert [str(each).partition("(")[0] for each in result[3:]] == [
        "storage.get_url",
        "storage.get_metadata",
        "None",
        "storage.generate_upload_url",
    ]


def test_what_is_no_file_is_refused(rig: Rig) -> None:
    with pytest.raises(InvalidArgumentError, match=r"storage\.store\(\) takes bytes, a Blob"):
        rig.run("stores_nonsense")


def test_what_was_not_awaited_is_dropped_with_a_warning(rig: Rig) -> None:
    outcome = rig.outcome("forgets")
    assert outcome.text == '"done"'
    assert [(line.level, line.text) for line in outcome.log] == [
        (
            "WARN",
            "2 unawaited operations: [run_query, run_mutation]. Async operations should be awaited "
            "or they might not run. See https://docs.convex.dev/functions/actions"
            "#dangling-promises for more information.",
        )
    ]


def test_a_context_ends_with_its_action(rig: Rig) -> None:
    rig.run("keeps")
    text = r"ctx\.run_query\(\) was called after its action had returned"
    with pytest.raises(InvalidArgumentError, match=text):
        rig.run("uses_kept")


# Logs.


def test_prints_and_logging_become_log_lines(rig: Rig) -> None:
    rig.server.lines.clear()
    outcome = rig.outcome("says")
    assert [(line.level, line.text) for line in outcome.log] == [
        ("LOG", "two-{'a': 1}"),
        ("ERROR", "to stderr"),
        ("WARN", "careful 3"),
        ("LOG", "first"),
        ("LOG", "second"),
        ("LOG", "unfinished"),
    ]
    assert rig.server.lines == outcome.log


def test_prints_of_plain_functions_become_log_lines(rig: Rig) -> None:
    assert [line.text for line in rig.outcome("says_sync").log] == ["a\nb"]


def test_a_flood_of_lines_is_cut(rig: Rig) -> None:
    log = rig.outcome("floods").log
    assert len(log) == 256
    assert log[-1].text == "Log overflow (maximum 256). Remaining log lines omitted."


def test_a_long_line_is_cut(rig: Rig) -> None:
    (line,) = rig.outcome("one_long_line").log
    assert len(line.text) == 32_768
    assert line.truncated


def test_raw_output_is_collected_past_the_channel(rig: Rig) -> None:
    assert rig.outcome("raw").log == []
    rig.loop.run(asyncio.wait_for(rig.server.output_with("of a child"), 10))
    assert "raw line" in rig.server.outputs


def test_a_flood_of_raw_output_is_cut(rig: Rig) -> None:
    assert rig.run("raw_flood") is None
    assert rig.run("add", a=1) == 11
    assert rig.server.outputs.count("flood") < 100_000 / 10


# Errors.


def test_an_error_names_the_lines_of_the_app(rig: Rig) -> None:
    outcome = rig.outcome("raises")
    assert isinstance(outcome.error, CalledFunctionError)
    assert outcome.failure is not None
    assert outcome.failure.message == "Uncaught ValueError: too deep"
    deep, raises = outcome.failure.frames
    assert deep == "    at deep (convex/lib.py:6)"
    assert raises.startswith("    at raises (convex/acts.py:")


def test_the_data_of_a_convex_error_arrives(rig: Rig) -> None:
    outcome = rig.outcome("raises_convex")
    assert isinstance(outcome.error, ConvexError)
    assert outcome.error.data == {"code": 7}
    assert outcome.failure is not None
    assert unpack_value(outcome.failure.data or "") == {"code": 7}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("raises_odd_data", "ConvexError with invalid data: "),
        ("raises_unprintable", "Unprintable"),
        ("exits", "SystemExit: 4"),
        ("exits_sync", "SystemExit: 4"),
        ("recurses", "RecursionError"),
        ("cancels_itself", "CancelledError"),
    ],
)
def test_odd_errors_are_told_and_the_process_lives(rig: Rig, name: str, text: str) -> None:
    process = rig.run("pid")
    outcome = rig.outcome(name)
    assert outcome.failure is not None
    assert text in outcome.failure.message
    error_of(outcome)
    assert rig.run("pid") == process


def test_a_forked_child_may_exit(rig: Rig) -> None:
    assert rig.run("forks") == 7


def test_one_allocation_beyond_the_limit_is_refused(rig: Rig) -> None:
    process = rig.run("pid")
    assert rig.run("too_big_an_allocation") == "refused"
    assert rig.run("pid") == process


# Ends. Each of these has a process of its own.


@pytest.fixture
def root(rig: Rig) -> Path:
    return rig.root


def run(test: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await test(Server())

    asyncio.run(bounded())


@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("exit", "exit code 3"),
        ("kill", "killed by SIGKILL"),
        ("segfault", "killed by SIGSEGV"),
        ("abort", "killed by SIGABRT"),
        ("thread", "exit code 5"),
        ("channel", "killed by SIGKILL|exit code 0"),
    ],
)
def test_a_crash_is_told_and_the_next_call_finds_a_new_process(
    rig: Rig, how: str, end: str
) -> None:
    outcome = rig.outcome("ends", how=how)
    text = rf"The action's process ended before it answered \(({end})\)"
    assert re.fullmatch(text, str(error_of(outcome)))
    assert outcome.failure is not None
    assert outcome.failure.message == str(outcome.error)
    assert [line.text for line in outcome.log] == ["last words"]
    assert rig.run("add", a=1) == 11


def test_a_crash_is_blamed_on_who_caused_it(root: Path) -> None:
    async def crash(server: Server) -> None:
        async with pool_of(root, server) as pool:
            innocent = asyncio.create_task(pool.run(act("sleeps")))
            await server.started.wait()
            guilty = await pool.run(act("ends", how="exit"))
            assert "exit code 3" in str(error_of(guilty))
            error = error_of(await innocent)
            assert isinstance(error, TransientError)
            assert str(error) == "Transient error while executing action"

    run(crash)


def test_a_call_past_its_time_is_stopped_and_its_process_lives(root: Path) -> None:
    async def overrun(server: Server) -> None:
        async with pool_of(root, server, call_seconds=0.3, grace_seconds=20) as pool:
            for name in ("sleeps", "sleeps_sync"):
                error = error_of(await pool.run(act(name)))
                assert isinstance(error, OverrunError)
                assert str(error) == "Function execution timed out (maximum duration: 0.3s)"
            assert (await pool.run(act("add", a=1))).text == "11"
            assert pool.statistics().started == 1

    run(overrun)


def test_a_call_that_does_not_stop_loses_its_process(root: Path) -> None:
    async def overrun(server: Server) -> None:
        limits: dict[str, Any] = {"call_seconds": 0.3, "grace_seconds": 0.1}
        async with pool_of(root, server, **limits) as pool:
            for started, name in enumerate(("blocks", "blocks_sync", "stubborn"), 1):
                assert isinstance(error_of(await pool.run(act(name))), OverrunError)
                assert pool.statistics().started == started

    run(overrun)


def test_a_process_that_blocks_is_passed_by(root: Path) -> None:
    async def block(server: Server) -> None:
        async with pool_of(root, server, processes=2) as pool:
            blocked = asyncio.create_task(pool.run(act("blocks")))
            await server.started.wait()
            for _ in range(5):
                assert (await pool.run(act("add", a=1))).text == "11"
            blocked.cancel()

    run(block)


def test_a_process_held_up_by_what_an_action_left_behind_is_ended(rig: Rig) -> None:
    before = rig.run("pid")
    rig.run("leaves_a_block")
    assert rig.run("pid") != before
    assert rig.pool.statistics().processes == 1


def test_an_action_that_nobody_waits_for_is_stopped(root: Path) -> None:
    async def leave(server: Server) -> None:
        async with pool_of(root, server, grace_seconds=0.1) as pool:
            for name in ("sleeps", "blocks"):
                server.started.clear()
                waiting = asyncio.create_task(pool.run(act(name)))
                await server.started.wait()
                waiting.cancel()
                await asyncio.wait((waiting,))
                assert waiting.cancelled()
            assert (await pool.run(act("add", a=1))).text == "11"

    run(leave)


def test_a_process_that_uses_too_much_memory_is_ended(root: Path) -> None:
    async def hoard(server: Server) -> None:
        async with pool_of(root, server, memory_bytes=200 << 20) as pool:
            error = error_of(await pool.run(act("holds_memory")))
            assert str(error) == "Action ran out of memory (maximum memory usage: 200 MB)"
            assert (await pool.run(act("add", a=1))).text == "11"

    run(hoard)


def test_a_process_that_has_grown_is_let_go_of(root: Path) -> None:
    async def grow(server: Server) -> None:
        async with pool_of(root, server, memory_bytes=400 << 20) as pool:
            before = (await pool.run(act("grows"))).text
            assert (await pool.run(act("pid"))).text != before

    run(grow)


def test_a_reload_drains_the_old_version(rig: Rig, tmp_path: Path) -> None:
    root = write_app(tmp_path)

    async def reload(server: Server) -> None:
        async with pool_of(root, server) as pool:
            old = asyncio.create_task(pool.run(act("ends", how="nothing")))
            first = (await pool.run(act("pid"))).text
            (root / "acts.py").write_text(
                "from camber import *\n@action\ndef pid(ctx): return 'new'"
            )
            app = load_app(root)
            (root / "acts.py").write_text("this save is broken")
            pool.reload(root, app.sources)
            assert (await pool.run(act("pid"))).text == '"new"'
            assert not old.done()
            assert pool.statistics().retired == 1
            os.kill(int(first or 0), signal.SIGKILL)
            error_of(await old)
            app.unload()

    run(reload)


def test_a_process_that_cannot_load_the_app_says_why(tmp_path: Path) -> None:
    root = tmp_path / "convex"
    root.mkdir()
    (root / "acts.py").write_text("1/0")

    async def refuse(server: Server) -> None:
        async with pool_of(root, server) as pool:
            text = str(error_of(await pool.run(act("add"))))
            assert text.startswith("convex/acts.py:1: ZeroDivisionError: division by zero")

    run(refuse)


@pytest.mark.parametrize(
    ("text", "limit", "told"),
    [
        ("import os; os._exit(9)", 30, "The action's process could not start (exit code 9)"),
        ("while True: pass", 0.5, "The app did not load within 0.5 s"),
    ],
)
def test_a_process_that_does_not_start_is_told(
    tmp_path: Path, text: str, limit: float, told: str
) -> None:
    root = tmp_path / "convex"
    root.mkdir()
    (root / "acts.py").write_text(text)

    async def refuse(server: Server) -> None:
        async with pool_of(root, server, start_seconds=limit) as pool:
            assert str(error_of(await pool.run(act("add")))) == told

    run(refuse)


def test_more_calls_than_allowed_wait_and_then_are_refused(root: Path) -> None:
    async def crowd(server: Server) -> None:
        limits: dict[str, Any] = {"calls_max": 1, "nested_max": 1, "admission_seconds": 0.05}
        async with pool_of(root, server, **limits) as pool:
            first = asyncio.create_task(pool.run(act("sleeps")))
            await server.started.wait()
            with pytest.raises(OverloadedError, match="limited to 1 concurrent actions") as caught:
                await pool.run(act("add", a=1))
            assert caught.value.code == "TooManyConcurrentRequests"
            nested = ActionCall("acts:add", '{"a":1}', nested=True)
            assert (await pool.run(nested)).text == "11"
            first.cancel()

    run(crowd)


def test_closing_ends_everything(root: Path) -> None:
    async def close(server: Server) -> None:
        async with pool_of(root, server, processes=2) as pool:
            child = int((await pool.run(act("leaves_a_child"))).text or 0)
            process = int((await pool.run(act("pid"))).text or 0)
            waiting = [asyncio.create_task(pool.run(act(n))) for n in ("blocks", "sleeps")]
            await server.started.wait()
        for task in waiting:
            assert isinstance(error_of(await task), TransientError)
        for gone in (child, process):
            await ended(gone)
        assert isinstance(error_of(await pool.run(act("pid"))), TransientError)
        await pool.close()

    run(close)


async def ended(pid: int) -> None:
    """Return once the process is gone, or waits for nobody but its reaper."""
    while Path(f"/proc/{pid}/stat").exists():
        if ") Z" in Path(f"/proc/{pid}/stat").read_text():
            return
        await asyncio.sleep(0.005)


def test_a_process_ends_with_its_server(root: Path, tmp_path: Path) -> None:
    program = f"""
        import asyncio, os, sys, signal
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_actions import Server, act
        from camber.functions.actions.pool import ActionPool
        async def main():
            server = Server()
            pool = ActionPool({str(root)!r}, server)
            print((await pool.run(act("pid"))).text, flush=True)
            blocked = asyncio.create_task(pool.run(act("blocks")))
            await server.started.wait()
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
    """

    async def orphan(_: Server) -> None:
        import sys

        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(program), stdout=asyncio.subprocess.PIPE
        )
        output, _err = await server.communicate()
        await ended(int(output))

    run(orphan)


def test_a_pool_that_is_not_used_starts_nothing(root: Path) -> None:
    async def idle(server: Server) -> None:
        async with pool_of(root, server) as pool:
            pool.reload(root)
            assert pool.statistics().started == 0

    run(idle)


def test_a_warm_pool_has_a_process(root: Path) -> None:
    async def warm(server: Server) -> None:
        async with pool_of(root, server) as pool:
            pool.warm()
            assert (await pool.run(act("add", a=1))).text == "11"
            assert pool.statistics().started == 1

    run(warm)


def test_timestamps_of_lines_are_of_this_time(rig: Rig) -> None:
    (line,) = rig.outcome("says_sync").log
    assert abs(line.timestamp_ms / 1000 - time.time()) < 600
