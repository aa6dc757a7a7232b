"""`camber dev`: serve an app while it is being written."""

import sys
from functools import partial
from pathlib import Path

import click

from camber.cli.banner import banner
from camber.cli.changes import watching
from camber.cli.config import load_config
from camber.cli.function_log import CLOCK_FORMAT, follow
from camber.cli.node import Place, run_until_stopped, serving
from camber.cli.options import serving_options
from camber.cli.reload import Reloader
from camber.cli.supervisor import supervise
from camber.cli.terminal import Terminal, shown_path


@click.command("dev")
@serving_options
def command(folder: Path, port: int, site_port: int, host: str, state: Path | None) -> None:
    """Serve the app in DIR (the current folder unless given) while you write it.

    Every save is loaded at once. A save that does not load is shown with file and line, and the
    last good version serves on. What functions print, and how they fail, appears here.

    \b
    Examples:
      camber dev
      camber dev examples/messages
      camber dev --port 8000 --site-port 8001
      camber dev --port 0 --site-port 0 --state /tmp/scratch
    """
    app = load_config(folder)
    supervise()
    place = Place(app, (state or app.state).absolute(), host, port, site_port)
    run_until_stopped(partial(_serve, place), Terminal(sys.stdout))


async def _serve(place: Place, terminal: Terminal) -> None:
    async with watching(place.app) as changes, serving(place) as node:
        node.deployment.events.listen(follow(terminal, CLOCK_FORMAT))
        reloader = Reloader(place.app, node.deployment, terminal)
        failure = await reloader.load_first()
        node.admit()
        terminal.say(banner(node, terminal))
        functions = shown_path(place.app.functions)
        terminal.say(f"\nReloads when you save a file in {functions}. Ctrl-C stops.\n")
        node.tell_freeze(terminal)
        if failure is not None:
            reloader.show_failure(failure)
        while True:
            await reloader.take(await changes.wait_next())
