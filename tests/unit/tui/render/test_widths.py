"""Text takes as many cells as Rich says, whether it is measured the short way or the long one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich import cells

from tui.render.widths import beginning, cell_len

TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=40)


@given(TEXT)
def test_a_text_has_the_cells_that_rich_counts(text: str) -> None:
    assert cell_len(text) == cells.cell_len(text)


def test_every_character_has_the_cells_that_rich_counts() -> None:
    wrong = [hex(code) for code in range(0x20, 0x3000) if cell_len(chr(code)) != cells.cell_len(chr(code))]
    assert wrong == []


@given(TEXT, st.integers(0, 50))
def test_a_beginning_is_the_one_that_rich_cuts(text: str, width: int) -> None:
    assert beginning(text, width) == cells.set_cell_size(text, width)


@pytest.mark.parametrize(("text", "width", "kept"), [("a…→│bc", 4, "a…→│"), ("模型", 3, "模 "), ("a", 3, "a  ")])
def test_a_beginning_has_exactly_its_cells(text: str, width: int, kept: str) -> None:
    assert beginning(text, width) == kept
