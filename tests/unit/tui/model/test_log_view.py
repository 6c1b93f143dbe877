"""Log lines: filtered, followed, scrolled, bounded."""

from __future__ import annotations

import logging

import pytest

from arbstr.logs.ring import LogRing
from tests.support.dashboard_fakes import NOON
from tui.model import log_view
from tui.model.log_view import KEPT, LogView


def ring(count: int, level: int = logging.INFO) -> LogRing:
    log = LogRing()
    for number in range(count):
        log.add(NOON + number, level, "arbstr.test", f"line {number}")
    return log


def test_the_log_view_follows_the_newest_lines() -> None:
    log = ring(30)
    view = LogView(log)
    assert view.catch_up()
    assert not view.catch_up()
    assert [line.text for line in view.window(2)] == ["line 28", "line 29"]
    log.add(NOON, logging.INFO, "arbstr.test", "line 30")
    view.catch_up()
    assert view.window(1)[0].text == "line 30"


def test_a_log_view_scrolled_up_stays_and_at_the_end_follows_again() -> None:
    log = ring(30)
    view = LogView(log)
    view.catch_up()
    view.scroll(-10, 5)
    before = view.window(5)
    log.add(NOON, logging.INFO, "arbstr.test", "new")
    view.catch_up()
    assert view.window(5) == before
    view.scroll(100, 5)
    assert view.top is None
    assert view.window(1)[0].text == "new"


def test_levels_and_text_narrow_the_log_view() -> None:
    log = ring(5)
    log.add(NOON, logging.ERROR, "arbstr.ledger", "Disk full")
    log.add(NOON, logging.DEBUG, "arbstr.ledger", "detail")
    view = LogView(log)
    view.catch_up()
    assert len(view.lines) == 6
    view.next_level()
    assert [line.text for line in view.lines] == ["Disk full"]
    view.next_level()
    view.next_level()
    assert view.least_level == logging.DEBUG
    assert len(view.lines) == 7
    view.narrow("LEDGER")
    assert [line.text for line in view.lines] == ["Disk full", "detail"]


def test_lines_are_harmless() -> None:
    log = LogRing()
    log.add(NOON, logging.INFO, "arbstr\x1b", "a\x1b]52;c;x\x07b\nc")
    view = LogView(log)
    view.catch_up()
    [line] = view.window(1)
    assert line.text == "a�]52;c;x�b�c"
    assert line.logger == "arbstr�"
    assert view.loggers() == ["arbstr�"]


def test_the_first_look_at_a_full_log_makes_harmless_only_what_is_in_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogRing()
    made: list[str] = []

    def noted(text: str, most: int) -> str:
        made.append(text)
        return text

    monkeypatch.setattr(log_view, "shown", noted)
    for number in range(KEPT):
        log.add(NOON, logging.INFO, "arbstr.first_look", f"first look: line {number}")
    view = LogView(log)
    view.catch_up()
    view.window(40)
    view.window(40)
    assert len(view.lines) == KEPT
    assert len(made) <= 41, "40 lines in sight and a logger's name, once each"


def test_a_log_view_keeps_only_the_latest_lines_and_its_place() -> None:
    log = ring(KEPT)
    view = LogView(log)
    view.catch_up()
    view.scroll(-100, 10)
    before = view.window(10)
    for number in range(50):
        log.add(NOON, logging.INFO, "arbstr.test", f"later {number}")
    view.catch_up()
    assert len(view.lines) == KEPT
    assert view.window(10) == before


def mixed() -> LogView:
    """Twenty lines, of which the 3rd, 9th and 15th are warnings, each about a request of its own."""
    log = LogRing()
    for number in range(20):
        level = logging.WARNING if number % 6 == 2 else logging.INFO
        log.add(NOON + number, level, "arbstr.test", f"line {number} id=00000000-0000-4000-8000-{number:012x}")
    view = LogView(log)
    view.catch_up()
    return view


def test_warnings_are_found_from_the_newest_up_and_down_again() -> None:
    view = mixed()
    found = []
    for by in (1, -1, -1, -1, 1, 1, 1):
        found.append((view.select_warning(by, 5), view.selected))
        assert view.lines[view.selected or 0] in view.window(5)
    assert found == [(True, 14), (True, 8), (True, 2), (False, 2), (True, 8), (True, 14), (False, 14)]


def test_the_request_to_open_is_that_of_the_selected_line_or_else_of_the_lowest_in_sight() -> None:
    view = mixed()
    assert view.requests(5)[1] == 0
    view.scroll(-10, 5)
    ids, place = view.requests(5)
    assert ids[place].endswith(f"{9:012x}")
    view.select_warning(1, 5)
    ids, place = view.requests(5)
    assert ids[place].endswith(f"{14:012x}")
    assert len(ids) == 20


def test_the_selected_line_stays_selected_when_older_ones_are_dropped_and_one_step_past_the_end_follows() -> None:
    log = ring(KEPT)
    view = LogView(log)
    view.catch_up()
    view.move(-1, 10)
    assert view.lines[view.selected or 0].text == f"line {KEPT - 1}"
    log.add(NOON, logging.INFO, "arbstr.test", "new")
    view.catch_up()
    assert view.lines[view.selected or 0].text == f"line {KEPT - 1}"
    view.move(1, 10)
    view.move(1, 10)
    assert view.selected is None
    assert view.top is None
