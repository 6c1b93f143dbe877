"""Sums over rows: what rollups store and queries return."""

from __future__ import annotations

from collections.abc import Sequence
from operator import add, sub
from typing import Any

from arbstr.ledger.latency_histogram import exact_percentiles, percentiles, sketch
from arbstr.ledger.model import Aggregate

SUMS = (
    "total",
    "success",
    "streaming",
    "priced",
    "cost_msats",
    "input_tokens",
    "output_tokens",
    "latency_ms",
    "saved_vs_dearest_msats",
    "saved_vs_median_msats",
    "cache_hit_tokens",
    "saved_by_cache_msats",
    "lost_by_switching_msats",
    "saved_vs_list_msats",
)
_PERCENTS = (50, 95, 99)


class AggregateSum:
    """Sums in the order of `SUMS`, and latencies: as a histogram, and one by one while these are known.

    `unexplained_msats` were taken besides, for no row.
    """

    __slots__ = ("latencies", "sketch", "sums", "unexplained_msats")

    def __init__(self, sums: Sequence[int] = (0,) * len(SUMS), sketch: int = 0, latencies: Sequence[int] = ()) -> None:
        self.sums = sums
        self.sketch = sketch
        self.latencies = list(latencies)
        self.unexplained_msats = 0

    def add(self, other: AggregateSum) -> None:
        """Add another's rows."""
        self.sums = list(map(add, self.sums, other.sums))
        self.sketch += other.sketch
        self.unexplained_msats += other.unexplained_msats
        if other.latencies:
            self.latencies += other.latencies

    def subtract(self, other: AggregateSum) -> None:
        """Subtract another's rows, which were added before."""
        self.sums = list(map(sub, self.sums, other.sums))
        self.sketch -= other.sketch + sum(map(sketch, other.latencies))

    @property
    def total(self) -> int:
        """How many rows."""
        return self.sums[0]

    @property
    def cost_msats(self) -> int:
        """What the rows cost."""
        return self.sums[SUMS.index("cost_msats")]

    def aggregate(self) -> Aggregate:
        """Return it as an `Aggregate`. Percentiles are exact if every single latency is known."""
        total, success, streaming, _, cost, tokens_in, tokens_out, latency, dearest, median, *caches, vs_list = (
            self.sums
        )
        cache_hit_tokens, saved_by_cache, lost_by_switching = caches
        p50, p95, p99 = self._percentiles()
        return Aggregate(
            total=total,
            success=success,
            streaming=streaming,
            cost_msats=cost + self.unexplained_msats,
            input_tokens=tokens_in,
            output_tokens=tokens_out,
            avg_latency_ms=latency / total if total else 0.0,
            p50_latency_ms=p50,
            p95_latency_ms=p95,
            p99_latency_ms=p99,
            saved_vs_dearest_msats=dearest,
            saved_vs_median_msats=median,
            list_cost_msats=cost + vs_list,
            cache_hit_tokens=cache_hit_tokens,
            saved_by_cache_msats=saved_by_cache,
            lost_by_switching_msats=lost_by_switching,
            unexplained_msats=self.unexplained_msats,
        )

    def _percentiles(self) -> list[int]:
        if not self.sketch:
            return exact_percentiles(self.latencies, _PERCENTS)
        return percentiles(self.sketch + sum(map(sketch, self.latencies)), _PERCENTS)


def sum_of(tallies: Sequence[AggregateSum]) -> AggregateSum:
    """Return the sum of several, none of which knows single latencies or what is unexplained."""
    return AggregateSum(
        list(map(sum, zip(*(tally.sums for tally in tallies), strict=True))), sum(tally.sketch for tally in tallies)
    )


def from_columns(sums: Sequence[Any]) -> list[int]:
    """Return sums as SQL gives them: null where there was no row."""
    return [value or 0 for value in sums]
