"""`env["NAME"]`: the deployment's environment variables, as app code reads them.

A function's reading goes through its execution, so that a query depends on what it read. Outside
of one (while a module loads, or in the process of an action) the reader that `reading_from` set
up answers.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from camber.functions.execution import current

_reader: Final[ContextVar[Callable[[str], str | None] | None]] = ContextVar(
    "environment_reader", default=None
)


class EnvironmentVariables:
    """The variables of the deployment that runs this code. Set with `camber env set NAME value`."""

    __slots__ = ()

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of `name`, or `default` when it is not set."""
        value = _read(name)
        return default if value is None else value

    def __getitem__(self, name: str) -> str:
        """The value of `name`.

        Raises:
            KeyError: it is not set.
        """
        value = _read(name)
        if value is None:
            raise KeyError(
                f'The environment variable "{name}" is not set. '
                f"Set it: camber env set {name} <value>"
            )
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _read(name) is not None

    def __repr__(self) -> str:
        # Values are secrets; a log line must not show them.
        return "<the deployment's environment variables>"


def _read(name: str) -> str | None:
    execution = current()
    if execution is not None and execution.env_reader is not None:
        return execution.env_reader(name)
    reader = _reader.get()
    return None if reader is None else reader(name)


@contextmanager
def reading_from(variables: Mapping[str, str]) -> Iterator[None]:
    """Let `env` answer from `variables`, in this context, outside of executions."""
    token = _reader.set(variables.get)
    try:
        yield
    finally:
        _reader.reset(token)


env: Final = EnvironmentVariables()
