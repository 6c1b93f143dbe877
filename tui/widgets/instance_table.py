"""The instances that share a ledger: each with what it does, and all of them together."""

from __future__ import annotations

from collections.abc import Sequence

from arbstr.monitoring.source import InstanceStatus
from tui.format import age, count, sats_alike, uptime
from tui.render.layout import Cells, Column, Line, Role, Span, cells, header, lay_out

_COLUMNS = (
    Column("", 1, exact=True),
    Column("instance", 8, share=1, most=32),
    Column("running", 7, "right"),
    Column("sats", 6, "right"),
    Column("requests", 8, "right", rank=1),
    Column("heard", 8, rank=2),
    Column("up", 8, rank=3),
    Column("version", 7, rank=4),
)


def instance_lines(instances: Sequence[InstanceStatus], now_ms: int, width: int) -> list[Line]:
    """Return a line for each instance, and one for all if there are several, with a header."""
    spent = sats_alike([*(each.spent_msats for each in instances), sum(each.spent_msats for each in instances)])
    rows = [_row(each, text, now_ms) for each, text in zip(instances, spent, strict=False)]
    if len(instances) > 1:
        rows.append(_all(instances, spent[-1]))
    layout = lay_out(_COLUMNS, width, rows)
    return [header(layout), *(cells(layout, row) for row in rows)]


def _row(one: InstanceStatus, spent: str, now_ms: int) -> Cells:
    role: Role = "muted" if one.stale else "text"
    mark: Span = ("○", "warn") if one.stale else ("●", "good")
    return {
        "": mark,
        "instance": (one.name, "title" if one.here else role),
        "running": (count(one.in_flight), role),
        "requests": (count(one.requests), role),
        "sats": (spent, role),
        "up": (uptime(max(now_ms - one.started_at_ms, 0)), "muted"),
        "version": (one.version, "muted"),
        "heard": _heard(one, now_ms),
    }


def _heard(one: InstanceStatus, now_ms: int) -> Span:
    if one.heard_at_ms is None:
        return ("this one", "muted")
    return (f"{age(max(now_ms - one.heard_at_ms, 0))} ago", "warn" if one.stale else "muted")


def _all(instances: Sequence[InstanceStatus], spent: str) -> Cells:
    return {
        "instance": ("all", "muted"),
        "running": (count(sum(each.in_flight for each in instances if not each.stale)), "text"),
        "requests": (count(sum(each.requests for each in instances)), "text"),
        "sats": (spent, "text"),
    }
