"""One version of an app: its functions folder, executed anew.

Every load makes fresh modules under a package name of its own, so that the old version serves on
until the new one has proved sound, and a broken save changes nothing. Sources are compiled from
what is on disk at that moment; no bytecode is kept, so no edit is ever too quick to be seen.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import count
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, TypeAlias, TypeVar

from camber.errors import LoadError
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
    # Every source file that was there, whether or not it defines functions.
    files: frozenset[Path]
    # What the modules of this version are called in `sys.modules`.
    package: str

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


def load_app(folder: str | os.PathLike[str], *, builtins: Builtins = app_builtins) -> App:
    """Execute all modules of the functions `folder`.

    Raises:
        LoadError: the folder, a module or a definition is not as it must be. Nothing of this
            version stays behind.
    """
    root = Path(os.path.abspath(folder))
    if not root.is_dir():
        raise LoadError(f"There is no functions folder at {root}.", file=str(root))
    package = f"camber_app_{next(_versions)}"
    finder = _Finder(package, root, builtins(root))
    sys.meta_path.insert(0, finder)
    try:
        paths = _module_paths(root)
        for path in paths:
            _execute(finder, path)
        modules = finder.finished
        functions = register(modules, str(root))
        registry = Registry(functions, _router(modules, root), _schema(modules, root))
    except BaseException:
        _forget(package)
        raise
    return App(root, registry, frozenset(_sources(root)), package)


def _forget(package: str) -> None:
    sys.meta_path[:] = [
        finder
        for finder in sys.meta_path
        if not (isinstance(finder, _Finder) and finder.package == package)
    ]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


# Which files there are.


def _sources(root: Path) -> Iterator[Path]:
    """All source files below `root`, in a fixed order."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS
        )
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith(".") and name.count(".") == 1:
                yield Path(folder, name)


def _module_paths(root: Path) -> list[str]:
    """The paths (`dir/file`) of the modules that may define functions."""
    paths = []
    for source in _sources(root):
        if source.name == "__init__.py":
            continue
        path = source.relative_to(root).with_suffix("").as_posix()
        problem = module_problem(path)
        if problem is None and path.partition("/")[0] in RESERVED_FOLDERS:
            problem = f"{path.partition('/')[0]} is reserved."
        if problem is not None:
            file = shown_file(root, source)
            raise LoadError(f"{file} is not a valid path to a Convex module. {problem}", file=file)
        paths.append(path)
    return paths


# How they are found and executed.


class _Finder(MetaPathFinder):
    """Finds the modules of one version of an app, and nothing else."""

    def __init__(self, package: str, root: Path, builtins: dict[str, Any]) -> None:
        self.package = package
        self.root = root
        self.builtins = builtins
        # In the order in which they were executed to their end.
        self.finished: list[Module] = []

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, *parts = fullname.split(".")
        if package != self.package:
            return None
        base = os.path.join(self.root, *parts)
        for file, folder in ((os.path.join(base, "__init__.py"), True), (f"{base}.py", False)):
            if os.path.isfile(file):
                loader = _Loader(fullname, file, self)
                search = [base] if folder else None
                return spec_from_file_location(
                    fullname, file, loader=loader, submodule_search_locations=search
                )
        if not os.path.isdir(base):
            return None
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [base]
        return spec


class _Loader(SourceFileLoader):
    """Executes one module, with the builtins of its app."""

    def __init__(self, name: str, file: str, finder: _Finder) -> None:
        super().__init__(name, file)
        self._finder = finder

    def get_code(self, fullname: str) -> CodeType:
        """The file compiled as it is now; bytecode on disk is neither read nor written."""
        try:
            code: CodeType = compile(self.get_data(self.path), self.path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:
            raise _source_error(error, self.path, self._finder.root) from error
        return code

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._finder.builtins
        folder = self.path.removesuffix(".py")
        if os.path.isdir(folder):
            # `lib.py` beside `lib/`: the module's own imports stay relative to its folder.
            module.__path__ = [folder]
        exec(self.get_code(module.__name__), module.__dict__)
        path = os.path.relpath(self.path, self._finder.root).removesuffix(".py")
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
    what = _cleaned(cause(error), finder) + _import_cure(error, finder.root)
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


def _import_cure(error: BaseException, root: Path) -> str:
    """What to write instead, when a module of the app was imported as if it were a package."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return ""
    parts = error.name.split(".")
    if parts[0] == root.name and len(parts) > 1:
        del parts[0]
    if not (root / f"{parts[0]}.py").is_file() and not (root / parts[0]).is_dir():
        return ""
    return f" (inside the functions folder, write `from .{'.'.join(parts)} import …`)"


# What special modules must hold.


def _router(modules: list[Module], root: Path) -> HttpRouter | None:
    return _special(modules, root, "http", HttpRouter, "Router", "http_router()")


def _schema(modules: list[Module], root: Path) -> SchemaDefinition | None:
    return _special(modules, root, "schema", SchemaDefinition, "Schema", "Schema(…)")


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
    raise LoadError(f"`{file}` must define `{path}`, a {noun}: `{path} = {maker}`.", file=file)
