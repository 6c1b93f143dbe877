"""aiohttp's client loads the system's certificates twice as it is imported: 40 ms that every start would wait for.

The server comes with that client, and arbstr connects to nothing by its contexts: they have their certificates once
arbstr runs.
"""

from __future__ import annotations

import ssl
import sys

_without: list[ssl.SSLContext] = []


def _import_aiohttp() -> None:
    """Import it, and note the contexts that want certificates."""

    def note(context: ssl.SSLContext) -> None:
        _without.append(context)

    inherited = "set_default_verify_paths"  # from the class in C: deleted, that one is back
    setattr(ssl.SSLContext, inherited, note)
    try:
        import aiohttp  # noqa: F401, PLC0415 - for what happens as it is imported
    finally:
        delattr(ssl.SSLContext, inherited)


def load_certificates() -> None:
    """Load what aiohttp's contexts have yet to get; takes tens of milliseconds, for other threads to run."""
    while _without:
        _without.pop().set_default_verify_paths()


if "aiohttp" not in sys.modules:
    _import_aiohttp()
