"""The price board as a table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from tests.support.dashboard_fakes import NOON, FakeSource, lived_in
from tui.model.price_board import BoardRow, PriceBoard
from tui.model.view_model import ViewModel
from tui.render.layout import Line
from tui.widgets.price_board import board_lines


def texts(lines: Iterable[Line]) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def test_the_board_marks_the_cheapest_and_drops_the_providers_that_matter_least() -> None:
    source = lived_in()
    views = ViewModel(source.snapshot()).view(NOON).providers
    rows = (
        BoardRow("gpt-4o", 400, 200, {"alpha": 11_000, "beta": 12_000}, "alpha", 11_500, 0),
        BoardRow("llama", 400, 200, {"delta": 2000}, "delta", None, 40, frozenset({"delta"})),
    )
    wide, models, hidden = board_lines(PriceBoard(rows, bought=True), views, 116, "alpha")
    text = "\n".join(texts(wide))
    assert (models, hidden) == (["gpt-4o", "llama"], 0)
    assert re.search(r"gpt-4o +11\.000 ★ +12\.000 +– +– +11\.500 +\+4\.5 %", text)
    assert "0.040" in text
    boards = [board_lines(PriceBoard(rows, bought=True), views, width, None) for width in (36, 44, 54)]
    assert [hidden for *_, hidden in boards] == [2, 2, 1]
    header_ = [texts(lines)[0] for lines, *_ in boards]
    assert header_[0].split() == ["model", "alpha", "delta"], "the cheapest of something stay"
    assert header_[1].split() == ["model", "alpha", "delta", "paid"]
    assert header_[2].split() == ["model", "alpha", "beta", "delta", "paid"], "then who asks least above them"


def test_a_provider_may_be_called_as_a_column_is() -> None:
    source = FakeSource()
    source.providers = {"paid": replace(source.providers["alpha"], name="paid")}
    views = ViewModel(source.snapshot()).view(NOON).providers
    row = BoardRow("gpt-4o", 400, 200, {"paid": 11_000}, "paid", 12_000, 0)
    header_, line = texts(board_lines(PriceBoard((row,), bought=True), views, 116, None)[0])
    assert "paid′" in header_
    assert "11.000 ★" in line
    assert "12.000" in line
