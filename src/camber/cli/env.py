"""`camber env`: the deployment's environment variables."""

import json
import sys

import click

from camber.cli.target import Target, target_options
from camber.cli.variables import ServedVariables, StoredVariables, Variables
from camber.errors import ConfigError


@click.group("env")
def command() -> None:
    """List, read, set and remove environment variables.

    Functions read them as `env["NAME"]`. A change is seen by the next call; nothing has to be
    restarted. Works on the running server or, when none runs, on the state folder.

    \b
    Examples:
      camber env list
      camber env set CLIENT_ORIGIN http://localhost:5173
      camber env set CLIENT_ORIGIN=http://localhost:5173 MODE=test
      camber env set API_KEY < key.txt
      camber env get CLIENT_ORIGIN
      camber env remove CLIENT_ORIGIN
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
@target_options
def list_(as_json: bool, target: Target) -> None:
    """Print all variables, NAME=VALUE a line.

    \b
    Examples:
      camber env list
      camber env list --json
    """
    variables = dict(sorted(_variables(target).read().items()))
    if as_json:
        click.echo(json.dumps(variables, ensure_ascii=False, indent=2))
        return
    for name, value in variables.items():
        click.echo(f"{name}={value}")
    if not variables:
        click.echo("No environment variables set.", err=True)


@command.command("get")
@click.argument("name")
@target_options
def get(name: str, target: Target) -> None:
    """Print the value of NAME.

    \b
    Example:
      camber env get CLIENT_ORIGIN
    """
    value = _variables(target).read().get(name)
    if value is None:
        raise ConfigError(f'Environment variable "{name}" not found.')
    click.echo(value)


@command.command("set")
@click.argument("assignments", metavar="NAME VALUE | NAME=VALUE…", nargs=-1, required=True)
@target_options
def set_(assignments: tuple[str, ...], target: Target) -> None:
    """Set variables: one as NAME VALUE, or several as NAME=VALUE. The value of a NAME alone is
    read from standard input, so that a secret need not be on the command line.

    \b
    Examples:
      camber env set CLIENT_ORIGIN http://localhost:5173
      camber env set CLIENT_ORIGIN=http://localhost:5173 MODE=test
      camber env set API_KEY < key.txt
    """
    changes = _changes(assignments)
    _variables(target).change(changes)
    click.echo(f"Set {', '.join(changes)}.")


@command.command("remove")
@click.argument("name")
@target_options
def remove(name: str, target: Target) -> None:
    """Remove NAME. One that is not set is no error.

    \b
    Example:
      camber env remove CLIENT_ORIGIN
    """
    _variables(target).change({name: None})
    click.echo(f"Removed {name}.")


def _variables(target: Target) -> Variables:
    client = target.find_client()
    return StoredVariables(target.find_state()) if client is None else ServedVariables(client)


def _changes(assignments: tuple[str, ...]) -> dict[str, str]:
    first = assignments[0]
    if "=" not in first and len(assignments) <= 2:
        return {first: assignments[1] if len(assignments) == 2 else _asked(first)}
    changes = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise click.UsageError(f"{assignment} is not NAME=VALUE.")
        changes[name] = value
    return changes


def _asked(name: str) -> str:
    if sys.stdin.isatty():
        value: str = click.prompt(f"Value of {name}", hide_input=True)
        return value
    return sys.stdin.read().removesuffix("\n")
