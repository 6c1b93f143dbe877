"""Opens connections to hosts, directly or through a proxy.

=====================  ===============================  ========================================
way                    to http hosts                    to https hosts
=====================  ===============================  ========================================
none                   directly                         directly
`http://` proxy        whole URLs asked of the proxy    a tunnel (`CONNECT`): it sees the host alone
`socks5h://` proxy     through it, names looked up there (so `.onion` too)
`socks5://` proxy      through it, names looked up here
=====================  ===============================  ========================================
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

import aiohappyeyeballs

from arbstr.transport.hosts import is_onion
from arbstr.transport.resolver import AddressInfo, Resolver, addresses_without_lookup

NEXT_ADDRESS_S = 0.25  # before the next address of a host is tried as well (RFC 8305)
MAX_REPLY_BYTES = 64 * 1024  # of a proxy to `CONNECT`
_CALLERS_S = 86_400.0  # the caller sets the timeout


class Password(Protocol):
    """A password whose text is not shown."""

    def reveal(self) -> str:
        """Return its text."""
        ...


class Proxy(Protocol):
    """What is needed of a proxy. It is hashable, and its text hides its credentials."""

    @property
    def host(self) -> str:
        """Return its host."""
        ...

    @property
    def port(self) -> int:
        """Return its port."""
        ...

    @property
    def is_socks(self) -> bool:
        """Check whether it speaks SOCKS5; it speaks HTTP otherwise."""
        ...

    @property
    def username(self) -> str:
        """Return the user name for SOCKS, empty if there is none."""
        ...

    @property
    def password(self) -> Password | None:
        """Return the password for SOCKS, if any."""
        ...

    @property
    def basic_credentials(self) -> str | None:
        """Return the `Basic` credentials for HTTP, if any."""
        ...

    def looks_up(self, host: str) -> bool:
        """Check whether it looks up the host's name; otherwise it gets an address."""
        ...


AddressCheck = Callable[[str], bool]


def any_address(ip: str) -> bool:
    """Allow every address."""
    return True


class ProxyRefused(OSError):
    """A proxy did not connect; the text says which one and why, without its credentials."""


class Connector:
    """Opens sockets to one host. `tunnels`: use CONNECT at an HTTP proxy, instead of requesting whole URLs.

    `allows` is asked of each IP address of the host before anything is sent there; what a proxy looks up is not seen.
    """

    def __init__(
        self,
        resolver: Resolver,
        host: str,
        port: int,
        proxy: Proxy | None,
        *,
        tunnels: bool,
        allows: AddressCheck = any_address,
    ) -> None:
        self._resolver = resolver
        self._host = host
        self._port = port
        self._proxy = proxy
        self._tunnels = tunnels
        self._allows = allows

    async def open(self) -> socket.socket:
        """Return a connected socket. Raises OSError, or ValueError for an invalid host name."""
        proxy = self._proxy
        if proxy is None:
            return await self._open_tcp(self._host, self._allowed(await self._looked_up()))
        if known := addresses_without_lookup(self._host):
            self._allowed(known)
        if proxy.is_socks:
            return await self._open_through_socks(proxy)
        if is_onion(self._host):
            raise OSError("an .onion name is not sent to an HTTP proxy; it takes a SOCKS proxy")
        try:
            sock = await self._open_tcp(proxy.host, await self._resolver.addresses(proxy.host, proxy.port))
        except OSError as error:
            raise ProxyRefused(f"the proxy {proxy} can't be reached: {error}") from error
        if self._tunnels:
            try:
                await _connect_through(sock, proxy, self._host, self._port)
            except BaseException:
                sock.close()
                raise
        return sock

    async def _looked_up(self) -> list[AddressInfo]:
        return await self._resolver.addresses(self._host, self._port)

    def _allowed(self, addresses: Sequence[AddressInfo]) -> list[AddressInfo]:
        """Return the addresses that may be connected to. Raises OSError if there is none."""
        allowed = [each for each in addresses if self._allows(each[4][0])]
        if not allowed:
            raise OSError(f"{addresses[0][4][0]} is not an address to connect to for this")
        return allowed

    async def _open_tcp(self, host: str, addresses: list[AddressInfo]) -> socket.socket:
        try:
            return await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1)
        except OSError:
            self._resolver.doubt(host)
            raise

    async def _open_through_socks(self, proxy: Proxy) -> socket.socket:
        """Have a SOCKS5 proxy connect, trying each of its own addresses.

        Where names are looked up locally the library gets addresses only: its own lookups use shared threads.
        """
        from python_socks import ProxyConnectionError, ProxyError, ProxyType  # noqa: PLC0415 - few need SOCKS
        from python_socks.async_.asyncio import Proxy as SocksProxy  # noqa: PLC0415 - only where a proxy is used

        host = self._host
        if not proxy.looks_up(host):
            host = self._allowed(await self._looked_up())[0][4][0]
        password = None if proxy.password is None else proxy.password.reveal()
        failure: Exception | None = None
        for *_, where in await self._resolver.addresses(proxy.host, proxy.port):
            client = SocksProxy(ProxyType.SOCKS5, where[0], where[1], proxy.username, password, rdns=True)
            try:
                return await client.connect(host, self._port, timeout=_CALLERS_S)
            except ProxyConnectionError as error:
                self._resolver.doubt(proxy.host)
                failure = error
            except (ProxyError, OSError) as error:
                raise ProxyRefused(f"the proxy {proxy} did not connect: {error or type(error).__name__}") from error
        raise ProxyRefused(f"the proxy {proxy} can't be reached: {failure}")


async def _connect_through(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Ask an HTTP proxy for a tunnel. Raises ProxyRefused."""
    loop = asyncio.get_running_loop()
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}", *proxy_headers(proxy)]
    await loop.sock_sendall(sock, "".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii"))
    reply = b""
    while b"\r\n\r\n" not in reply:
        received = await loop.sock_recv(sock, MAX_REPLY_BYTES)
        reply += received
        if not received or len(reply) > MAX_REPLY_BYTES:
            raise ProxyRefused(f"the proxy {proxy} did not connect: its reply was unreadable")
    version, _, status = reply.partition(b"\r\n")[0].partition(b" ")
    if not (version.startswith(b"HTTP/1.") and status.startswith(b"2")):
        reason = status.decode(errors="replace") or "no HTTP"
        raise ProxyRefused(f"the proxy {proxy} did not connect: {reason}")
    if not reply.endswith(b"\r\n\r\n"):  # in a TLS tunnel the client speaks first
        raise ProxyRefused(f"the proxy {proxy} sent unexpected bytes into the tunnel")


def proxy_headers(proxy: Proxy) -> list[str]:
    """Return the header lines to send to an HTTP proxy."""
    credentials = proxy.basic_credentials
    return [] if credentials is None else [f"Proxy-Authorization: Basic {credentials}"]
