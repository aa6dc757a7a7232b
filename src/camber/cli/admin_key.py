"""`camber admin-key`: what proves to a server, from elsewhere, that one may do everything."""

from pathlib import Path

import click

from camber.cli.target import Target, find_instance
from camber.cli.terminal import shown_path
from camber.errors import ConfigError


@click.command("admin-key")
@click.option("--state", type=click.Path(), help="State folder.  [default: .camber, as for run]")
def command(state: str | None) -> None:
    """Print the admin key of a state folder. Whoever has it may do everything.

    \b
    Example:
      CAMBER_ADMIN_KEY=$(camber admin-key) camber run messages:list --url https://api.example.com
    """
    folder = Target(None if state is None else Path(state)).find_state()
    instance = find_instance(folder)
    if instance is None:
        raise ConfigError(
            f"{shown_path(folder)} is no state folder yet. `camber dev` or `camber serve` makes it."
        )
    click.echo(instance.admin_key)
