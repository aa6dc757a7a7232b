"""What functions did, as events: for the terminal, and for whoever follows the logs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camber.functions.capture import LogLine
from camber.functions.definition import Kind
from camber.functions.failure import Failure


@dataclass(frozen=True, slots=True)
class Ended:
    """One execution that ended. `path` names the function, or method and route of an endpoint;
    `seconds` is None where nobody measured."""

    kind: Kind
    path: str
    request_id: str
    log: Sequence[LogLine]
    failure: Failure | None = None
    seconds: float | None = None


class Events:
    """Tells its listeners of executions that said something or failed."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[Ended], None]] = []

    def listen(self, listener: Callable[[Ended], None]) -> Callable[[], None]:
        """Tell `listener` from now on; it must not wait and must not raise.

        Returns:
            What ends it.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, execution: Ended) -> None:
        for listener in list(self._listeners):
            listener(execution)
