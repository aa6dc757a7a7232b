"""What a server says when it is ready: its name, where it is reached, what it serves."""

from camber.cli.node import Node
from camber.cli.terminal import Terminal, shown_path
from camber.functions.definition import Kind
from camber.version import VERSION


def banner(node: Node, terminal: Terminal) -> str:
    """Several lines, the last without its line break."""
    style = terminal.style
    name = node.deployment.instance.name
    settings = node.deployment.settings
    rows = [
        ("API", style(node.api_url, fg="cyan")),
        ("HTTP endpoints", style(node.site_url, fg="cyan")),
        ("", style(node.host_url, fg="cyan")),
        *(("", style(route, dim=True)) for route in routes(node)),
        ("Functions", f"{functions(node)} in {shown_path(settings.functions)}"),
        ("State", shown_path(settings.state)),
    ]
    lines = [f"{style('camber', fg='green', bold=True)} {VERSION}  {style(name, bold=True)}", ""]
    lines += [f"  {label:<16}{text}" for label, text in rows]
    return "\n".join(lines)


def functions(node: Node) -> str:
    """How many functions the app has that are called by path."""
    app = node.deployment.app
    if app is None:
        return "none yet"
    count = sum(1 for function in app.registry if function.kind is not Kind.HTTP)
    return f"{count} function{'' if count == 1 else 's'}"


def routes(node: Node) -> list[str]:
    """The app's routes, such as `POST  /postMessage`, in the order of paths."""
    app = node.deployment.app
    if app is None or app.router is None:
        return []
    routes = app.router.get_routes()
    width = max((len(method) for _, method, _ in routes), default=0)
    return [f"{method:<{width}}  {path}" for path, method, _ in sorted(routes, key=lambda r: r[:2])]
