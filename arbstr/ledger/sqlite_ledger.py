"""The ledger in SQLite: one file, opened by a writer and by readers."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from arbstr.ledger.files import explain, identity, is_broken
from arbstr.ledger.read_connection import ReadConnection

if TYPE_CHECKING:
    from arbstr.ledger.write_connection import WriteConnection


class SqliteLedger:
    """The file at a path."""

    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: Path) -> None:
        self.spilled_at = path

    def __str__(self) -> str:
        return str(self.spilled_at)

    async def open(self) -> tuple[WriteConnection, str | None]:
        """Open it for writing; a broken one is set aside, and that is reported."""
        from arbstr.ledger.write_connection import WriteConnection  # noqa: PLC0415 - who only reads needs no asyncio

        connection, aside = await WriteConnection.open(self.spilled_at)
        if aside is None:
            return connection, None
        return connection, f"The ledger {self} was corrupt: set aside as {aside}, a new one was created."

    def connect(self) -> ReadConnection:
        """Open a connection for queries."""
        return ReadConnection(self.spilled_at)

    def identity(self) -> object | None:
        """Return the file's device and inode."""
        return identity(self.spilled_at)

    def explain(self, error: BaseException) -> str:
        """Return an error as one sentence."""
        return explain(self.spilled_at, error)

    def will_pass(self, error: BaseException) -> bool:
        """Check whether an error is the database's, not that of a row."""
        return isinstance(error, (sqlite3.OperationalError, OSError)) or is_broken(error)

    def is_broken(self, error: BaseException) -> bool:
        """Check whether the file is a broken database."""
        return is_broken(error)

    def set_aside(self) -> None:
        """Rename the file. Raises OSError."""
        from arbstr.ledger import database  # noqa: PLC0415 - as above

        database.set_aside(self.spilled_at)
