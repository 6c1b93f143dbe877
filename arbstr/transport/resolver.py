"""Resolves host names, with an independent lookup for each host.

The loop's own `getaddrinfo` shares a few threads among all hosts, and waits for them at the end: one name server that
never responds would block every provider, and the shutdown. Here each lookup has its own daemon thread, because a
hanging one can't be stopped; a host has at most one at a time. The system's resolver is used, so `/etc/hosts`,
multicast DNS and split horizons work as usual.

Addresses are fresh for a minute. If the next lookup fails or takes long, they are used further. A `.onion` name is
never looked up: that would tell a name server what is meant for Tor alone.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from arbstr.transport.hosts import is_onion

logger = logging.getLogger(__name__)

FRESH_S = 60.0
KEPT_S = 86_400.0  # how long addresses are used that no lookup confirms
PATIENCE_S = 1.0  # for a lookup if there are earlier addresses
TRIED_AGAIN_S = 5.0  # after a failed lookup

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]  # as `socket.getaddrinfo` gives it
LookUp = Callable[[str], Sequence[AddressInfo]]

_LOCALHOST: tuple[AddressInfo, ...] = (
    (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 0)),
    (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", 0, 0, 0)),
)


def system_look_up(host: str) -> Sequence[AddressInfo]:
    """Look up a name with the system's resolver; blocks. Raises OSError, or ValueError for an invalid name."""
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)


class Resolver:
    """Resolves and caches addresses; to be created on the running loop. `look_up` is called in threads."""

    def __init__(self, look_up: LookUp = system_look_up) -> None:
        self._loop = asyncio.get_running_loop()
        self._look_up = look_up
        self._hosts: dict[str, _Host] = {}

    async def addresses(self, host: str, port: int) -> list[AddressInfo]:
        """Return a host's addresses; waits for its name server as long as the caller does.

        Raises OSError, or ValueError for an invalid host name.
        """
        found = addresses_without_lookup(host)
        if not found:
            if is_onion(host):
                raise OSError("an .onion name is not looked up; it takes a SOCKS proxy")
            entry = self._hosts.get(host)
            if entry is None:
                entry = self._hosts[host] = _Host(host, self._loop, self._look_up)
            found = await entry.addresses()
        return [(family, kind, protocol, "", _with_port(address, port)) for family, kind, protocol, _, address in found]

    def doubt(self, host: str) -> None:
        """Mark a host's addresses as stale: none of them could be reached."""
        if host in self._hosts:
            self._hosts[host].doubt()


class _Host:
    """One host: its last good addresses, and the lookup in progress."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, look_up: LookUp) -> None:
        self._name = name
        self._loop = loop
        self._look_up = look_up
        self._good: Sequence[AddressInfo] = ()
        self._found_at_s = 0.0  # by the loop's clock, as all that follow
        self._fresh_until_s = 0.0
        self._begun_at_s = 0.0
        self._lookup: asyncio.Future[Sequence[AddressInfo] | Exception] | None = None

    async def addresses(self) -> Sequence[AddressInfo]:
        """Return the addresses, looked up if not fresh. Raises what the lookup raised."""
        now_s = self._loop.time()
        if self._good and now_s - self._found_at_s > KEPT_S:
            self._good = ()
        if self._good and now_s < self._fresh_until_s:
            return self._good
        lookup = self._lookup or self._begin()
        patience_s = max(0.0, self._begun_at_s + PATIENCE_S - now_s) if self._good else None
        await asyncio.wait([lookup], timeout=patience_s)
        if self._good:
            return self._good
        outcome = lookup.result()
        assert isinstance(outcome, Exception)
        raise outcome

    def doubt(self) -> None:
        """Make the next call look up the name."""
        self._fresh_until_s = 0.0

    def _begin(self) -> asyncio.Future[Sequence[AddressInfo] | Exception]:
        self._begun_at_s = self._loop.time()
        lookup = self._lookup = self._loop.create_future()
        try:
            threading.Thread(target=self._run, name=f"look up {self._name}", daemon=True).start()
        except RuntimeError as error:  # the system grants no more threads
            self._end(OSError(f"no thread to look it up: {error}"))
        return lookup

    def _run(self) -> None:
        """Run the lookup in its own thread."""
        outcome: Sequence[AddressInfo] | Exception
        try:
            outcome = self._look_up(self._name) or OSError("no address")
        except Exception as error:
            outcome = error
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._end, outcome)

    def _end(self, outcome: Sequence[AddressInfo] | Exception) -> None:
        lookup, self._lookup = self._lookup, None
        now_s = self._loop.time()
        if not isinstance(outcome, Exception):
            self._good = outcome
            self._found_at_s = now_s
            self._fresh_until_s = now_s + FRESH_S
        elif self._good:
            self._fresh_until_s = now_s + TRIED_AGAIN_S
            logger.warning("could not resolve %s (%s); using its last known addresses", self._name, outcome)
        if lookup is not None and not lookup.done():
            lookup.set_result(outcome)


def addresses_without_lookup(host: str) -> Sequence[AddressInfo]:
    """Return the address if a host is an IP address in any notation the system knows, or `localhost`; else nothing."""
    if host.rstrip(".").lower() == "localhost":
        return _LOCALHOST
    try:
        return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, ValueError):
        return ()


def _with_port(address: tuple[Any, ...], port: int) -> tuple[Any, ...]:
    return (address[0], port, *address[2:])
