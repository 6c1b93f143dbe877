"""Millisats as sats."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.money import charged_for_nothing, format_sats, to_sats


@pytest.mark.parametrize(
    ("msats", "written"),
    [(0, "0.000"), (1, "0.001"), (-1, "-0.001"), (26_000, "26.000"), (-1_234_567, "-1,234.567")],
)
def test_sats_are_written_to_the_millisat(msats: int, written: str) -> None:
    assert format_sats(msats, ",") == written


@given(st.integers(-(10**20), 10**20))
def test_what_is_written_is_exact(msats: int) -> None:
    assert Decimal(format_sats(msats)) * 1000 == msats


def test_an_unknown_sum_stays_unknown() -> None:
    assert (to_sats(None), to_sats(455)) == (None, 0.455)


@pytest.mark.parametrize(
    ("dialect", "success", "output_tokens", "cost_msats", "marked"),
    [
        ("chat", True, 0, 455, True),
        ("messages", False, None, 455, True),
        (None, True, 0, 455, True),
        ("chat", True, 9, 455, False),
        ("chat", True, None, 455, False),
        ("chat", False, None, 0, False),
        ("chat", False, None, None, False),
        ("embeddings", True, 0, 163, False),
    ],
)
def test_what_was_paid_for_without_output_is_marked(
    dialect: str | None, success: bool, output_tokens: int | None, cost_msats: int | None, marked: bool
) -> None:
    assert charged_for_nothing(dialect, success, output_tokens, cost_msats) is marked
