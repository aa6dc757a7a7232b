"""A server that does nothing but send: what the load client can measure at most.

`/live` is told what comes over `/write`. No framework, no database, one `write` of finished bytes
for each socket.
"""

import asyncio
import sys
from typing import Final, cast

import uvloop
from bench.jobs import HOST
from bench.live.frames import TEXT, server_frame

_ACCEPT: Final = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
# Of a masked message of 126 to 65,535 bytes. The key is zero.
_HEAD_BYTES: Final = 8

live: Final[set["Socket"]] = set()


class Socket(asyncio.Protocol):
    """One connection, of either kind."""

    def __init__(self) -> None:
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        if not self._is_open:
            self._is_open = True
            self.write(_ACCEPT)
            if data.startswith(b"GET /live "):
                live.add(self)
                self.write(server_frame(TEXT, b"welcome"))
        elif self not in live:
            frame = server_frame(TEXT, data[_HEAD_BYTES:])
            for socket in live:
                socket.write(frame)

    def connection_lost(self, error: Exception | None) -> None:
        live.discard(self)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Socket, HOST, port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
