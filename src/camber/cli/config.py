"""What an app's folder says of itself: camber.toml, which is optional.

    functions = "convex"          the functions folder, from the app's folder

    [env]                         environment variables of a new deployment;
    CLIENT_ORIGIN = "http://…"    those that exist already keep their values

Anything else in it is a mistake, told with file and line.
"""

import difflib
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from camber.cli.terminal import shown_path
from camber.errors import ConfigError, InvalidArgumentError
from camber.system.variables import check_variable

FILE_NAME: Final = "camber.toml"
FUNCTIONS_NAME: Final = "convex"
STATE_NAME: Final = ".camber"

_KEYS: Final = ("functions", "env")


@dataclass(frozen=True, slots=True)
class AppConfig:
    """An app on disk. All paths are absolute.

    Args:
        folder: the app's folder.
        functions: its functions folder.
        variables: what `[env]` sets.
    """

    folder: Path
    functions: Path
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def state(self) -> Path:
        """Where its state is kept unless the user wants it elsewhere."""
        return self.folder / STATE_NAME


def load_config(folder: Path) -> AppConfig:
    """The app in `folder`.

    Raises:
        ConfigError: no such folder, no functions folder in it, or a camber.toml that is wrong.
    """
    folder = folder.absolute()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ConfigError(f"The folder {shown_path(folder)} {what}. Name the folder of an app.")
    config = read_config(folder)
    if not config.functions.is_dir():
        raise _no_functions(config)
    return config


def read_config(folder: Path) -> AppConfig:
    """What `folder`/camber.toml says, whether or not there is a functions folder.

    Raises:
        ConfigError: camber.toml cannot be read, or says what it must not.
    """
    path = folder / FILE_NAME
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{shown_path(path)} cannot be read: {cause}.") from error
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(path, text, error) from error
    return _Reader(path, text).read(fields)


class _Reader:
    """Reads the fields of one camber.toml."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._text = text

    def read(self, fields: dict[str, Any]) -> AppConfig:
        for key in fields:
            if key not in _KEYS:
                raise self._unknown(key)
        functions = fields.get("functions", FUNCTIONS_NAME)
        if not isinstance(functions, str) or not functions:
            raise self._error(
                "functions", f"`functions` must be a folder's name, {_got(functions)}"
            )
        folder = self._path.parent
        return AppConfig(folder, folder / functions, self._variables(fields.get("env", {})))

    def _variables(self, table: Any) -> tuple[tuple[str, str], ...]:
        if not isinstance(table, dict):
            raise self._error("env", f"`env` must be a table, [env], {_got(table)}")
        for name, value in table.items():
            if not isinstance(value, str):
                cure = f' Write {name} = "{value}".' if isinstance(value, int | float) else ""
                raise self._error(name, f"`env.{name}` must be a string, {_got(value)}.{cure}")
            try:
                check_variable(name, value)
            except InvalidArgumentError as error:
                raise self._error(name, str(error)) from error
        return tuple(table.items())

    def _unknown(self, key: str) -> ConfigError:
        close = difflib.get_close_matches(key, _KEYS, 1)
        hint = f"Did you mean `{close[0]}`?" if close else "Known are `functions` and `[env]`."
        return self._error(key, f"`{key}` is not known. {hint}")

    def _error(self, key: str, message: str) -> ConfigError:
        # The parser does not tell where a key stands, so look for it.
        match = re.search(rf"^[ \t]*\[?[ \t]*[\"']?{re.escape(key)}\b", self._text, re.MULTILINE)
        place = shown_path(self._path)
        if match is not None:
            place += f":{self._text.count(chr(10), 0, match.start()) + 1}"
        return ConfigError(f"{place}: {message}")


def _got(value: Any) -> str:
    match value:
        case bool():
            return f"got {str(value).lower()}"
        case str():
            return f'got "{value}"'
        case dict():
            return "got a table"
        case list():
            return "got an array"
    return f"got {value}"


def _not_toml(path: Path, text: str, error: tomllib.TOMLDecodeError) -> ConfigError:
    """Where it ends to be TOML: the parser says so at the end of its message."""
    cause, _, where = str(error).partition(" (at ")
    match = re.match(r"line (\d+), column (\d+)", where)
    if match is not None:
        number = int(match[1])
    elif where.startswith("end of document"):
        number = max(1, len(text.splitlines()))
    else:
        return ConfigError(f"{shown_path(path)}: {error}.")
    lines = text.splitlines()
    shown = f"\n    {lines[number - 1].strip()}" if number <= len(lines) else ""
    return ConfigError(f"{shown_path(path)}:{number}: {cause}.{shown}")


def _no_functions(config: AppConfig) -> ConfigError:
    functions = shown_path(config.functions)
    if config.functions.exists():
        return ConfigError(f"{functions} is a file; the functions folder must be a folder.")
    message = f"There is no functions folder {functions}."
    if config.folder.name == config.functions.name and any(config.folder.glob("*.py")):
        parent = shown_path(config.folder.parent)
        return ConfigError(
            f"{message} Name the app's folder, which holds it: `camber dev {parent}`."
        )
    return ConfigError(
        f"{message} Make it and put your functions there, or say where they are: "
        f'`functions = "…"` in {FILE_NAME}.'
    )
