"""Why a request went to its provider, and how what was expected compares with what came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tui.format import age, count, percent, rates_alike
from tui.model.full_request import FullRequest
from tui.render.json_fields import Json, number_of, objects_in, sats_of, text_of, whole_of
from tui.render.layout import Cells, Column, Line, Span, header, lay_out, wrapped, wrapped_cells

_COLUMNS = (
    Column("order", 5, "right", rank=5),
    Column("candidate", 12, share=1, most=28),
    Column("expected sats", 13, "right"),
    Column("ranked as", 10, "right", rank=1),
    Column("cached", 6, "right", rank=3),
    Column("in/1k", 5, "right", rank=2),
    Column("out/1k", 6, "right", rank=2),
    Column("fee", 3, "right", rank=4),
    Column("price from", 10, rank=2, exact=True),
    Column("why", 24, share=4, most=120, rank=6),
)
_PRICE = ("in/1k", "out/1k", "fee", "price from")  # columns of what rows of earlier versions do not say
_RATES = {"in/1k": "input_rate_sats_per_1k", "out/1k": "output_rate_sats_per_1k", "fee": "base_fee_sats"}
_LABEL = 9


def routing_lines(request: FullRequest, width: int) -> list[Line]:
    """Return the decision: what was expected, what each candidate asked then, and who was left out."""
    routing = request.routing
    title: Line = (("Who could have been asked" if request.never_sent else "Why this provider", "title"),)
    if not routing:
        return [title, (("the decision was not recorded", "muted"),)]
    head: list[Line] = [
        (("strategy ", "muted"), (text_of(routing, "strategy"), "text")),
        _foreseen("input", whole_of(routing.get("expected_input_tokens")), request.input_tokens),
        _foreseen("output", whole_of(routing.get("expected_output_tokens")), request.output_tokens),
        *_cached(request),
        *_cost(request, routing),
        *_because(request, routing, width),
        *_conversation(routing.get("reuse"), width),
    ]
    excluded = [line for each in objects_in(routing, "excluded") for line in _excluded(each, width)]
    return [title, *head, *_board(routing, width), *excluded]


def _board(routing: Json, width: int) -> list[Line]:
    """Return what each candidate asked at that moment, the first choice first."""
    candidates = objects_in(routing, "candidates")
    numbered = enumerate(zip(candidates, _rates(candidates), strict=True), 1)
    rows = [_candidate(number, each, rates) for number, (each, rates) in numbered]
    hidden = () if any("price from" in row for row in rows) else _PRICE
    if not any("cached" in row for row in rows):
        hidden = (*hidden, "cached")
    layout = lay_out(tuple(column for column in _COLUMNS if column.title not in hidden), width, rows)
    return [header(layout), *(line for row in rows for line in wrapped_cells(layout, row, "why", width))]


def _cached(request: FullRequest) -> list[Line]:
    """Return the cached tokens that were expected beside those that were, where caches could matter."""
    if request.predicted_cached_tokens is None:
        return []
    return [_foreseen("cached", request.predicted_cached_tokens, request.cached_tokens)]


def _mine(request: FullRequest, routing: Json) -> Json:
    """Return the candidate that served the request."""
    return next((each for each in objects_in(routing, "candidates") if each.get("provider") == request.provider), {})


def _cost(request: FullRequest, routing: Json) -> list[Line]:
    """Return what the request was expected to cost at its provider beside what it did."""
    expected = number_of(_mine(request, routing).get("expected_cost_sats"))
    if expected is None:
        return []
    was = request.cost_msats
    off = "" if was is None or not expected else f" ({_deviation(was / 1000 / expected - 1)})"
    actual = "" if was is None else f", was {sats_of(was / 1000)}"
    return [((f"{'cost':<{_LABEL}}", "muted"), (f"expected {sats_of(expected)}{actual} sats{off}", "text"))]


def _because(request: FullRequest, routing: Json, width: int) -> list[Line]:
    """Return why the provider that served the request ranked where it did."""
    mine = _mine(request, routing)
    reason = text_of(mine, "reason")
    return _said("because", f"{text_of(mine, 'provider')} is {reason}", width) if reason else []


def _conversation(reuse: object, width: int) -> list[Line]:
    """Return where the conversation was before, and how likely it is to go on."""
    likelihood = number_of(reuse.get("likelihood")) if isinstance(reuse, Mapping) else None
    if not isinstance(reuse, Mapping) or likelihood is None:
        return []
    previous, saves = text_of(reuse, "previous_provider"), number_of(reuse.get("previous_saves_sats"))
    was = f"was at {previous}, whose cache was to save {sats_of(saves)} sats" if previous else "begins here"
    return _said("session", f"{was}; likely to go on within 5 min: {percent(likelihood, 0)}", width)


def _said(label: str, text: str, width: int) -> list[Line]:
    """Return a text with a label before it, wrapped."""
    pieces = wrapped(text, max(width - _LABEL, 20))
    labels = [label, *[""] * (len(pieces) - 1)]
    return [((f"{label:<{_LABEL}}", "muted"), (piece, "text")) for label, piece in zip(labels, pieces, strict=True)]


def _foreseen(what: str, expected: int | None, actual: int | None) -> Line:
    """Return a line like `output   expected 289, was 228 tokens (−21 %)`."""
    was = "" if actual is None else f", was {count(actual)}"
    off = "" if actual is None or not expected else f" ({_deviation(actual / expected - 1)})"
    return ((f"{what:<{_LABEL}}", "muted"), (f"expected {count(expected)}{was} tokens{off}", "text"))


def _deviation(share: float) -> str:
    return f"{share:+,.0%}".replace("%", " %").replace("-", "\u2212").replace("\u22120 ", "±0 ").replace("+0 ", "±0 ")


def _candidate(number: int, candidate: Json, rates: Cells) -> Cells:
    cost, weight = number_of(candidate.get("expected_cost_sats")), number_of(candidate.get("weight_sats"))
    why = text_of(candidate, "reason")
    ranks_only = why.startswith(f"number {number} ") and ";" not in why
    moved = cost is not None and weight is not None and abs(weight - cost) > 0.0005 * cost
    return {
        "order": (str(number), "muted"),
        "candidate": (text_of(candidate, "provider"), "text"),
        "expected sats": (sats_of(cost), "text"),
        "ranked as": (sats_of(weight), "text" if moved else "muted"),
        **_prefix(candidate.get("cached_tokens")),
        **_price(candidate.get("price"), rates),
        "why": ("" if ranks_only else why, "muted"),  # its place says as much
    }


def _prefix(tokens: object) -> dict[str, Span]:
    """Return how much of the prompt its cache was expected to have."""
    cached = whole_of(tokens)
    return {"cached": (count(cached), "text")} if cached else {}


def _rates(candidates: Sequence[Json]) -> list[Cells]:
    """Return the rates that the candidates asked."""
    prices = [price if isinstance(price := each.get("price"), Mapping) else {} for each in candidates]
    columns = [rates_alike([number_of(price.get(key)) for price in prices]) for key in _RATES.values()]
    return [
        {title: (text, "text") for title, text in zip(_RATES, row, strict=True)} for row in zip(*columns, strict=True)
    ]


def _price(price: object, rates: Cells) -> Cells:
    """Return what a candidate asked and where that was known from; rows of earlier versions don't say."""
    if not isinstance(price, Mapping):
        return {}
    source, age_s = text_of(price, "source"), number_of(price.get("age_s"))
    known = source if age_s is None else f"{source}, {age(age_s * 1000)} old"
    doubted = source in ("doubted", "stale")
    return {
        **rates,
        "price from": (known, "warn" if doubted else "muted"),
    }


def _excluded(excluded: Json, width: int) -> list[Line]:
    """Return a provider that was left out, and why."""
    return _said("left out", f"{text_of(excluded, 'provider')}: {text_of(excluded, 'reason')}", width)
