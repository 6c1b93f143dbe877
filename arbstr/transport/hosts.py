"""Kinds of host names. It imports nothing that is slow to import: the configuration is read with it."""

from __future__ import annotations


def is_onion(host: str) -> bool:
    """Check whether a host can be reached only within Tor."""
    return host.rstrip(".").lower().endswith(".onion")
