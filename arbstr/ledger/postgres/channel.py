"""The connection over which instances hear of each other's changes, and read and write what they share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.postgres import schema
from arbstr.ledger.postgres.connection import DatabaseError, PostgresConnection, run_in
from arbstr.ledger.postgres.faults import explain
from arbstr.ledger.sql import Statements
from arbstr.places import PostgresPlace

T = TypeVar("T")

PATIENCE_S = 10.0  # for the server to answer; then the connection is given up


class PostgresChannel:
    """An open connection that listens. Everything raises `LedgerUnavailable` once it is lost."""

    def __init__(self, place: PostgresPlace, db: PostgresConnection, threads: ThreadPoolExecutor) -> None:
        self._place = place
        self._db = db
        self._threads = threads

    @classmethod
    async def open(cls, place: PostgresPlace) -> PostgresChannel:
        """Connect to a ledger, and listen. Raises `LedgerUnavailable`."""
        threads = ThreadPoolExecutor(1, thread_name_prefix="sharing")

        def connect() -> PostgresConnection:
            db = PostgresConnection(place)
            try:
                schema.check(db, place)
                [name] = db.execute("SELECT quote_ident('arbstr_' || current_schema())").fetchone() or ("arbstr",)
                db.listen(name)
            except BaseException:
                db.close()
                raise
            return db

        opening = threads.submit(connect)
        try:
            db = await asyncio.wrap_future(opening)
        except DatabaseError as error:
            threads.shutdown(wait=False)
            raise LedgerUnavailable(explain(place, error)) from None  # the error's own text is not redacted
        except BaseException:
            opening.add_done_callback(_close_unused)  # cancelled: its thread may be connecting still
            threads.shutdown(wait=False)
            raise
        return cls(place, db, threads)

    async def wait(self, woken: asyncio.Event) -> None:
        """Wait until something has come from the server, or `woken` is set from elsewhere; it is set afterwards."""
        if self._db.has_heard:
            woken.set()
        loop, number = asyncio.get_running_loop(), self._db.fileno()
        loop.add_reader(number, woken.set)
        try:
            await woken.wait()
        finally:
            loop.remove_reader(number)

    async def heard(self) -> list[str]:
        """Return the payloads that have come since the last call; does not wait for more."""
        return await self._run(PostgresConnection.heard)

    async def do(self, work: Callable[[Statements], T]) -> T:
        """Do work in a transaction; return its result."""

        def do(db: PostgresConnection) -> T:
            with db.transaction():
                return work(db)

        return await self._run(do)

    async def close(self) -> None:
        """Close the connection, without waiting for it."""
        self._threads.submit(self._db.close)  # after what runs there
        self._threads.shutdown(wait=False)

    async def _run(self, work: Callable[[PostgresConnection], T]) -> T:
        try:
            return await run_in(self._threads, self._db, work, PATIENCE_S)
        except (DatabaseError, OSError) as error:
            raise LedgerUnavailable(explain(self._place, error)) from None  # as above
        except asyncio.CancelledError:
            self._db.abort()  # else its thread would outlive what waits for it
            raise


def _close_unused(opening: Future[PostgresConnection]) -> None:
    """Close a connection that nobody waits for any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
