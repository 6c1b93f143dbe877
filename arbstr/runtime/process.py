"""What the process itself needs: enough open files, and a garbage collector that leaves alone what lives long."""

from __future__ import annotations

import contextlib
import gc

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


def freeze_gc() -> None:
    """Leave what lives now out of every later collection, and collect seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
