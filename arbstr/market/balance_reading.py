"""What a Routstr node answers about a key's money and about itself, read once.

The balance is at `balance/info`, in msats: `balance` can be spent, `reserved` has been taken off it. The version is at
`info`, which needs no key.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx

from arbstr.config.schema import Provider
from arbstr.engine.upstream import verdict
from arbstr.market.fetching import Fetched, FetchFailed, fetch, get_request
from arbstr.redaction import Secret
from arbstr.sanitize import sanitize
from arbstr.types import Balance, BalanceState, JsonObject

_MOST_MSATS = 2_100_000_000_000_000_000  # all that will ever exist
_LONGEST_VERSION = 60
_EXPIRED = "key_expired"
_WITHIN_S = 30.0


async def read_balance(transport: httpx.AsyncBaseTransport, provider: Provider, now_ms: int) -> Balance:
    """Return what a provider's key holds at its node, without the node's version.

    A key that the node refuses has no figures. Raises `FetchFailed` if nothing was learned.
    """
    found = await _look_up(transport, provider, "balance/info", provider.api_key)
    if found.status != httpx.codes.OK:
        return Balance(_refused(found))
    balance = parse_balance(found.document, now_ms)
    if balance is None:
        raise FetchFailed("content", "what it answers is no balance")
    return balance


async def read_version(transport: httpx.AsyncBaseTransport, provider: Provider) -> str | None:
    """Return what a provider's node says it runs, None if it does not say. Raises as `read_balance` does."""
    document = (await _look_up(transport, provider, "info", None)).document
    version = document.get("version") if isinstance(document, dict) else None
    return sanitize(version, _LONGEST_VERSION) or None if isinstance(version, str) else None


async def _look_up(transport: httpx.AsyncBaseTransport, provider: Provider, path: str, key: Secret | None) -> Fetched:
    url, connect_s = f"{provider.url}/{path}", provider.timeouts.connect
    request = get_request(url, key=key, proxy=provider.proxy, connect_s=connect_s)
    return await fetch(transport, request, within_s=_WITHIN_S)


def parse_balance(document: Any, now_ms: int) -> Balance | None:
    """Return the balance that a node's answer states, None if it states none."""
    if not isinstance(document, dict):
        return None
    free, reserved = _msats(document.get("balance")), _msats(document.get("reserved"))
    if free is None:
        return None
    balance = Balance(
        "known",
        free_msats=free,
        reserved_msats=reserved or 0,
        spent_msats=_msats(document.get("total_spent")) or 0,
        requests=_msats(document.get("total_requests")) or 0,
        read_at_ms=now_ms,
    )
    until = document.get("validity_date")
    if isinstance(until, int | float) and not isinstance(until, bool) and until and until * 1000 < now_ms:
        return replace(balance, state="expired")
    return replace(balance, free_msats=min(free, _within_limit(document, balance)))


def _within_limit(document: JsonObject, balance: Balance) -> int:
    """Return what a key with a limit of its own may still spend. One that is renewed limits nothing here."""
    limit = _msats(document.get("balance_limit"))
    if limit is None or document.get("balance_limit_reset"):
        return _MOST_MSATS
    return max(0, limit - (balance.spent_msats or 0))


def _msats(value: Any) -> int | None:
    """Return a whole number as msats; a debt is nothing to spend."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return min(max(value, 0), _MOST_MSATS)


def _refused(found: Fetched) -> BalanceState:
    """Return what a refusal says of the key. Raises `FetchFailed` if it says nothing of it."""
    error = verdict.error_of(found.document) or {}
    if found.status == httpx.codes.FORBIDDEN and error.get("code") == _EXPIRED:
        return "expired"
    if found.status == httpx.codes.UNAUTHORIZED:
        return "bad_key"
    raise FetchFailed("status", f"HTTP {found.status}")
