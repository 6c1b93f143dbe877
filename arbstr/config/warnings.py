"""Warnings of `check` and at the start: a valid configuration may still leak a key or waste money unnoticed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from arbstr.config.address import Address
from arbstr.config.schema import Config, Provider
from arbstr.config.toml_file import ConfigFile, is_literal, tables

TOKENS = {"auth_token": "ARBSTR_TOKEN", "metrics_token": "ARBSTR_METRICS_TOKEN"}  # of `[server]`, and their variables
WEBHOOK = {"webhook": "ARBSTR_WEBHOOK", "secret": "ARBSTR_WEBHOOK_SECRET"}  # of `[alerts]`

# Sats per 1000 tokens. Hardly any model costs so much by the thousand, and hardly any so little by the million.
_SUSPICIOUS_RATES = {"input_rate": 100, "output_rate": 500}
_PROXY_PASSWORD = re.compile(r"://[^@/]*?:([^/]*)@")
_RATES = ("input_rate", "output_rate", "base_fee")


def warnings(file: ConfigFile, config: Config, environ: Mapping[str, str], *, mock: bool) -> Iterator[str]:
    """Yield a clause for each warning. A mock run asks no configured provider, so only the file is checked."""
    yield from _exposed_file(file, config)
    if config.clients and config.server.auth_token is None:
        yield (
            "has clients but no server.auth_token: no key opens /providers, /metrics and all clients' figures; "
            'set auth_token = "${ARBSTR_TOKEN}" in [server]'
        )
    if mock:
        return
    written = (table for _, table in tables(file.table, "providers"))
    for i, (table, provider) in enumerate(zip(written, config.providers, strict=True)):
        yield from (f"providers[{i}]{warning}" for warning in _provider_warnings(table, provider, environ))


def _provider_warnings(table: dict[str, Any], provider: Provider, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what follows `providers[i]` in a warning."""
    if provider.is_inert:
        yield f" has no key and is not used; 'arbstr fund {provider.name}' gets it one, or set api_key"
    elif provider.api_key is None:
        yield _missing_key(provider.key_variable, environ)
    elif is_readable_on_the_way(provider.url):
        yield f".url sends the key over plain http, where others can read it; write https:// ({provider.url})"
    yield from _rate_warnings(table, provider)


def _missing_key(variable: str | None, environ: Mapping[str, str]) -> str:
    if variable is None:
        return " has no key; set api_key"
    if variable in environ:
        return f" has no key: {variable} is set but empty"
    return f" has no key; set {variable}, or api_key"


def _rate_warnings(table: dict[str, Any], provider: Provider) -> Iterator[str]:
    own_rates = (model for model in table.get("models", ()) if isinstance(model, dict))
    if provider.kind == "openai" and not any(rate in rated for rated in (table, *own_rates) for rate in _RATES):
        yield " has no rates: it counts as free and is always chosen; set input_rate and output_rate"
    for name, least in _SUSPICIOUS_RATES.items():
        rate = getattr(provider, name)
        if rate >= least:
            yield (
                f".{name} of {rate:.10g} looks like sats per million tokens; arbstr's unit is sats per 1000 tokens"
                f" (then it is {rate / 1000:.10g})"
            )


def is_readable_on_the_way(url: str) -> bool:
    """Check whether others can read what is sent there: plain http, unless on this machine or through Tor."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "http" and not host.endswith(".onion") and not Address(host, 0).is_loopback


def _holds_password(file: ConfigFile, i: int) -> bool:
    """Check whether the file holds a proxy's password literally, not as a reference."""
    written = _PROXY_PASSWORD.search(str(file.table["providers"][i]["proxy"]))
    return written is not None and is_literal(written[1])


def _exposed_file(file: ConfigFile, config: Config) -> Iterator[str]:
    """Yield warnings about keys in the file, and about its permissions."""
    literal = False
    for i, provider in enumerate(config.providers):
        if provider.key_source == "literal":
            literal = True
            variable = provider.key_variable or "ARBSTR_KEY"
            advice = f"set {variable} and leave api_key out, or write ${{{variable}}}"
            yield f"providers[{i}].api_key is a literal key; {advice}"
        if provider.proxy and provider.proxy.password and _holds_password(file, i):
            literal = True
            yield f"providers[{i}].proxy holds a literal password; write ${{PROXY_PASSWORD}} and set that variable"
    for key, variable in TOKENS.items():
        token = file.table.get("server", {}).get(key)
        if token is not None and is_literal(token):
            literal = True
            yield f"server.{key} is a literal; write ${{{variable}}} and set that variable"
    for key, variable in WEBHOOK.items():
        if (text := file.table.get("alerts", {}).get(key)) is not None and is_literal(text):
            literal = True
            yield f"alerts.{key} is a literal; write ${{{variable}}} and set that variable"
    if literal and file.mode & 0o077:
        yield f"the file has a literal key and others can read it (mode {file.mode:04o}); run chmod 600 {file.path}"
    elif file.mode & 0o022:
        danger = "others can write to the file and redirect your keys"
        yield f"{danger} (mode {file.mode:04o}); run chmod go-w {file.path}"
