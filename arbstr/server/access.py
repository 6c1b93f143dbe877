"""Access control: `Host`, `Origin` and bearer token.

A web page can reach 127.0.0.1, directly or by a name that it points there (DNS rebinding). So the `Host` must be an
address that arbstr listens on, and a browser's `Origin` must be explicitly allowed.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from arbstr.errors import ForbiddenHost, ForbiddenOrigin, InvalidApiKey
from arbstr.redaction import Secret
from arbstr.sanitize import sanitize
from arbstr.types import HeaderList

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_OPEN_PATHS = frozenset({"/", "/health"})
METRICS_PATH = "/metrics"


class AccessControl:
    """Checks a request's `Host`, `Origin` and bearer token. `host` is what arbstr listens on.

    `metrics_token` opens `/metrics`, as `token` does, and nothing else. With either of them it is not open to all.
    """

    def __init__(
        self,
        host: str,
        token: Secret | None,
        allowed_hosts: Iterable[str],
        allowed_origins: Iterable[str],
        metrics_token: Secret | None = None,
    ) -> None:
        self._hosts = _LOOPBACK | {host.lower(), *map(str.lower, allowed_hosts)}
        self._any_address = _is_wildcard(host)
        self._tokens = _bytes_of(token)
        self._metrics_tokens = self._tokens + _bytes_of(metrics_token)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in allowed_origins)

    def check(self, request: web.BaseRequest) -> None:
        """Raise `ForbiddenHost`, `ForbiddenOrigin` or `InvalidApiKey` if the request is not allowed."""
        headers = request.headers
        host = headers.get("Host")
        if host is not None and host not in self._hosts:
            self._check_host(host)
        origin = headers.get("Origin")
        if origin is not None and not self.allows_origin(origin, host):
            message = f"Origin {sanitize(origin)} is not allowed; add it to server.allowed_origins."
            raise ForbiddenOrigin(message)
        tokens = self._tokens_for(request.path)
        if tokens and not self.is_preflight(request):
            _check_token(tokens, headers.get("Authorization", ""), headers.get("X-Api-Key"))

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

    def _tokens_for(self, path: str) -> tuple[bytes, ...]:
        """Return the tokens any of which opens a path; none: it is open."""
        if path == METRICS_PATH:
            return self._metrics_tokens
        return () if path in _OPEN_PATHS else self._tokens


def _bytes_of(token: Secret | None) -> tuple[bytes, ...]:
    return () if token is None else (token.reveal().encode(),)


def _check_token(tokens: Iterable[bytes], authorization: str, api_key: str | None) -> None:
    """Check the bearer token; Anthropic's clients send it as `x-api-key`, some of them beside a token of theirs."""
    scheme, _, bearer = authorization.partition(" ")
    is_bearer = scheme.lower() == "bearer" and _is_any(bearer, tokens)
    if not is_bearer and (api_key is None or not _is_any(api_key, tokens)):
        message = "Send server.auth_token as a bearer token, 'Authorization: Bearer …', or as 'x-api-key: …'."
        raise InvalidApiKey(message)


def _is_any(given: str, tokens: Iterable[bytes]) -> bool:
    text = given.strip().encode(errors="surrogateescape")
    matches = [hmac.compare_digest(text, token) for token in tokens]  # all of them, whichever it is
    return any(matches)


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
