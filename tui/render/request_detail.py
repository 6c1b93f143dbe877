"""One request in full, as lines: ids, timing, tokens, cost, error; then what was tried, and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo

from arbstr.money import charged_for_nothing
from arbstr.types import CLIENT_CLOSED
from tui.format import NOTHING, count, duration, exact_stamp, sats, shown
from tui.model.full_request import FullRequest
from tui.model.request_row import by_rates, overcharge
from tui.model.speed import tokens_per_second
from tui.render.attempt_lines import attempt_lines
from tui.render.json_fields import text_of
from tui.render.layout import EMPTY, Line, Role, Span, width_of, wrapped
from tui.render.routing_lines import routing_lines

LABEL = 18


def request_lines(request: FullRequest, width: int, zone: tzinfo | None) -> list[Line]:
    """Return everything known of a request, in sections."""
    return [
        *_fitted(_identity(request, zone), width),
        EMPTY,
        *_error(request, width),
        *_fitted(_figures(request), width),
        EMPTY,
        *(_history(request, width) if request.success is not None else _not_yet()),
    ]


def _fitted(lines: list[Line], width: int) -> list[Line]:
    """Return labelled lines, of those that are too long the value and the note wrapped below one another."""
    return [piece for line in lines for piece in ([line] if width_of(line) <= width else _folded(line, width))]


def _folded(line: Line, width: int) -> Iterator[Line]:
    label, (value, role), *units, (note, note_role) = line
    value += "".join(text for text, _ in units)
    room = max(width - LABEL, 1)
    pieces: list[Span] = [(piece, role) for piece in wrapped(value, room)]
    pieces += [(piece, note_role) for piece in wrapped(note, room) if piece]
    for number, piece in enumerate(pieces):
        yield (label if number == 0 else (" " * LABEL, "muted"), piece)


def _not_yet() -> list[Line]:
    return [(("Attempts and the choice of provider are shown once it has ended.", "muted"),)]


def _history(request: FullRequest, width: int) -> list[Line]:
    return [*attempt_lines(request, width), EMPTY, *routing_lines(request, width)]


def _field(label: str, value: str, role: Role = "text", note: str = "") -> Line:
    return ((f"{label:<{LABEL}}", "muted"), (value, role), (f"  {note}" if note else "", "muted"))


def _identity(request: FullRequest, zone: tzinfo | None) -> list[Line]:
    return [
        _field("Request", shown(request.request_id), "strong"),
        _field("Received", exact_stamp(request.at_ms, zone)),
        _field("Model", shown(request.model) or "(none)", note=_served(request)),
        _field("Provider", NOTHING if request.provider is None else shown(request.provider)),
        _field("Policy", NOTHING if request.policy is None else shown(request.policy), note=_why_policy(request)),
        _field("Kind", "stream" if request.streaming else "JSON"),
        *(_field(label, shown(value)) for label, value in _asked_by(request) if value),
        ((f"{'State':<{LABEL}}", "muted"), _state(request), ("", "muted")),
    ]


def _served(request: FullRequest) -> str:
    served = request.served_model
    return f"served by {shown(served)}" if served and served != request.model else ""


def _why_policy(request: FullRequest) -> str:
    return text_of(request.routing or {}, "policy_reason")


def _asked_by(request: FullRequest) -> list[tuple[str, str | None]]:
    dialect = None if request.dialect == "chat" else request.dialect
    return [("Dialect", dialect), ("Client", request.client), ("Session", request.session)]


def _state(request: FullRequest) -> Span:
    if request.success is None:
        return ("▸ running", "text")
    if request.success:
        return ("✓ ok", "good")
    if request.error_status == CLIENT_CLOSED:
        return ("↶ left: the client did not wait for the end", "warn")
    return (f"✗ {request.error_status or 'failed'}", "bad")


def _error(request: FullRequest, width: int) -> list[Line]:
    if not request.error_message:
        return []
    message = shown(request.error_message, 4000)
    pieces = wrapped(message, max(width - LABEL, 20))
    labels = ["Error", *[""] * (len(pieces) - 1)]
    return [*(_field(label, piece, "bad") for label, piece in zip(labels, pieces, strict=True)), EMPTY]


def _figures(request: FullRequest) -> list[Line]:
    if request.never_sent:
        return [
            _field("Refused after", duration(request.latency_ms)),
            _field("Cost", "nothing", note="no provider was asked"),
        ]
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
    speed = tokens_per_second(request.output_tokens, request.latency_ms, request.stream_duration_ms)
    return "" if speed is None else f"{speed:,.0f} tokens/s after the first byte"
