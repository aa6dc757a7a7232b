"""A web server that does as it is told, and counts what it is asked: the other side of fetches.

    async with site_of(signer) as site:
        OidcProvider(site.origin, "my-app")

`site.answers` maps a path to the bytes of a whole answer, or to a coroutine that is given the
connection and may do with it what it likes.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from camber.functions.auth_config import CustomJwtProvider, OidcProvider
from signing import AUDIENCE, Signer

Behaviour: TypeAlias = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(
    body: bytes, status: str = "200 OK", type: str = "application/json", extra: str = ""
) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {type}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    )
    return head.encode() + body


@dataclass
class Site:
    """A server on this machine."""

    origin: str = ""
    answers: dict[str, Behaviour] = field(default_factory=dict)
    # How often each path was asked for.
    asked: Counter[str] = field(default_factory=Counter)
    heads: list[bytes] = field(default_factory=list)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def provider(self) -> OidcProvider:
        return OidcProvider(self.origin, AUDIENCE)

    def custom(self, algorithm: str = "RS256", path: str = "/jwks") -> CustomJwtProvider:
        return CustomJwtProvider("https://id.example.com", self.origin + path, algorithm, AUDIENCE)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            await self._answer(await reader.readuntil(b"\r\n\r\n"), writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.connections.discard(task)
            writer.close()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        self.heads.append(head)
        path = head.split(b" ")[1].decode()
        self.asked[path] += 1
        self.was_asked.set()
        behaviour = self.answers.get(path, answer(b"nothing here", "404 Not Found"))
        if isinstance(behaviour, bytes):
            writer.write(behaviour)
            await writer.drain()
            writer.write_eof()
        else:
            await behaviour(writer)

    async def close(self) -> None:
        for task in list(self.connections):
            task.cancel()
        if self.connections:
            await asyncio.wait(self.connections)


@contextlib.asynccontextmanager
async def site_of(*signers: Signer, named: str | None = None) -> AsyncIterator[Site]:
    """A provider's site: discovery, and the keys of the signers at `/jwks`.

    Args:
        named: whom the discovery names as its issuer, if not the site itself.
    """
    site = Site()
    server = await asyncio.start_server(site.connected, "127.0.0.1", 0)
    site.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    configuration = {
        "issuer": site.origin if named is None else named,
        "jwks_uri": f"{site.origin}/jwks",
    }
    site.answers["/.well-known/openid-configuration"] = answer(json.dumps(configuration).encode())
    site.answers["/jwks"] = answer(key_set(*signers))
    try:
        yield site
    finally:
        server.close()
        await site.close()
        await server.wait_closed()


def key_set(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.jwk for signer in signers]}).encode()
