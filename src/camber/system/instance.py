"""What makes one deployment itself: its name and its secret, made once and kept.

Kept in `deployment.json` in the state folder, readable by its owner alone. The secret never leaves
the process: admin key, cursors and upload tokens are derived from it.
"""

import hmac
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from camber.errors import ConfigError

FILE_NAME: Final = "deployment.json"
_SECRET_SIZE: Final = 32

_ADJECTIVES: Final = (
    *("agile", "amber", "brave", "bright", "brisk", "calm", "clever", "crisp", "curious", "eager"),
    *("fair", "gentle", "glad", "golden", "grand", "happy", "hardy", "jolly", "keen", "kind"),
    *("lively", "lucid", "merry", "mild", "neat", "nimble", "noble", "patient", "polite", "proud"),
    *("quick", "quiet", "rapid", "serene", "sharp", "silver", "steady", "sunny", "swift", "witty"),
)
_ANIMALS: Final = (
    *("alpaca", "badger", "beaver", "bison", "camel", "condor", "crane", "dolphin", "eagle"),
    *("falcon", "ferret", "finch", "fox", "gazelle", "gecko", "hare", "heron", "ibex", "kestrel"),
    *("lark", "lemur", "lizard", "llama", "lynx", "marten", "moose", "newt", "otter", "owl"),
    *("panther", "penguin", "plover", "puffin", "quail", "raven", "robin", "seal", "sparrow"),
    *("stork", "swallow", "tapir", "tern", "trout", "turtle", "walrus", "weasel", "wombat", "wren"),
)


@dataclass(frozen=True, slots=True)
class Instance:
    """A deployment's name, such as `happy-animal-123`, and its 32 secret bytes."""

    name: str
    secret: bytes

    @property
    def admin_key(self) -> str:
        """What administrators show: `name|` and 64 hex digits."""
        return f"{self.name}|{self.derive(b'admin key').hex()}"

    def derive(self, purpose: bytes) -> bytes:
        """A secret of its own for each purpose, 32 bytes."""
        return hmac.digest(self.secret, purpose, "sha256")


def load_instance(folder: Path) -> Instance:
    """The instance that `folder` keeps, made if there is none.

    Raises:
        ConfigError: the file cannot be read or written, or is not one of ours.
    """
    path = folder / FILE_NAME
    try:
        fields = json.loads(path.read_text("utf-8"))
        instance = Instance(str(fields["name"]), bytes.fromhex(fields["secret"]))
        if len(instance.secret) != _SECRET_SIZE:
            raise ValueError("a secret of another length")
        return instance
    except FileNotFoundError:
        instance = Instance(new_name(), secrets.token_bytes(_SECRET_SIZE))
        _write(path, instance)
        return instance
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is damaged: it must hold a name and a secret. Put back a copy of it; without "
            "the secret, admin keys and upload links made before are worthless."
        ) from error


def new_name() -> str:
    """A name nobody has chosen: `{adjective}-{animal}-{number}`."""
    number = 100 + secrets.randbelow(900)
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_ANIMALS)}-{number}"


def _write(path: Path, instance: Instance) -> None:
    """Durable and whole, or not at all."""
    draft = path.with_suffix(".new")
    text = json.dumps({"name": instance.name, "secret": instance.secret.hex()}, indent=2)
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        # The new name must be on the disk too: a secret that is forgotten is another secret.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error
