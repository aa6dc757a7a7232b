"""`camber run`: call a function of a running server, public or internal."""

import json
import sys
from typing import Any, Final

import click

from camber.cli.config import FUNCTIONS_NAME, read_config
from camber.cli.target import Target, find_app, target_options
from camber.cli.terminal import harmless, has_colour
from camber.errors import InvalidArgumentError

_EXTENSIONS: Final = (".py", ".js", ".ts", ".tsx", ".jsx", ".mjs")
_COLOURS: Final = {"[ERROR]": "red", "[WARN]": "yellow"}


@click.command("run")
@click.argument("name")
@click.argument("args", metavar="[ARGS]", default="{}")
@click.option("--json", "as_json", is_flag=True, help="The result on one line, without loss.")
@target_options
def command(name: str, args: str, as_json: bool, target: Target) -> None:
    """Call the function NAME with ARGS, a JSON object, and print its result as JSON.

    NAME is what clients call it (messages:list), a reference (api.messages.list), or a file
    (convex/messages.py:list). Internal functions can be called too. What the function prints
    goes to standard error. If it fails, so does this command, with exit code 1.

    \b
    Examples:
      camber run messages:list
      camber run messages:send '{"body": "hi", "author": "Ada"}'
      camber run api.messages.list '{"limit": 5}' --json
      camber run messages:list --url https://api.example.com --admin-key "$KEY"
    """
    arguments = parse_arguments(args)
    path = function_path(name, _functions_name(target))
    request = {
        "path": path,
        "args": arguments,
        "format": "convex_encoded_json" if as_json else "json",
    }
    answer = target.client().post("/api/function", request)
    _show_log(answer.get("logLines", ()))
    if answer.get("status") != "success":
        _show_failure(str(answer.get("errorMessage", "")))
        sys.exit(1)
    indent = None if as_json else 2
    click.echo(json.dumps(answer["value"], ensure_ascii=False, indent=indent))


def function_path(name: str, folder: str = FUNCTIONS_NAME) -> str:
    """The path of the function that people call `name`.

    Args:
        name: `messages:list`, `api.messages.list`, `convex/messages.py:list`, `sendMessage`.
        folder: what the functions folder is called.

    Raises:
        InvalidArgumentError: a reference without a function.
    """
    if name.startswith(("api.", "internal.")):
        parts = name.split(".")[1:]
        if len(parts) < 2:
            raise InvalidArgumentError(f'Function name has too few parts: "{name}"')
        return "/".join(parts[:-1]) + ":" + parts[-1]
    module, colon, function = name.rpartition(":")
    if not colon:
        module, function = name, "default"
    module = module.removeprefix("./").removeprefix(f"{folder}/")
    for extension in _EXTENSIONS:
        module = module.removesuffix(extension)
    return f"{module}:{function}"


def parse_arguments(text: str) -> dict[str, Any]:
    """The arguments of a call, from JSON.

    Raises:
        InvalidArgumentError: `text` is not a JSON object; says where it ends to be one.
    """
    try:
        arguments = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1] if text.strip() else ""
        pointer = f"\n    {line}\n    {' ' * (error.colno - 1)}^" if line else ""
        raise InvalidArgumentError(
            f"ARGS is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.{pointer}"
            '\nQuote it for the shell, and names with "": \'{"body": "hi"}\'.'
        ) from error
    except RecursionError as error:
        raise InvalidArgumentError("ARGS is nested too deeply.") from error
    if not isinstance(arguments, dict):
        raise InvalidArgumentError(
            f'ARGS must be a JSON object of arguments by name, such as {{"limit": 5}}; got {text}.'
        )
    return arguments


def _refuse_constant(name: str) -> Any:
    raise InvalidArgumentError(f"ARGS is not JSON: {name} is no JSON value.")


def _functions_name(target: Target) -> str:
    """What the functions folder is called, as far as that can be known here."""
    if target.url is None and target.state is None:
        return read_config(find_app()).functions.name
    return FUNCTIONS_NAME


def _show_log(lines: list[str]) -> None:
    colour = has_colour(sys.stderr)
    for line in lines:
        look = _COLOURS.get(line.partition(" ")[0])
        click.echo(click.style(harmless(line), fg=look), err=True, color=colour)


def _show_failure(message: str) -> None:
    # The first line holds the request id and nothing else, unless the rest is kept from us.
    head, _, rest = message.strip().partition("\n")
    text = harmless(rest or head)
    click.echo(click.style(text, fg="red"), err=True, color=has_colour(sys.stderr))
