"""Log lines: filtered, followed, scrolled, bounded."""

from __future__ import annotations

import logging

from arbstr.logs.ring import LogRing
from tests.support.dashboard_fakes import NOON
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
    assert view.lines[0].text == "a�]52;c;x�b�c"
    assert view.lines[0].logger == "arbstr�"


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
