"""One version of an app: its functions folder, executed anew.

Every load makes fresh modules under a package name of its own, so that the old version serves on
until the new one has proved sound, and a broken save changes nothing. Sources are compiled from
what is on disk at that moment; no bytecode is kept, so no edit is ever too quick to be seen.
"""

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import count
from pathlib import Path, PurePosixPath
from types import CodeType, MappingProxyType, ModuleType
from typing import Any, Final, TypeAlias, TypeVar

from camber.errors import ConfigError, LoadError
from camber.functions.auth_config import NO_AUTH, AuthConfig, read_auth_config
from camber.functions.definition import Function, Kind
from camber.functions.determinism import app_builtins
from camber.functions.path import module_problem
from camber.functions.registry import Module, Registry, register
from camber.functions.router import HttpRouter
from camber.functions.trace import Frame, app_frames, cause, shown_file
from camber.values.schema import SchemaDefinition

T = TypeVar("T")

SKIPPED_FOLDERS: Final = frozenset({"__pycache__", "_generated", "node_modules"})
RESERVED_FOLDERS: Final = frozenset({"_deps", "_system"})

Builtins: TypeAlias = Callable[[Path], dict[str, Any]]
"""Makes the `__builtins__` of the modules of the app in a folder."""


@dataclass(frozen=True, slots=True)
class App:
    """One version of an app, loaded whole."""

    root: Path
    registry: Registry
    # Every source file as it was read, by its path from the root (`dir/file.py`).
    sources: Mapping[str, bytes]
    # What the modules of this version are called in `sys.modules`.
    package: str
    # Whose tokens it believes.
    auth_config: AuthConfig = NO_AUTH

    @property
    def files(self) -> frozenset[Path]:
        """Every source file, whether or not it defines functions: what a reload watches."""
        return frozenset(self.root / name for name in self.sources)

    @property
    def router(self) -> HttpRouter | None:
        return self.registry.router

    @property
    def schema(self) -> SchemaDefinition | None:
        return self.registry.schema

    def unload(self) -> None:
        """Forget the modules. What still runs runs on, but finds no more modules to import."""
        _forget(self.package)


_versions = count(1)


def load_app(
    folder: str | os.PathLike[str],
    *,
    builtins: Builtins = app_builtins,
    sources: Mapping[str, bytes] | None = None,
) -> App:
    """Execute all modules of the functions `folder`.

    Args:
        folder: where the modules are.
        builtins: makes what they see as builtins.
        sources: what the files held when another process loaded this version (`App.sources`);
            read from the folder unless given.

    Raises:
        LoadError: the folder, a module or a definition is not as it must be. Nothing of this
            version stays behind.
    """
    root = Path(os.path.abspath(folder))
    if sources is None:
        sources = _read(root)
    package = f"camber_app_{next(_versions)}"
    finder = _Finder(package, root, builtins(root), sources)
    sys.meta_path.insert(0, finder)
    try:
        for path in _module_paths(sources, root):
            _execute(finder, path)
        modules = finder.finished
        functions = register(modules, str(root))
        registry = Registry(functions, _router(modules, root), _schema(modules, root))
        auth_config = _auth_config(modules, root)
    except BaseException:
        _forget(package)
        raise
    return App(root, registry, MappingProxyType(dict(sources)), package, auth_config)


def _forget(package: str) -> None:
    sys.meta_path[:] = [
        finder
        for finder in sys.meta_path
        if not (isinstance(finder, _Finder) and finder.package == package)
    ]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


# Which files there are.


def _read(root: Path) -> dict[str, bytes]:
    """All source files below `root`, in a fixed order, by their path from there.

    They are read before the first is executed, so that a version is what was there at one moment.
    """
    if not root.is_dir():
        raise LoadError(f"There is no functions folder at {root}.", file=str(root))
    sources: dict[str, bytes] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS
        )
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith(".") and name.count(".") == 1:
                path = Path(folder, name)
                try:
                    sources[path.relative_to(root).as_posix()] = path.read_bytes()
                except OSError as error:
                    raise _source_error(error, str(path), root) from error
    return sources


def _module_paths(sources: Mapping[str, bytes], root: Path) -> list[str]:
    """The paths (`dir/file`) of the modules that may define functions."""
    paths = []
    for name in sources:
        path = name.removesuffix(".py")
        if path.rpartition("/")[2] == "__init__":
            continue
        problem = module_problem(path)
        if problem is None and path.partition("/")[0] in RESERVED_FOLDERS:
            problem = f"{path.partition('/')[0]} is reserved."
        if problem is not None:
            file = f"{root.name}/{name}"
            raise LoadError(f"{file} is not a valid path to a Convex module. {problem}", file=file)
        paths.append(path)
    return paths


# How they are found and executed.


class _Finder(MetaPathFinder):
    """Finds the modules of one version of an app, and nothing else."""

    def __init__(
        self, package: str, root: Path, builtins: dict[str, Any], sources: Mapping[str, bytes]
    ) -> None:
        self.package = package
        self.root = root
        self.builtins = builtins
        self.sources = sources
        self.folders = {
            folder.as_posix() for name in sources for folder in PurePosixPath(name).parents
        }
        # In the order in which they were executed to their end.
        self.finished: list[Module] = []

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, *parts = fullname.split(".")
        if package != self.package:
            return None
        base = "/".join(parts)
        folder = os.path.join(self.root, *parts)
        for name, search in ((f"{base}/__init__.py", [folder]), (f"{base}.py", None)):
            name = name.removeprefix("/")
            if name in self.sources:
                loader = _Loader(fullname, name, self)
                return spec_from_file_location(
                    fullname, loader.path, loader=loader, submodule_search_locations=search
                )
        if base and base not in self.folders:
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [folder]
        return spec


class _Loader(SourceFileLoader):
    """Executes one module, with the builtins of its app."""

    def __init__(self, module: str, name: str, finder: _Finder) -> None:
        super().__init__(module, os.path.join(finder.root, name))
        self._name = name
        self._finder = finder

    def get_code(self, fullname: str) -> CodeType:
        """The source compiled; bytecode on disk is neither read nor written."""
        source = self._finder.sources[self._name]
        try:
            code: CodeType = compile(source, self.path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise _source_error(error, self.path, self._finder.root) from error
        return code

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._finder.builtins
        path = self._name.removesuffix(".py")
        if path in self._finder.folders:
            # `lib.py` beside `lib/`: the module's own imports stay relative to its folder.
            module.__path__ = [self.path.removesuffix(".py")]
        exec(self.get_code(module.__name__), module.__dict__)
        self._finder.finished.append(Module(path, module.__name__, vars(module)))


def _execute(finder: _Finder, path: str) -> None:
    try:
        importlib.import_module(f"{finder.package}.{path.replace('/', '.')}")
    except LoadError:
        raise
    except (Exception, SystemExit) as error:
        raise _load_error(error, finder, path) from error


# What goes wrong.


def _source_error(error: Exception, path: str, root: Path) -> LoadError:
    """`path` cannot be read, or is no Python."""
    file = shown_file(root, path)
    line = error.lineno if isinstance(error, SyntaxError) else None
    text = error.text.strip() if isinstance(error, SyntaxError) and error.text else ""
    what = (
        f"{type(error).__name__}: {error.msg}" if isinstance(error, SyntaxError) else cause(error)
    )
    return _error(what, file, line, text)


def _load_error(error: BaseException, finder: _Finder, path: str) -> LoadError:
    """The module `path`, or one that it imports, raised `error` while it was executed."""
    frames = app_frames(error)
    what = _cleaned(cause(error), finder) + _import_cure(error, finder)
    if not frames:
        return _error(what, shown_file(finder.root, finder.root / f"{path}.py"), None, "")
    innermost, *outer = frames
    return _error(what, innermost.file, innermost.line, innermost.source, outer)


def _error(
    what: str, file: str, line: int | None, source: str, outer: list[Frame] | None = None
) -> LoadError:
    place = file if line is None else f"{file}:{line}"
    lines = [f"{place}: {what}"]
    if source:
        lines.append(f"    {source}")
    lines += [f"  from {frame.file}:{frame.line}\n    {frame.source}" for frame in outer or ()]
    return LoadError("\n".join(lines), file=file, line=line)


def _cleaned(text: str, finder: _Finder) -> str:
    """`text` in the author's words: without our package name and absolute paths."""
    folder = finder.root.name
    text = text.replace(f"{finder.package}.", "").replace(finder.package, folder)
    return text.replace(str(finder.root), folder)


def _import_cure(error: BaseException, finder: _Finder) -> str:
    """What to write instead, when a module of the app was imported as if it were a package."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return ""
    parts = error.name.split(".")
    if parts[0] == finder.root.name and len(parts) > 1:
        del parts[0]
    if f"{parts[0]}.py" not in finder.sources and parts[0] not in finder.folders:
        return ""
    return f" (inside the functions folder, write `from .{'.'.join(parts)} import …`)"


# What special modules must hold.


def _router(modules: list[Module], root: Path) -> HttpRouter | None:
    router = _special(modules, root, "http", HttpRouter, "Router", "http_router()")
    for path, method, handler in () if router is None else router.get_routes():
        if not isinstance(handler, Function) or handler.kind is not Kind.HTTP:
            name = getattr(handler, "__qualname__", type(handler).__name__)
            raise LoadError(
                f"The handler of {method} {path} in `{root.name}/http.py` is no HTTP endpoint: "
                f"decorate {name} with @http_endpoint.",
                file=f"{root.name}/http.py",
            )
    return router


def _schema(modules: list[Module], root: Path) -> SchemaDefinition | None:
    return _special(modules, root, "schema", SchemaDefinition, "Schema", "Schema(…)")


def _auth_config(modules: list[Module], root: Path) -> AuthConfig:
    if not any(module.path == "auth_config" for module in modules):
        return NO_AUTH
    maker = "AuthConfig(providers=[…])"
    found = _special(modules, root, "auth_config", object, "AuthConfig", maker)
    try:
        return read_auth_config(found)
    except ConfigError as error:
        file = f"{root.name}/auth_config.py"
        raise LoadError(f"`auth_config` of `{file}`: {error}", file=file) from None


def _special(
    modules: list[Module], root: Path, path: str, kind: type[T], noun: str, maker: str
) -> T | None:
    """What `path`.py defines under its own name, or as `default`; None without that module."""
    names = next((module.names for module in modules if module.path == path), None)
    if names is None:
        return None
    file = f"{root.name}/{path}.py"
    for name in (path, "default"):
        if name in names:
            found = names[name]
            if not isinstance(found, kind):
                raise LoadError(f"`{name}` of `{file}` is not a {noun}.", file=file)
            return found
    article = "an" if noun[0] in "AEIO" else "a"
    raise LoadError(
        f"`{file}` must define `{path}`, {article} {noun}: `{path} = {maker}`.", file=file
    )
