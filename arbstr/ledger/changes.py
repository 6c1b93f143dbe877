"""Changes that wait for the writer: work on the database that comes after the rows which are waiting now."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, TypeVar

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.backend import LedgerBackend, OpenLedger, Work

T = TypeVar("T")


class WaitingChanges:
    """The changes in their order, each with whom to answer."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Work[Any], asyncio.Future[Any]]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, work: Work[T]) -> asyncio.Future[T]:
        """Queue a change; return the future of its result, or of the `LedgerUnavailable` that prevents it."""
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, result))
        return result

    async def make(self, some: int, backend: LedgerBackend, connection: OpenLedger) -> None:
        """Make the first few changes. Raises what the database raises."""
        for _ in range(some):
            work, result = self._waiting.popleft()
            if result.done():  # cancelled
                continue
            try:
                made = await connection.change(work)
            except Exception as error:
                message = backend.explain(error) if isinstance(error, backend.errors) else str(error)
                if not result.done():
                    result.set_exception(LedgerUnavailable(message))
                raise
            if not result.done():  # else it was cancelled meanwhile
                result.set_result(made)

    def cancel(self) -> None:
        """Give up what waits."""
        while self._waiting:
            self._waiting.popleft()[1].cancel()
