"""One request in full: what every candidate asked at that moment, what its cache had, and why it was chosen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from arbstr.types import CLIENT_CLOSED, Attempt, Candidate, Price, PriceSource, Reuse
from tests.support.dashboard_fakes import NOON, Traffic
from tui.model.full_request import from_item
from tui.render.layout import Line, width_of
from tui.render.request_detail import request_lines


def lines_of(*candidates: Candidate, width: int = 116) -> list[Line]:
    record = Traffic().request(NOON)[1].record
    assert record.routing is not None
    routing = replace(record.routing, candidates=candidates)
    return request_lines(from_item(replace(record, routing=routing)), width, UTC)


def candidate(source: PriceSource, age_s: int | None = None) -> Candidate:
    return Candidate("alpha", 8200.0, 8200.0, price=Price(2.0, 8.5, 0.1, source), price_age_s=age_s)


@pytest.mark.parametrize(
    ("source", "age_s", "said", "role"),
    [
        ("configured", None, "configured", "muted"),
        ("list", 75, "list, 1 m old", "muted"),
        ("stale", 900, "stale, 15 m old", "warn"),
        ("doubted", 3, "doubted, 3 s old", "warn"),
        ("learned", None, "learned", "muted"),
    ],
)
@pytest.mark.parametrize("width", [76, 116])
def test_a_candidates_price_is_said_with_its_age_and_source(
    source: PriceSource, age_s: int | None, said: str, role: str, width: int
) -> None:
    (line,) = [
        line for line in lines_of(candidate(source, age_s), width=width) if any(said in text for text, _ in line)
    ]
    assert {"2", "8.5"} <= set("".join(text for text, _ in line).split())
    assert any(said in text and look == role for text, look in line)


def test_a_row_that_kept_no_prices_has_none() -> None:
    text = "\n".join("".join(part for part, _ in line) for line in lines_of(Candidate("alpha", 8200.0, 8200.0)))
    assert "8.200" in text
    assert "price from" not in text


def cached_request(width: int, reuse: Reuse | None, **figures: Any) -> str:
    record = Traffic().request(NOON)[1].record
    assert record.routing is not None
    candidates = (Candidate("alpha", 8200.0, 8200.0, cached_tokens=2500), Candidate("beta", 9000.0, 9000.0))
    routing = replace(record.routing, candidates=candidates, reuse=reuse)
    record = replace(record, provider="alpha", routing=routing, **figures)
    return "\n".join("".join(part for part, _ in line) for line in request_lines(from_item(record), width, UTC))


@pytest.mark.parametrize("width", [60, 76, 116])
def test_cached_tokens_are_foreseen_and_why_this_provider_is_said_at_any_width(width: int) -> None:
    figures = {"predicted_cached_tokens": 2500, "cached_tokens": 2560, "cache_saved_msats": 23_040}
    text = cached_request(width, Reuse(0.83, "alpha", 22_500), **figures, switching_msats=0)
    assert "cached   expected 2,500, was 2,560 tokens (+2 %)" in text
    assert "Cache saved       23.040 sats" in text
    assert "Switching cost" not in text
    said = " ".join(text.split())
    assert "because alpha is number 1 by expected price; its cache should have 2,500 tokens of the prompt" in said
    assert "number 2" not in said  # its place in the table says so
    assert "session was at alpha, whose cache was to save 22.500 sats; likely to go on within 5 min: 83 %" in said


def test_what_it_cost_to_leave_a_provider_is_said() -> None:
    text = cached_request(116, Reuse(0.5), predicted_cached_tokens=0, cached_tokens=0, switching_msats=22_500)
    assert "Switching cost    22.500 sats" in text
    assert "cached   expected 0, was 0 tokens" in text
    assert "session  begins here; likely to go on within 5 min: 50 %" in text


def test_the_cached_tokens_of_each_candidate_have_a_column() -> None:
    assert "  cached" in cached_request(116, None).split("candidate", 1)[1].splitlines()[0]


def test_without_caches_nothing_is_said_of_them() -> None:
    text = "\n".join("".join(part for part, _ in line) for line in lines_of(Candidate("alpha", 8200.0, 8200.0)))
    assert "cached" not in text
    assert "session" not in text


def texts(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def tried(*attempts: Attempt, **figures: Any) -> list[str]:
    """The lines of a request's attempts."""
    record = replace(Traffic().request(NOON)[1].record, attempts=attempts, provider=attempts[-1].provider, **figures)
    lines = texts(request_lines(from_item(record), 116, UTC))
    first = lines.index("Attempts") + 2
    return lines[first : first + len(attempts)]


def test_attempts_stand_one_after_the_other_in_time() -> None:
    failed, answered = tried(
        Attempt("alpha", 0, 500, "timeout", None, "too slow"), Attempt("beta", 500, 500), streaming=False
    )
    assert failed.index("▇") < failed.rindex("▇") < answered.index("▇") < answered.rindex("▇")
    assert failed.count("▇") == answered.count("▇")


def test_what_streamed_after_the_first_byte_is_drawn_apart() -> None:
    [line] = tried(Attempt("alpha", 0, 250), streaming=True, latency_ms=250, stream_duration_ms=1000)
    assert line.index("▇") < line.index("▂")
    assert line.count("▂") == pytest.approx(3 * line.count("▇"), abs=2)


def test_the_expected_cost_stands_beside_what_it_was() -> None:
    record = replace(Traffic().request(NOON)[1].record, provider="alpha", cost_msats=4100)
    assert record.routing is not None
    record = replace(record, routing=replace(record.routing, candidates=(Candidate("alpha", 8200.0, 8200.0),)))
    assert "cost     expected 8.200, was 4.100 sats (\u221250 %)" in texts(request_lines(from_item(record), 116, UTC))


def test_a_client_that_left_is_no_failure() -> None:
    record = replace(Traffic().request(NOON)[1].record, success=False, error_status=CLIENT_CLOSED)
    [state] = [line for line in request_lines(from_item(record), 116, UTC) if line and line[0][0].startswith("State")]
    assert state[1][0].startswith("↶ left")
    assert state[1][1] == "warn"


def test_everything_fits_and_nothing_is_lost_at_any_width() -> None:
    traffic = Traffic(3)
    record = next(each for each in iter(lambda: traffic.request(NOON)[1].record, None) if len(each.attempts) > 1)
    assert record.routing is not None
    attempts = (replace(record.attempts[0], message="overloaded, as it seems, since noon"), *record.attempts[1:])
    policy = replace(record.routing, policy_reason="by the keyword 'review'")
    record = replace(record, attempts=attempts, routing=policy, error_message="no provider answered in time")
    said = "overloaded, as it seems, since noon by the keyword 'review' no provider answered in time"
    for width in range(40, 297):
        lines = request_lines(from_item(record), width, UTC)
        assert all(width_of(line) <= width for line in lines if width >= 56), width
        assert set(said.split()) <= set(" ".join(texts(lines)).split()), width


def test_of_a_request_that_was_refused_before_anybody_was_asked_it_is_said_that_it_cost_nothing() -> None:
    record = Traffic().request(NOON)[1].record
    refused = replace(
        record, success=False, error_status=402, error_message="The budget is spent.", provider=None, attempts=(),
        cost_msats=None, list_cost_msats=None, provider_cost_msats=None, latency_ms=3,
    )  # fmt: skip
    text = "\n".join("".join(part for part, _ in line) for line in request_lines(from_item(refused), 116, UTC))
    for said in (
        "Refused after     3 ms",
        "Cost              nothing  no provider was asked",
        "Who could have been asked",
    ):
        assert said in text
    assert "not known" not in text
