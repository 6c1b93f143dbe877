"""Query results as JSON values: what the endpoints send and `--json` prints.

Sats have at most three decimals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast

from arbstr.clock import format_ms
from arbstr.ledger.model import Aggregate, Detail, Entry, Filter, GroupBy, Stats
from arbstr.money import charged_for_nothing, to_sats

if TYPE_CHECKING:
    from arbstr.ledger import shapes

_UNDER: dict[str, Literal["models", "providers", "policies", "clients", "sessions", "dialects"]] = {
    "model": "models",
    "provider": "providers",
    "policy": "policies",
    "client": "clients",
    "session": "sessions",
    "dialect": "dialects",
}
_ZERO = Aggregate()


def aggregate_json(figures: Aggregate) -> shapes.Figures:
    """Return sums and latencies of a set of requests; `unexplained_sats` only if there are any."""
    document: shapes.Figures = {
        "counts": {
            "total": figures.total,
            "success": figures.success,
            "error": figures.total - figures.success,
            "streaming": figures.streaming,
        },
        "costs": {
            "total_cost_sats": figures.cost_msats / 1000,
            "total_input_tokens": figures.input_tokens,
            "total_output_tokens": figures.output_tokens,
        },
        "performance": {
            "avg_latency_ms": round(figures.avg_latency_ms, 3),
            "p50_latency_ms": figures.p50_latency_ms,
            "p95_latency_ms": figures.p95_latency_ms,
            "p99_latency_ms": figures.p99_latency_ms,
        },
        "saved_sats": {
            "vs_dearest": figures.saved_vs_dearest_msats / 1000,
            "vs_median": figures.saved_vs_median_msats / 1000,
        },
        "list_cost_sats": figures.list_cost_msats / 1000,
        "cache": {
            "cached_tokens": figures.cache_hit_tokens,
            "cached_share": round(figures.cached_share, 4),
            "saved_sats": figures.saved_by_cache_msats / 1000,
            "switching_sats": figures.lost_by_switching_msats / 1000,
        },
    }
    if figures.unexplained_msats:
        document["costs"]["unexplained_sats"] = figures.unexplained_msats / 1000
    return document


def entry_json(entry: Entry) -> shapes.RequestEntry:
    """One request; `error` only if it failed, and what is not as it should be only where it is so."""
    document: shapes.RequestEntry = {
        "id": entry.id,
        "request_id": entry.request_id,
        "timestamp": entry.timestamp,
        "model": entry.model,
        "provider": entry.provider,
        "policy": entry.policy,
        "streaming": entry.streaming,
        "success": entry.success,
        "served_model": entry.served_model,
        "dialect": entry.dialect,
        "session": entry.session,
        "client": entry.client,
        "tokens": {
            "input": entry.input_tokens,
            "cached": entry.cached_tokens,
            "cache_write": entry.cache_write_tokens,
            "output": entry.output_tokens,
        },
        "cost": {
            "sats": to_sats(entry.cost_msats),
            "provider_sats": to_sats(entry.provider_cost_msats),
            "list_sats": to_sats(entry.list_cost_msats),
        },
        "cache": {
            "predicted_tokens": entry.predicted_cached_tokens,
            "saved_sats": to_sats(entry.cache_saved_msats),
            "switching_sats": to_sats(entry.switching_msats),
        },
        "timing": {"latency_ms": entry.latency_ms, "stream_duration_ms": entry.stream_duration_ms},
    }
    if entry.doubtful_msats:
        document["cost"]["doubtful_sats"] = entry.doubtful_msats / 1000
    if charged_for_nothing(entry.dialect, entry.success, entry.output_tokens, entry.cost_msats):
        document["charged_for_nothing"] = True
    if entry.implausible is not None:
        document["implausible"] = cast("list[shapes.Claim]", entry.implausible.split(","))
    if not entry.success:
        document["error"] = {"status": entry.error_status, "message": entry.error_message}
    return document


def detail_json(detail: Detail) -> shapes.RequestDetail:
    """One request in full: with its attempts, and why it went where it went (both null where that was not kept)."""
    return {**entry_json(detail.entry), "attempts": detail.attempts, "routing": detail.routing}


def window_json(where: Filter) -> shapes.Window:
    """Return the window of a filter that has both ends."""
    return {"since": format_ms(where.since_ms or 0), "until": format_ms(where.until_ms or 0)}


def stats_json(
    stats: Stats, where: Filter, group_by: GroupBy | None, configured: Sequence[str] = ()
) -> shapes.StatsReport:
    """Return aggregates, also by group; every `configured` name is a group, also without traffic."""
    window, overall = window_json(where), aggregate_json(stats.overall)
    document: shapes.StatsReport = {
        "since": window["since"],
        "until": window["until"],
        "counts": overall["counts"],
        "costs": overall["costs"],
        "performance": overall["performance"],
        "saved_sats": overall["saved_sats"],
        "list_cost_sats": overall["list_cost_sats"],
        "cache": overall["cache"],
    }
    if not stats.overall.total:
        document["empty"] = True
        document["message"] = f"No requests between {document['since']} and {document['until']}."
    if group_by in ("hour", "day"):
        groups = stats.groups.items()
        document["series"] = [{"start": format_ms(int(start)), **aggregate_json(figures)} for start, figures in groups]
    elif group_by is not None:
        names = dict.fromkeys([*configured, *stats.groups])
        document[_UNDER[group_by]] = {name: aggregate_json(stats.groups.get(name, _ZERO)) for name in names}
    return document
