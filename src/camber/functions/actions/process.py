"""One action process, as the server sees it: its calls, its limits, and its end."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from itertools import count
from typing import Final

from camber.errors import CamberError, OverrunError, TransientError, UserError
from camber.functions.actions.channel import BrokenFrameError, ServerEnd
from camber.functions.actions.console import Console
from camber.functions.actions.host import (
    ActionCall,
    ActionHost,
    ActionOutcome,
    HostCall,
    Limits,
)
from camber.functions.actions.messages import (
    Ask,
    Awake,
    Began,
    Blame,
    Call,
    Cancel,
    Done,
    Ready,
    Reply,
    Said,
    Setup,
    Withdraw,
    Withdrawn,
)
from camber.functions.actions.raised import from_message, to_message
from camber.functions.capture import LogLine
from camber.functions.failure import Failure

TRANSIENT_TEXT: Final = "Transient error while executing action"
# How much one process may ask for at once.
QUESTIONS_MAX: Final = 1000
# A call that is not begun by then is held up by another one.
STUCK_SECONDS: Final = 0.25
MEMORY_SECONDS: Final = 0.1
END_SECONDS: Final = 1.0
READ_AHEAD_BYTES: Final = 1 << 20

# Not `-m`: the process must see the modules that this one sees, in the same order, and the folder
# it is started in must not come first.
_PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from camber.functions.actions.worker import main; main(int(sys.argv[1]))"
)


class _Run:
    """A call under way in the process."""

    __slots__ = ("beginning", "call", "cancelled", "log", "outcome")

    def __init__(self, call: ActionCall) -> None:
        self.call = call
        loop = asyncio.get_running_loop()
        # Done once the process begins it: until then it can be begun elsewhere.
        self.beginning: asyncio.Future[None] = loop.create_future()
        # Whether it was told to stop. If it does not, the process will be killed.
        self.cancelled = False
        self.log: list[LogLine] = []
        # None when it was not begun, and will not be.
        self.outcome: asyncio.Future[ActionOutcome | None] = loop.create_future()

    @property
    def began(self) -> bool:
        return self.beginning.done()


class ActionProcess:
    """A process that runs actions of one version of the app. Made by `start_process`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        channel: ServerEnd,
        output: Console,
        host: ActionHost,
        limits: Limits,
    ) -> None:
        self._process = process
        self._channel = channel
        self._output = output
        self._host = host
        self._limits = limits
        self._runs: dict[int, _Run] = {}
        self._numbers = count(1)
        # Set while there are runs.
        self._busy = asyncio.Event()
        self._ready = asyncio.Event()
        self._answering: set[asyncio.Task[None]] = set()
        # The runs that are to blame if the process ends, and what is told of it. While there are
        # none, nobody knows better, and every run is told how the process ended.
        self._culprits: dict[int, CamberError | None] = {}
        # Whether a call could not be begun, since something holds up the event loop.
        self._held_up = False
        # Whether the server has ended it, through no fault of any run.
        self._stopped = False
        # Whether it takes calls. Once it does not, it ends with its last run.
        self.accepts = True
        self._living = asyncio.create_task(self._live())

    @property
    def load(self) -> int:
        """How many calls are under way."""
        return len(self._runs)

    @property
    def stuck(self) -> bool:
        """Whether something holds up the process, or is about to be its end."""
        return self._held_up or any(run.cancelled for run in self._runs.values())

    def when_ended(self, then: Callable[["ActionProcess"], None]) -> None:
        """Call `then` once the process is gone."""
        self._living.add_done_callback(lambda _: then(self))

    # Calls

    async def run(self, call: ActionCall) -> ActionOutcome | None:
        """Run an action to its end, or to the end of its time. Does not raise.

        When the caller is cancelled, the action is told to stop as well.

        Returns:
            What came of it; None when it has not begun and will not: it can run elsewhere.
        """
        number = next(self._numbers)
        run = self._runs[number] = _Run(call)
        self._busy.set()
        loop = asyncio.get_running_loop()
        impatience = loop.call_later(STUCK_SECONDS, self._withdraw_if_stuck, number)
        try:
            return await self._outcome_of(number, run)
        except asyncio.CancelledError:
            self._abandon(number)
            raise
        finally:
            impatience.cancel()

    async def _outcome_of(self, number: int, run: _Run) -> ActionOutcome | None:
        sending = asyncio.create_task(self._send(number, run.call))
        try:
            # Its time begins when it does. A process that loads, or is held up, ends in time.
            await asyncio.wait((run.beginning, run.outcome), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((run.outcome,), timeout=self._limits.call_seconds)
            if run.outcome.done():
                return run.outcome.result()
        finally:
            sending.cancel()
        text = f"Function execution timed out (maximum duration: {self._limits.call_seconds:g}s)"
        run.cancelled = True
        self._channel.send_nowait(Cancel(number))
        await asyncio.wait((run.outcome,), timeout=self._limits.grace_seconds)
        if not run.outcome.done():
            self._kill((number,), None)
        return ActionOutcome(None, run.log, Failure(text), OverrunError(text))

    async def _send(self, number: int, call: ActionCall) -> None:
        message = Call(
            number,
            call.path,
            call.arguments,
            call.identity,
            dict(call.environment),
            dict(call.tables),
        )
        try:
            await self._channel.send(message)
        except ConnectionError:
            # The process has ended: `_live` notices as well, and tells the run.
            pass
        except UserError as error:
            self._fail(number, error)

    def _abandon(self, number: int) -> None:
        """Nobody waits for the run any more."""
        run = self._runs.get(number)
        if run is not None:
            run.cancelled = True
            self._channel.send_nowait(Cancel(number))
            loop = asyncio.get_running_loop()
            loop.call_later(self._limits.grace_seconds, self._kill_if_running, number)

    def _withdraw_if_stuck(self, number: int) -> None:
        """Let another process begin the run, if this one does not come to it."""
        run = self._runs.get(number)
        if run is not None and not run.began and self._ready.is_set():
            self._channel.send_nowait(Withdraw(number))

    def _kill_if_running(self, number: int) -> None:
        if number in self._runs:
            self._kill((number,), None)

    def _settle(
        self,
        number: int,
        text: str | None,
        failure: Failure | None = None,
        error: Exception | None = None,
    ) -> None:
        run = self._runs.get(number)
        if run is not None:
            self._end_run(number, run, ActionOutcome(text, run.log, failure, error))

    def _end_run(self, number: int, run: _Run, outcome: ActionOutcome | None) -> None:
        del self._runs[number]
        if not run.outcome.done():
            run.outcome.set_result(outcome)
        if self._held_up and not any(other.began for other in self._runs.values()):
            # By something that an earlier run has left behind: nobody will miss it.
            self._kill((), None)
        if self._runs:
            return
        self._busy.clear()
        # A process that has grown is let go of while nobody needs it.
        if not self.accepts or self._memory() > self._limits.memory_bytes // 2:
            self.retire()

    def _fail(self, number: int, error: CamberError) -> None:
        """End a run whose end the process did not report."""
        self._settle(number, None, Failure(str(error)), error)

    # What the process says

    async def _receive(self) -> None:
        try:
            while (message := await self._channel.receive()) is not None:
                match message:
                    case Said():
                        self._said(message)
                    case Ask():
                        await self._asked(message)
                    case Done():
                        self._done(message)
                    case Began():
                        if message.id in self._runs:
                            self._runs[message.id].beginning.set_result(None)
                    case Ready():
                        self._ready.set()
                        if message.problem is not None:
                            self._host.output(message.problem)
                    case Withdrawn():
                        self._held_up = True
                        if message.id in self._runs:
                            self._end_run(message.id, self._runs[message.id], None)
                    case Awake():
                        self._held_up = False
                    case Blame():
                        self._culprits[message.id] = None
        except BrokenFrameError as error:
            self._host.output(f"The action's process sent {error}")
        finally:
            # Without its channel it is of no use.
            self._kill((), None)

    def _done(self, message: Done) -> None:
        if message.error is None:
            self._settle(message.id, message.text)
        else:
            failure = Failure(message.message, message.frames, message.error.data)
            self._settle(message.id, None, failure, from_message(message.error))

    def _said(self, message: Said) -> None:
        run = self._runs.get(message.id)
        if run is not None:
            line = LogLine(message.level, message.text, message.timestamp_ms, message.truncated)
            run.log.append(line)
            self._host.log(run.call, line)

    async def _asked(self, question: Ask) -> None:
        if len(self._answering) >= QUESTIONS_MAX:
            await asyncio.wait(self._answering, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._answer(question))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, question: Ask) -> None:
        run = self._runs.get(question.call)
        if run is None:
            return
        try:
            answer = await self._host.call(
                HostCall(run.call, question.operation, question.text, question.body)
            )
            reply = Reply(question.id, answer.text, answer.body)
        except Exception as error:  # the edge of the question: its failure is the action's
            reply = Reply(question.id, None, error=to_message(error))
        try:
            await self._channel.send(reply)
        except UserError as error:
            await self._channel.send(Reply(question.id, None, error=to_message(error)))
        except ConnectionError:
            pass  # The process has ended; its runs are told so.

    # Its life

    async def _live(self) -> None:
        watches = [
            asyncio.create_task(watch())
            for watch in (self._receive, self._watch_start, self._watch_memory)
        ]
        code = await self._process.wait()
        self.accepts = False
        # What it said before its end is still on the way.
        await asyncio.wait(watches[:1], timeout=END_SECONDS)
        for watch in watches:
            watch.cancel()
        await asyncio.wait(watches)
        self._channel.close()
        # Children that it left behind go with it, and with them the other ends of its output.
        self._signal_group()
        await self._output.wait_ended(END_SECONDS)
        self._tell_runs(code)

    async def _watch_start(self) -> None:
        try:
            await asyncio.wait_for(self._ready.wait(), self._limits.start_seconds)
        except TimeoutError:
            text = f"The app did not load within {self._limits.start_seconds:g} s"
            self._kill(self._runs, OverrunError(text))

    async def _watch_memory(self) -> None:
        limit = self._limits.memory_bytes
        while True:
            await self._busy.wait()
            if self._memory() > limit:
                text = f"Action ran out of memory (maximum memory usage: {limit >> 20} MB)"
                self._kill(self._runs, OverrunError(text))
            await asyncio.sleep(MEMORY_SECONDS)

    def _memory(self) -> int:
        """The resident memory in bytes; 0 where the system does not tell."""
        try:
            with open(f"/proc/{self._process.pid}/statm", "rb") as statm:
                return int(statm.read().split()[1]) * _PAGE_BYTES
        except (OSError, IndexError):
            return 0

    def _kill(self, culprits: Iterable[int], error: CamberError | None) -> None:
        """End the process at once; `culprits` are told `error`, or how it ended."""
        self.accepts = False
        for number in culprits:
            self._culprits.setdefault(number, error)
        if self._process.returncode is None:
            self._signal_group()

    def _signal_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _tell_runs(self, code: int) -> None:
        ended = UserError(self._end_text(code), code="ActionProcessEnded")
        innocent = TransientError(TRANSIENT_TEXT)
        for number, run in list(self._runs.items()):
            if self._stopped:
                self._fail(number, innocent)
            elif self._ready.is_set() and not run.began:
                self._end_run(number, run, None)
            elif number in self._culprits or not self._culprits:
                self._fail(number, self._culprits.get(number) or ended)
            else:
                self._fail(number, innocent)

    def _end_text(self, code: int) -> str:
        how = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        if self._ready.is_set():
            return f"The action's process ended before it answered ({how})"
        words = "\n".join(self._output.tail)
        return f"The action's process could not start ({how})" + (f"\n{words}" if words else "")

    def retire(self) -> None:
        """Take no more calls, and end with the last one."""
        self.accepts = False
        if not self._runs:
            self._channel.close()

    async def stop(self) -> None:
        """End now, and return once it is gone; what still runs is told of a transient error."""
        self.accepts = False
        self._stopped = True
        self._channel.close()
        done, _ = await asyncio.wait((self._living,), timeout=END_SECONDS)
        if not done:
            self._kill((), None)
            await asyncio.wait((self._living,))
        for task in self._answering:
            task.cancel()


_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


async def start_process(setup: Setup, host: ActionHost, limits: Limits) -> ActionProcess:
    """Start a process and have it load the app; it takes calls meanwhile.

    Raises:
        OSError: the system does not let it start.
    """
    ours, its = socket.socketpair()
    output_read, output_write = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", _PROGRAM, str(its.fileno())),
            *(path or os.getcwd() for path in sys.path),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output_write,
            stderr=output_write,
            pass_fds=(its.fileno(),),
            # Of its own group: Ctrl-C in a terminal is for the server, which stops it in order,
            # and its children can be ended with it.
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        os.close(output_read)
        raise
    finally:
        its.close()
        os.close(output_write)
    output = Console(host)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: output, os.fdopen(output_read, "rb", 0))
    channel = ServerEnd(*await asyncio.open_unix_connection(sock=ours, limit=READ_AHEAD_BYTES))
    channel.send_nowait(setup)
    return ActionProcess(process, channel, output, host, limits)
