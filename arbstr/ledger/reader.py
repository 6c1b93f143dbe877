"""The `LedgerReader` of a running arbstr: questions go to threads, each with a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Literal, TypeVar

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import Detail, Entry, Filter, GroupBy, Order, Page, Sort, Stats
from arbstr.ledger.read_connection import ReadConnection

T = TypeVar("T")

_THREADS = 3
_RETRY_S = 0.05
NO_FILE = (0, 0)


async def _nothing_waits() -> None:
    """A reader without a writer has nothing to wait for."""


class LedgerReader:
    """Answers questions without blocking the loop or the writer.

    `settle` returns once what has been appended so far can be read; it is awaited before each question.
    """

    def __init__(self, path: str | Path, *, settle: Callable[[], Awaitable[None]] = _nothing_waits) -> None:
        self._path = Path(path)
        self._settle = settle
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ledger reader")
        self._idle: list[tuple[tuple[int, int], ReadConnection]] = []

    async def close(self) -> None:
        """Let go of the database, once the questions under way are answered."""
        await asyncio.to_thread(self._threads.shutdown)
        while self._idle:
            self._idle.pop()[1].close()

    async def stats(self, where: Filter, group_by: GroupBy | None = None) -> Stats:
        """Aggregates of the matching rows."""
        return await self._ask(lambda connection: connection.stats(where, group_by))

    async def spent_msats(self, where: Filter) -> int:
        """What the matching rows are taken to have cost: what was charged or what the rates say, whichever is more.

        Nothing where there is no ledger yet, nor can be: requests go on without one.
        """
        if _file(self._path) == NO_FILE:
            return 0
        return await self._ask(lambda connection: connection.spent_msats(where))

    async def page(self, where: Filter, sort: Sort, order: Order, page: int, per_page: int) -> Page:
        """Page `page` (from 1) of the matching rows."""
        return await self._ask(lambda connection: connection.page(where, sort, order, page, per_page))

    async def slice(self, where: Filter, *, before: Entry | None, limit: int) -> list[Entry]:
        """Up to `limit` matching rows, newest first, from just after `before`."""
        return await self._ask(lambda connection: connection.slice(where, before, limit))

    async def count(self, where: Filter) -> int:
        """How many rows match."""
        return await self._ask(lambda connection: connection.count(where))

    async def request(self, request_id: str) -> Detail | None:
        """One finished request in full, or None."""
        return await self._ask(lambda connection: connection.request(request_id))

    async def known(self, column: Literal["model", "provider"], name: str) -> bool:
        """Whether a name (case does not matter) was ever logged."""
        return await self._ask(lambda connection: connection.known(column, name))

    async def entries(self, where: Filter, sort: Sort, order: Order, limit: int | None) -> AsyncIterator[Entry]:
        """Matching rows one by one in constant memory, all as they are when the first is read."""
        await self._settle()
        loop = asyncio.get_running_loop()
        reading = await loop.run_in_executor(self._threads, _Reading, self._path, where, sort, order, limit)
        try:
            while (chunk := await loop.run_in_executor(self._threads, reading.next)) is not None:
                for entry in chunk:
                    yield entry
        finally:
            await asyncio.to_thread(reading.close)

    async def _ask(self, question: Callable[[ReadConnection], T]) -> T:
        await self._settle()
        query = _Query()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question, query)
        except asyncio.CancelledError:
            _retry_interrupt(query)
            raise

    def _answer(self, question: Callable[[ReadConnection], T], query: _Query) -> T:
        with self._connection() as connection, query.running_on(connection):
            return question(connection)

    @contextmanager
    def _connection(self) -> Iterator[ReadConnection]:
        """A connection that no other thread uses, to the file that is at the path now."""
        file = _file(self._path)
        connection = None
        while self._idle and connection is None:
            known, idle = self._idle.pop()
            if known == file:
                connection = idle
            else:
                idle.close()
        connection = connection or ReadConnection(self._path)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle.append((file, connection))


class _Query:
    """A question under way, which may be given up: nobody waits for the answer any more."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._connection: ReadConnection | None = None
        self._given_up = False

    @contextmanager
    def running_on(self, connection: ReadConnection) -> Iterator[None]:
        """While the question is asked there."""
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
        """Stop the thread that looks for the answer: others need it. Tells whether it was at it."""
        with self._lock:
            self._given_up = True
            if self._connection is not None:
                self._connection.interrupt()
            return self._connection is not None


def _retry_interrupt(query: _Query) -> None:
    """Between two statements an interruption goes unheard."""
    if query.cancel():
        asyncio.get_running_loop().call_later(_RETRY_S, _retry_interrupt, query)


class _Reading:
    """A long answer, read bit by bit by changing threads; one may still be at it when it is closed."""

    def __init__(self, path: Path, where: Filter, sort: Sort, order: Order, limit: int | None) -> None:
        self._connection = ReadConnection(path)
        self._chunks = self._connection.entries(where, sort, order, limit)
        self._lock = Lock()

    def next(self) -> list[Entry] | None:
        """The next few entries, None at the end."""
        with self._lock:
            return next(self._chunks, None)

    def close(self) -> None:
        """Stop reading."""
        with self._lock:
            self._chunks.close()
            self._connection.close()


def _file(path: Path) -> tuple[int, int]:
    """Which file a path leads to."""
    try:
        status = path.stat()
    except OSError:
        return NO_FILE
    return status.st_dev, status.st_ino
