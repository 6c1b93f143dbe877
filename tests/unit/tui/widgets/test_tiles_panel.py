"""Tiles: where the cursor and clicks lead from their lines and words."""

from __future__ import annotations

import pytest

from tui.render.layout import Line
from tui.widgets.tiles_panel import Tile, TilesPanel

SPENT = Tile(
    "Spent",
    "today UTC",
    ((("4,120", "strong"), (" sats", "muted")), (("rates ", "muted"), ("4,000", "text")), (("7 days", "text"),)),
    ("today", "", "week"),
)
REQUESTS = Tile(
    "Requests",
    "since start",
    ((("263", "strong"),), (("failed ", "muted"), ("502·2", "text"), (" ", "text"), ("left·1", "text"))),
    ("start", ""),
    {"502·2": "status:502 start", "left·1": "status:left start", "402·1": "status:402 start"},
)


@pytest.fixture
def panel() -> TilesPanel:
    panel = TilesPanel()
    panel._tiles = (SPENT, REQUESTS)
    panel.active = True
    return panel


def place(panel: TilesPanel, size: tuple[int, int], text: str) -> tuple[int, int]:
    """Where a text is drawn."""
    lines = ["".join(part for part, _ in line) for line in panel.draw(*size)]
    return next((line.index(text), y) for y, line in enumerate(lines) if text in line)


@pytest.mark.parametrize("size", [(120, 7), (80, 6)])
@pytest.mark.parametrize(
    ("text", "finds"),
    [
        ("4,120", "today"),
        ("7 days", "week"),
        ("rates", "today"),
        ("263", "start"),
        ("502·2", "status:502 start"),
        ("left·1", "status:left start"),
        ("failed", "status:502 start"),
        ("Requests", "start"),
    ],
)
def test_a_click_leads_to_what_is_drawn_there_else_to_what_its_tile_is_about(
    panel: TilesPanel, size: tuple[int, int], text: str, finds: str
) -> None:
    assert panel.finds_at(*place(panel, size, text)) == finds


def test_beside_the_tiles_is_nothing(panel: TilesPanel) -> None:
    panel.draw(80, 6)
    assert panel.finds_at(5, 4) == ""
    assert TilesPanel().finds_at(5, 1) == ""


@pytest.mark.parametrize("size", [(120, 7), (80, 6)])
def test_the_cursor_goes_from_one_place_to_the_next(panel: TilesPanel, size: tuple[int, int]) -> None:
    found = []
    panel.draw(*size)
    for _ in range(7):
        found.append(panel.finds)
        panel.move(1)
    assert found == ["today", "week", "start", "status:502 start", *["status:left start"] * 3]
    panel.deselect()
    assert panel.finds == "today"


@pytest.mark.parametrize("size", [(120, 7), (80, 6)])
def test_what_is_selected_is_under_the_cursor_while_the_panel_is_active(
    panel: TilesPanel, size: tuple[int, int]
) -> None:
    panel.draw(*size)
    panel.move(3)
    assert marked(panel, size) == ["502·2"]
    panel.move(-3)
    assert marked(panel, size)[0] == "4,120"
    panel.active = False
    assert marked(panel, size) == []


def marked(panel: TilesPanel, size: tuple[int, int]) -> list[str]:
    lines: list[Line] = list(panel.draw(*size))
    return [text for line in lines for text, role in line if role.startswith("cursor")]


def test_a_place_that_is_gone_is_no_longer_selected(panel: TilesPanel) -> None:
    panel.draw(120, 7)
    panel.move(4)
    for left, finds in (((SPENT,), "today"), ((), "")):
        panel._tiles = left
        panel.draw(120, 7)
        panel.move(0)
        assert panel.finds == finds
