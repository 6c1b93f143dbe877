"""aiohttp's client loads the system's certificates twice as it is imported: 40 ms and 2 MB for nothing here.

The server comes with that client. arbstr connects to nothing by its contexts; without certificates they trust nobody.
"""

from __future__ import annotations

import ssl
import sys


def _import_aiohttp() -> None:
    """Import it, without certificates for the contexts that it makes meanwhile."""

    def load_none(_: ssl.SSLContext) -> None:
        pass

    inherited = "set_default_verify_paths"  # from the class in C: deleted, that one is back
    setattr(ssl.SSLContext, inherited, load_none)
    try:
        import aiohttp  # noqa: F401, PLC0415 - for what happens as it is imported
    finally:
        delattr(ssl.SSLContext, inherited)


if "aiohttp" not in sys.modules:
    _import_aiohttp()
