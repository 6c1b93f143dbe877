"""The address on which arbstr listens."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
_OF_EVERY_NETWORK = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104 - loopback is among them
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_BRACKETS = re.compile(r"\[(?P<host>[^\]]*)\]:(?P<port>[^:]*)")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a TCP port; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def here(self) -> Address:
        """The address by which a program on this machine reaches it."""
        return Address(_OF_EVERY_NETWORK.get(self.host, self.host), self.port)

    @property
    def is_loopback(self) -> bool:
        """Check whether only programs on this machine can reach it."""
        if self.host.lower() == "localhost":
            return True
        try:
            ip = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        mapped = getattr(ip, "ipv4_mapped", None)
        return (mapped or ip).is_loopback


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`, `[IPv6]:PORT`, or `:PORT` for this machine alone. Raises ValueError saying how to mend it."""
    if match := _BRACKETS.fullmatch(text):
        return Address(_ipv6(match["host"]), _port(match["port"]))
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError("lacks a port; write HOST:PORT, as in 127.0.0.1:8080")
    if ":" in host:
        raise ValueError("has more than one colon; write an IPv6 address in brackets, as in [::1]:8080, and no scheme")
    if host and not _HOST_NAME.fullmatch(host):
        raise ValueError("has no valid host; write HOST:PORT, as in 127.0.0.1:8080, or 0.0.0.0:8080 for every network")
    return Address(host or LOOPBACK, _port(port))


def _ipv6(host: str) -> str:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError("has no valid IPv6 address in the brackets; write [::1]:8080") from None
    return host


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError("has no valid port; it must be a whole number from 0 to 65535, as in 127.0.0.1:8080")
    return int(text)
