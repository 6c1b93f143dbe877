"""What someone chose of the dashboard, in a small file of theirs, so that it is so again the next time."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arbstr import private_files

logger = logging.getLogger(__name__)

MOST_BYTES = 64 * 1024  # of a file that is read


class Habits:
    """The choices, each under its name; those of others and of other versions in the same file are left as they are.

    Without a `path` nothing is read or written; with `writes` false nothing is written.
    """

    def __init__(self, path: Path | None = None, *, writes: bool = True) -> None:
        self._path = path
        self._writes = writes and path is not None
        self._lock = threading.Lock()
        self._known = {} if path is None else _read(path)

    def text(self, name: str) -> str | None:
        """Return a choice that is a text, None if there is none."""
        value = self._known.get(name)
        return value if isinstance(value, str) else None

    def flag(self, name: str) -> bool | None:
        """Return a choice between yes and no, None if there is none."""
        value = self._known.get(name)
        return value if isinstance(value, bool) else None

    def texts(self, name: str) -> Sequence[str] | None:
        """Return a choice of several texts, None if there is none."""
        value = self._known.get(name)
        return value if isinstance(value, list) and all(isinstance(each, str) for each in value) else None

    def keep(self, name: str, value: str | bool | Sequence[str]) -> None:
        """Remember a choice. The file is written on another thread; where it can't be, the log says so once."""
        self._known[name] = value
        if self._writes:
            asyncio.get_running_loop().run_in_executor(None, self._write, {name: value})

    def _write(self, changes: Mapping[str, Any]) -> None:
        """Put changes into the file: another dashboard may have written it since."""
        path = self._path
        with self._lock:
            if path is None or not self._writes:  # one before may have failed
                return
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                text = json.dumps({**_read(path), **changes}, indent=1)
                private_files.replace(path, text.encode() + b"\n")
            except OSError as problem:
                self._writes = False
                logger.warning("what is chosen in the dashboard is forgotten when it ends: %s", problem)


def _read(path: Path) -> dict[str, Any]:
    """Return what a file has, nothing if it is absent, too long or not what `Habits` writes."""
    try:
        if not path.is_file():  # reading a pipe would never end
            return {}
        with path.open("rb") as file:
            known = json.loads(file.read(MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
