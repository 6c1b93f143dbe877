"""Limits of the process: open files, memory written to disk, and a garbage collector that skips long-lived objects."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_SPARE = 100  # for the ledger, its log, the configuration, libraries, the loop


def raise_fd_limit(sockets: int) -> int:
    """Raise the limit of open files for that many sockets, as far as the system allows; return the number."""
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return sockets
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sockets + _SPARE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):  # some systems enforce a lower limit than they report
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    return sockets if soft == resource.RLIM_INFINITY else min(sockets, max(1, soft - _SPARE))


def forbid_core_dumps() -> None:
    """Keep the system from writing this process's memory into a file, should it crash: there are secrets in it."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415 - not on every system

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """Collect no garbage while a program starts, which imports what stays: `freeze_gc` or the end goes on with it.

    Looking for garbage among modules takes a tenth of the time to import them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def freeze_gc() -> None:
    """Exclude all present objects from later collections, and collect few at a time, of all the others rarely.

    A collection holds the loop: of 2,000 new objects for 1 ms, of what three of those left for 3. (Of 50,000, which
    would be as much work in all, it took 20 ms.)
    """
    gc.freeze()
    gc.set_threshold(2000, 2, 7500)
    gc.enable()
