"""One request in full, as lines: ids, timing, tokens, cost, attempts, why this provider, error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import tzinfo
from typing import Any

from arbstr.ledger.model import Detail, Entry
from arbstr.ledger.routing_json import routing_json
from arbstr.money import charged_for_nothing
from arbstr.types import RequestRecord
from tui.format import NOTHING, age, count, duration, exact_stamp, percent, rate, sats, shown
from tui.model.request_row import InFlightRequest, Item, by_rates, overcharge
from tui.render.layout import EMPTY, Column, Line, Role, Span, cells, header, lay_out, wrapped

Json = Mapping[str, Any]
LABEL = 18


@dataclass(frozen=True, slots=True)
class FullRequest:
    """A request from the ledger or an event. `attempts` and `routing` are None where they were not kept."""

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
    list_cost_msats: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    served_model: str | None = None
    dialect: str | None = None
    session: str | None = None
    client: str | None = None
    implausible: str | None = None
    doubtful_msats: int = 0
    predicted_cached_tokens: int | None = None
    cache_saved_msats: int | None = None
    switching_msats: int | None = None


def _names(kind: type[FullRequest | Entry | RequestRecord]) -> set[str]:
    return {each.name for each in fields(kind)}


# The fields that a ledger's entry and an event's record have in common, by the same names.
_SHARED = tuple(_names(FullRequest) & _names(Entry) & _names(RequestRecord))
_ATTEMPT = ("provider", "started_ms", "duration_ms", "failure", "status", "message")


def from_detail(detail: Detail) -> FullRequest:
    """Build from the ledger's answer."""
    known = {name: getattr(detail.entry, name) for name in _SHARED}
    return FullRequest(at_ms=detail.entry.at_ms, attempts=detail.attempts, routing=detail.routing, **known)


def from_item(item: Item) -> FullRequest:
    """Build from the feed's item."""
    if isinstance(item, RequestRecord):
        return _from_record(item)
    return _from_flight(item) if item.record is None else _from_record(item.record)


def _from_record(record: RequestRecord) -> FullRequest:
    known = {name: getattr(record, name) for name in (*_SHARED, "median_msats", "dearest_msats")}
    return FullRequest(
        at_ms=record.received_at_ms,
        attempts=[{name: getattr(attempt, name) for name in _ATTEMPT} for attempt in record.attempts],
        routing=None if record.routing is None else routing_json(record.routing),
        **known,
    )


def _from_flight(flight: InFlightRequest) -> FullRequest:
    provider = flight.path[-1] if flight.path else None
    return FullRequest(
        flight.request_id,
        flight.at_ms,
        flight.model,
        flight.streaming,
        None,
        provider,
        flight.policy,
        output_tokens=flight.events or None,
        latency_ms=flight.first_byte_ms,
    )


def request_lines(request: FullRequest, width: int, zone: tzinfo | None) -> list[Line]:
    """Return everything known of a request, in sections."""
    return [
        *_identity(request, zone),
        EMPTY,
        *_error(request, width),
        *_figures(request),
        EMPTY,
        *(_history(request, width) if request.success is not None else _not_yet()),
    ]


def _not_yet() -> list[Line]:
    return [(("Attempts and the choice of provider are shown once it has ended.", "muted"),)]


def _history(request: FullRequest, width: int) -> list[Line]:
    return [*_attempts(request.attempts, width), EMPTY, *_routing(request, width)]


def _field(label: str, value: str, role: Role = "text", note: str = "") -> Line:
    return ((f"{label:<{LABEL}}", "muted"), (value, role), (f"  {note}" if note else "", "muted"))


def _identity(request: FullRequest, zone: tzinfo | None) -> list[Line]:
    return [
        _field("Request", shown(request.request_id), "strong", "y copies"),
        _field("Received", exact_stamp(request.at_ms, zone)),
        _field("Model", shown(request.model) or "(none)", note=_served(request)),
        _field("Provider", NOTHING if request.provider is None else shown(request.provider)),
        _field("Policy", NOTHING if request.policy is None else shown(request.policy), note=_why_policy(request)),
        _field("Answer as", "stream" if request.streaming else "JSON"),
        *(_field(label, shown(value)) for label, value in _asked_by(request) if value),
        ((f"{'State':<{LABEL}}", "muted"), _state(request)),
    ]


def _served(request: FullRequest) -> str:
    served = request.served_model
    return f"served by {shown(served)}" if served and served != request.model else ""


def _why_policy(request: FullRequest) -> str:
    return _text(request.routing or {}, "policy_reason")


def _asked_by(request: FullRequest) -> list[tuple[str, str | None]]:
    dialect = None if request.dialect == "chat" else request.dialect
    return [("Dialect", dialect), ("Client", request.client), ("Session", request.session)]


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
    pieces = wrapped(message, max(width - LABEL, 20))
    labels = ["Error", *[""] * (len(pieces) - 1)]
    return [*(_field(label, piece, "bad") for label, piece in zip(labels, pieces, strict=True)), EMPTY]


def _figures(request: FullRequest) -> list[Line]:
    first = "First byte after" if request.streaming else "Answered after"
    lines = [_field(first, duration(request.latency_ms))]
    if request.stream_duration_ms is not None:
        speed = _speed(request)
        lines.append(_field("Stream took", duration(request.stream_duration_ms), note=speed))
    lines += [
        _field("Tokens in", count(request.input_tokens), note=_cache(request)),
        _field("Tokens out", count(request.output_tokens), note=_for_nothing(request)),
        _money("Cost", request.cost_msats, _doubt(request)),
        _money("Cost by rates", by_rates(request)),
        _money("Charged", request.provider_cost_msats, _difference(request)),
        *_cache_money(request),
    ]
    if request.median_msats is not None and request.cost_msats is not None:
        note = f"saved {sats(request.median_msats - request.cost_msats)}"
        lines.append(_money("Median provider", request.median_msats, note))
    if request.dearest_msats is not None:
        lines.append(_money("Dearest provider", request.dearest_msats))
    return lines


def _cache_money(request: FullRequest) -> list[Line]:
    """Return what the provider's cache saved, and what going elsewhere than before cost, where there was anything."""
    return [
        *([_money("Cache saved", request.cache_saved_msats, "by the rates")] if request.cache_saved_msats else []),
        *([_money("Switching cost", request.switching_msats, "expected")] if request.switching_msats else []),
    ]


def _money(label: str, msats: int | None, note: str = "") -> Line:
    if msats is None:
        return _field(label, NOTHING, "muted", "not known")
    return ((f"{label:<{LABEL}}", "muted"), (sats(msats), "text"), (" sats", "muted"), (f"  {note}", "muted"))


def _difference(request: FullRequest) -> str:
    more = overcharge(request)
    if more is None:
        return ""
    return "as computed" if not more else f"{more:+.1%} against the rates".replace("%", " %")


def _doubt(request: FullRequest) -> str:
    if request.implausible:
        return f"capped: the provider's claim of {shown(request.implausible)} can't be true"
    return f"{sats(request.doubtful_msats)} more may have been charged" if request.doubtful_msats else ""


def _for_nothing(request: FullRequest) -> str:
    nothing = charged_for_nothing(request.dialect, bool(request.success), request.output_tokens, request.cost_msats)
    return "charged without any output" if nothing else ""


def _cache(request: FullRequest) -> str:
    parts = [
        f"{count(number)} {what}"
        for number, what in ((request.cached_tokens, "from the cache"), (request.cache_write_tokens, "written to it"))
        if number
    ]
    return ", ".join(parts)


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
    Column("message", 16, share=4, most=120, rank=1),
)


def _attempts(attempts: Sequence[Json] | None, width: int) -> list[Line]:
    title: Line = (("Attempts", "title"),)
    if not attempts:
        return [title, (("no attempt was recorded", "muted"),)]
    return [title, *_table(_ATTEMPTS, [_attempt(number, each) for number, each in enumerate(attempts, 1)], width)]


def _table(columns: tuple[Column, ...], rows: Sequence[dict[str, Span]], width: int) -> list[Line]:
    layout = lay_out(columns, width, rows)
    return [header(layout), *(cells(layout, row) for row in rows)]


def _attempt(number: int, attempt: Json) -> dict[str, Span]:
    failure, status = attempt.get("failure"), attempt.get("status")
    what = _text(attempt, "failure").replace("_", " ")
    outcome: Span = ("✓ answered", "good") if failure is None else (f"✗ {status or what}", "bad")
    return {
        "attempt": (str(number), "muted"),
        "provider": (_text(attempt, "provider"), "text"),
        "began": (f"+{duration(_number(attempt.get('started_ms')))}", "muted"),
        "took": (duration(_number(attempt.get("duration_ms"))), "text"),
        "outcome": outcome,
        "message": (_text(attempt, "message"), "muted"),
    }


_CANDIDATES = (
    Column("order", 5, "right", rank=5),
    Column("candidate", 12, share=1, most=28),
    Column("expected sats", 13, "right"),
    Column("ranked as", 10, "right", rank=1),
    Column("cached", 6, "right", rank=3),
    Column("in/1k", 5, "right", rank=2),
    Column("out/1k", 6, "right", rank=2),
    Column("fee", 3, "right", rank=4),
    Column("price from", 10, rank=2, exact=True),
    Column("why", 16, share=4, most=120, rank=3),
)


_PRICE = ("in/1k", "out/1k", "fee", "price from")  # columns of what rows of earlier versions do not say


def _routing(request: FullRequest, width: int) -> list[Line]:
    routing = request.routing
    title: Line = (("Why this provider", "title"),)
    if not routing:
        return [title, (("the decision was not recorded", "muted"),)]
    head: list[Line] = [
        (("strategy ", "muted"), (_text(routing, "strategy"), "text")),
        _foreseen("input", _whole(routing.get("expected_input_tokens")), request.input_tokens),
        _foreseen("output", _whole(routing.get("expected_output_tokens")), request.output_tokens),
        *_cached(request),
        *_because(request, routing, width),
        *_conversation(routing.get("reuse"), width),
    ]
    candidates = [_candidate(number, each) for number, each in enumerate(_each(routing, "candidates"), 1)]
    excluded = [_excluded(each) for each in _each(routing, "excluded")]
    priced = any("price from" in candidate for candidate in candidates)
    hidden = () if priced else _PRICE
    if not any("cached" in candidate for candidate in candidates):
        hidden = (*hidden, "cached")
    columns = tuple(column for column in _CANDIDATES if column.title not in hidden)
    return [title, *head, *_table(columns, candidates, width), *excluded]


def _cached(request: FullRequest) -> list[Line]:
    """Return the cached tokens that were expected beside those that were, where caches could matter."""
    if request.predicted_cached_tokens is None:
        return []
    return [_foreseen("cached", request.predicted_cached_tokens, request.cached_tokens)]


def _because(request: FullRequest, routing: Json, width: int) -> list[Line]:
    """Return why the provider that served the request ranked where it did."""
    mine = next((each for each in _each(routing, "candidates") if each.get("provider") == request.provider), {})
    reason = _text(mine, "reason")
    return _said("because", f"{_text(mine, 'provider')} is {reason}", width) if reason else []


def _conversation(reuse: object, width: int) -> list[Line]:
    """Return where the conversation was before, and how likely it is to go on."""
    likelihood = _number(reuse.get("likelihood")) if isinstance(reuse, Mapping) else None
    if not isinstance(reuse, Mapping) or likelihood is None:
        return []
    previous, saves = _text(reuse, "previous_provider"), _number(reuse.get("previous_saves_sats"))
    was = f"was at {previous}, whose cache was to save {_sats(saves)} sats" if previous else "begins here"
    return _said("session", f"{was}; likely to go on within 5 min: {percent(likelihood, 0)}", width)


def _said(label: str, text: str, width: int) -> list[Line]:
    """Return a text with a label before it, wrapped."""
    pieces = wrapped(text, max(width - 9, 20))
    labels = [label, *[""] * (len(pieces) - 1)]
    return [((f"{label:<9}", "muted"), (piece, "text")) for label, piece in zip(labels, pieces, strict=True)]


def _foreseen(what: str, expected: int | None, actual: int | None) -> Line:
    """Return a line like `output   expected 289, was 228 tokens (−21 %)`."""
    was = "" if actual is None else f", was {count(actual)}"
    off = "" if actual is None or not expected else f" ({_deviation(actual / expected - 1)})"
    return ((f"{what:<9}", "muted"), (f"expected {count(expected)}{was} tokens{off}", "text"))


def _deviation(share: float) -> str:
    return f"{share:+,.0%}".replace("%", " %").replace("-", "\u2212").replace("\u22120 ", "±0 ").replace("+0 ", "±0 ")


def _candidate(number: int, candidate: Json) -> dict[str, Span]:
    cost, weight = _number(candidate.get("expected_cost_sats")), _number(candidate.get("weight_sats"))
    moved = cost is not None and weight is not None and abs(weight - cost) > 0.0005 * cost
    return {
        "order": (str(number), "muted"),
        "candidate": (_text(candidate, "provider"), "text"),
        "expected sats": (_sats(cost), "text"),
        "ranked as": (_sats(weight), "text" if moved else "muted"),
        **_prefix(candidate.get("cached_tokens")),
        **_price(candidate.get("price")),
        "why": (_text(candidate, "reason"), "muted"),
    }


def _prefix(tokens: object) -> dict[str, Span]:
    """Return how much of the prompt its cache was expected to have."""
    cached = _whole(tokens)
    return {"cached": (count(cached), "text")} if cached else {}


def _price(price: object) -> dict[str, Span]:
    """Return what a candidate asked and where that was known from; rows of earlier versions don't say."""
    if not isinstance(price, Mapping):
        return {}
    rates = [_number(price.get(key)) for key in _RATE_KEYS]
    asked = [NOTHING if each is None else rate(each) for each in rates]
    source, age_s = _text(price, "source"), _number(price.get("age_s"))
    known = source if age_s is None else f"{source}, {age(age_s * 1000)} old"
    doubted = source in ("doubted", "stale")
    return {
        **{title: (text, "text") for title, text in zip(("in/1k", "out/1k", "fee"), asked, strict=True)},
        "price from": (known, "warn" if doubted else "muted"),
    }


_RATE_KEYS = ("input_rate_sats_per_1k", "output_rate_sats_per_1k", "base_fee_sats")


def _sats(value: float | None) -> str:
    return sats(None if value is None else round(value * 1000))


def _excluded(excluded: Json) -> Line:
    return (
        ("  left out  ", "muted"),
        (_text(excluded, "provider"), "text"),
        (f"  {_text(excluded, 'reason')}", "muted"),
    )


def _text(value: Json, name: str) -> str:
    return shown(str(value.get(name) or ""))


def _each(routing: Json, name: str) -> list[Json]:
    """Yield the objects in a list; old rows may hold anything."""
    value = routing.get(name)
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
