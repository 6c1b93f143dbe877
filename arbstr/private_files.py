"""Files for their owner alone, replaced whole or not at all: after a crash there is the old text or the new."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRIVATE = 0o600
_FLAGS = os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)


def replace(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Put the data in the file's place in one step, on the disk when this returns. Raises OSError.

    A link is replaced, not followed. The new file belongs to the old one's owner where the system lets it.
    """
    new = temporary_path(path)
    descriptor = open_new(new, os.O_WRONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            _keep_owner(path, descriptor)
            os.fsync(descriptor)
        put_in_place(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def change(path: Path, changed: Callable[[bytes], bytes]) -> None:
    """Put what `changed` makes of a file's data in its place. Raises OSError; what `changed` raises changes nothing.

    Who changes it at the same time waits: none undoes what another has written.
    """
    with _held(path):
        replace(path, changed(path.read_bytes()))


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the lock of a file. One that was replaced meanwhile is left for its successor."""
    while True:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            with suppress(OSError, ImportError):  # not every file system and not every system has locks
                lock(descriptor, waits=True)
            if is_at(path, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def lock(descriptor: int, *, waits: bool = False) -> bool:
    """Lock a file until it is closed, or the process has ended; return False if another one has it.

    `waits`: until that has let go. Raises OSError and ImportError where there are no locks.
    """
    import fcntl  # noqa: PLC0415 - not on every system, and only few commands need it

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def is_at(path: Path, descriptor: int) -> bool:
    """Return whether an open file is the one that is there now."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def temporary_path(path: Path) -> Path:
    """Return where a file's next text is written first. It is always the same: what a crash left there is cleared."""
    return path.with_name(f".{path.name}.new")


def open_new(path: Path, access: int) -> int:
    """Return a descriptor of a new private file, in place of one that a crash may have left there."""
    path.unlink(missing_ok=True)
    return os.open(path, access | _FLAGS, PRIVATE)


def put_in_place(new: Path, path: Path) -> None:
    """Rename a file that is on the disk, and have the name there too."""
    new.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Have the names in a directory on the disk, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _keep_owner(path: Path, descriptor: int) -> None:
    with suppress(OSError):  # only root gives files away
        old = path.stat()
        if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, old.st_uid, old.st_gid)
