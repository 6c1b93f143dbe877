"""Access control: `Host`, `Origin` and keys.

A web page can reach 127.0.0.1, directly or by a name that it points there (DNS rebinding). So the `Host` must be an
address that arbstr listens on, and a browser's `Origin` must be explicitly allowed.

`server.auth_token` opens everything. A client's own key opens what concerns that client: see `server.router`.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from aiohttp import web

from arbstr.clock import format_ms, wall_ms
from arbstr.engine.clients import Clients, KnownClient
from arbstr.engine.routing.names import shown
from arbstr.errors import ForbiddenHost, ForbiddenOrigin, InvalidApiKey
from arbstr.redaction import Secret
from arbstr.sanitize import sanitize
from arbstr.types import HeaderList

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OPEN_PATHS = frozenset({"/", "/health"})
METRICS_PATH = "/metrics"


class AccessControl:
    """Checks a request's `Host`, `Origin` and key. `host` is what arbstr listens on.

    With a `token`, or any client, a key is needed. `metrics_token` opens `/metrics`, as `token` does, and nothing else.
    With any of them that is not open to all. `now_ms` is the wall clock.
    """

    def __init__(
        self,
        host: str,
        token: Secret | None,
        allowed_hosts: Iterable[str],
        allowed_origins: Iterable[str],
        metrics_token: Secret | None = None,
        clients: Clients | None = None,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._hosts = _LOOPBACK | {host.lower(), *map(str.lower, allowed_hosts)}
        self._any_address = _is_wildcard(host)
        self._tokens = _bytes_of(token)
        self._metrics_tokens = self._tokens + _bytes_of(metrics_token)
        self._clients = clients or Clients()
        self._now_ms = now_ms
        self._origins = frozenset(origin.rstrip("/").lower() for origin in allowed_origins)

    def check(self, request: web.BaseRequest) -> KnownClient | None:
        """Return whose key a request has; None for the owner, who has `token`, and where none is needed.

        Raises `ForbiddenHost`, `ForbiddenOrigin` or `InvalidApiKey`.
        """
        headers = request.headers
        host = headers.get("Host")
        if host is not None and host not in self._hosts:
            self._check_host(host)
        origin = headers.get("Origin")
        if origin is not None and not self.allows_origin(origin, host):
            message = f"Origin {sanitize(origin)} is not allowed; add it to server.allowed_origins."
            raise ForbiddenOrigin(message)
        path = request.path
        if path in _OPEN_PATHS or self.is_preflight(request):
            return None
        tokens = self._metrics_tokens if path == METRICS_PATH else self._tokens
        if not (tokens or self._clients):
            return None
        return self._identify(tokens, headers.get("Authorization", ""), headers.get("X-Api-Key", ""))

    def allows_origin(self, origin: str, host: str | None) -> bool:
        """Return whether pages of an origin may send requests."""
        return origin.lower() in self._origins or "*" in self._origins or _is_same(origin, host)

    def is_preflight(self, request: web.BaseRequest) -> bool:
        """Return whether the request is a CORS preflight, which carries no token."""
        headers = request.headers
        return request.method == "OPTIONS" and "Origin" in headers and "Access-Control-Request-Method" in headers

    def cors_headers(self, request: web.BaseRequest) -> HeaderList:
        """Return the headers that let a configured origin's page read the response; none for other origins."""
        origin = request.headers.get("Origin")
        if origin is None or not self._origins or not self.allows_origin(origin, request.headers.get("Host")):
            return []
        asked = request.headers.get("Access-Control-Request-Headers", "*")
        return [
            ("Access-Control-Allow-Origin", sanitize(origin, len(origin))),
            ("Access-Control-Allow-Headers", sanitize(asked, len(asked))),
            ("Access-Control-Allow-Methods", "GET, POST"),
            ("Access-Control-Expose-Headers", "*"),
            ("Vary", "Origin"),
        ]

    def _check_host(self, host: str) -> None:
        name = _host_name(host)
        if name in self._hosts or (self._any_address and _is_address(name)):
            return
        message = f"Host {sanitize(host)} is not allowed; add it to server.allowed_hosts."
        raise ForbiddenHost(message)

    def _identify(self, tokens: Iterable[bytes], authorization: str, api_key: str) -> KnownClient | None:
        """Return whose key it is, sent as bearer token or as `x-api-key`; None if it is any of the tokens.

        Anthropic's clients send it as `x-api-key`, some of them beside a token of theirs. All keys are compared,
        whichever it is.
        """
        scheme, _, bearer = authorization.partition(" ")
        sent = (bearer if scheme.lower() == "bearer" else "", api_key)
        given = [key for text in sent if (key := text.strip())]
        known = [client for key in given if (client := self._clients.find(key)) is not None]
        if any([_is(key, token) for key in given for token in tokens]):  # noqa: C419 - all of them
            return None
        why = f"Send {self._wanted} as a bearer token, 'Authorization: Bearer …', or as 'x-api-key: …'."
        for client in known:
            if client.expires_ms is None or self._now_ms() < client.expires_ms:
                return client
            why = (
                f"The key of the client {shown(client.name)} was good until {format_ms(client.expires_ms)}. "
                "'arbstr clients rotate' makes another."
            )
        raise InvalidApiKey(why)

    @property
    def _wanted(self) -> str:
        return "your client's key" if self._clients else "server.auth_token"


def _bytes_of(token: Secret | None) -> tuple[bytes, ...]:
    return () if token is None else (token.reveal().encode(),)


def _is(given: str, token: bytes) -> bool:
    return hmac.compare_digest(given.encode(errors="surrogateescape"), token)


def _host_name(host: str) -> str:
    """Return the name or address in a `Host` header, without port and IPv6 brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_same(origin: str, host: str | None) -> bool:
    try:
        return host is not None and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_wildcard(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified
