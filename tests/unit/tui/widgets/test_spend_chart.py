"""Spending over time: models kept apart, an axis, and no time before the first data."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from tests.support.dashboard_fakes import NOON
from tui.model.ledger_stats import RANGES
from tui.model.time_series import Chart
from tui.render.layout import Line
from tui.widgets.spend_chart import SpendChart, begun, stacked

MINUTE = 60_000


def texts(lines: Iterable[Line]) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def drawn(chart: Chart | None, width: int = 100, height: int = 8) -> list[Line]:
    panel = SpendChart()
    panel.show(chart, RANGES[1], UTC)
    return list(panel.draw(width, height))


def test_the_parts_of_a_column_stand_on_each_other() -> None:
    top, bottom = stacked([100, 100], [[50, 100]], 2, 2)
    assert texts([top, bottom]) == ["⣿⣿", "⣿⣿"]
    assert top == (("⣿", "accent-2"), ("⣿", "accent"))
    assert bottom == (("⣿⣿", "accent"),)


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.floats(0, 1), st.floats(0, 1)), max_size=80),
    st.integers(1, 60),
    st.integers(1, 8),
)
def test_a_stacked_curve_has_the_shape_of_the_whole(
    columns: list[tuple[int, float, float]], width: int, height: int
) -> None:
    values = [value for value, _, _ in columns]
    first = [int(value * share) for value, share, _ in columns]
    second = [int((value - one) * share) for (value, _, share), one in zip(columns, first, strict=True)]
    lines = stacked(values, [first, second], width, height)
    whole = stacked(values, [], width, height)
    assert ["".join(text for text, _ in line) for line in lines] == [
        "".join(text for text, _ in line) for line in whole
    ]


def test_a_chart_begins_at_its_first_data_but_is_no_shorter_than_a_sixth_of_its_range() -> None:
    late = Chart(NOON, MINUTE, (None, 0, *[0] * 28, 5, *[0] * 29), {"m": (0,) * 60})
    assert (begun(late).start_ms, len(begun(late).values), len(begun(late).models["m"])) == (NOON + 30 * MINUTE, 30, 30)
    just_now = Chart(NOON, MINUTE, (*[0] * 59, 5))
    assert len(begun(just_now).values) == 10
    nothing = Chart(NOON, MINUTE, (0,) * 60)
    assert begun(nothing) == nothing


def test_the_title_names_the_dearest_models_and_the_figures_of_the_whole() -> None:
    models = {"gpt-4o": (0, 40_000), "claude": (10_000, 0), "mini": (1000, 0)}
    title = drawn(Chart(NOON, MINUTE, (11_000, 40_000), models), 120)[0]
    (text,) = texts([title])
    assert "▇ gpt-4o" in text
    assert "▇ claude" in text
    assert "▇ others" in text
    assert "51.000 sats · mean 25.500 · peak 40.000 at 14:03" in text
    for width in range(60, 160):
        (text,) = texts(drawn(Chart(NOON, MINUTE, (11_000, 40_000), models), width)[:1])
        assert len(text) < width, "the right edge is free"
        assert "  51.000 sats" in text, "and the figures stand apart"
    (text,) = texts(drawn(Chart(NOON, 5_000, (11_000, 40_000), models), 140)[:1])
    assert "peak 40.000 at 14:02:16" in text
    assert {("▇ ", look) for look in ("accent", "accent-2", "accent-3")} <= {
        (part.strip() + " ", look) for part, look in title
    }


def test_the_axis_says_what_its_heights_are() -> None:
    lines = texts(drawn(Chart(NOON, MINUTE, (10_000, 40_000)), 60, 8))
    assert lines[1].startswith(" 40.000┤")
    assert lines[4].startswith(" 20.000┤")
    assert lines[6].startswith("  0.000┤")
    assert " nothing spent in 1 h" in texts(drawn(Chart(NOON, MINUTE, (0, 0))))
    assert " asking the ledger …" in texts(drawn(None))
