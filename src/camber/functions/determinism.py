"""The restricted environment of app code that runs in the server's process.

Two means keep a body from the outside world. App modules are executed with builtins of their own,
whose `import` gives them substitutes of `time`, `random` and the like, and whose `print` goes to
the log. And an audit hook of the interpreter refuses what neither a query nor a mutation may do
(files, sockets, threads, sleeping) and what would block the event loop in an HTTP endpoint, with
an error that names the call, the file and line, and the cure.

It guards against mistakes, not against an attacker: app code is trusted not to dig tunnels.
"""

import _thread
import builtins
import functools
import os
import sys
import threading
import time
import zoneinfo
from asyncio.events import _get_running_loop
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from types import FrameType, ModuleType
from typing import Any, Final

from camber.functions import capture
from camber.functions.execution import Environment, Execution, current, current_log
from camber.functions.frames import ROOT_KEY, app_frame, refusal
from camber.functions.substitutes import SUBSTITUTES

ENDPOINT_CURE: Final = "Use an asynchronous form of it, or move it to an action."


def install() -> None:
    """Start refusing, and capturing what `logging` is told, in this process. Once is enough."""
    global _installed
    capture.install(current_log)
    if not _installed:
        _installed = True
        sys.addaudithook(_audit)
        _report_what_the_interpreter_does_not()


# The hook cannot be taken away again, so it is there at most once.
_installed = False


# What app modules see.


def app_builtins(
    functions_root: str | os.PathLike[str], import_: Callable[..., Any] = builtins.__import__
) -> dict[str, Any]:
    """The `__builtins__` for the modules of one app.

    Args:
        functions_root: the folder that the app's modules are in; messages name files from
            its parent on.
        import_: what finds modules, with the signature of `__import__`.
    """
    names = dict(vars(builtins))
    names[ROOT_KEY] = os.path.abspath(functions_root)
    names["print"] = _print

    def import_for_app(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        module = import_(name, globals, locals, fromlist, level)
        if level == 0 and type(module) is ModuleType:
            return SUBSTITUTES.get(module.__name__, module)
        return module

    names["__import__"] = import_for_app
    return names


def _print(
    *values: object,
    sep: str | None = None,
    end: str | None = None,
    file: Any = None,
    flush: bool = False,
) -> None:
    """`print`, which inside an execution writes a log line, unless it is told another file."""
    log = current_log()
    if log is None or (file is not None and file is not sys.stdout and file is not sys.stderr):
        builtins.print(*values, sep=sep, end=end, file=file, flush=flush)
        return
    text = (" " if sep is None else sep).join(map(str, values)) + ("\n" if end is None else end)
    log.add("LOG", text.removesuffix("\n"))


# What is refused.


class _Rule(Enum):
    # Queries and mutations only: an endpoint may.
    OUTSIDE = auto()
    # Also endpoints, no matter which library does it: it blocks the event loop.
    BLOCKING = auto()
    # Also endpoints, when their own code does it; libraries may read their files.
    FILE = auto()
    # Also endpoints, when the socket would wait.
    CONNECT = auto()


def _rules() -> dict[str, _Rule]:
    """By audit event, see https://docs.python.org/3/library/audit_events.html."""
    outside = """
        _thread.start_joinable_thread _thread.start_new_thread fcntl.fcntl fcntl.flock
        fcntl.ioctl fcntl.lockf mmap.__new__ os.chdir os.fchdir os.kill os.killpg
        os.putenv os.unsetenv signal.pthread_kill
        resource.setrlimit socket.__new__ socket.bind socket.gethostname socket.sendmsg
        socket.sendto syslog.openlog syslog.syslog
    """
    blocking = """
        builtins.input ftplib.connect ftplib.sendcmd http.client.connect http.client.send
        imaplib.open imaplib.send nntplib.connect os.exec os.fork os.forkpty os.posix_spawn
        os.spawn os.startfile os.system poplib.connect pty.spawn smtplib.connect smtplib.send
        socket.getaddrinfo socket.gethostbyaddr socket.gethostbyname socket.getnameinfo
        subprocess.Popen telnetlib.Telnet.open time.sleep urllib.Request webbrowser.open
    """
    file = """
        open glob.glob glob.glob/2 os.chflags os.chmod os.chown os.fwalk os.getxattr os.link
        os.listdir os.listxattr os.lockf os.mkdir os.remove os.removexattr os.rename os.rmdir
        os.scandir os.setxattr os.symlink os.truncate os.utime os.walk pathlib.Path.glob
        pathlib.Path.rglob shutil.chown shutil.copyfile shutil.copymode shutil.copystat
        shutil.copytree shutil.make_archive shutil.move shutil.rmtree shutil.unpack_archive
        sqlite3.connect tempfile.mkdtemp tempfile.mkstemp
    """
    rules = dict.fromkeys(outside.split(), _Rule.OUTSIDE)
    rules |= dict.fromkeys(blocking.split(), _Rule.BLOCKING)
    rules |= dict.fromkeys(file.split(), _Rule.FILE)
    rules["socket.connect"] = _Rule.CONNECT
    return rules


# Libraries that read files in order to report or to import, whoever asked them to.
_EXEMPT: Final = {
    "importlib", "inspect", "linecache", "logging", "mimetypes",
    "tokenize", "traceback", "warnings", "zoneinfo",
}  # fmt: skip
# Through these, the app's own code works with files.
_FILE_MODULES: Final = {
    "codecs", "fileinput", "glob", "io", "os",
    "pathlib", "posixpath", "shutil", "sqlite3", "tempfile",
}  # fmt: skip
_RULES: Final = _rules()


def _audit(
    event: str,
    args: tuple[Any, ...],
    # Bound here: the interpreter calls this to its very end, when globals are gone.
    rule_of: Callable[[str], _Rule | None] = _RULES.get,
    current: Callable[[], Execution | None] = current,
) -> None:
    """Called by the interpreter for everything that touches the world outside."""
    rule = rule_of(event)
    if rule is None:
        return
    execution = current()
    if execution is not None:
        _judge(rule, event, args, execution, sys._getframe(1))


def _judge(
    rule: _Rule, event: str, args: tuple[Any, ...], execution: Execution, frame: FrameType
) -> None:
    app = app_frame(frame)
    if app is None or (event == "open" and _is_time_zone(args[0])):
        return
    between = _frames_between(frame, app)
    modules = [_module(inner) for inner in between]
    if not _EXEMPT.isdisjoint(name.partition(".")[0] for name in modules):
        return
    if execution.environment is Environment.DETERMINISTIC:
        raise refusal(_call(event, between), execution.environment.phrase)
    if not _may_endpoint(rule, args, modules):
        raise refusal(_call(event, between), execution.environment.phrase, ENDPOINT_CURE)


def _is_time_zone(path: object) -> bool:
    # `ZoneInfo` is written in C, so no frame of its tells that it is the one who reads.
    return isinstance(path, str) and path.startswith(zoneinfo.TZPATH)


def _may_endpoint(rule: _Rule, args: tuple[Any, ...], modules: list[str]) -> bool:
    if rule is _Rule.OUTSIDE or _get_running_loop() is None:
        # Without a loop it is a worker thread, as of `asyncio.to_thread`: there it may block.
        return True
    if any(name.startswith("asyncio.") for name in modules):
        return True
    match rule:
        case _Rule.CONNECT:
            return bool(args[0].gettimeout() == 0)
        case _Rule.FILE:
            return not _FILE_MODULES.issuperset(name.partition(".")[0] for name in modules)
        case _:
            return False


def _frames_between(inner: FrameType, app: FrameType) -> list[FrameType]:
    """The frames of libraries from the call that is judged to the app's, innermost first."""
    frames: list[FrameType] = []
    frame: FrameType | None = inner
    while frame is not None and frame is not app:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _module(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    # The frozen import system calls itself by other names.
    if frame.f_code.co_filename.startswith("<frozen importlib"):
        return "importlib"
    return name if isinstance(name, str) else ""


def _report_what_the_interpreter_does_not() -> None:
    """Judge what older interpreters raise no audit event for, also when a library calls it."""
    for name in ("exit", "setprofile", "setrecursionlimit", "setswitchinterval", "settrace"):
        # These concern the whole process.
        judged = _judged(_Rule.BLOCKING, f"sys.{name}", getattr(sys, name))
        setattr(sys, name, judged)
    if sys.version_info < (3, 13):
        sleep = _judged(_Rule.BLOCKING, "time.sleep", time.sleep)
        time.sleep = vars(SUBSTITUTES["time"])["sleep"] = sleep
    if sys.version_info < (3, 12):
        start = _judged(_Rule.OUTSIDE, "_thread.start_new_thread", _thread.start_new_thread)
        _thread.start_new_thread = start
        vars(threading)["_start_new_thread"] = start


def _judged(rule: _Rule, event: str, real: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(real)
    def function(*args: Any, **options: Any) -> Any:
        execution = current()
        if execution is not None:
            _judge(rule, event, args, execution, sys._getframe(1))
        return real(*args, **options)

    return function


_EVENT_CALLS: Final = {
    "_thread.start_new_thread": "threading.Thread.start()",
    "_thread.start_joinable_thread": "threading.Thread.start()",
    "builtins.input": "input()",
    "glob.glob/2": "glob.glob()",
    "socket.__new__": "socket.socket()",
    "urllib.Request": "urllib.request.urlopen()",
}


def _call(event: str, between: list[FrameType]) -> str:
    """What the app called: the library function nearest to it, or the judged call itself."""
    if not between:
        return _EVENT_CALLS.get(event, f"{event}()")
    module, function = _module(between[-1]), between[-1].f_code.co_qualname
    name = function.partition(".<locals>")[0].removesuffix(".__init__")
    # `requests.get`, not `requests.api.get`, where the package offers it.
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        package = ".".join(parts[:length])
        if hasattr(sys.modules.get(package), name.partition(".")[0]):
            return f"{package}.{name}()"
    return f"{module}.{name}()"
