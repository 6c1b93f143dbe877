"""The port between the ledger and its databases: what a writer and a reader need of one.

SQLite and PostgreSQL fill it; `backend_at` returns the one that a place is of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from arbstr.ledger.learned import Cells, LearnedState, Ratios
from arbstr.ledger.pending_row import PendingRow
from arbstr.ledger.progress import Progress
from arbstr.ledger.rollups import Rollups
from arbstr.ledger.sql import Statements
from arbstr.places import Place, PostgresPlace

if TYPE_CHECKING:
    from arbstr.ledger.queries import Queries

T = TypeVar("T")
Work = Callable[[Statements, Rollups], T]


class OpenLedger(Protocol):
    """A database that is open for its one writer in this process. Raises what its backend names in `errors`."""

    @property
    def stale(self) -> str | None:
        """Why it must be opened again, as a sentence; None if it need not."""
        ...

    async def close(self) -> None:
        """Close it, as orderly as it allows."""
        ...

    async def write(self, batch: Sequence[PendingRow], ratios: Ratios, cells: Cells) -> None:
        """Commit rows, their rollups and what was learned, all or nothing; rows that are there already count once."""
        ...

    async def change(self, work: Work[T]) -> T:
        """Do work in a transaction in which rows and their rollups may change; return its result."""
        ...

    async def learned(self) -> LearnedState:
        """Return all learned values ever given to `write`."""
        ...

    async def session_key(self) -> bytes:
        """Return the key under which sessions are hashed, of this ledger's own."""
        ...

    def expect_rows(self) -> None:
        """Note that there are spill files that `absorb` has to read."""
        ...

    async def absorb(self) -> bool:
        """Do a slice of what makes rows from elsewhere count; return False when all do."""
        ...

    async def adopted(self) -> Progress:
        """Return the progress of that."""
        ...

    async def more_is_unsummed(self, rows: int) -> bool:
        """Check whether more than that many rows are in no rollups."""
        ...

    async def reached(self, now_ms: int) -> int | None:
        """Return up to where rows were kept at last, as `retention` says it."""
        ...

    async def mend_cutoff(self, now_ms: int) -> None:
        """List all rows again where a wrong clock had those of this day, and of many to come, count as gone."""
        ...

    async def prune(self, before_ms: int, reached_ms: int) -> bool:
        """Delete a slice of the rows from before that day, keeping their rollups; False when there are none left."""
        ...


class LedgerBackend(Protocol):
    """A ledger's database, open or not. As text it is its place, fit to be shown."""

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its connections raise."""
        ...

    @property
    def spilled_at(self) -> Path:
        """The path beside which rows wait in files that can't be written."""
        ...

    async def open(self) -> tuple[OpenLedger, str | None]:
        """Open it for writing, made or migrated if need be; also return what there is to report of that.

        Raises `LedgerUnavailable` when no waiting will help, `NotWritable` when it may.
        """
        ...

    def connect(self) -> Queries:
        """Open a connection for queries; blocks. Raises LedgerUnavailable."""
        ...

    def identity(self) -> object | None:
        """Return what is another as soon as another database is in its place; None if there is none."""
        ...

    def explain(self, error: BaseException) -> str:
        """Return an error of the database as one sentence."""
        ...

    def will_pass(self, error: BaseException) -> bool:
        """Check whether an error is the database's, not that of a row."""
        ...

    def is_broken(self, error: BaseException) -> bool:
        """Check whether nothing will mend the database, so that `set_aside` must begin another."""
        ...

    def set_aside(self) -> None:
        """Set a broken database aside; nothing is deleted."""
        ...


def backend_at(place: Place) -> LedgerBackend:
    """Return the backend of a place. Raises LedgerUnavailable if what it needs is not installed."""
    if isinstance(place, PostgresPlace):
        from arbstr.ledger.postgres.backend import PostgresLedger  # noqa: PLC0415 - an extra, loaded where it is asked for

        return PostgresLedger(place)
    from arbstr.ledger.sqlite_ledger import SqliteLedger  # noqa: PLC0415 - nor this where the other one is

    return SqliteLedger(Path(place))
