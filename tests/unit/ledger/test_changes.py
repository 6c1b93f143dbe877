"""Changes that wait for the ledger's writer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.backend import LedgerBackend, OpenLedger
from arbstr.ledger.changes import WaitingChanges


class Database:
    """A connection that makes a change when it is let."""

    def __init__(self) -> None:
        self.made = asyncio.Event()
        self.let = asyncio.Event()
        self.error: Exception | None = None

    async def change(self, work: Any) -> str:
        self.made.set()
        await self.let.wait()
        if self.error is not None:
            raise self.error
        return "made"


class Backend:
    errors = (OSError,)

    def explain(self, error: BaseException) -> str:
        return f"The ledger: {error}."


@pytest.mark.parametrize("error", [None, OSError("away")])
async def test_a_change_that_nobody_waits_for_any_more_stops_no_writer(error: Exception | None) -> None:
    changes, database = WaitingChanges(), Database()
    database.error = error
    result = changes.add(lambda db, rollups: None)
    making = asyncio.create_task(changes.make(1, cast("LedgerBackend", Backend()), cast("OpenLedger", database)))
    await database.made.wait()
    result.cancel()
    database.let.set()
    [raised] = await asyncio.gather(making, return_exceptions=True)
    assert raised is error


async def test_a_change_that_fails_says_why_to_whom_waits_for_it_and_to_the_writer() -> None:
    changes, database = WaitingChanges(), Database()
    database.error = OSError("away")
    database.let.set()
    result = changes.add(lambda db, rollups: None)
    with pytest.raises(OSError, match="away"):
        await changes.make(1, cast("LedgerBackend", Backend()), cast("OpenLedger", database))
    with pytest.raises(LedgerUnavailable, match="The ledger: away"):
        await result
