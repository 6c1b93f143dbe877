"""Spending by model: names that do not fit become one line, and no sum is lost."""

from __future__ import annotations

from collections.abc import Iterable

from arbstr.ledger.model import Aggregate
from tui.format import NOTHING
from tui.render.layout import Line
from tui.widgets.spend_by_model import bar, share_lines
from tui.widgets.stat_tiles import over_rates


def texts(lines: Iterable[Line]) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def test_bars_show_their_share() -> None:
    assert bar(0, 10) == ""
    assert bar(0.001, 10) == "▏"
    assert bar(0.5, 10) == "█████"
    assert bar(0.33, 10) == "███▎"
    assert bar(1.5, 4) == "████"


def test_names_that_do_not_fit_become_one_line_with_their_sum() -> None:
    groups = {f"m{number}": Aggregate(total=1, cost_msats=number * 1000) for number in range(1, 8)}
    lines = texts(share_lines(groups, 60, 4))
    assert [line.split()[0] for line in lines] == ["m7", "m6", "m5", "4"]
    assert "others" in lines[3]
    assert "10.000" in lines[3]


def test_only_a_charge_well_above_the_rates_is_marked() -> None:
    assert over_rates(1101, 1000)[1] == "warn"
    assert over_rates(1100, 1000) == ("+10.0 %", "text")
    assert over_rates(900, 1000) == ("-10.0 %", "text")
    assert over_rates(0, 0) == (NOTHING, "muted")
