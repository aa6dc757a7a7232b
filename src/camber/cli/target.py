"""Which server a command talks to: that of a state folder on this machine, or any by its URL."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from camber.cli.address import find_address
from camber.cli.client import Client
from camber.cli.config import FILE_NAME, STATE_NAME, read_config
from camber.cli.terminal import shown_path
from camber.errors import ConfigError
from camber.system.instance import FILE_NAME as INSTANCE_NAME
from camber.system.instance import Instance, load_instance

_C = TypeVar("_C", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option(
        "--state",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="State folder of the server.  [default: .camber, here or in a folder above]",
    ),
    click.option(
        "--url",
        metavar="URL",
        envvar="CAMBER_URL",
        show_envvar=True,
        help="API URL of a server elsewhere; needs the admin key.",
    ),
    click.option(
        "--admin-key",
        metavar="KEY",
        envvar="CAMBER_ADMIN_KEY",
        show_envvar=True,
        help="What `camber admin-key` prints where the server runs.",
    ),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What the user said of the server: nothing, its state folder, or its URL and key."""

    state: Path | None = None
    url: str | None = None
    admin_key: str | None = None

    def client(self) -> Client:
        """A client of the running server.

        Raises:
            ConfigError: it does not run, or there is nothing to find it by.
        """
        found = self.find_client()
        if found is None:
            state = self.find_state()
            raise ConfigError(
                f"No server is running for the state folder {shown_path(state)}. Start one in "
                "another terminal with `camber dev`, or name one elsewhere with --url."
            )
        return found

    def find_client(self) -> Client | None:
        """The same, but None when the state folder's server does not run."""
        if self.url is not None:
            if self.admin_key is None:
                raise click.UsageError("--url needs --admin-key (or CAMBER_ADMIN_KEY).")
            return Client(self.url, self.admin_key)
        state = self.find_state()
        instance = find_instance(state)
        address = find_address(state)
        if instance is None or address is None:
            return None
        client = Client(address.api, instance.admin_key)
        return client if _is_reached(client, instance) else None

    def find_state(self) -> Path:
        """The state folder, which may not be there yet.

        Raises:
            ConfigError: the current folder is not in an app.
        """
        if self.state is not None:
            return self.state.absolute()
        return find_app() / STATE_NAME


def find_app() -> Path:
    """The app's folder that the current one is, or lies in.

    Raises:
        ConfigError: there is none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / STATE_NAME).is_dir() or (folder / FILE_NAME).is_file():
            return folder
    if read_config(here).functions.is_dir():
        return here
    raise ConfigError(
        f"There is no app in {here} or above. Go to an app's folder, or name its state folder "
        "with --state."
    )


def find_instance(state: Path) -> Instance | None:
    """The instance that the state folder keeps; unlike `load_instance`, none is made."""
    return load_instance(state) if (state / INSTANCE_NAME).exists() else None


def _is_reached(client: Client, instance: Instance) -> bool:
    """Whether the server is really that instance: the key is not for whoever has its port now."""
    try:
        return client.instance_name() == instance.name
    except ConfigError:
        return False


def target_options(command: _C) -> Callable[..., Any]:
    """Decorates a command that talks to a server: its options become one `target`."""

    @wraps(command)
    def with_target(
        *args: Any, state: Path | None, url: str | None, admin_key: str | None, **kwargs: Any
    ) -> Any:
        if state is not None and url is not None:
            raise click.UsageError("--state and --url name two servers. Give one of them.")
        return command(*args, target=Target(state, url, admin_key), **kwargs)

    decorated: Callable[..., Any] = with_target
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
