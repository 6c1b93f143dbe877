"""Files for their owner alone, replaced whole or not at all: after a crash there is the old text or the new."""

from __future__ import annotations

import os
from contextlib import suppress
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
