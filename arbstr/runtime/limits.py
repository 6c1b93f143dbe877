"""How many clients may be connected at a time."""

from __future__ import annotations

import logging

from arbstr.config.settings import Settings
from arbstr.runtime import process

logger = logging.getLogger(__name__)

IDLE_CLIENTS = 1000  # further connections


def most_clients(settings: Settings) -> int:
    """Return the connection limit: twice `max_in_flight` and some; fewer where the system grants fewer open files."""
    in_flight = settings.config.server.max_in_flight
    sockets_each = 3 if settings.mock else 2  # to the client, to the provider, and the fake provider's end
    allowed = process.raise_fd_limit(sockets_each * (2 * in_flight + IDLE_CLIENTS)) // sockets_each
    if allowed < in_flight:
        message = "the limit on open files (ulimit -n) allows %d clients at a time; server.max_in_flight is %d"
        logger.warning(message, allowed, in_flight)
    return allowed
