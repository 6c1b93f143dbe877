"""An accept loop that accepts many waiting connections at a time.

uvloop's servers accept one connection per iteration of the loop, and under load an iteration takes as long as serving
all clients accepted before. The last of a crowd would wait for seconds to be accepted.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

logger = logging.getLogger(__name__)

BACKLOG = 1024  # connections that the system queues until they are accepted
ACCEPT_BATCH = 32  # are taken: who is refused has a file for a turn or two, and a crowd must leave some to the others
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # `localhost` names addresses of families that a machine may lack
PAUSE_S = 1.0  # until clients are taken again, where the system gives no more files or memory


class Acceptor:
    """The listening sockets of a host and port; each client gets a protocol of its own. Made on the running loop."""

    def __init__(self, sockets: list[socket.socket], protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._protocol = protocol
        self._handshaking: set[asyncio.Task[Any]] = set()
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}
        for listening in sockets:
            self._loop.add_reader(listening, self._accept, listening)

    @classmethod
    async def open(cls, host: str, port: int, protocol: Callable[[], asyncio.BaseProtocol]) -> Acceptor:
        """Listen on every address of the host; port 0 is any free one. Raises OSError."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        sockets: list[socket.socket] = []
        missing: OSError | None = None
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            try:
                sockets.append(_listening(family, address))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    _close(sockets)
                    raise
                missing = error
        if missing is not None and not sockets:
            raise missing
        return cls(sockets, protocol)

    @property
    def number(self) -> int:
        """The port."""
        return int(self._sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop accepting; accepted connections stay open, including those still being set up."""
        for listening in self._sockets:
            if listening not in self._paused:
                self._accept(listening)  # those that wait would be reset
        for resting in self._paused.values():
            resting.cancel()
        sockets, self._sockets = self._sockets, []
        for listening in sockets:
            self._loop.remove_reader(listening)
        _close(sockets)
        await asyncio.gather(*self._handshaking, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPT_BATCH):
            try:
                client, _ = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:  # one that has left already
                continue
            except OSError as error:
                if not self._handshaking:  # else some of them may be refused, and give their files back
                    self._pause(listening, error)
                return
            client.setblocking(False)
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, client))
            self._handshaking.add(task)
            task.add_done_callback(partial(self._on_accepted, client))

    def _on_accepted(self, client: socket.socket, task: asyncio.Task[Any]) -> None:
        """Finish accepting a connection: it has its protocol, or it failed."""
        self._handshaking.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or error is not None:
            client.close()
        if error is not None and not isinstance(error, OSError):  # an OSError: the client has left
            logger.error("could not accept a connection", exc_info=error)

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Stop accepting for a while: the same error would recur in every iteration of the loop."""
        logger.error("accepting no connections for %g s: %s", PAUSE_S, error.strerror)
        self._loop.remove_reader(listening)
        self._paused[listening] = self._loop.call_later(PAUSE_S, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        del self._paused[listening]
        self._loop.add_reader(listening, self._accept, listening)


def _close(sockets: list[socket.socket]) -> None:
    for listening in sockets:
        listening.close()


def _listening(family: int, address: tuple[object, ...]) -> socket.socket:
    # [::] is every address to the people who write it, those of IPv4 included.
    both = address[0] == "::" and socket.has_dualstack_ipv6()
    listening = socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=both)
    listening.setblocking(False)
    return listening
