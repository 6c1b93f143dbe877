"""A listening port, at which every client that waits is taken at once.

The loop's own servers do without: uvloop takes one client a turn, and under load a turn is as long as it takes to serve
all those that were taken before. The last of a crowd would wait for seconds until anybody knew that it was there.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

logger = logging.getLogger(__name__)

BACKLOG = 1024  # connections that the system keeps until they are taken
REST_S = 1.0  # until clients are taken again, where the system gives no more files or memory


class Port:
    """The listening sockets of a host and port; each client gets a protocol of its own. Made on the running loop."""

    def __init__(self, sockets: list[socket.socket], protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._protocol = protocol
        self._joining: set[asyncio.Task[None]] = set()
        self._resting: dict[socket.socket, asyncio.TimerHandle] = {}
        for listening in sockets:
            self._loop.add_reader(listening, self._take, listening)

    @classmethod
    async def open(cls, host: str, port: int, protocol: Callable[[], asyncio.BaseProtocol]) -> Port:
        """Listen on every address of the host; port 0 is any free one. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets: list[socket.socket] = []
        try:
            for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
                try:
                    sockets.append(_listening(family, address))
                except OSError as error:
                    # `localhost` may have an address of a family that this machine does without.
                    if error.errno != errno.EADDRNOTAVAIL or (not sockets and address == found[-1][-1]):
                        raise
        except BaseException:
            for listening in sockets:
                listening.close()
            raise
        return cls(sockets, protocol)

    @property
    def number(self) -> int:
        """The port."""
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Take nobody from now on; those who were taken stay."""
        for resting in self._resting.values():
            resting.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        for task in self._joining:
            task.cancel()

    def _take(self, listening: socket.socket) -> None:
        for _ in range(BACKLOG):
            try:
                client, _ = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:  # one that has left already
                continue
            except OSError as error:
                self._rest(listening, error)
                return
            client.setblocking(False)
            task = self._loop.create_task(self._join(client))
            self._joining.add(task)
            task.add_done_callback(self._joining.discard)

    async def _join(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, client)
        except BaseException as error:
            client.close()
            if not isinstance(error, OSError):  # it has left meanwhile
                raise

    def _rest(self, listening: socket.socket, error: OSError) -> None:
        """Leave clients waiting for a while: they still would be there at the next turn, and the next."""
        logger.error("no client can be taken for %g s: %s", REST_S, error.strerror)
        self._loop.remove_reader(listening)
        self._resting[listening] = self._loop.call_later(REST_S, self._go_on, listening)

    def _go_on(self, listening: socket.socket) -> None:
        del self._resting[listening]
        self._loop.add_reader(listening, self._take, listening)


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    listening = socket.create_server(address, family=family, backlog=BACKLOG)
    listening.setblocking(False)
    return listening
