"""The file into which a refund's token goes: made for it, for its owner alone, and never over another's text."""

from __future__ import annotations

import os
from pathlib import Path

from arbstr.errors import UnusableInput
from arbstr.private_files import PRIVATE, sync_directory

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_OLD = os.O_WRONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


def reserve(path: Path) -> None:
    """Make the file, empty, before there is a token. Raises UnusableInput if it can't be made, or is there."""
    try:
        os.close(os.open(path, _NEW, PRIVATE))
    except FileExistsError:
        raise UnusableInput(
            f"{path} exists; name a file that does not: a token is never written over another"
        ) from None
    except OSError as error:
        raise UnusableInput(f"{path} can't be made ({error.strerror}); nothing was sent") from None


def release(path: Path) -> None:
    """Remove the file if nothing has been written to it."""
    if path.exists() and not path.stat().st_size:
        path.unlink()


def write(path: Path, token: str) -> None:
    """Write the token; it is on the disk when this returns. A file with only a part of it was left by a crash.

    Raises UnusableInput if the file holds anything else, or can't be written.
    """
    line = f"{token}\n".encode()
    try:
        try:
            descriptor = os.open(path, _NEW, PRIVATE)
        except FileExistsError:
            if not line.startswith(path.read_bytes()):
                raise UnusableInput(
                    f"{path} holds something else by now; the token stays in the journal: move that file away and run "
                    "`arbstr recover`"
                ) from None
            descriptor = os.open(path, _OLD)
        with os.fdopen(descriptor, "wb") as file:
            file.write(line)
            file.flush()
            os.fchmod(descriptor, PRIVATE)
            os.fsync(descriptor)
        sync_directory(path.parent)
    except OSError as error:
        raise UnusableInput(
            f"{path} can't be written ({error.strerror}); the token stays in the journal for `arbstr recover`"
        ) from None
