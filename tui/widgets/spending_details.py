"""Beside the table of the Money screen: hours of the last days, the most expensive requests, failures, lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, tzinfo

from arbstr.clock import to_ms
from arbstr.ledger.model import Entry
from arbstr.types import CLIENT_CLOSED, LearnedRatio
from tui.format import NOTHING, count, moment, sats_alike, sats_round, shown
from tui.model.breakdown import Breakdown, FailureKind
from tui.model.filter_language import term
from tui.model.filter_times import since, until
from tui.render.layout import EMPTY, Column, Line, Role, Span
from tui.widgets.rows_panel import Row, RowsPanel

DAYS = 14
SHADES = "░▒▓█"  # each for four times what the one before is for

# ── the most expensive requests ─────────────────────────────────────────────────────────────────────────────────────

DEAREST_COLUMNS = (
    Column("sats", 7, "right"),
    Column("model", 10, share=3, most=30),
    Column("provider", 8, share=2, most=24, rank=1),
    Column("when", 5, exact=True, rank=2),
    Column("policy", 6, share=1, most=16, rank=4),
    Column("tokens", 6, "right", rank=3),
    Column("→ out", 5, exact=True, rank=3),
)


def dearest_rows(entries: Sequence[Entry], zone: tzinfo | None, *, days: bool) -> list[Row]:
    """Return a row for each request, leading to it in full; with its date if the range has several `days`."""
    amounts = sats_alike([entry.cost_msats or 0 for entry in entries])
    shape = "%m-%d %H:%M" if days else "%H:%M:%S"
    return [
        Row(
            entry.request_id,
            {
                "sats": (amount, "text"),
                "model": (shown(entry.model) or "(none)", "text"),
                "provider": _name(entry.provider),
                "when": (f"{moment(entry.at_ms, zone):{shape}}", "muted"),
                "policy": _name(entry.policy),
                "tokens": (count(entry.input_tokens), "text"),
                "→ out": (f"→ {count(entry.output_tokens)}", "text"),
            },
            request_id=entry.request_id,
        )
        for entry, amount in zip(entries, amounts, strict=True)
    ]


def _name(name: str | None) -> Span:
    return (NOTHING, "muted") if name is None else (shown(name), "text")


# ── failures ────────────────────────────────────────────────────────────────────────────────────────────────────────

FAILURE_COLUMNS = (
    Column("failed", 6, exact=True),
    Column("provider", 8, share=1, most=24),
    Column("cost", 4, "right", rank=1),
    Column("last error", 16, share=3, most=80, rank=2),
)


def failure_rows(kinds: Sequence[FailureKind], finds: str) -> list[Row]:
    """Return a row for each kind of failure; `finds` is the filter of the range."""
    costs = sats_alike([kind.cost_msats for kind in kinds])
    return [_failure(kind, cost, finds) for kind, cost in zip(kinds, costs, strict=True)]


def _failure(kind: FailureKind, cost: str, finds: str) -> Row:
    left = kind.status == CLIENT_CLOSED
    said = f"{'↶ left' if left else f'✗ {kind.status or NOTHING}'} ×{kind.count:,}"
    ended = "left" if left else str(kind.status or "error")
    terms = [f"status:{ended}", term("provider", shown(kind.provider)) if kind.provider else "provider:-", finds]
    return Row(
        f"{kind.status} {kind.provider}",
        {
            "failed": (said, "warn" if left else "bad"),
            "provider": _name(kind.provider),
            "cost": (cost, "warn") if kind.cost_msats else (NOTHING, "muted"),
            "last error": (shown(kind.message), "muted"),
        },
        finds=" ".join(terms),
    )


def failures_note(breakdown: Breakdown) -> Line:
    """Return how many failed and what that cost."""
    failed = breakdown.failed
    if not failed.total:
        return EMPTY
    of: Line = ((f"the newest {breakdown.examined:,} of ", "muted"),) if breakdown.examined < failed.total else EMPTY
    role: Role = "warn" if failed.cost_msats else "text"
    return (
        *of,
        (count(failed.total), "text"),
        (", cost ", "muted"),
        (sats_round(failed.cost_msats), role),
        (" sats", "muted"),
    )


# ── learned lengths ─────────────────────────────────────────────────────────────────────────────────────────────────

LENGTH_COLUMNS = (
    Column("policy", 8, share=1, most=30),
    Column("out per in", 10, "right"),
    Column("samples", 7, "right", rank=1),
)


def length_rows(ratios: Sequence[LearnedRatio], finds: str) -> list[Row]:
    """Return a row for each policy: the tokens that answers have for each token in."""
    return [
        Row(
            each.policy or "",
            {
                "policy": (each.policy or "(none)", "text"),
                "out per in": (f"{each.ratio:.2f}", "text"),
                "samples": (count(each.samples), "muted"),
            },
            finds=f"{term('policy', each.policy or '(none)')} {finds}",
        )
        for each in ratios
    ]


# ── hours of the last days ──────────────────────────────────────────────────────────────────────────────────────────


def _hours_title(cells: int) -> str:
    return "".join(f"{hour:02}".ljust(6 * cells) for hour in range(0, 24, 6))


_WIDE, _SLIM = _hours_title(2), _hours_title(1)
_EXPLAINED: Sequence[Line] = (
    EMPTY,
    ((f"Each day adds a line, up to {DAYS} days.", "muted"),),
    (("An hour that cost more is fuller:", "muted"),),
    (("█", "text"), (" half of the dearest hour or more,", "muted")),
    (("▓ ▒ ░", "text"), (" a quarter of the one before, ", "muted"), ("·", "text"), (" nothing", "muted")),
)
_HOURS = {2: Column(_WIDE, 48, exact=True), 1: Column(_SLIM, 24, exact=True)}


def heat_rows(hours: Mapping[int, int], now_ms: int, zone: tzinfo | None) -> list[Row]:
    """Return a row for each of the last days, the newest first; darker hours cost more, all days on one scale.

    The darkest cost at least half as much as the most expensive one. Days before the first that cost anything are left
    out.
    """
    today = moment(now_ms, zone).date()
    days = {today - timedelta(days=ago): [0] * 24 for ago in range(DAYS)}
    for start_ms, msats in hours.items():
        at = moment(start_ms, zone)
        if at.date() in days:
            days[at.date()][at.hour] += msats
    first = min((day for day, costs in days.items() if any(costs)), default=today)
    days = {day: costs for day, costs in days.items() if day >= first}
    largest = max((msats for day in days.values() for msats in day), default=0)
    sums = sats_alike([sum(day) for day in days.values()])
    return [_day(day, each, largest, total, zone) for (day, each), total in zip(days.items(), sums, strict=True)]


def _day(day: date, hours: Sequence[int], largest: int, total: str, zone: tzinfo | None) -> Row:
    shades = [_shade(msats, largest) for msats in hours]
    began = _midnight(day, zone)
    return Row(
        day.isoformat(),
        {
            "day": (f"{day:%a %d %b}", "text"),
            _WIDE: ("".join(shade * 2 for shade in shades), "text"),
            _SLIM: ("".join(shades), "text"),
            "sats": (total, "text" if any(hours) else "muted"),
        },
        finds=f"{since(began)} {until(_midnight(day + timedelta(days=1), zone) - 1)}",
    )


def _shade(msats: int, largest: int) -> str:
    if not msats:
        return "·"
    return next((SHADES[-1 - n] for n in range(len(SHADES) - 1) if 2 * msats >= largest / 4**n), SHADES[0])


def _midnight(day: date, zone: tzinfo | None) -> int:
    at = datetime(day.year, day.month, day.day, tzinfo=zone)
    return to_ms(at.astimezone() if zone is None else at)


class HeatMap(RowsPanel):
    """Spending by the hour of the day, for the last days; below it how to read that, while there are few."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__((), id=id)

    def draw(self, width: int, height: int) -> Sequence[Line]:
        """Draw two cells for each hour where there is room."""
        hours = _HOURS[2 if width >= 70 else 1]
        self._columns = (Column("day", 10, exact=True), hours, Column("sats", 5, "right", rank=1))
        return super().draw(width, height)

    def _body(self, width: int, page: int) -> list[Line]:
        lines = super()._body(width, page)
        has_room = bool(self._rows) and len(self._rows) + len(_EXPLAINED) <= page
        return [*lines, *_EXPLAINED] if has_room else lines
