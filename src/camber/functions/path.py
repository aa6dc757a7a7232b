"""The name that a function is called by: `messages:list`, `dir/file:fn`, `sendMessage`.

A name has a module, folders and file parted by `/`, and after the last colon the function. A name
without a colon means the module's function `default`; the module may carry `.js` or `.py`, which
changes nothing. Three spellings of one function matter:

    canonical   messages:list       sendMessage:default       inside the server
    display     messages:list       sendMessage               in logs, dashboards and errors
    stored      messages.js:list    sendMessage.js:default    in documents that name functions
"""

import re
from functools import lru_cache
from typing import Final

from camber.errors import UserError

DEFAULT: Final = "default"
"""The function that a name without a colon means."""

COMPONENT_LENGTH_MAX: Final = 64
EXTENSIONS: Final = (".js", ".py")

_COMPONENT: Final = re.compile(r"[A-Za-z0-9_.]+")
_ALPHANUMERIC: Final = re.compile(r"[A-Za-z0-9]")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@lru_cache(maxsize=4096)
def canonical(path: str) -> str:
    """The canonical spelling of `path`, whether or not there is such a function.

    Raises:
        UserError: `path` names no function at all; code `BadConvexFunctionIdentifier`.
    """
    module, colon, function = path.rpartition(":")
    if not colon:
        module, function = path, DEFAULT
    for extension in EXTENSIONS:
        if module.endswith(extension):
            module = module.removesuffix(extension)
            break
    problem = module_problem(module) or function_problem(function)
    if problem is not None:
        raise UserError(
            f"{path} is not a valid path to a Convex function. {problem}",
            code="BadConvexFunctionIdentifier",
        )
    return f"{module}:{function}"


def display(path: str) -> str:
    """The canonical `path` as people read it: without `:default`."""
    return path.removesuffix(f":{DEFAULT}")


def stored(path: str) -> str:
    """The canonical `path` as documents keep it: `messages.js:list`."""
    module, _, function = path.rpartition(":")
    return f"{module}.js:{function}"


def module_problem(module: str) -> str | None:
    """Why `module`, without its extension, names no module; None when it does."""
    for component in module.split("/"):
        if not component:
            return "Path components cannot be empty."
        if len(component) > COMPONENT_LENGTH_MAX:
            length = len(component)
            return f"Path component is too long ({length} > maximum {COMPONENT_LENGTH_MAX})."
        if not _COMPONENT.fullmatch(component):
            return (
                f"Path component {component} can only contain alphanumeric characters, "
                "underscores, or periods."
            )
        if not _ALPHANUMERIC.search(component):
            return f"Path component {component} must have at least one alphanumeric character."
    extension = module.rpartition("/")[2].partition(".")[2]
    if extension:
        return f"Module path ({module}) has an extension that isn't 'js'."
    return None


def function_problem(name: str) -> str | None:
    """Why `name` cannot be the name of a function in its module; None when it can."""
    if not name:
        return "Identifier cannot be empty"
    if len(name) > COMPONENT_LENGTH_MAX:
        return f"Identifier is too long ({len(name)} > maximum {COMPONENT_LENGTH_MAX})"
    valid = _IDENTIFIER.match(name)
    if valid is None:
        return (
            f"Invalid first character '{name[0]}' in {name}: "
            "Identifiers must start with an alphabetic character or underscore"
        )
    if valid.end() < len(name):
        wrong = name[valid.end()]
        return (
            f"Identifier {name} has invalid character '{wrong}': "
            "Identifiers can only contain alphanumeric characters or underscores"
        )
    if not _ALPHANUMERIC.search(name):
        return f"Identifier {name} cannot have exclusively underscores"
    return None
