"""The ledger of another arbstr: its queries are questions, answered exactly as there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import Detail, Entry, Filter, GroupBy, Order, Page, Sort, Stats
from arbstr.monitoring.questions import ENTRIES, read_answer
from arbstr.monitoring.remote_link import RemoteLink


class RemoteLedger:
    """Implements `LedgerQueries`. Raises LedgerUnavailable while its arbstr does not answer."""

    def __init__(self, link: RemoteLink) -> None:
        self._link = link

    async def stats(self, where: Filter, group_by: GroupBy | None = None) -> Stats:
        """Return aggregates of the matching rows."""
        stats: Stats = await self._ask("stats", where=where, group_by=group_by)
        return stats

    async def page(self, where: Filter, sort: Sort, order: Order, page: int, per_page: int) -> Page:
        """Return page `page` (from 1) of the matching rows."""
        found: Page = await self._ask("page", where=where, sort=sort, order=order, page=page, per_page=per_page)
        return found

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
        entries: list[Entry] = await self._ask(
            "slice", where=where, before=before, limit=limit, sort=sort, order=order, offset=offset
        )
        return entries

    async def count(self, where: Filter) -> int:
        """Return how many rows match."""
        count: int = await self._ask("count", where=where)
        return count

    async def request(self, request_id: str) -> Detail | None:
        """Return one finished request in full, or None."""
        detail: Detail | None = await self._ask("request", request_id=request_id)
        return detail

    async def known(self, column: Literal["model", "provider"], name: str) -> bool:
        """Check whether a name (ignoring case) was ever logged."""
        known: bool = await self._ask("known", column=column, name=name)
        return known

    async def entries(self, where: Filter, sort: Sort, order: Order, limit: int | None) -> AsyncIterator[Entry]:
        """Yield matching rows in constant memory."""
        question = {"ask": ENTRIES, "where": where, "sort": sort, "order": order, "limit": limit}
        async for batch in self._link.batches(question):
            for entry in _read(ENTRIES, batch):
                yield entry

    async def _ask(self, question: str, /, **arguments: Any) -> Any:
        return _read(question, await self._link.ask({"ask": question, **arguments}))


def _read(name: str, answer: bytes) -> Any:
    try:
        return read_answer(name, answer)
    except ValueError as error:
        raise LedgerUnavailable("its answer can't be read by this version of arbstr") from error
