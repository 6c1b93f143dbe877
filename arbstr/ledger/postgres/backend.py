"""The ledger in PostgreSQL: a database, opened by a writer and by readers of each instance."""

from __future__ import annotations

import logging
from glob import escape
from pathlib import Path

from arbstr.ledger.database import NotWritable
from arbstr.ledger.postgres.connection import DatabaseError, DataError, IntegrityError, NoPartition
from arbstr.ledger.postgres.faults import explain
from arbstr.ledger.postgres.read_connection import PostgresReadConnection
from arbstr.ledger.postgres.sessions import Session
from arbstr.ledger.postgres.write_connection import PostgresWriteConnection
from arbstr.places import PostgresPlace

logger = logging.getLogger(__name__)


class PostgresLedger:
    """The database at a place."""

    errors: tuple[type[Exception], ...] = (DatabaseError,)

    def __init__(self, place: PostgresPlace) -> None:
        self._place = place
        self._session = Session()
        self._has_opened = False

    def __str__(self) -> str:
        return str(self._place)

    @property
    def spilled_at(self) -> Path:
        """The path beside which rows wait in files that can't be written."""
        return self._place.spilled_at

    async def open(self) -> tuple[PostgresWriteConnection, str | None]:
        """Open it for writing. Raises `NotWritable` while the server does not let arbstr in."""
        try:
            connection = await PostgresWriteConnection.open(self._place, self._session)
        except DatabaseError as error:
            raise NotWritable(self.explain(error)) from None  # the error's own text is not redacted
        if not self._has_opened:
            self._has_opened = True
            self._name_strays()
        return connection, None

    def _name_strays(self) -> None:
        """Log files of rows that wait for a ledger under another URL: it may be this one, by other hosts."""
        own = self.spilled_at
        waiting = own.parent.glob(f"{escape(self._place.local.name)}-postgresql-*-unwritten-*.jsonl")
        if strays := sorted(path.name for path in waiting if not path.name.startswith(f"{own.name}-")):
            logger.warning(
                "rows wait in %d files for a ledger with another URL, such as %s; if it is this one, rename them to "
                "begin with %s, and start arbstr again",
                *(len(strays), own.parent / strays[0], own.name),
            )

    def connect(self) -> PostgresReadConnection:
        """Open a connection for queries."""
        return PostgresReadConnection(self._place)

    def identity(self) -> object | None:
        """Return what is always the same: whatever the server is, connections lead to it."""
        return ()

    def explain(self, error: BaseException) -> str:
        """Return an error as one sentence, without the password."""
        return explain(self._place, error)

    def will_pass(self, error: BaseException) -> bool:
        """Check whether an error is the database's, not that of a row."""
        # Another instance may just have dropped the month of a row: it is made again.
        is_of_row = isinstance(error, (DataError, IntegrityError)) and not isinstance(error, NoPartition)
        return isinstance(error, (DatabaseError, OSError)) and not is_of_row

    def is_broken(self, error: BaseException) -> bool:
        """Return False: who runs the server mends it."""
        return False

    def set_aside(self) -> None:
        """Do nothing: a database is never broken."""
