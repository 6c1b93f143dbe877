"""The journal of money under way: a file beside the configuration, on the disk before anything is sent.

One move is one line of JSON. The file is replaced as a whole at each change, so that what has arrived leaves nothing
behind, and is locked while money is in motion. It is empty when no money is under way.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arbstr import private_files
from arbstr.errors import ArbstrError
from arbstr.market.money_moves import Move, decode, encode

PATIENCE_S = 30.0  # for another arbstr that holds the lock
_AGAIN_S = 0.05


class JournalBusy(ArbstrError):
    """Another arbstr moves money just now."""


class JournalUnusable(ArbstrError):
    """The journal can't be read or written; the text says where and how to mend it."""


def journal_path(config: Path) -> Path:
    """Return where the journal of a configuration file is: beside the file itself, whatever links lead to it."""
    real = Path(os.path.realpath(config))
    return real.with_name(f"{real.name}.money")


def has_moves(path: Path) -> bool:
    """Return whether money is under way, or a crash has left half of a journal behind."""
    try:
        return path.stat().st_size > 0 or private_files.temporary_path(path).exists()
    except OSError:
        return private_files.temporary_path(path).exists()


@contextmanager
def opened(path: Path, patience_s: float = PATIENCE_S) -> Iterator[Journal]:
    """Hold the journal, made if it is missing, until the block ends or the process does.

    Waits `patience_s` seconds for another process. Raises JournalBusy and JournalUnusable.
    """
    try:
        descriptor = _locked(path, patience_s)
    except OSError as error:
        raise _unusable(path, error) from None
    journal = Journal(path, descriptor)
    try:
        private_files.temporary_path(path).unlink(missing_ok=True)  # it may hold a token
        journal.load()
        yield journal
    finally:
        journal.release()


class Journal:
    """The journal while it is locked; see `opened`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._moves: dict[str, Move] = {}

    @property
    def moves(self) -> list[Move]:
        """The moves under way, the oldest first."""
        return list(self._moves.values())

    def load(self) -> None:
        """Read the moves. Raises JournalUnusable."""
        for number, line in enumerate(self.path.read_text("utf-8", errors="replace").splitlines(), 1):
            try:
                move = decode(json.loads(line))
            except (ValueError, RecursionError) as error:
                problem = "it is not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
                raise JournalUnusable(
                    f"{self.path}, line {number}, can't be read: {problem}; it may hold money, so nothing is done "
                    "before that line is mended or moved elsewhere"
                ) from None
            self._moves[move.id] = move

    def put(self, move: Move) -> None:
        """Write a move, new or changed; it is on the disk when this returns. Raises JournalUnusable."""
        self._save({**self._moves, move.id: move})

    def remove(self, move: Move) -> None:
        """Forget a move that has come to its end. Raises JournalUnusable."""
        self._save({name: other for name, other in self._moves.items() if name != move.id})

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)

    def _save(self, moves: dict[str, Move]) -> None:
        """Replace the file; its successor is locked before it is one."""
        new = private_files.temporary_path(self.path)
        try:
            descriptor = private_files.open_new(new, os.O_RDWR)
            try:
                private_files.lock(descriptor)
                _write(descriptor, "".join(f"{json.dumps(encode(move))}\n" for move in moves.values()).encode())
                private_files.put_in_place(new, self.path)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise _unusable(self.path, error) from None
        os.close(self._descriptor)
        self._descriptor, self._moves = descriptor, moves


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)


def _locked(path: Path, patience_s: float) -> int:
    """Return the file's descriptor, locked. One that was replaced or deleted meanwhile is left for its successor."""
    until = time.monotonic() + patience_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, private_files.PRIVATE)
        if private_files.lock(descriptor):
            if private_files.is_at(path, descriptor):
                os.fchmod(descriptor, private_files.PRIVATE)
                return descriptor
            os.close(descriptor)
            continue
        os.close(descriptor)
        if time.monotonic() >= until:
            raise JournalBusy("another arbstr is moving money at this moment; try again when it has ended")
        time.sleep(_AGAIN_S)


def _unusable(path: Path, error: OSError) -> JournalUnusable:
    return JournalUnusable(
        f"{path} can't be written ({error.strerror}); nothing is sent before what is sent is written there: "
        "make room, or make its directory writable"
    )
