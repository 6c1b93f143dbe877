"""systemd, where it runs arbstr: what is reported to it (`sd_notify`), and the ports it has opened (socket activation).

Both are plain: a datagram socket that NOTIFY_SOCKET names, and open descriptors from 3 on that LISTEN_FDS counts.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from arbstr.config.address import Address
from arbstr.errors import ConfigError

_FIRST = 3  # of the descriptors that are given
_LONGEST_STATUS = 500


class SystemdNotifier:
    """Reports to systemd, if it runs this process; no report can fail or wait."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self._watchdog_s = _watchdog_s(environ) if name else None

    def ready(self, status: str) -> None:
        """Tell that requests are served, by the configuration that is in force now."""
        self._tell("READY=1", f"STATUS={' '.join(status.split())[:_LONGEST_STATUS]}")

    def reloading(self) -> None:
        """Tell that a reload begins; `ready` follows."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Tell that the end has begun."""
        self._tell("STOPPING=1", "STATUS=requests under way finish")

    async def keep_alive(self) -> None:
        """Tell again and again that the loop runs, if a watchdog waits for that; the owner cancels it."""
        while self._watchdog_s is not None:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as telling:
            telling.setblocking(False)
            telling.sendto("\n".join(lines).encode(), self._address)


def given_sockets(environ: Mapping[str, str], first: int = _FIRST) -> list[socket.socket]:
    """Return the listening sockets that systemd has opened for this process. Raises ConfigError for any but TCP's."""
    if environ.get("LISTEN_PID") != str(os.getpid()) or not environ.get("LISTEN_FDS", "").isdecimal():
        return []
    return [_given(number) for number in range(first, first + int(environ["LISTEN_FDS"]))]


def address_of(sockets: Sequence[socket.socket]) -> Address:
    """Return the address of sockets: of the one that others can reach, if there is one."""
    addresses = [Address(*listening.getsockname()[:2]) for listening in sockets]
    return next((address for address in addresses if not address.is_loopback), addresses[0])


def _given(number: int) -> socket.socket:
    refusal = ConfigError([f"systemd gives a descriptor ({number}) that is no TCP port; write ListenStream=HOST:PORT"])
    try:
        os.set_inheritable(number, False)
        given = socket.socket(fileno=number)
    except OSError:
        raise refusal from None
    if given.family not in (socket.AF_INET, socket.AF_INET6) or given.type != socket.SOCK_STREAM:
        given.close()
        raise refusal
    given.setblocking(False)
    return given


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Return how often the watchdog wants to hear of this process, in seconds, None if there is none."""
    pid, micros = environ.get("WATCHDOG_PID"), environ.get("WATCHDOG_USEC", "")
    if not micros.isdecimal() or int(micros) == 0 or pid not in (None, "", str(os.getpid())):
        return None
    return int(micros) / 1e6
