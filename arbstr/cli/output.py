"""Tables of ledger rows and statistics for people.

Names and error messages are untrusted: no control sequence in them reaches the terminal.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from arbstr.cli.tables import ENDLESS, Column, Table, counted
from arbstr.clock import format_ms
from arbstr.ledger.export import each_entry
from arbstr.ledger.model import Aggregate, Entry, Filter, GroupBy, Order, Sort, Stats
from arbstr.money import format_sats
from arbstr.places import Place
from arbstr.sanitize import sanitize

_BAR = 24


# --- tables


def table_lines(chunks: Iterable[Sequence[Entry]]) -> Iterator[str]:
    """Yield a table as wide as the terminal; the first few hundred entries set the columns' widths."""
    rows = iter(chunks)
    first = next(rows, ())
    if not first:
        return
    fitted = Table(_COLUMNS, map(_cells, first), terminal_width())
    yield fitted.header()
    for entry in (*first, *each_entry(rows)):
        yield fitted.line(_cells(entry))


_COLUMNS = (
    Column("time (UTC)"),
    Column(""),
    Column("model", least=10),
    Column("provider", least=8),
    Column("policy", least=6, goes=1),
    Column("kind", goes=2),
    Column("ms", right=True, goes=5),
    Column("tokens", right=True, goes=3),
    Column("sats", right=True),
    Column("error", least=12, goes=4),
)
_FIGURES = (
    *(Column(name, right=True) for name in ("requests", "ok", "sats", "by rates")),
    Column("cached", right=True, goes=1),
    *(Column(name, right=True) for name in ("p50 ms", "p95 ms")),
)


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
        "-" if entry.cost_msats is None else _sats(entry.cost_msats),
        "" if entry.success else f"{entry.error_status or ''} {entry.error_message or ''}".strip(),
    )


def _sats(msats: int) -> str:
    return format_sats(msats, ",")


def _or_dash(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def terminal_width() -> int:
    """Return the terminal's width; unlimited in a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else ENDLESS


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
        if total.unexplained_msats:
            yield f"{_sats(total.unexplained_msats)} sats were taken all the same."
        return
    failed = total.total - total.success
    yield f"requests  {total.total:,} {_window(where)}"
    yield f"          {total.success:,} ok, {failed:,} failed, {counted(total.streaming, 'stream')}"
    yield f"spent     {_sats(total.cost_msats)} sats, {_sats(total.list_cost_msats)} by the rates"
    if total.unexplained_msats:
        yield f"          {_sats(total.unexplained_msats)} of them for no request that is known"
    yield (
        f"saved     {_sats(total.saved_vs_median_msats)} sats against the median provider, "
        f"{_sats(total.saved_vs_dearest_msats)} against the most expensive"
    )
    yield f"tokens    {total.input_tokens:,} in, {total.output_tokens:,} out"
    yield from _cache_lines(total)
    yield (
        f"latency   {total.avg_latency_ms:,.0f} ms on average; "
        f"p50 {total.p50_latency_ms:,}, p95 {total.p95_latency_ms:,}, p99 {total.p99_latency_ms:,}"
    )


def _cache_lines(total: Aggregate) -> Iterator[str]:
    """Yield what prompt caches had and saved, and what switching cost, where there was anything."""
    if total.cache_hit_tokens or total.saved_by_cache_msats or total.lost_by_switching_msats:
        saved, lost = _sats(total.saved_by_cache_msats), _sats(total.lost_by_switching_msats)
        share = f"{total.cached_share * 100:.1f} %"
        yield f"caches    {total.cache_hit_tokens:,} of the tokens in ({share}); saved {saved} sats"
        yield f"          switching away from them cost {lost} sats"


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
    # A model's or provider's name gives way as it does in the list of requests.
    named = next((column for column in _COLUMNS if column.header == group_by), Column(group_by))._replace(goes=0)
    most = max(figures.cost_msats for _, figures in shown) or 1
    rows = [_group_cells(name, figures, most) for name, figures in shown]
    fitted = Table((named, *_FIGURES, Column("")), rows, terminal_width())
    yield fitted.header()
    yield from map(fitted.line, rows)
    if len(shown) < len(groups):
        yield f"… {len(groups) - len(shown):,} more; --limit 0 shows all."


def _group_cells(name: str, figures: Aggregate, most: int) -> tuple[str, ...]:
    ok = f"{figures.success / figures.total:.0%}" if figures.total else "-"
    return (
        name,
        f"{figures.total:,}",
        ok,
        _sats(figures.cost_msats),
        _sats(figures.list_cost_msats),
        f"{figures.cached_share:.0%}" if figures.cache_hit_tokens else "-",
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


def info_lines(place: Place, facts: Mapping[str, str]) -> list[str]:
    """Return what a ledger holds, one fact per line."""
    shown = {"ledger": sanitize(str(place)), **facts}
    return [f"{name:<12}{value}" for name, value in shown.items()]
