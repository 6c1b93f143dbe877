"""Batches cut into statements: nothing is lost, and few different statements come of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbstr.ledger.row_mapping import COLUMNS
from arbstr.ledger.sql import MOST_AMONG, among, chunks, values

MOST_VARIABLES = 32_766  # that SQLite takes in a statement, unless it is built otherwise


@given(st.integers(0, 2_000))
def test_pieces_are_the_batch_in_order(size: int) -> None:
    batch = list(range(size))
    assert [item for piece in chunks(batch) for item in piece] == batch


def test_batches_of_all_sizes_come_down_to_a_few_statements() -> None:
    sizes = {len(piece) for size in range(2_000) for piece in chunks(range(size))}
    assert len(sizes) < 10


def test_the_largest_piece_fits_into_a_statement() -> None:
    largest = max(len(piece) for piece in chunks(range(2_000)))
    assert largest * len(COLUMNS) < MOST_VARIABLES


def test_rows_of_marks_are_what_sql_expects() -> None:
    assert values(2, 3) == "(?, ?, ?), (?, ?, ?)"


@given(st.integers(1, MOST_AMONG))
def test_an_in_list_holds_its_items_and_no_others(size: int) -> None:
    marks, listed = among(range(size))
    assert marks.count("?") == len(listed) < MOST_VARIABLES
    assert set(listed) == set(range(size))


def test_in_lists_of_all_sizes_come_down_to_a_few_statements() -> None:
    assert len({among(range(size))[0] for size in range(1, MOST_AMONG + 1)}) == 3
