"""`camber serve`: serve an app in production."""

import asyncio
import sys
from functools import partial
from pathlib import Path

import click

from camber.cli.banner import functions
from camber.cli.config import load_config
from camber.cli.function_log import LOG_FORMAT, follow
from camber.cli.node import Place, run_until_stopped, serving
from camber.cli.options import serving_options
from camber.cli.terminal import Terminal
from camber.version import VERSION


@click.command("serve")
@serving_options
@click.option("--api-url", metavar="URL", help="What clients reach the API at, behind a proxy.")
@click.option("--site-url", metavar="URL", help="What callers reach the HTTP endpoints at.")
def command(
    folder: Path,
    port: int,
    site_port: int,
    host: str,
    state: Path | None,
    api_url: str | None,
    site_url: str | None,
) -> None:
    """Serve the app in DIR (the current folder unless given) in production.

    As `camber dev`, but clients are told nothing of what went wrong inside a function except a
    request id, which is found in the lines printed here; saves are not loaded; and an app that
    does not load is not served.

    \b
    Examples:
      camber serve
      camber serve /srv/my-app --state /var/lib/my-app
      camber serve --api-url https://api.example.com --site-url https://example.com
    """
    app = load_config(folder)
    place = Place(
        app,
        (state or app.state).absolute(),
        host,
        port,
        site_port,
        _origin(api_url),
        _origin(site_url),
        production=True,
    )
    run_until_stopped(partial(_serve, place), Terminal(sys.stdout, colour=False))


async def _serve(place: Place, terminal: Terminal) -> None:
    async with serving(place) as node:
        node.deployment.events.listen(follow(terminal, LOG_FORMAT))
        await node.deployment.push()
        node.admit()
        node.tell_freeze(terminal)
        terminal.say(f"camber {VERSION} serves {node.deployment.instance.name}: {functions(node)}")
        terminal.say(f"API             {node.api_url}")
        terminal.say(f"HTTP endpoints  {node.site_url}")
        # Until a signal cancels it.
        await asyncio.Event().wait()


def _origin(url: str | None) -> str | None:
    if url is None:
        return None
    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"{url} is not a URL: it must begin with http:// or https://.")
    return url.rstrip("/")
