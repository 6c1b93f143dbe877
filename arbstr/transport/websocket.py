"""WebSockets by aiohttp's client over this package's connections: the same names, proxies and addresses as requests.

It is a module of its own because only some commands load aiohttp's client.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp.client_proto import ResponseHandler

from arbstr.transport.connector import AddressCheck, Connector, Proxy, any_address
from arbstr.transport.pool import tls_context
from arbstr.transport.resolver import Resolver

_DEFAULT_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}


class WebSocketConnector(aiohttp.BaseConnector):
    """An aiohttp connector to one host; to be created on the running loop and used for one session."""

    allowed_protocol_schema_set = frozenset(_DEFAULT_PORTS)

    def __init__(
        self, proxy: Proxy | None, resolver: Resolver | None = None, *, allows: AddressCheck = any_address
    ) -> None:
        super().__init__(force_close=True)
        self._proxy = proxy
        self._resolver = resolver or Resolver()
        self._allows = allows

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's; the caller limits the time
    ) -> ResponseHandler:
        """Open a connection. Raises OSError, or ValueError for an invalid host name."""
        host, tls = req.url.raw_host or "", req.url.scheme in ("wss", "https")
        port = req.url.port or _DEFAULT_PORTS[req.url.scheme]
        connector = Connector(self._resolver, host, port, self._proxy, tunnels=True, allows=self._allows)
        opened = await connector.open()
        try:
            _, protocol = await asyncio.get_running_loop().create_connection(
                self._factory, sock=opened, ssl=tls_context() if tls else None, server_hostname=host if tls else None
            )
        except BaseException:
            opened.close()
            raise
        return protocol
