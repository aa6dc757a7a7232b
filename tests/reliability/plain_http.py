"""A small HTTP client that tells an answer from the lack of one, and hides nothing.

It never retries: a request that got no answer may have been served, and whoever sent it has to
know that.
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any


class LostError(Exception):
    """The request got no answer, or only part of one. It may have been served."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that arrived whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class HttpClient:
    """One connection to a port of this machine, opened when needed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(self, method: str, path: str, body: bytes = b"", *headers: str) -> Answer:
        """The answer.

        Raises:
            LostError: there was none, or it was not whole.
        """
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
        head = "\r\n".join([*lines, *headers, "", ""]).encode()
        try:
            if self._writer is None:
                await self._open()
            assert self._writer is not None
            assert self._reader is not None
            self._writer.write(head + body)
            await self._writer.drain()
            answer = await _read_answer(self._reader)
        except (OSError, EOFError) as error:
            self.close()
            raise LostError(repr(error)) from error
        except BaseException:
            self.close()  # An answer may still come: not to be taken for the next one's.
            raise
        if answer.headers.get("connection") == "close":
            self.close()
        return answer

    async def post_json(self, path: str, value: Any) -> Answer:
        body = json.dumps(value).encode()
        return await self.request("POST", path, body, "content-type: application/json")

    async def call(self, kind: str, path: str, arguments: dict[str, Any]) -> Any:
        """The result of a function.

        Raises:
            LostError: no answer.
            CallError: it was answered with an error.
        """
        request = {"path": path, "args": arguments, "format": "json"}
        answer = await self.post_json(f"/api/{kind}", request)
        if answer.status != 200:
            raise CallError(answer.status, answer.body.decode())
        told = answer.json()
        if told["status"] != "success":
            raise CallError(200, told["errorMessage"])
        return told["value"]

    async def query(self, path: str, **arguments: Any) -> Any:
        return await self.call("query", path, arguments)

    async def mutation(self, path: str, **arguments: Any) -> Any:
        return await self.call("mutation", path, arguments)

    async def _open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self.port, limit=1 << 26
        )

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


class CallError(Exception):
    """A function was not run, or failed. `status` is HTTP's: 200 means that it ran."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


async def request_once(port: int, method: str, path: str, body: bytes = b"") -> Answer:
    """One request on a connection of its own."""
    with contextlib.closing(HttpClient(port)) as client:
        return await client.request(method, path, body)


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ")[1])
    headers = {}
    for line in head[1:-2]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        return Answer(status, headers, await _read_chunks(reader))
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(status, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        piece = await reader.readexactly(size + 2)
        if size == 0:
            return body
        body += piece[:-2]
