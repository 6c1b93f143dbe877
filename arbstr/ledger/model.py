"""Queries to the ledger and their results: shared by ledger, endpoints, command line and dashboard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from arbstr import shapes

GroupBy = Literal["model", "provider", "policy", "client", "session", "dialect", "hour", "day"]
Sort = Literal["timestamp", "cost_sats", "latency_ms"]
Order = Literal["desc", "asc"]

SUCCEEDED = 200  # the status of a row without an error
OTHER_GROUPS = "(other)"  # sessions that are not among the most expensive


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows: received from `since_ms` to `until_ms`, both inclusive, None is open; names exact but for case.

    `models` and the other sets of names keep rows whose name is any of these (no row, if empty); None stands for having
    no name. Each of `texts` occurs in model, provider, policy or error, or if it has four characters in the request id;
    none of `without_texts` does.
    `sessions` keeps rows whose session begins with any of these, `without_sessions` those where it begins with none.
    `statuses` keeps rows that ended so: 200 with success, else with that error's status. Costs and times are inclusive,
    and a row without a cost has none to compare; a row took until its last byte. `open_end` keeps rows after `until_ms`
    too: that is now, and they were stamped by a clock that was ahead.
    """

    since_ms: int | None = None
    until_ms: int | None = None
    model: str | None = None
    provider: str | None = None
    policy: str | None = None
    success: bool | None = None
    streaming: bool | None = None
    texts: tuple[str, ...] = ()
    min_cost_msats: int | None = None
    models: tuple[str | None, ...] | None = None
    providers: tuple[str | None, ...] | None = None
    policies: tuple[str | None, ...] | None = None
    without_texts: tuple[str, ...] = ()
    max_cost_msats: int | None = None
    min_took_ms: int | None = None
    max_took_ms: int | None = None
    statuses: tuple[int, ...] | None = None
    without_statuses: tuple[int, ...] = ()
    client: str | None = None
    session: str | None = None
    dialect: str | None = None
    clients: tuple[str | None, ...] | None = None
    dialects: tuple[str | None, ...] | None = None
    sessions: tuple[str | None, ...] | None = None
    without_sessions: tuple[str | None, ...] = ()
    open_end: bool = False

    @property
    def end_ms(self) -> int | None:
        """The last instant of which rows are kept; None if all are."""
        return None if self.open_end else self.until_ms


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Counts, sums and latencies of a set of rows. Sums are exact; percentiles are good to 2 %; no rows, all zero.

    `saved_vs_dearest_msats` and `saved_vs_median_msats`: what the most expensive and the median candidate would have
    cost for the same tokens, less what was paid, over the rows where all are known. `list_cost_msats` is what the rows
    cost by the rates, where those are unknown what they cost. `unexplained_msats` is the part of `cost_msats` that
    providers took for none of the rows. `cache_hit_tokens` are the input tokens read from prompt caches, which saved
    `saved_by_cache_msats` by the rates; `lost_by_switching_msats` more were expected to be saved where the conversation
    had been before.
    """

    total: int = 0
    success: int = 0
    streaming: int = 0
    cost_msats: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    avg_latency_ms: float = 0.0
    p50_latency_ms: int = 0
    p95_latency_ms: int = 0
    p99_latency_ms: int = 0
    saved_vs_dearest_msats: int = 0
    saved_vs_median_msats: int = 0
    list_cost_msats: int = 0
    unexplained_msats: int = 0
    cache_hit_tokens: int = 0
    saved_by_cache_msats: int = 0
    lost_by_switching_msats: int = 0

    @property
    def cached_share(self) -> float:
        """The share of the input tokens that was read from prompt caches, 0 to 1."""
        return self.cache_hit_tokens / max(self.input_tokens, self.cache_hit_tokens, 1)


@dataclass(frozen=True, slots=True)
class Stats:
    """The result of an aggregate query: all matching rows, and by group if asked.

    `groups` maps a name to its aggregate, or for `hour` and `day` the bucket's start in epoch milliseconds as text,
    oldest first and without gaps. Sessions are those of rows not yet pruned, the 1,000 most expensive by name.
    """

    overall: Aggregate
    groups: dict[str, Aggregate]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger as it is read back; its figures are those of `RequestRecord`.

    `timestamp` is ISO 8601 UTC as answered, `at_ms` the same instant.
    """

    id: int
    request_id: str
    timestamp: str
    at_ms: int
    model: str
    provider: str | None
    policy: str | None
    streaming: bool
    success: bool
    input_tokens: int | None
    output_tokens: int | None
    cost_msats: int | None
    provider_cost_msats: int | None
    latency_ms: int
    stream_duration_ms: int | None
    error_status: int | None
    error_message: str | None
    list_cost_msats: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    served_model: str | None = None
    dialect: str | None = "chat"
    session: str | None = None
    client: str | None = None
    implausible: str | None = None
    doubtful_msats: int = 0
    predicted_cached_tokens: int | None = None
    cache_saved_msats: int | None = None
    switching_msats: int | None = None


@dataclass(frozen=True, slots=True)
class Detail:
    """One request in full: its row, and what is kept beside it as JSON values (None in rows that never had it)."""

    entry: Entry
    attempts: list[shapes.AttemptEntry] | None
    routing: shapes.RoutingEntry | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of entries and how many rows match in all."""

    entries: list[Entry]
    total: int


class LedgerQueries(Protocol):
    """Read-only queries to the ledger; none blocks the loop or the writer.

    Raises `LedgerUnavailable` when the database can't be read.
    """

    async def stats(self, where: Filter, group_by: GroupBy | None = None) -> Stats:
        """Return aggregates of the matching rows."""
        ...

    async def page(self, where: Filter, sort: Sort, order: Order, page: int, per_page: int) -> Page:
        """Return page `page` (from 1) of the matching rows."""
        ...

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
        """Return up to `limit` matching rows, newest first from just after `before`, or from `offset` in any order.

        It costs what `limit` costs.
        """
        ...

    async def count(self, where: Filter) -> int:
        """Return how many rows match."""
        ...

    async def request(self, request_id: str) -> Detail | None:
        """Return one finished request in full, or None."""
        ...

    async def known(self, column: Literal["model", "provider"], name: str) -> bool:
        """Check whether a name (ignoring case) was ever logged."""
        ...

    def entries(self, where: Filter, sort: Sort, order: Order, limit: int | None) -> AsyncIterator[Entry]:
        """Yield matching rows in constant memory."""
        ...
