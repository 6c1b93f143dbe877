"""A proxy that lets nobody out, and remembers where they wanted to go."""

from __future__ import annotations

import asyncio
from typing import Self

REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PATIENCE_S = 5


class RefusingProxy:
    """Inside `async with` it listens on this machine; `wanted` has the targets that were asked for."""

    def __init__(self) -> None:
        self.wanted: list[str] = []
        self.url = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._refuse, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *raised: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                line = (await reader.readline()).decode(errors="replace").split()
            self.wanted.append(line[1] if len(line) > 1 else "?")
            writer.write(REFUSAL)
            await writer.drain()
        except (OSError, TimeoutError):
            pass
        finally:
            writer.close()
