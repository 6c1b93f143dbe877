"""The attempts of a request, each with its place in time."""

from __future__ import annotations

from collections.abc import Sequence

from tui.format import duration
from tui.model.full_request import FullRequest
from tui.render.json_fields import Json, number_of, text_of
from tui.render.layout import Cells, Column, Line, Span, header, lay_out, wrapped_cells

_COLUMNS = (
    Column("attempt", 7, "right", rank=3),
    Column("provider", 10, share=1, most=28),
    Column("began", 7, "right", rank=2),
    Column("took", 7, "right"),
    Column("over time", 12, share=2, most=48, rank=1),
    Column("outcome", 10, exact=True),
    Column("message", 16, share=4, most=120, rank=4),
)
_WAITED, _STREAMED = "▇", "▂"  # until its first byte, or its failure; and from there to the last


def attempt_lines(request: FullRequest, width: int) -> list[Line]:
    """Return a table of the attempts; a message that has no room beside its attempt is below it."""
    title: Line = (("Attempts", "title"),)
    if not request.attempts:
        none = "no provider was asked" if request.never_sent else "no attempt was recorded"
        return [title, ((none, "muted"),)]
    rows = [_cells(number, each) for number, each in enumerate(request.attempts, 1)]
    layout = lay_out(_COLUMNS, width, rows)
    room = next((cells_ for column, cells_ in layout if column.title == "over time"), 0)
    placed = [
        {**row, "over time": _bar(request, each, room, last=each is request.attempts[-1])}
        for row, each in zip(rows, request.attempts, strict=True)
    ]
    return [title, header(layout), *(line for row in placed for line in wrapped_cells(layout, row, "message", width))]


def _cells(number: int, attempt: Json) -> Cells:
    failure, status = attempt.get("failure"), attempt.get("status")
    what = text_of(attempt, "failure").replace("_", " ")
    outcome: Span = ("✓ answered", "good") if failure is None else (f"✗ {status or what}", "bad")
    return {
        "attempt": (str(number), "muted"),
        "provider": (text_of(attempt, "provider"), "text"),
        "began": (f"+{duration(number_of(attempt.get('started_ms')))}", "muted"),
        "took": (duration(number_of(attempt.get("duration_ms"))), "text"),
        "outcome": outcome,
        "message": (text_of(attempt, "message"), "muted"),
    }


def _bar(request: FullRequest, attempt: Json, room: int, *, last: bool) -> Span:
    """Return when an attempt waited and streamed, as a bar on the request's whole time."""
    began, waited, ended = _times(request, attempt, last=last)
    whole = max(_end(request), ended, 1)
    first, middle, end = (round(ms / whole * room) for ms in (began, waited, ended))
    first = min(first, max(room - 1, 0))
    middle = max(middle, first + 1)
    bar = " " * first + _WAITED * (middle - first) + _STREAMED * (max(end, middle) - middle)
    return (bar[:room], "text" if attempt.get("failure") is None else "bad")


def _times(request: FullRequest, attempt: Json, *, last: bool) -> tuple[float, float, float]:
    """Return when an attempt began, had its first byte or failed, and ended, in ms since the request came."""
    began = number_of(attempt.get("started_ms")) or 0
    ended = began + (number_of(attempt.get("duration_ms")) or 0)
    if not last or attempt.get("failure") is not None:
        return began, ended, ended
    first_byte = request.latency_ms if request.streaming else None
    return began, max(first_byte or ended, began), max(ended, request.stream_duration_ms or 0)


def _end(request: FullRequest) -> float:
    attempts: Sequence[Json] = request.attempts or ()
    return max(_times(request, each, last=each is attempts[-1])[2] for each in attempts)
