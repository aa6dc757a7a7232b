import asyncio
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop

from camber.errors import OverrunError
from camber.functions.drive import drive
from camber.functions.interrupt import OverrunInterrupt
from camber.functions.watchdog import Watchdog

LIMIT = 0.02


@pytest.fixture
def watchdog() -> Iterator[Watchdog]:
    watchdog = Watchdog(tick_seconds=0.005)
    watchdog.start()
    yield watchdog
    watchdog.stop()


@pytest.fixture
def side_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def endless(_: object = None) -> None:
    number = 0
    while True:
        number += 1


def quick(number: int) -> int:
    return number + 1


def test_a_quick_run_is_left_alone(watchdog: Watchdog) -> None:
    assert watchdog.call(None, 60, quick, 1) == 2


def test_an_endless_loop_is_stopped_at_its_limit_and_its_line_is_named(
    watchdog: Watchdog,
) -> None:
    with pytest.raises(OverrunError) as caught:
        watchdog.call(None, LIMIT, endless, None)
    assert re.fullmatch(
        r"Function execution timed out \(maximum duration: 0\.02s\)\. "
        r"It was stopped at functions/test_watchdog\.py:\d+\.",
        str(caught.value),
    )


def test_a_driven_body_is_stopped_also_inside_a_task_of_its(watchdog: Watchdog) -> None:
    async def child() -> None:
        endless()

    async def body() -> None:
        await asyncio.gather(child(), child())

    with pytest.raises(OverrunError):
        watchdog.call(None, LIMIT, drive, body())


def test_a_loop_on_a_side_thread_is_stopped(
    watchdog: Watchdog, side_thread: ThreadPoolExecutor
) -> None:
    run = side_thread.submit(watchdog.call, None, LIMIT, endless, None)
    with pytest.raises(OverrunError, match="timed out"):
        run.result(timeout=20)
    assert side_thread.submit(quick, 1).result() == 2


def test_except_exception_does_not_eat_the_interrupt(watchdog: Watchdog) -> None:
    def eats_exceptions(_: object) -> None:
        while True:
            try:
                endless()
            except Exception:
                continue

    with pytest.raises(OverrunError):
        watchdog.call(None, LIMIT, eats_exceptions, None)


@pytest.mark.parametrize("where", ["main thread", "side thread"])
def test_code_that_eats_the_interrupt_is_interrupted_again(
    watchdog: Watchdog, side_thread: ThreadPoolExecutor, where: str
) -> None:
    eaten: list[type[BaseException]] = []

    def eats(_: object) -> str:
        while len(eaten) < 3:
            try:
                endless()
            except BaseException as error:
                eaten.append(type(error))
        return "returned after all"

    def run() -> None:
        with pytest.raises(OverrunError):
            watchdog.call(None, LIMIT, eats, None)

    if where == "main thread":
        run()
    else:
        side_thread.submit(run).result(timeout=20)
    assert eaten == [OverrunInterrupt] * 3


@pytest.mark.parametrize("where", ["main thread", "side thread"])
def test_code_that_eats_every_interrupt_is_stopped_all_the_same(
    watchdog: Watchdog, side_thread: ThreadPoolExecutor, where: str
) -> None:
    def eats(_: object) -> None:
        while True:
            try:
                endless()
            except BaseException:
                pass

    def run() -> None:
        with pytest.raises(OverrunError):
            watchdog.call(None, LIMIT, eats, None)
        # And what comes next on this thread is not traced.
        assert sys.gettrace() is None

    if where == "main thread":
        run()
    else:
        side_thread.submit(run).result(timeout=20)


def test_a_wild_regular_expression_is_stopped_on_the_main_thread(watchdog: Watchdog) -> None:
    def wild(_: object) -> None:
        re.match(r"(a+)+$", "a" * 60 + "b")

    with pytest.raises(OverrunError):
        watchdog.call(None, LIMIT, wild, None)


def test_a_body_that_waits_without_using_the_processor_is_stopped(watchdog: Watchdog) -> None:
    def waits(_: object) -> None:
        threading.Lock().acquire()
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    with pytest.raises(OverrunError):
        watchdog.call(None, LIMIT, waits, None)


def test_the_limit_of_an_outer_run_stops_an_inner_one(watchdog: Watchdog) -> None:
    inner: list[BaseException] = []

    def outer(_: object) -> None:
        try:
            watchdog.call(None, 60, endless, None)
        except BaseException as error:
            inner.append(error)
            raise

    with pytest.raises(OverrunError, match=r"0\.02s"):
        watchdog.call(None, LIMIT, outer, None)
    assert [type(error) for error in inner] == [OverrunInterrupt]


def test_the_limit_of_an_inner_run_is_an_error_the_outer_may_handle(watchdog: Watchdog) -> None:
    def outer(_: object) -> str:
        with pytest.raises(OverrunError):
            watchdog.call(None, LIMIT, endless, None)
        return "went on"

    assert watchdog.call(None, 60, outer, None) == "went on"


def test_a_body_that_eats_memory_is_stopped() -> None:
    watchdog = Watchdog(memory_bytes=32 << 20, tick_seconds=0.002)
    watchdog.start()

    def eats(_: object) -> None:
        eaten = []
        while True:
            eaten.append(b"x" * 65536)

    try:
        with pytest.raises(OverrunError, match=r"out of memory \(maximum memory usage: 32 MB\)"):
            watchdog.call(None, 60, eats, None)
    finally:
        watchdog.stop()


def test_a_giant_allocation_is_a_memory_error_not_the_end_of_the_process() -> None:
    program = """
import threading
from camber.functions.memory import install_memory_ceiling, lift_memory_ceiling
install_memory_ceiling(256 << 20)
try:
    [0] * (1 << 30)
except MemoryError:
    print("refused")
bytearray(64 << 20)
thread = threading.Thread(target=print, args=("goes on",))
thread.start()
thread.join()
lift_memory_ceiling()
bytearray(512 << 20)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("refused\ngoes on\n", "")


def test_each_step_of_a_task_is_bounded_and_waiting_is_free(watchdog: Watchdog) -> None:
    async def endpoint() -> str:
        await asyncio.sleep(3 * LIMIT)
        await asyncio.sleep(3 * LIMIT)
        return "answer"

    async def main() -> str:
        return await watchdog.steps(None, LIMIT, endpoint())

    assert asyncio.run(main()) == "answer"


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_endpoint_that_never_yields_is_stopped(
    watchdog: Watchdog, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def endpoint() -> None:
        await asyncio.sleep(0)
        endless()

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(OverrunError):
                await watchdog.steps(None, LIMIT, endpoint())
            await asyncio.sleep(0.001)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


def test_an_endpoint_that_eats_the_interrupt_is_told_at_its_next_wait(watchdog: Watchdog) -> None:
    async def endpoint() -> None:
        try:
            endless()
        except BaseException:
            await asyncio.sleep(60)

    async def main() -> None:
        await watchdog.steps(None, LIMIT, endpoint())

    with pytest.raises(OverrunError):
        asyncio.run(main())


def test_a_bounded_endpoint_can_be_cancelled_and_catch_errors(watchdog: Watchdog) -> None:
    seen = []
    caught = asyncio.Event()

    async def endpoint() -> None:
        try:
            async with asyncio.timeout(0):
                await asyncio.sleep(60)
        except TimeoutError:
            seen.append("timed out")
            caught.set()
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("cancelled")

    async def main() -> None:
        async def guarded() -> None:
            await watchdog.steps(None, 60, endpoint())

        task = asyncio.create_task(guarded())
        await caught.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == ["timed out", "cancelled"]


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads hand over so often that an interrupt meets the end of a run many times."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def _spin(seconds: float) -> None:
    """Ends right when its limit does, so that the interrupt meets the end of the run."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def _race(watchdog: Watchdog, rounds: int) -> tuple[int, int]:
    """Runs that end about at their limit. Returns how many did, and how many were stopped."""
    ended = stopped = 0
    for number in range(rounds):
        try:
            watchdog.call(None, 0.0005, _spin, 0.0004 + number % 40 * 0.00002)
            ended += 1
        except OverrunError:
            stopped += 1
        # Server code: an interrupt that came late would come here.
        for _ in range(50):
            quick(1)
    return ended, stopped


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("where", ["main thread", "side thread"])
def test_no_interrupt_escapes_from_a_call(side_thread: ThreadPoolExecutor, where: str) -> None:
    watchdog = Watchdog(tick_seconds=0.0005)
    watchdog.start()
    try:
        if where == "main thread":
            ended, stopped = _race(watchdog, 2000)
        else:
            ended, stopped = side_thread.submit(_race, watchdog, 2000).result()
    finally:
        watchdog.stop()
    assert ended + stopped == 2000
    assert ended
    assert stopped


def test_an_idle_watchdog_sleeps_and_wakes_with_the_next_run() -> None:
    watchdog = Watchdog(tick_seconds=0.0005)
    watchdog.start()
    try:
        for _ in range(3):
            while not watchdog._idle:
                time.sleep(0.001)
            with pytest.raises(OverrunError):
                watchdog.call(None, LIMIT, endless, None)
    finally:
        watchdog.stop()
