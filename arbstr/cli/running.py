"""What an arbstr that runs with this configuration knows: asked at the address that it listens on."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from arbstr.config.address import Address

if TYPE_CHECKING:
    from arbstr import shapes
    from arbstr.config.settings import Settings

_PATIENCE_S = 2.0
_MOST_BYTES = 32 * 1024 * 1024


def known_providers(settings: Settings) -> dict[str, shapes.ProviderEntry]:
    """Return what `GET /providers` of a running arbstr says, by name; empty if none runs or it has other providers.

    Never raises: nothing has to run.
    """
    try:
        listed = _ask(settings, "/providers")["providers"]
        entries = {entry["name"]: entry for entry in listed if _is_complete(entry)}
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
        return {}
    ours = {provider.name: provider.url for provider in settings.config.providers}
    return {name: entry for name, entry in entries.items() if ours.get(name) == entry["url"]}


def answers(settings: Settings) -> bool:
    """Check whether an arbstr runs where this configuration says, healthy or not. Never raises."""
    try:
        return "uptime_s" in _ask(settings, "/health", (http.client.OK, http.client.SERVICE_UNAVAILABLE))
    except (OSError, http.client.HTTPException, ValueError, TypeError):
        return False


def _is_complete(entry: dict[str, Any]) -> bool:
    """Check whether an entry has what this version says of a provider; an earlier one may still be running."""
    return {"name", "url", "models", "health", "balance", "charged_ratio", "list_age_s", "list_stale"} <= entry.keys()


def _ask(settings: Settings, path: str, statuses: Sequence[int] = (http.client.OK,)) -> dict[str, Any]:
    token = settings.config.server.auth_token
    headers = {} if token is None else {"Authorization": f"Bearer {token.reveal()}"}
    address = Address(settings.host, settings.port).here
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_PATIENCE_S)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        if response.status not in statuses:
            raise ValueError(f"HTTP {response.status}")
        return cast("dict[str, Any]", json.loads(response.read(_MOST_BYTES)))
    finally:
        connection.close()
