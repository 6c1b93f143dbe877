"""Lines fill exactly the cells they are given, whatever stands in them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.render.layout import (
    Align,
    Cells,
    Column,
    Line,
    Part,
    Role,
    Span,
    beside,
    cells,
    counted,
    fit,
    fit_line,
    fit_parts,
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
COLUMNS = (Column("a", 4), Column("b", 6, "right", share=1), Column("c", 5, share=2, most=9, rank=1))


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
    assert [(column.title, width) for column, width in lay_out(COLUMNS, 40)] == [("a", 4), ("b", 23), ("c", 9)]


@pytest.mark.parametrize(("width", "shown"), [(19, ["a", "b", "c"]), (18, ["a", "b"]), (12, ["a", "b"])])
def test_columns_go_by_rank_as_the_table_narrows(width: int, shown: list[str]) -> None:
    assert [column.title for column, _ in lay_out(COLUMNS, width)] == shown


def test_a_column_of_figures_is_as_wide_as_its_figures_and_others_go_for_it() -> None:
    rows: list[Cells] = [{"b": ("1,234,567", "text")}]
    assert dict(lay_out(COLUMNS, 21, rows)) == {COLUMNS[0]: 4, COLUMNS[1]: 15}
    assert dict(lay_out(COLUMNS, 11, rows)) == {COLUMNS[0]: 1, COLUMNS[1]: 9}  # the text gives way


def test_texts_get_what_they_need_before_anything_is_wider_than_that() -> None:
    names, bars = Column("name", 4, share=1, most=20), Column("", 2, share=9, most=20)
    assert [width for _, width in lay_out((names, bars), 20, [{"name": ("0123456789", "text")}])] == [11, 7]


def test_a_sorted_column_has_room_for_its_arrow() -> None:
    assert dict(lay_out((Column("first", 5, "right"),), 30, sorted_by="first")) == {Column("first", 5, "right"): 7}


FIGURE = st.integers(-(10**15), 10**15).map("{:,}".format)
TABLES = st.lists(
    st.builds(
        Column,
        st.sampled_from("abcdefgh"),
        st.integers(1, 12),
        st.sampled_from(["left", "right"]),
        share=st.integers(0, 4),
        rank=st.integers(0, 5),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda column: column.title,
).map(tuple)


@given(TABLES, st.data(), st.integers(60, 300))
def test_no_table_is_wider_than_its_place_nor_cuts_a_figure(
    columns: tuple[Column, ...], data: st.DataObject, width: int
) -> None:
    rows: list[dict[str, Span]] = [
        {column.title: (data.draw(FIGURE if column.figures else TEXT), "text") for column in columns} for _ in range(3)
    ]
    layout = lay_out(columns, width, rows)
    essential = sum(max(len(row[column.title][0]) for row in rows) for column in columns if not column.rank)
    if essential + 2 * len(columns) <= width:
        assert sum(cells_ for _, cells_ in layout) + 2 * (len(layout) - 1) <= width
    for column, cells_ in layout:
        assert not column.figures or all(len(row[column.title][0]) <= cells_ for row in rows)


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [
        ("expected to cost 1,234.5 sats", 22, "expected to cost …"),
        ("expected to cost 1,234.5 sats", 26, "expected to cost …"),
        ("took 310 ms, then", 11, "took …"),
        ("70 % of it", 4, "…"),
        ("gpt-4o-mini", 6, "gpt-4…"),
        ("status=200 sats=2.363", 18, "status=200 sats=…"),
        ("status=200 sats=2.363", 13, "status=200 s…"),
        ("claude-3.5-sonnet", 9, "claude-3…"),
    ],
)
def test_half_a_figure_is_never_shown_but_names_may_be_cut_anywhere(text: str, width: int, cut: str) -> None:
    assert fit(text, width) == cut.ljust(width)


def test_parts_of_a_line_go_whole_and_by_rank() -> None:
    parts: list[Part] = [((("one", "text"),), 0), ((("two", "muted"),), 2), ((("six", "text"),), 1)]
    said = {width: "".join(text for text, _ in fit_parts(parts, width)) for width in (9, 8, 5, 1)}
    assert said == {9: "onetwosix", 8: "onesix", 5: "one", 1: "one"}
    long: list[Part] = [((("one", "text"),), 0), ((("eleven", "text"),), 1), ((("two", "text"),), 2)]
    assert fit_parts(long, 6) == (("one", "text"), ("two", "text")), "what is short may stay where what is long can't"


@pytest.mark.parametrize(
    ("width", "edge"),
    [
        (60, "╭ Providers  sats for a request ── newest first  … 2 more ─╮"),
        (50, "╭ Providers  sats for a request ────── … 2 more ─╮"),
        (30, "╭ Providers ────── … 2 more ─╮"),
    ],
)
def test_hidden_rows_are_counted_at_the_edge_whatever_else_has_to_go(width: int, edge: str) -> None:
    title: Line = (("Providers", "title"), ("  sats for a request", "muted"))
    kept, note = counted(title, (("newest first", "muted"),), 2, width)
    assert "".join(text for text, _ in framed([], width, 3, title=kept, note=note)[0]) == edge
    assert counted(title, note, 0, width) == (title, note)
    assert counted(title, (), 1, width, "provider")[1] == (("… 1 more provider", "muted"),)


def test_rows_and_titles_are_aligned() -> None:
    layout = lay_out(COLUMNS, 30, sorted_by="b")
    titles, row = header(layout, "b", "▼"), cells(layout, {"a": ("x", "text"), "b": ("9", "accent")})
    assert width_of(titles) == width_of(row) == 30
    assert titles[0][0].index("▼") == "".join(text for text, _ in row).index("9")


@example("\U0001f3fb", 1)  # a skin tone by itself takes no cell
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
