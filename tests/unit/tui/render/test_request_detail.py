"""One request in full: what every candidate asked at that moment, and where that was known from."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

import pytest

from arbstr.types import Candidate, Price, PriceSource
from tests.support.dashboard_fakes import NOON, Traffic
from tui.render.layout import Line
from tui.render.request_detail import from_item, request_lines


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
