"""The options that `camber dev` and `camber serve` share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

_C = TypeVar("_C", bound=Callable[..., Any])

_PORT: Final = click.IntRange(0, 65535)

_OPTIONS: Final = (
    click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path)),
    click.option(
        "--port",
        default=3210,
        show_default=True,
        metavar="PORT",
        type=_PORT,
        envvar="CAMBER_PORT",
        show_envvar=True,
        help="Port of the API; 0 picks a free one.",
    ),
    click.option(
        "--site-port",
        default=3211,
        show_default=True,
        metavar="PORT",
        type=_PORT,
        envvar="CAMBER_SITE_PORT",
        show_envvar=True,
        help="Port of the HTTP endpoints; 0 picks a free one.",
    ),
    click.option(
        "--host",
        metavar="HOST",
        default="127.0.0.1",
        show_default=True,
        help="Address to listen on; 0.0.0.0 is every one of this machine's.",
    ),
    click.option(
        "--state",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="State folder: database, files, secret.  [default: DIR/.camber]",
    ),
)


def serving_options(command: _C) -> _C:
    """Decorates a command that serves an app."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
