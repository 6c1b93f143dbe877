"""What becomes of an answer whose client has left: read to its end for the row, or given up, whichever costs less."""

from __future__ import annotations

from arbstr.config.schema import Provider
from arbstr.engine.node_version import is_newer


def is_drained(provider: Provider, node_version: str | None) -> bool:
    """Return whether a provider's answer is read to its end; where the configuration does not say, by its node.

    Nodes up to 0.4.7 charge the whole answer either way. Newer ones charge what they have sent, and stop.
    """
    if provider.on_client_gone is not None:
        return provider.on_client_gone == "drain"
    return provider.kind != "routstr" or not is_newer(node_version)
