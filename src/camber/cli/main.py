"""`camber`: the list of commands, and the one place where an error becomes a message.

A command is imported when it is run, so that `camber --help` costs next to nothing.
"""

import sys
from importlib import import_module
from typing import IO, Any, Final

import click

from camber.cli.terminal import has_colour
from camber.errors import CamberError
from camber.version import VERSION

# Each command is `command` of the module of its name.
_COMMANDS: Final = {
    "dev": "Serve an app while you write it; reloads on save.",
    "serve": "Serve an app in production.",
    "run": "Call a function of a running server.",
    "env": "List, read, set and remove environment variables.",
    "admin-key": "Print the key that commands on other machines need.",
}


class _Refusal(click.ClickException):
    """What the user did cannot be done: one message, no traceback, exit code 1."""

    def show(self, file: IO[Any] | None = None) -> None:
        colour = has_colour(sys.stderr)
        click.echo(
            click.style("error: ", fg="red", bold=True) + self.message, err=True, color=colour
        )


class _Commands(click.Group):
    """Knows the commands without having imported them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"camber.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CamberError as error:
            raise _Refusal(str(error)) from error


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(VERSION, "--version", message="camber %(version)s")
def main() -> None:
    """Camber: a reactive backend for Python.

    \b
    Examples:
      camber dev                                        serve the app in this folder
      camber run messages:send '{"body": "hi", "author": "Ada"}'
      camber env set CLIENT_ORIGIN=http://localhost:5173
      camber serve --state /var/lib/my-app              serve it in production

    `camber COMMAND --help` says more about each of them.
    """
