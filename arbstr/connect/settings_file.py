"""A client's settings file: changed as a whole or not at all, with what it was beside it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

from arbstr.connect.merging import Unmergeable
from arbstr.errors import UnusableInput
from arbstr.private_files import PRIVATE, replace

_LARGEST_BYTES = 4 * 1024 * 1024


class Change(NamedTuple):
    """What has become of a file: whether it was written, and where its old text is."""

    path: Path
    written: bool
    backup: Path | None = None


def change(path: Path, merged: Callable[[str], str]) -> Change:
    """Write what `merged` makes of a file's text, with a backup; an absent file is made, links are followed.

    Raises `UnusableInput` if the file can't be changed safely, OSError if the system refuses.
    """
    target = Path(os.path.realpath(path))
    before, mode = _read(target)
    try:
        old = before.decode("utf-8-sig").replace("\r\n", "\n")
        new = merged(old)
    except UnicodeDecodeError:
        raise UnusableInput(f"{path} is not UTF-8; it was left as it is") from None
    except Unmergeable as error:
        raise UnusableInput(f"{path} was left as it is: {error}; put the settings in by hand") from None
    if new == old:
        return Change(path, written=False)
    data = new.replace("\n", "\r\n" if b"\r\n" in before else "\n").encode()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    backup = _back_up(target, before, mode) if target.exists() else None
    replace(target, data, mode)
    return Change(path, written=True, backup=backup)


def _read(path: Path) -> tuple[bytes, int]:
    """Return the file's bytes and permission bits."""
    try:
        known = path.stat()
    except FileNotFoundError:
        return b"", PRIVATE  # it may get secrets later
    if not stat.S_ISREG(known.st_mode) or known.st_size > _LARGEST_BYTES:
        raise UnusableInput(f"{path} is no settings file; it was left as it is")
    return path.read_bytes(), stat.S_IMODE(known.st_mode)


def _back_up(path: Path, data: bytes, mode: int) -> Path:
    """Write a copy under a name that is not taken."""
    for number in count():
        backup = path.with_name(f"{path.name}.bak{number or ''}")
        try:
            descriptor = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        except FileExistsError:
            continue
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, mode)
        return backup
    raise AssertionError("names never run out")
