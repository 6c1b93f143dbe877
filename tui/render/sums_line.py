"""The sums of a list of requests in one line, of which what matters least goes first where there is no room."""

from __future__ import annotations

from datetime import tzinfo

from tui.format import count, day_or_time, duration, percent_more, sats_round
from tui.model.request_row import OVERCHARGE
from tui.model.running_sums import RunningSums
from tui.render.layout import Part


def sums_line(known: RunningSums | None, now_ms: int, zone: tzinfo | None, *, given_up: bool) -> list[Part]:
    """Return the sums, of what they are if not of all rows; None: they are not known yet, or not to be had in time."""
    if known is None:
        return [((("Σ takes too long, filter further" if given_up else "Σ …", "muted"),), 0)]
    sums = known.sums
    spent = sums.cost_msats - sums.unexplained_msats
    parts: list[Part] = [((("Σ ", "muted"), (sats_round(spent), "strong"), (" sats", "muted")), 0)]
    if known.since_ms is not None:
        rest = ", all takes too long" if given_up else " …"
        parts.append((((f"  since {day_or_time(known.since_ms, now_ms, zone)}{rest}", "warn"),), 0))
    if sums.total:
        parts.append(((("  mean ", "muted"), (sats_round(spent / sums.total), "text")), 2))
    listed = sums.list_cost_msats - sums.unexplained_msats
    if listed > 0:
        more = spent / listed - 1
        parts.append(((("  charged ", "muted"), (percent_more(more), "warn" if more > OVERCHARGE else "text")), 3))
    failed = sums.total - sums.success
    parts.append(((("  failed ", "muted"), (count(failed), "bad" if failed else "text")), 1))
    if sums.p95_latency_ms:
        parts.append(((("  first byte p95 ", "muted"), (duration(sums.p95_latency_ms), "text")), 4))
    tokens = f"{count(sums.input_tokens)} → {count(sums.output_tokens)}"
    parts.append(((("  tokens ", "muted"), (tokens, "text")), 5))
    return parts
