"""Tables of ledger rows and statistics for people.

Names and error messages are untrusted: no control sequence in them reaches the terminal.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from arbstr.cli.tables import cell_width, fit
from arbstr.clock import format_ms
from arbstr.ledger.export import each_entry
from arbstr.ledger.model import Aggregate, Entry, Filter, GroupBy, Order, Sort, Stats
from arbstr.sanitize import sanitize

_ENDLESS = 10**9
_BAR = 24


# --- tables


def table_lines(chunks: Iterable[Sequence[Entry]]) -> Iterator[str]:
    """Yield a table as wide as the terminal; the first few hundred entries set the columns' widths."""
    rows = iter(chunks)
    first = next(rows, ())
    if not first:
        return
    grid = Grid(_HEADERS, [_cells(entry) for entry in first], terminal_width())
    yield grid.line(_HEADERS)
    for entry in (*first, *each_entry(rows)):
        yield grid.line(_cells(entry))


_HEADERS = ("time (UTC)", "", "model", "provider", "policy", "kind", "ms", "tokens", "sats", "error")
_RIGHT = {"ms", "tokens", "sats", "by rates", "requests", "ok", "p50 ms", "p95 ms"}
_SHRINKING = {"error": 12, "model": 10, "provider": 8, "policy": 6}  # least widths, before columns are dropped
_GOING = ("policy", "kind", "tokens", "error", "ms")  # columns that are dropped, in this order


def _cells(entry: Entry) -> tuple[str, ...]:
    return (
        entry.timestamp[:19].replace("T", " "),
        "ok" if entry.success else "FAILED",
        entry.model,
        entry.provider or "-",
        entry.policy or "-",
        "stream" if entry.streaming else "json",
        f"{entry.latency_ms:,}",
        f"{_or_dash(entry.input_tokens)} → {_or_dash(entry.output_tokens)}",
        "-" if entry.cost_msats is None else f"{entry.cost_msats / 1000:,.3f}",
        "" if entry.success else f"{entry.error_status or ''} {entry.error_message or ''}".strip(),
    )


def _or_dash(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


class Grid:
    """Columns fitted to a total width: long ones shrink first, then unimportant ones are dropped."""

    def __init__(self, headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> None:
        columns = zip(headers, *rows, strict=True)
        self._widths = [max(cell_width(sanitize(cell, _ENDLESS)) for cell in column) for column in columns]
        self._headers = headers
        self._shrink(width)
        for name in _GOING:
            if self._total > width and name in headers:
                self._widths[headers.index(name)] = 0

    @property
    def _total(self) -> int:
        return sum(width + 2 for width in self._widths if width) - 2

    def _shrink(self, width: int) -> None:
        for name, least in _SHRINKING.items():
            if name in self._headers:
                column = self._headers.index(name)
                over = max(0, self._total - width)
                self._widths[column] = max(min(self._widths[column], least), self._widths[column] - over)

    def line(self, cells: Sequence[str]) -> str:
        """Return one row as text."""
        fitted = [
            fit(sanitize(cell, _ENDLESS), width, right=header in _RIGHT)
            for header, cell, width in zip(self._headers, cells, self._widths, strict=True)
            if width
        ]
        return "  ".join(fitted).rstrip()


def terminal_width() -> int:
    """Return the terminal's width; unlimited in a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _ENDLESS


def footer(total: int, limit: int, where: Filter) -> str:
    """Return how many rows were shown of how many."""
    window = _window(where)
    if not total:
        return f"No requests {window}."
    if limit and total > limit:
        return f"{limit:,} of {total:,} requests {window}; --limit 0 shows all."
    return f"{total:,} requests {window}."


def _window(where: Filter) -> str:
    return f"from {_minute(where.since_ms)} to {_minute(where.until_ms)} UTC"


def _minute(at_ms: int | None) -> str:
    return format_ms(at_ms or 0)[:16].replace("T", " ")


# --- sums


def stats_lines(
    stats: Stats, where: Filter, group_by: GroupBy | None, sort: Sort, order: Order, limit: int
) -> Iterator[str]:
    """Yield totals, and a line with a bar for each group."""
    yield from _total_lines(stats.overall, where)
    if group_by is not None and stats.groups:
        yield ""
        yield from _group_lines(_arranged(stats.groups, group_by, sort, order), group_by, limit)


def _total_lines(total: Aggregate, where: Filter) -> Iterator[str]:
    if not total.total:
        yield f"No requests {_window(where)}."
        return
    failed = total.total - total.success
    yield f"requests  {total.total:,} {_window(where)}"
    yield f"          {total.success:,} ok, {failed:,} failed, {total.streaming:,} streams"
    yield f"spent     {total.cost_msats / 1000:,.3f} sats, {total.list_cost_msats / 1000:,.3f} by the rates"
    yield (
        f"saved     {total.saved_vs_median_msats / 1000:,.3f} sats against the median provider, "
        f"{total.saved_vs_dearest_msats / 1000:,.3f} against the most expensive"
    )
    yield f"tokens    {total.input_tokens:,} in, {total.output_tokens:,} out"
    yield (
        f"latency   {total.avg_latency_ms:,.0f} ms on average; "
        f"p50 {total.p50_latency_ms:,}, p95 {total.p95_latency_ms:,}, p99 {total.p99_latency_ms:,}"
    )


Groups = list[tuple[str, Aggregate]]


def _arranged(groups: Mapping[str, Aggregate], group_by: GroupBy, sort: Sort, order: Order) -> Groups:
    """Sort time series by time, names by cost or latency."""
    if group_by in ("hour", "day"):
        length = 16 if group_by == "hour" else 10
        return [(format_ms(int(start))[:length].replace("T", " "), figures) for start, figures in groups.items()]
    listed = list(groups.items())
    if sort == "timestamp":
        return listed
    figure = (lambda g: g[1].cost_msats) if sort == "cost_sats" else (lambda g: g[1].avg_latency_ms)
    return sorted(listed, key=figure, reverse=order == "desc")


def _group_lines(groups: Groups, group_by: GroupBy, limit: int) -> Iterator[str]:
    series = group_by in ("hour", "day")
    shown = groups if not limit else groups[-limit:] if series else groups[:limit]
    headers = (group_by, "requests", "ok", "sats", "by rates", "p50 ms", "p95 ms", "")
    most = max(figures.cost_msats for _, figures in shown) or 1
    rows = [_group_cells(name, figures, most) for name, figures in shown]
    grid = Grid(headers, rows, terminal_width())
    yield grid.line(headers)
    for row in rows:
        yield grid.line(row)
    if len(shown) < len(groups):
        yield f"… {len(groups) - len(shown):,} more; --limit 0 shows all."


def _group_cells(name: str, figures: Aggregate, most: int) -> tuple[str, ...]:
    ok = f"{figures.success / figures.total:.0%}" if figures.total else "-"
    return (
        name,
        f"{figures.total:,}",
        ok,
        f"{figures.cost_msats / 1000:,.3f}",
        f"{figures.list_cost_msats / 1000:,.3f}",
        f"{figures.p50_latency_ms:,}",
        f"{figures.p95_latency_ms:,}",
        bar(figures.cost_msats / most),
    )


def bar(share: float) -> str:
    """Return a bar for a share from 0 to 1, in eighths of a cell where the terminal has them."""
    eighths = round(min(max(share, 0.0), 1.0) * _BAR * 8)
    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        return "#" * round(eighths / 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def info_lines(path: Path, facts: Mapping[str, str]) -> list[str]:
    """Return what a ledger holds, one fact per line."""
    shown = {"ledger": sanitize(str(path)), **facts}
    return [f"{name:<12}{value}" for name, value in shown.items()]
