"""How many files and sockets arbstr may have open at a time: systems begin with fewer than a crowd of clients takes."""

from __future__ import annotations

import contextlib

_SPARE = 100  # for the ledger, its log, the configuration, libraries, the loop


def raise_fd_limit(sockets: int) -> int:
    """See to it that so many sockets may be open besides arbstr's files, or as many as the system lets; how many."""
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return sockets
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sockets + _SPARE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):  # some systems know a lower limit than the one they tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return sockets if soft == resource.RLIM_INFINITY else min(sockets, max(1, soft - _SPARE))
