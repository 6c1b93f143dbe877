"""The `LedgerReader` of a running arbstr: queries run in threads, each with a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Lock
from typing import Literal, TypeVar

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.backend import LedgerBackend, backend_at
from arbstr.ledger.leases import Missing, Period
from arbstr.ledger.model import Detail, Entry, Filter, GroupBy, Order, Page, Sort, Stats
from arbstr.ledger.queries import Queries
from arbstr.places import Place

T = TypeVar("T")

_THREADS = 3
_RETRY_S = 0.05


async def _nothing_waits() -> None:
    """Return at once: without a writer there is nothing to wait for."""


class LedgerReader:
    """Runs queries without blocking the loop or the writer.

    `settle` returns once what has been appended so far can be read; it is awaited before each query.
    """

    def __init__(self, place: Place, *, settle: Callable[[], Awaitable[None]] = _nothing_waits) -> None:
        self._backend = backend_at(place)
        self._settle = settle
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ledger reader")
        self._idle: list[tuple[object | None, Queries]] = []

    async def close(self) -> None:
        """Close the database, once running queries have ended."""
        await asyncio.to_thread(self._threads.shutdown)
        while self._idle:
            self._idle.pop()[1].close()

    async def stats(self, where: Filter, group_by: GroupBy | None = None) -> Stats:
        """Return aggregates of the matching rows."""
        return await self._ask(lambda connection: connection.stats(where, group_by))

    async def spent_msats(self, where: Filter) -> int:
        """Return the assumed cost of the matching rows in msats: the charge or the cost by rates, whichever is more.

        0 where there is no ledger yet, nor can be: requests go on without one.
        """
        if self._backend.identity() is None:
            return 0
        return await self._ask(lambda connection: connection.spent_msats(where))

    async def missing(self, period: Period) -> Missing:
        """Return by how much what all rows of a budget's period count is more than what is noted."""
        return await self._ask(lambda connection: connection.missing(period))

    async def page(self, where: Filter, sort: Sort, order: Order, page: int, per_page: int) -> Page:
        """Return page `page` (from 1) of the matching rows."""
        return await self._ask(lambda connection: connection.page(where, sort, order, page, per_page))

    async def slice(
        self,
        where: Filter,
        *,
        before: Entry | None,
        limit: int,
        sort: Sort = "timestamp",
        order: Order = "desc",
        offset: int = 0,
    ) -> list[Entry]:
        """Return up to `limit` matching rows, newest first from just after `before`, or from `offset` in any order."""
        return await self._ask(lambda connection: connection.slice(where, before, limit, sort, order, offset))

    async def count(self, where: Filter) -> int:
        """Return how many rows match."""
        return await self._ask(lambda connection: connection.count(where))

    async def request(self, request_id: str) -> Detail | None:
        """Return one finished request in full, or None."""
        return await self._ask(lambda connection: connection.request(request_id))

    async def known(self, column: Literal["model", "provider"], name: str) -> bool:
        """Check whether a name (ignoring case) was ever logged."""
        return await self._ask(lambda connection: connection.known(column, name))

    async def entries(self, where: Filter, sort: Sort, order: Order, limit: int | None) -> AsyncIterator[Entry]:
        """Yield matching rows in constant memory, all as they are when the first is read."""
        await self._settle()
        loop = asyncio.get_running_loop()
        reading = _Reading(self._backend, where, sort, order, limit)
        try:
            while (chunk := await loop.run_in_executor(self._threads, reading.next)) is not None:
                for entry in chunk:
                    yield entry
        finally:
            await asyncio.to_thread(reading.close)

    async def _ask(self, question: Callable[[Queries], T]) -> T:
        await self._settle()
        query = _Query()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question, query)
        except asyncio.CancelledError:
            _retry_interrupt(query)
            raise

    def _answer(self, question: Callable[[Queries], T], query: _Query) -> T:
        with self._connection() as connection, query.running_on(connection):
            return question(connection)

    @contextmanager
    def _connection(self) -> Iterator[Queries]:
        """Yield a connection that no other thread uses, to the database that is in the place now."""
        file = self._backend.identity()
        connection = None
        while self._idle and connection is None:
            known, idle = self._idle.pop()
            if known == file:
                connection = idle
            else:
                idle.close()
        connection = connection or self._backend.connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append((file, connection))


class _Query:
    """A running query that can be cancelled."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._connection: Queries | None = None
        self._given_up = False

    @contextmanager
    def running_on(self, connection: Queries) -> Iterator[None]:
        """Let `cancel` interrupt this connection inside the context. Raises LedgerUnavailable if cancelled before."""
        with self._lock:
            if self._given_up:
                raise LedgerUnavailable("The query was cancelled.")
            self._connection = connection
        try:
            yield
        finally:
            with self._lock:
                self._connection = None

    def cancel(self) -> bool:
        """Interrupt the query, to free its thread; return whether it was running."""
        with self._lock:
            self._given_up = True
            if self._connection is not None:
                self._connection.interrupt()
            return self._connection is not None


def _retry_interrupt(query: _Query) -> None:
    """Cancel until the query ends: between two statements an interruption has no effect."""
    if query.cancel():
        asyncio.get_running_loop().call_later(_RETRY_S, _retry_interrupt, query)


class _Reading:
    """A long result, read chunk by chunk by changing threads; one may still be reading when it is closed."""

    def __init__(self, backend: LedgerBackend, where: Filter, sort: Sort, order: Order, limit: int | None) -> None:
        self._chunks = _chunks(backend, where, sort, order, limit)
        self._lock = Lock()

    def next(self) -> list[Entry] | None:
        """Return the next few entries, None at the end."""
        with self._lock:
            return next(self._chunks, None)

    def close(self) -> None:
        """Stop reading."""
        with self._lock:
            self._chunks.close()


def _chunks(
    backend: LedgerBackend, where: Filter, sort: Sort, order: Order, limit: int | None
) -> Generator[list[Entry], None, None]:
    """Yield entries from a connection that is opened for the first of them, and closed however the reading ends."""
    with closing(backend.connect()) as connection:
        yield from connection.entries(where, sort, order, limit)
