"""Proxies towards providers: a provider's own, or those of the environment."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import GetCoreSchemaHandler, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, core_schema

from arbstr.config.address import Address
from arbstr.config.environment import problem_with, value_of
from arbstr.redaction import REDACTED, Secret
from arbstr.transport.hosts import is_onion

Scheme = Literal["http", "socks5", "socks5h"]

_DEFAULT_PORTS: dict[Scheme, int] = {"http": 80, "socks5": 1080, "socks5h": 1080}
_LONGEST_CREDENTIAL = 255  # bytes, in SOCKS
_WANTED = "write it like socks5h://127.0.0.1:9050, socks5://HOST:PORT or http://HOST:PORT"


@dataclass(frozen=True, slots=True)
class ProxyUrl:
    """A proxy's address. `str`, `repr` and formatting hide its credentials.

    `socks5h` has the proxy look up the hosts' names, `socks5` does not; `http` is asked for tunnels to https hosts.
    """

    scheme: Scheme
    host: str
    port: int
    username: str = ""
    password: Secret | None = None

    def __str__(self) -> str:
        credentials = f"{REDACTED}@" if self.username or self.password else ""
        return f"{self.scheme}://{credentials}{Address(self.host, self.port)}"

    def __repr__(self) -> str:
        return f"ProxyUrl({str(self)!r})"

    @property
    def is_socks(self) -> bool:
        """Check whether it speaks SOCKS5."""
        return self.scheme != "http"

    def looks_up(self, host: str) -> bool:
        """Check whether it looks up the host's name; with `socks5` only `.onion` names are left to it."""
        return self.scheme != "socks5" or is_onion(host)

    @property
    def basic_credentials(self) -> str | None:
        """The `Basic` credentials for an HTTP proxy, None if there are none."""
        if not (self.username or self.password):
            return None
        password = "" if self.password is None else self.password.reveal()
        return base64.b64encode(f"{self.username}:{password}".encode()).decode()

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """Its secrets, as written and as sent. A user name counts as one if there is no password."""
        credentials = self.basic_credentials
        if credentials is None:
            return ()
        return self.password or Secret(self.username), Secret(credentials)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate configuration fields from strings; serialize without credentials."""
        return core_schema.no_info_wrap_validator_function(
            cls._validated, core_schema.str_schema(), serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def _validated(cls, value: Any, as_text: ValidatorFunctionWrapHandler) -> ProxyUrl:
        return value if isinstance(value, ProxyUrl) else parse_proxy(as_text(value))


def parse_proxy(text: str) -> ProxyUrl:
    """Read a proxy's URL. Raises ValueError, never repeating the text: a password may be in it."""
    if not text.isprintable() or " " in text or "\\" in text:
        raise ValueError(f"is not a proxy URL: it has a space, a backslash or a control character in it; {_WANTED}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"is not a proxy URL: its host or port is malformed; {_WANTED}") from None
    scheme = next((known for known in _DEFAULT_PORTS if known == parts.scheme), None)
    if scheme is None:
        raise ValueError(f"is not a supported proxy; {_WANTED}")
    if not parts.hostname or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"is not a proxy URL: it lacks a host, or has more than a host and port; {_WANTED}")
    username, password = _credentials(parts)
    return ProxyUrl(scheme, parts.hostname, port or _DEFAULT_PORTS[scheme], username, password)


def _credentials(parts: SplitResult) -> tuple[str, Secret | None]:
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    for text in (username, password):
        if len(text) > _LONGEST_CREDENTIAL or not (text.isascii() and text.isprintable()):
            raise ValueError("has a user name or password that is too long or not ASCII")
    if ":" in username:
        raise ValueError("has a colon in its user name, where proxies take it for the end of the name")
    return username, Secret(password) if password else None


def is_this_machine(host: str) -> bool:
    """Check whether a host is a loopback address or `localhost`."""
    name = host.rstrip(".").lower()
    return name.endswith(".localhost") or Address(name, 0).is_loopback


@dataclass(frozen=True, slots=True)
class EnvironmentProxies:
    """The environment's proxies: one for each URL scheme, and the hosts reached directly.

    `variables` are the names of the variables that gave them, by scheme.
    """

    http: ProxyUrl | None = None
    https: ProxyUrl | None = None
    bypasses: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    def choose(self, url: str, own: ProxyUrl | None) -> ProxyUrl | None:
        """Return the proxy for a URL, None for the direct way; a provider's `own` takes precedence.

        Raises ValueError for a `.onion` host without a SOCKS proxy: no other resolver may be asked for its name.
        """
        found = self.proxy_for(url) if own is None else None
        proxy = own if found is None else found[0]
        host = urlsplit(url).hostname or ""
        if is_onion(host) and not (proxy and proxy.is_socks):
            raise ValueError(f"{host} can be reached through a SOCKS proxy only; set the provider's proxy")
        return proxy

    def proxy_for(self, url: str) -> tuple[ProxyUrl, str] | None:
        """Return the proxy for a URL and the variable that names it; None for the direct way.

        Loopback addresses are always reached directly, `.onion` names never through one of these.
        """
        parts = urlsplit(url)
        proxy = self.https if parts.scheme == "https" else self.http
        host = (parts.hostname or "").rstrip(".")
        if proxy is None or is_this_machine(host) or is_onion(host):
            return None
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if any(_is_bypassed(host, port, pattern) for pattern in self.bypasses):
            return None
        return proxy, dict(self.variables)[parts.scheme]

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The proxies' secrets."""
        return tuple(secret for proxy in (self.http, self.https) if proxy for secret in proxy.secrets)


NO_PROXIES = EnvironmentProxies()


def environment_proxies(environ: Mapping[str, str], problems: list[str]) -> EnvironmentProxies:
    """Read `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case; adds problems to `problems`.

    The lower case wins. In a CGI script `HTTP_PROXY` is a client's header and ignored.
    """
    found: dict[str, ProxyUrl] = {}
    variables: dict[str, str] = {}
    for scheme in ("http", "https"):
        for name in (f"{scheme}_proxy", "all_proxy"):
            variable = _variable(environ, name)
            if variable is None:
                continue
            proxy = _read(environ, variable, problems)
            if proxy is not None:
                found[scheme], variables[scheme] = proxy, variable
            break
    bypasses = tuple(re.split(r"[,\s]+", (value_of(environ, _variable(environ, "no_proxy") or "") or "").strip()))
    return EnvironmentProxies(
        found.get("http"),
        found.get("https"),
        tuple(filter(None, (pattern.lower() for pattern in bypasses))),
        tuple(variables.items()),
    )


def _variable(environ: Mapping[str, str], name: str) -> str | None:
    """Return the spelling under which a variable is set; an empty value counts, as it overrides the other spelling."""
    if name in environ:
        return name
    upper = name.upper()
    is_header = upper == "HTTP_PROXY" and "REQUEST_METHOD" in environ
    return upper if upper in environ and not is_header else None


def _read(environ: Mapping[str, str], variable: str, problems: list[str]) -> ProxyUrl | None:
    text = (value_of(environ, variable) or "").strip()
    if not text:
        return None
    problem = problem_with(environ, variable)
    try:
        if problem is None:
            return parse_proxy(text if "://" in text else f"http://{text}")
    except ValueError as error:
        problem = str(error)
    sentence = f"{variable} {problem}"
    if sentence not in problems:
        problems.append(sentence)
    return None


def _is_bypassed(host: str, port: int, pattern: str) -> bool:
    """Check whether a `NO_PROXY` entry covers the host: `*`, a domain with its subdomains, an address, a network."""
    if pattern == "*":
        return True
    return any(_names(host, name) for name, wanted in _readings(pattern) if wanted in (None, port))


def _readings(pattern: str) -> Iterator[tuple[str, int | None]]:
    """Yield what an entry may mean: a name, and a name with a port."""
    yield pattern.strip("[]"), None
    name, colon, port = pattern.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (":" not in name or name.endswith("]")):
        yield name.strip("[]"), int(port)


def _names(host: str, name: str) -> bool:
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        domain = name.removeprefix("*").strip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
    try:
        network = ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False
    return address in network
