import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from camber.errors import DeterminismError, UserError
from camber.functions.drive import drive
from camber.functions.execution import Environment, Execution, current_execution


async def value(result: int) -> int:
    return result


async def value_later(result: int) -> int:
    await asyncio.sleep(0)
    return result


def test_a_body_that_never_suspends_runs_to_its_end() -> None:
    assert drive(value(3)) == 3


def test_what_a_body_raises_comes_out() -> None:
    async def body() -> None:
        raise KeyError("stock")

    with pytest.raises(KeyError, match="stock"):
        drive(body())


def test_gather_keeps_the_order_of_its_arguments() -> None:
    async def body() -> list[int]:
        return list(await asyncio.gather(value_later(1), value(2), value_later(3)))

    assert drive(body()) == [1, 2, 3]


def test_tasks_take_turns_first_in_first_out() -> None:
    async def body() -> list[tuple[str, int]]:
        seen = []

        async def count(name: str) -> None:
            for number in range(3):
                seen.append((name, number))
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for name in "abc":
                group.create_task(count(name))
        return seen

    assert drive(body()) == [(name, number) for number in range(3) for name in "abc"]


def test_a_task_group_reports_a_failure_and_cancels_the_rest() -> None:
    async def body() -> list[str]:
        ended = []

        async def fail() -> None:
            raise ValueError("no stock")

        async def wait_for_ever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cancelled")

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(wait_for_ever())
                group.create_task(fail())
                await asyncio.Event().wait()
        except* ValueError:
            ended.append("failed")
        return ended

    assert drive(body()) == ["cancelled", "failed"]


def test_locks_queues_and_events_work() -> None:
    async def body() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
        lock = asyncio.Lock()
        done = asyncio.Event()

        async def produce() -> None:
            for number in range(5):
                async with lock:
                    await queue.put(number)
            done.set()

        task = asyncio.create_task(produce())
        numbers = [await queue.get() for _ in range(5)]
        await done.wait()
        await task
        return numbers

    assert drive(body()) == [0, 1, 2, 3, 4]


def test_wait_returns_what_is_done_first() -> None:
    async def body() -> int:
        tasks = [asyncio.create_task(asyncio.Event().wait()), asyncio.create_task(value(7))]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert pending == {tasks[0]}
        (first,) = done
        return int(first.result())

    assert drive(body()) == 7


def test_waiting_for_what_never_happens_is_an_error_at_that_line() -> None:
    async def body() -> None:
        await asyncio.Event().wait()

    with pytest.raises(UserError, match="can never happen") as caught:
        drive(body())
    assert "body" in [entry.name for entry in caught.traceback]


def test_a_future_of_another_loop_can_never_happen() -> None:
    async def outer() -> None:
        future = asyncio.get_running_loop().create_future()

        async def body() -> None:
            await future

        with pytest.raises(UserError, match="can never happen"):
            drive(body())

    asyncio.run(outer())


def test_what_a_body_does_after_that_error_counts() -> None:
    async def body() -> str:
        try:
            await asyncio.Event().wait()
        except UserError:
            await asyncio.sleep(0)
        return "went on"

    assert drive(body()) == "went on"


def test_a_task_left_behind_is_cancelled_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    ended = []

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def body() -> int:
        asyncio.create_task(wait_for_ever())  # noqa: RUF006
        asyncio.create_task(value(1))  # noqa: RUF006
        await asyncio.sleep(0)
        asyncio.create_task(wait_for_ever())  # noqa: RUF006
        return 5

    assert drive(body()) == 5
    assert ended == ["cancelled"]
    assert capfd.readouterr().err == ""


def test_a_task_that_will_not_be_cancelled_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                continue

    async def body() -> int:
        asyncio.create_task(stubborn())  # noqa: RUF006
        await asyncio.sleep(0)
        return 5

    assert drive(body()) == 5
    assert capfd.readouterr().err == ""


def test_an_exception_in_a_task_nobody_awaits_fails_the_body() -> None:
    async def fail() -> None:
        raise ValueError("unseen")

    async def body() -> int:
        asyncio.create_task(fail())  # noqa: RUF006
        await asyncio.sleep(0)
        return 5

    with pytest.raises(ValueError, match="unseen"):
        drive(body())


def test_the_bodys_own_exception_goes_before_a_tasks() -> None:
    async def fail() -> None:
        raise ValueError("unseen")

    async def body() -> None:
        asyncio.create_task(fail())  # noqa: RUF006
        await asyncio.sleep(0)
        raise KeyError("seen")

    with pytest.raises(KeyError, match="seen"):
        drive(body())


def test_a_body_may_cancel_itself() -> None:
    async def body() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        drive(body())
    assert drive(value_later(1)) == 1


async def _sleep() -> None:
    await asyncio.sleep(0.01)


async def _thread() -> None:
    await asyncio.to_thread(len, "abc")


async def _connect() -> None:
    await asyncio.open_connection("127.0.0.1", 1)


async def _serve() -> None:
    await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)


async def _process() -> None:
    await asyncio.create_subprocess_exec("true")


async def _timer() -> None:
    asyncio.get_running_loop().call_later(1, print)


async def _timeout() -> None:
    async with asyncio.timeout(1):
        await value(1)


@pytest.mark.parametrize(
    ("body", "call"),
    [
        (_sleep, "asyncio.sleep()"),
        (_thread, "asyncio.to_thread()"),
        (_connect, "asyncio.open_connection()"),
        (_serve, "asyncio.start_server()"),
        (_process, "asyncio.create_subprocess_exec()"),
        (_timer, "loop.call_later()"),
        (_timeout, "asyncio.timeout()"),
    ],
)
def test_time_network_threads_and_processes_are_refused_by_name_and_line(
    body: Callable[[], Coroutine[Any, Any, None]], call: str
) -> None:
    with pytest.raises(DeterminismError) as caught:
        drive(body())
    first, last = body.__code__.co_firstlineno, body.__code__.co_firstlineno + 3
    places = [f"functions/test_drive.py:{line}" for line in range(first, last)]
    texts = [
        f"{call} is not available in a query or mutation ({place}). Move it to an action."
        for place in places
    ]
    assert str(caught.value) in texts


def test_the_loops_time_is_the_executions() -> None:
    execution = Execution(Environment.DETERMINISTIC, "messages:list", 5_000_000_000, 1)

    async def body() -> float:
        return asyncio.get_running_loop().time()

    token = current_execution.set(execution)
    try:
        assert drive(body()) == 5.0
    finally:
        current_execution.reset(token)
    assert execution.clock_read


def test_tasks_inherit_the_execution() -> None:
    execution = Execution(Environment.DETERMINISTIC, "messages:list", 0, 1)

    async def child() -> object:
        return current_execution.get()

    async def body() -> object:
        token = current_execution.set(execution)
        task = asyncio.create_task(child())
        current_execution.reset(token)
        return await task

    assert drive(body()) is execution


def test_drives_nest_inside_each_other_and_inside_a_real_task() -> None:
    async def inner() -> int:
        return sum(await asyncio.gather(value_later(1), value_later(2)))

    async def middle() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        result = drive(inner())
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is task
        return result + await value_later(10)

    async def outer() -> int:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        results = [drive(middle()), drive(value(100)), drive(middle())]
        with pytest.raises(DeterminismError):
            drive(_sleep())
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is task
        await asyncio.sleep(0)
        return sum(results)

    assert asyncio.run(outer()) == 126


def test_a_nested_drive_in_a_task_of_a_body_leaves_the_task_current() -> None:
    async def child() -> bool:
        before = asyncio.current_task()
        drive(value_later(1))
        await asyncio.sleep(0)
        return before is asyncio.current_task()

    async def body() -> list[bool]:
        return list(await asyncio.gather(child(), child()))

    assert drive(body()) == [True, True]


def test_nothing_of_a_drive_is_left_behind() -> None:
    from asyncio import tasks

    async def body() -> None:
        await asyncio.gather(*map(value_later, range(3)))

    drive(body())
    before = len(tasks._current_tasks)  # type: ignore[attr-defined]
    for _ in range(50):
        drive(body())
    assert len(tasks._current_tasks) == before  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_deep_recursion_in_a_body_is_an_ordinary_error() -> None:
    async def recurse(depth: int) -> int:
        return await recurse(depth + 1)

    with pytest.raises(RecursionError):
        drive(recurse(0))
    assert drive(value(1)) == 1
    assert sys.getrecursionlimit() > 0
