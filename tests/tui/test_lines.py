"""Lines fill exactly the cells they are given, whatever stands in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.lines import (
    Align,
    Column,
    Line,
    Role,
    beside,
    cells,
    fit,
    fit_line,
    framed,
    header,
    lay_out,
    merged,
    ruled,
    spread,
    under_cursor,
    width_of,
    wrapped,
)

TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf", "Mn", "Me")), max_size=60)
LINES = st.lists(st.tuples(TEXT, st.sampled_from(["text", "muted", "bad"])), max_size=6).map(tuple)
COLUMNS = (Column("a", 4), Column("b", 6, "right", share=1), Column("c", 5, share=2, most=9, above=30))


@given(TEXT, st.integers(1, 80), st.sampled_from(["left", "right"]))
def test_text_fits_its_cells_exactly(text: str, width: int, align: Align) -> None:
    assert cell_len(fit(text, width, align)) == width


def test_cut_text_ends_with_an_ellipsis() -> None:
    assert fit("claude-3.5-sonnet", 8) == "claude-…"
    assert fit("模型模型", 6) == "模型 …"


@given(LINES, st.integers(1, 120))
def test_lines_fit_their_cells_exactly(line: Line, width: int) -> None:
    assert width_of(fit_line(line, width)) == width


@given(LINES, LINES, st.integers(1, 120))
def test_two_ends_share_a_line(left: Line, right: Line, width: int) -> None:
    assert width_of(spread(left, right, width)) == width


@given(st.lists(LINES, max_size=8), LINES, LINES, st.integers(8, 100), st.integers(2, 12))
def test_boxes_are_as_wide_and_high_as_asked(
    body: list[Line], title: Line, note: Line, width: int, height: int
) -> None:
    for box in (
        framed(body, width, height, title=title, note=note),
        ruled(body, width, height, title=title, note=note),
    ):
        assert len(box) == height
        assert {width_of(line) for line in box} == {width}


def test_a_box_in_full() -> None:
    box = framed([(("one", "text"),)], 12, 3, title=(("T", "title"),), note=(("n", "muted"),))
    assert ["".join(text for text, _ in line) for line in box] == ["╭ T ─── n ─╮", "│ one      │", "╰──────────╯"]


def test_a_scroll_bar_thickens_the_edge() -> None:
    box = framed([], 8, 5, thumb=(1, 1))
    assert ["".join(text for text, _ in line)[-1] for line in box] == ["╮", "│", "┃", "│", "╯"]


def test_boxes_stand_beside_each_other() -> None:
    assert {width_of(line) for line in beside(framed([], 10, 3), framed([], 7, 3))} == {17}


def test_columns_share_what_is_left_up_to_their_most() -> None:
    assert [(column.title, width) for column, width in lay_out(COLUMNS, 40)] == [("a", 4), ("b", 13), ("c", 9)]


def test_columns_go_as_the_table_narrows() -> None:
    assert [column.title for column, _ in lay_out(COLUMNS, 29)] == ["a", "b"]


def test_rows_and_titles_are_aligned() -> None:
    layout = lay_out(COLUMNS, 40)
    titles, row = header(layout, "b", "▼"), cells(layout, {"a": ("x", "text"), "b": ("9", "accent")})
    assert width_of(titles) == width_of(row) == 4 + 2 + 13 + 2 + 9
    assert titles[0][0].index("▼") == "".join(text for text, _ in row).index("9")


@given(TEXT, st.integers(1, 40))
def test_text_is_broken_between_words_and_none_of_it_lost(text: str, width: int) -> None:
    lines = wrapped(text, max(width, 2))
    assert all(cell_len(line) <= max(width, 2) for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    if all(cell_len(word) <= width for word in text.split()):
        assert " ".join(lines).split() == text.split()


def test_neighbours_of_one_role_are_one_piece() -> None:
    assert merged([("a", "text"), ("b", "text"), ("  ", "muted"), ("c", "bad")]) == (("ab  ", "text"), ("c", "bad"))


@pytest.mark.parametrize("role", ["text", "muted", "accent", "good", "warn", "bad", "faint", "strong"])
def test_the_cursor_covers_every_role(role: Role) -> None:
    ((_, covered),) = under_cursor((("x", role),))
    assert covered.startswith("cursor")
