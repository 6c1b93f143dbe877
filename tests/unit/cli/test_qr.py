"""An invoice's code in a terminal: every module where it belongs, dark on light, no wider than the terminal."""

from __future__ import annotations

import io
import re
import sys

import pytest
import segno

from arbstr.cli.qr import qr_lines

INVOICE = "lnbc" + "1qpzry9x8gf2tvdw0s3jn54khce6mua7l" * 9  # as long as most are


@pytest.fixture
def utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))


def modules_of(lines: list[str]) -> list[list[int]]:
    """What a camera sees: 1 for each dark module."""
    rows: list[list[int]] = []
    for line in lines:
        assert line.startswith("\x1b[38;5;16;48;5;231m")
        assert line.endswith("\x1b[0m")
        cells = re.sub(r"\x1b\[[\d;]*m", "", line)
        rows += [[int(cell in "▀█") for cell in cells], [int(cell in "▄█") for cell in cells]]
    return rows


@pytest.mark.usefixtures("utf8")
def test_it_is_the_invoice_in_capitals_with_a_quiet_zone() -> None:
    seen = modules_of(qr_lines(INVOICE, 80))
    code = segno.make_qr(INVOICE.upper(), error="l", boost_error=False)
    wanted = [[int(module) for module in row] for row in code.matrix_iter(border=4)]
    assert seen[: len(wanted)] == wanted
    assert not any(map(any, seen[len(wanted) :])), "a row more stays light"


@pytest.mark.usefixtures("utf8")
@pytest.mark.parametrize(("width", "shown"), [(80, True), (61, True), (60, False)])
def test_it_is_left_out_where_it_would_be_cut(width: int, shown: bool) -> None:
    assert bool(qr_lines(INVOICE, width)) is shown


def test_it_is_left_out_where_the_terminal_has_no_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert qr_lines(INVOICE, 80) == []
