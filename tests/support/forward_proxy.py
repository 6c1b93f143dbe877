"""A proxy on loopback for tests: SOCKS5 and HTTP (`CONNECT`, and whole URLs) on one port.

It goes where `routes` says, whatever the name: `{"node.onion": provider_port}`. `asked` notes each request as
`("socks5" | "connect" | "url", host, port)`; a name in it was not looked up before it came here.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from typing import Self
from urllib.parse import urlsplit


class ForwardProxy:
    """Forwards to `routes`, and to the addresses that are asked for by number."""

    def __init__(
        self, routes: dict[str, int] | None = None, *, credentials: str | None = None, silent: bool = False
    ) -> None:
        self.routes = routes or {}
        self.asked: list[tuple[str, str, int]] = []
        self.heads: list[bytes] = []
        self._credentials = credentials  # as "user:password"
        self._silent = silent
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def url(self, scheme: str, credentials: str = "") -> str:
        """Its URL; `credentials` are what stands before the host."""
        return f"{scheme}://{credentials + '@' if credentials else ''}127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *raised: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports end with the loop's next round

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                if self._silent:
                    await reader.read()
                first = await reader.readexactly(1)
                await (self._socks(reader, writer) if first == b"\x05" else self._http(first, reader, writer))
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        wanted = b"\x02" if self._credentials else b"\x00"
        writer.write(b"\x05" + (wanted if wanted in methods else b"\xff"))
        if wanted not in methods:
            return
        if self._credentials:
            await reader.readexactly(1)
            user = await reader.readexactly((await reader.readexactly(1))[0])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            granted = b"%b:%b" % (user, password) == self._credentials.encode()
            writer.write(b"\x01" + (b"\x00" if granted else b"\x01"))
            if not granted:
                return
        kind = (await reader.readexactly(4))[3]
        match kind:
            case 1:
                host = socket.inet_ntop(socket.AF_INET, await reader.readexactly(4))
            case 4:
                host = socket.inet_ntop(socket.AF_INET6, await reader.readexactly(16))
            case _:
                host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.asked.append(("socks5", host, port))
        target = await self._open(host, port)
        writer.write(b"\x05" + (b"\x00" if target else b"\x04") + b"\x00\x01\x00\x00\x00\x00\x00\x00")
        if target:
            await _join((reader, writer), target)

    async def _http(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = first + await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        method, target, _ = head.split(b" ", 2)
        if self._credentials:
            wanted = b"Proxy-Authorization: Basic " + base64.b64encode(self._credentials.encode())
            if wanted not in head.split(b"\r\n"):
                writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
                return
        parts = urlsplit(b"//" + target if method == b"CONNECT" else target)
        assert parts.hostname is not None
        host, port = parts.hostname.decode(), parts.port or 80
        self.asked.append(("connect" if method == b"CONNECT" else "url", host, port))
        opened = await self._open(host, port)
        if opened is None:
            writer.write(b"HTTP/1.1 502 No such host\r\nContent-Length: 0\r\n\r\n")
            return
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
        else:
            opened[1].write(head)
        await _join((reader, writer), opened)

    async def _open(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            if host in self.routes:
                return await asyncio.open_connection("127.0.0.1", self.routes[host])
            return await asyncio.open_connection(host, port, flags=socket.AI_NUMERICHOST)
        except OSError:
            return None


async def _join(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter], other: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_pump(one[0], other[1]))
            both.create_task(_pump(other[0], one[1]))
    finally:
        other[1].transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
