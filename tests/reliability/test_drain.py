"""SIGTERM under load: what is under way is answered, what was answered is there."""

import asyncio
import contextlib
import time
from itertools import count
from pathlib import Path

from kills import check_state
from plain_http import HttpClient, LostError
from served import Served
from state_app import APP

CLIENTS = 20
EXIT_SECONDS = 10.0


class Writer:
    """A client that writes until the server is gone."""

    def __init__(self, served: Served, name: str) -> None:
        self._served = served
        self._name = name
        self.kept: list[str] = []
        # Keys of requests that were sent before the signal, and never answered.
        self.cut: list[str] = []
        self.wrong: list[str] = []

    async def write(self, signalled: asyncio.Event, busy: asyncio.Event) -> None:
        with contextlib.closing(HttpClient(self._served.site_port)) as client:
            for number in count():
                key = f"{self._name}-{number}"
                early = not signalled.is_set()
                try:
                    answer = await client.request("POST", "/note", key.encode())
                except LostError:
                    if early:
                        self.cut.append(key)
                    return
                if answer.status == 200:
                    self.kept.append(key)
                    if number == 10:
                        busy.set()
                else:
                    self.wrong.append(repr(answer))
                if signalled.is_set() and answer.status != 200:
                    return


async def drain(served: Served) -> None:
    await served.start()
    signalled = asyncio.Event()
    writers = [Writer(served, f"writer {number}") for number in range(CLIENTS)]
    busy = asyncio.Event()
    tasks = [asyncio.create_task(writer.write(signalled, busy)) for writer in writers]
    await busy.wait()
    began = time.monotonic()
    served.process.terminate()
    signalled.set()
    assert await served.wait_end() == 0, served.log()
    assert time.monotonic() - began < EXIT_SECONDS
    await asyncio.gather(*tasks)
    assert [key for writer in writers for key in writer.cut] == []
    assert [told for writer in writers for told in writer.wrong] == []
    await check_state(served.state)
    await served.start()
    with contextlib.closing(HttpClient(served.api_port)) as client:
        found = await client.query("notes:keys")
    kept = [key for writer in writers for key in writer.kept]
    assert len(found) == len(set(found))
    assert set(kept) <= set(found)


def test_a_server_that_is_told_to_end_answers_what_is_under_way(tmp_path: Path) -> None:
    with Served(tmp_path / "app", APP) as served:
        asyncio.run(drain(served))
