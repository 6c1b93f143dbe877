"""Limits the number of client connections, and closes idle ones.

Connections that never finish a request, or never begin one, would otherwise use up all file descriptors, and leave none
for connections to providers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast
from weakref import WeakKeyDictionary

from arbstr.errors import Overloaded
from arbstr.server.protocol import Awaited, Protocol
from arbstr.server.responses import bare_response

logger = logging.getLogger(__name__)

PATIENCE_S = {"first request": 30.0, "head": 30.0, "next request": 120.0, "reading": 30.0}
LOOK_EVERY_S = 5.0
JUST_HERE_S = 0.01  # a newer connection has had no time to send a request
SOON_S = 5.0  # a connection silent for longer is unlikely to send a request


class ConnectionLimit:
    """Limits client connections. `make` creates the protocol of a new one. To be created on the running loop.

    At the limit a new connection replaces an idle one: one that has never sent a request, else one whose requests have
    been answered.
    """

    def __init__(self, max_connections: int, make: Callable[[], Protocol]) -> None:
        self._make = make
        self._loop = asyncio.get_running_loop()
        # Also those whose connection is still being set up, as it is for a whole crowd at a time; the oldest first.
        self._protocols: WeakKeyDictionary[Protocol, _Wait] = WeakKeyDictionary()
        self.limit(max_connections)
        self._evicted = 0
        self._schedule_check()

    def limit(self, max_connections: int) -> None:
        """Set the most connections; those that are open stay so."""
        self._max_connections = max_connections
        message = f"{max_connections} clients are connected, the maximum."
        self._refusing = _TooManyConnections(Overloaded(message, retry_after_s=1.0))

    def new_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol for a new connection: aiohttp's, or a refusal if there are too many."""
        if len(self._protocols) >= self._max_connections and not self._evict():
            return self._refusing
        protocol = self._make()
        protocol.on_lost = self._lost
        self._protocols[protocol] = _Wait(self._loop.time())
        return protocol

    def end(self) -> None:
        """Close each connection as soon as it has no request."""
        for protocol in list(self._protocols):
            protocol.end()

    def close(self) -> None:
        """Stop checking for timeouts."""
        self._timer.cancel()

    def _lost(self, protocol: Protocol) -> None:
        self._protocols.pop(protocol, None)

    def _evict(self) -> bool:
        """Close an idle connection; return False if there is none to close."""
        evicted = self._evictable()
        if evicted is None:
            return False
        del self._protocols[evicted]
        evicted.abort()
        self._evicted += 1
        return True

    def _evictable(self) -> Protocol | None:
        """Return the idle connection to close first, None if there is none.

        The oldest one silent for long, else the newest that has sent no request (older ones are not part of a crowd),
        or if all have sent one, the oldest.
        """
        idle = [protocol for protocol in self._protocols if protocol.is_idle]
        silent = [protocol for protocol in idle if not protocol.has_asked]
        now_s = self._loop.time()
        if silent and now_s - self._protocols[silent[0]].since_s >= SOON_S:
            return silent[0]
        if silent and now_s - self._protocols[silent[-1]].since_s >= JUST_HERE_S:
            return silent[-1]
        if silent:
            return None
        return idle[0] if idle else None

    def _schedule_check(self) -> None:
        self._timer = self._loop.call_later(LOOK_EVERY_S, self._check_deadlines)

    def _check_deadlines(self) -> None:
        """Close the connections that have timed out."""
        now_s = self._loop.time()
        for protocol, wait in list(self._protocols.items()):
            awaited = wait.overdue(protocol.awaited(), now_s)
            if awaited is not None:
                protocol.time_out(awaited)
        if self._evicted:
            message = "closed %d idle connections, because all %d were in use"
            logger.info(message, self._evicted, self._max_connections)
            self._evicted = 0
        self._schedule_check()


class _Wait:
    """How long a client has been waited for, and for what."""

    __slots__ = ("_awaited", "since_s")

    def __init__(self, now_s: float) -> None:
        self._awaited: Awaited | None = Awaited("first request", 0)
        self.since_s = now_s

    def overdue(self, awaited: Awaited | None, now_s: float) -> Awaited | None:
        """See what it is waited for now; that, if it has been the same for too long."""
        if awaited != self._awaited:
            self._awaited, self.since_s = awaited, now_s
            return None
        if awaited is None or now_s - self.since_s < PATIENCE_S[awaited.what]:
            return None
        return awaited


class _TooManyConnections(asyncio.Protocol):
    """Refuses a connection with an error and closes it. Stateless: one instance serves all connections."""

    def __init__(self, error: Overloaded) -> None:
        self._error = error

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the error and close."""
        transport = cast("asyncio.Transport", transport)
        transport.write(bare_response(self._error))
        transport.close()
