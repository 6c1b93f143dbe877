"""Where leases are kept: in the ledger that the instances share."""

from __future__ import annotations

from collections.abc import Sequence

from arbstr.ledger.leases import Ask, Leases, Period
from arbstr.ledger.postgres import leases
from arbstr.ledger.reader import LedgerReader
from arbstr.ledger.writer import LedgerWriter


class LedgerLeases:
    """Implements `leases.LeaseStore` in a ledger in PostgreSQL."""

    def __init__(self, ledger: LedgerWriter, reader: LedgerReader) -> None:
        self._ledger = ledger
        self._reader = reader

    @property
    def problem(self) -> str | None:
        """Why the ledger can't be written now; None if it can."""
        return self._ledger.problem

    async def renew(self, asks: Sequence[Ask]) -> Leases:
        """Renew leases, once all rows that wait are written. Raises `LedgerUnavailable`."""
        return await self._ledger.change(lambda db, rollups: leases.renew(db, asks))

    async def sum_up(self, period: Period) -> None:
        """Count the rows of a period that are not counted yet. Raises `LedgerUnavailable`."""
        missing = await self._reader.missing(period)
        await self._ledger.change(lambda db, rollups: leases.known(db, period, missing))
