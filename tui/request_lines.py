"""One request in full, as lines: ids, timing, tokens, cost, attempts, why this provider, error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import tzinfo
from typing import Any

from rich.cells import chop_cells

from arbstr.query import Detail, Entry
from arbstr.types import RequestRecord
from tui.format import NOTHING, count, duration, exact_stamp, sats, shown, tokens
from tui.lines import EMPTY, Column, Line, Role, Span, cells, header, lay_out
from tui.rows import Item, Row, row_of

Json = Mapping[str, Any]
LABEL = 18


@dataclass(frozen=True, slots=True)
class FullRequest:
    """A request as the ledger or an event told it. `attempts` and `routing` are None where they were not kept."""

    request_id: str
    at_ms: int
    model: str
    streaming: bool
    success: bool | None  # None: it runs
    provider: str | None
    policy: str | None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_msats: int | None = None
    provider_cost_msats: int | None = None
    latency_ms: int | None = None
    stream_duration_ms: int | None = None
    error_status: int | None = None
    error_message: str | None = None
    median_msats: int | None = None
    dearest_msats: int | None = None
    attempts: Sequence[Json] | None = None
    routing: Json | None = None


# The fields that a ledger's entry and an event's record have in common, by the same names.
_SHARED = tuple({each.name for each in fields(Entry)} & {each.name for each in fields(RequestRecord)})


def from_detail(detail: Detail) -> FullRequest:
    """From the ledger's answer."""
    known = {name: getattr(detail.entry, name) for name in _SHARED}
    return FullRequest(at_ms=detail.entry.at_ms, attempts=detail.attempts, routing=detail.routing, **known)


def from_item(item: Item) -> FullRequest:
    """From what the feed holds."""
    record = item if isinstance(item, RequestRecord) else item.record
    if record is None:
        return _from_flight(row_of(item))
    known = {name: getattr(record, name) for name in (*_SHARED, "median_msats", "dearest_msats")}
    return FullRequest(
        at_ms=record.received_at_ms,
        attempts=[asdict(attempt) for attempt in record.attempts],
        routing=None if record.routing is None else asdict(record.routing),
        **known,
    )


def _from_flight(row: Row) -> FullRequest:
    provider = row.path[-1] if row.path else None
    return FullRequest(row.request_id, row.at_ms, row.model, row.streaming, None, provider, row.policy)


def request_lines(request: FullRequest, width: int, zone: tzinfo | None) -> list[Line]:
    """Everything that is known, in sections."""
    return [
        *_identity(request, zone),
        EMPTY,
        *_error(request, width),
        *_figures(request),
        EMPTY,
        *_attempts(request.attempts, width),
        EMPTY,
        *_routing(request.routing, width),
    ]


def _field(label: str, value: str, role: Role = "text", note: str = "") -> Line:
    return ((f"{label:<{LABEL}}", "muted"), (value, role), (f"  {note}" if note else "", "muted"))


def _identity(request: FullRequest, zone: tzinfo | None) -> list[Line]:
    return [
        _field("Request", shown(request.request_id), "strong", "y copies"),
        _field("Received", exact_stamp(request.at_ms, zone)),
        _field("Model", shown(request.model) or "(none)"),
        _field("Provider", NOTHING if request.provider is None else shown(request.provider)),
        _field("Policy", NOTHING if request.policy is None else shown(request.policy)),
        _field("Answer as", "stream" if request.streaming else "JSON"),
        ((f"{'State':<{LABEL}}", "muted"), _state(request)),
    ]


def _state(request: FullRequest) -> Span:
    if request.success is None:
        return ("▸ running", "text")
    if request.success:
        return ("✓ ok", "good")
    return (f"✗ {request.error_status or 'failed'}", "bad")


def _error(request: FullRequest, width: int) -> list[Line]:
    if not request.error_message:
        return []
    message = shown(request.error_message, 4000)
    pieces = chop_cells(message, max(width - LABEL, 20))
    labels = ["Error", *[""] * (len(pieces) - 1)]
    return [*(_field(label, piece, "bad") for label, piece in zip(labels, pieces, strict=True)), EMPTY]


def _figures(request: FullRequest) -> list[Line]:
    first = "First byte after" if request.streaming else "Answered after"
    lines = [_field(first, duration(request.latency_ms))]
    if request.stream_duration_ms is not None:
        speed = _speed(request)
        lines.append(_field("Stream took", duration(request.stream_duration_ms), note=speed))
    lines += [
        _field("Tokens in", count(request.input_tokens)),
        _field("Tokens out", count(request.output_tokens)),
        _money("Cost by rates", request.cost_msats),
        _money("Charged", request.provider_cost_msats, _difference(request)),
    ]
    if request.median_msats is not None and request.cost_msats is not None:
        note = f"saved {sats(request.median_msats - request.cost_msats)}"
        lines.append(_money("Median seller", request.median_msats, note))
    if request.dearest_msats is not None:
        lines.append(_money("Dearest seller", request.dearest_msats))
    return lines


def _money(label: str, msats: int | None, note: str = "") -> Line:
    if msats is None:
        return _field(label, NOTHING, "muted", "not known")
    return ((f"{label:<{LABEL}}", "muted"), (sats(msats), "accent"), (" sats", "muted"), (f"  {note}", "muted"))


def _difference(request: FullRequest) -> str:
    cost, charged = request.cost_msats, request.provider_cost_msats
    if not cost or charged is None:
        return ""
    return "as computed" if charged == cost else f"{(charged - cost) / cost:+.1%} against the rates".replace("%", " %")


def _speed(request: FullRequest) -> str:
    took = (request.stream_duration_ms or 0) - (request.latency_ms or 0)
    if took <= 0 or not request.output_tokens:
        return ""
    return f"{request.output_tokens * 1000 / took:,.0f} tokens/s after the first byte"


_ATTEMPTS = (
    Column("attempt", 7, "right"),
    Column("provider", 12, share=1, most=28),
    Column("began", 9, "right"),
    Column("took", 9, "right"),
    Column("outcome", 16),
    Column("message", 10, share=4, most=120, above=70),
)


def _attempts(attempts: Sequence[Json] | None, width: int) -> list[Line]:
    title: Line = (("Attempts", "title"),)
    if not attempts:
        return [title, (("no attempt was recorded", "muted"),)]
    layout = lay_out(_ATTEMPTS, width)
    rows = (cells(layout, _attempt(number, each)) for number, each in enumerate(attempts, 1))
    return [title, header(layout), *rows]


def _attempt(number: int, attempt: Json) -> dict[str, Span]:
    failure, status = attempt.get("failure"), attempt.get("status")
    what = shown(str(failure or "")).replace("_", " ")
    outcome: Span = ("✓ answered", "good") if failure is None else (f"✗ {status or what}", "bad")
    return {
        "attempt": (str(number), "muted"),
        "provider": (shown(str(attempt.get("provider", ""))), "text"),
        "began": (f"+{duration(_number(attempt.get('started_ms')))}", "muted"),
        "took": (duration(_number(attempt.get("duration_ms"))), "text"),
        "outcome": outcome,
        "message": (shown(str(attempt.get("message") or "")), "muted"),
    }


_CANDIDATES = (
    Column("order", 5, "right"),
    Column("candidate", 12, share=1, most=28),
    Column("expected sats", 13, "right"),
    Column("weighed as", 12, "right"),
    Column("why", 10, share=4, most=120),
)


def _routing(routing: Json | None, width: int) -> list[Line]:
    title: Line = (("Why this provider", "title"),)
    if not routing:
        return [title, (("the decision was not recorded", "muted"),)]
    layout = lay_out(_CANDIDATES, width)
    into, out = _whole(routing.get("expected_input_tokens")), _whole(routing.get("expected_output_tokens"))
    head: Line = (
        ("strategy ", "muted"),
        (shown(str(routing.get("strategy", NOTHING))), "text"),
        ("   expected tokens ", "muted"),
        (tokens(into, out), "text"),
    )
    candidates = [
        cells(layout, _candidate(number, each)) for number, each in enumerate(_each(routing, "candidates"), 1)
    ]
    excluded = [_excluded(each) for each in _each(routing, "excluded")]
    return [title, head, header(layout), *candidates, *excluded]


def _candidate(number: int, candidate: Any) -> dict[str, Span]:
    cost, weight = _number(candidate.get("expected_cost_msats")), _number(candidate.get("weight_msats"))
    moved = weight is not None and cost and abs(weight / cost - 1) >= 0.0005
    return {
        "order": (str(number), "muted"),
        "candidate": (shown(str(candidate.get("provider", ""))), "text"),
        "expected sats": (sats(None if cost is None else round(cost)), "accent"),
        "weighed as": (sats(None if weight is None else round(weight)), "text" if moved else "muted"),
        "why": (shown(str(candidate.get("note") or "")), "muted"),
    }


def _excluded(pair: Any) -> Line:
    provider, reason = (pair[0], pair[1]) if isinstance(pair, list | tuple) and len(pair) == 2 else (pair, "")
    return (("  left out  ", "muted"), (shown(str(provider)), "text"), (f"  {shown(str(reason))}", "muted"))


def _each(routing: Json, name: str) -> Iterable[Any]:
    value = routing.get(name)
    return value if isinstance(value, list | tuple) else ()


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
