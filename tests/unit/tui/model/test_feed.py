"""The feed: new rows never move what one looks at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.dashboard_fakes import NOON, Traffic
from tui.model.feed import KEPT, Feed
from tui.model.filter_language import parse
from tui.model.request_row import InFlightRequest


def finished(feed: Feed, count: int, seed: int = 1) -> None:
    traffic = Traffic(seed)
    feed.finish([traffic.request(NOON + number)[1].record for number in range(count)])


def flying(feed: Feed, request_id: str, at_ms: int) -> InFlightRequest:
    flight = InFlightRequest(request_id, at_ms, "gpt-4o", streaming=True, path=["alpha"])
    feed.running[request_id] = flight
    return flight


def test_running_requests_are_on_top_newest_first_then_finished_ones_newest_first() -> None:
    feed = Feed()
    finished(feed, 3)
    flying(feed, "older", NOON + 1)
    flying(feed, "newer", NOON + 2)
    rows = feed.rows()
    assert [row.request_id for row in rows[:2]] == ["newer", "older"]
    assert [row.at_ms for row in rows[2:]] == [NOON + 2, NOON + 1, NOON]


def test_a_feed_keeps_only_the_latest_requests() -> None:
    feed = Feed()
    finished(feed, KEPT + 50)
    assert len(feed.rows()) == KEPT


@given(st.lists(st.integers(-3, 3), max_size=20), st.integers(0, 30))
def test_new_rows_never_move_the_selection(moves: list[int], new: int) -> None:
    feed = Feed()
    finished(feed, 10)
    feed.move(0)
    for by in moves:
        feed.move(by)
    selected = feed.selected_item
    before = feed.rows()
    finished(feed, new, seed=2)
    assert feed.selected_item is selected
    assert feed.rows() == before
    assert feed.unseen == new


def test_a_held_feed_sees_its_running_requests_end() -> None:
    feed = Feed()
    record = Traffic().request(NOON)[1].record
    flying(feed, record.request_id, NOON)
    feed.move(0)
    feed.finish([record])
    assert feed.rows()[0].state in ("ok", "failed")


def test_letting_go_follows_again_from_the_top() -> None:
    feed = Feed()
    finished(feed, 3)
    feed.move(0)
    finished(feed, 2, seed=2)
    feed.deselect()
    assert feed.selected is None
    assert len(feed.rows()) == 5


def test_the_selection_stays_within_the_rows() -> None:
    feed = Feed()
    feed.move(1)
    assert feed.selected is None
    finished(feed, 2)
    feed.select(10**9)
    assert feed.selected == 1
    feed.move(-5)
    assert feed.selected == 0


def test_a_filter_shows_only_what_passes() -> None:
    feed = Feed()
    finished(feed, 60)
    feed.narrow(parse("model:mini"))
    rows = feed.rows()
    assert rows
    assert {row.model for row in rows} == {"gpt-4o-mini"}
    feed.narrow(parse(""))
    assert len(feed.rows()) == 60


def test_a_frozen_feed_is_filtered_too_and_the_filter_holds_when_it_goes_on() -> None:
    feed = Feed()
    finished(feed, 60)
    feed.freeze()
    finished(feed, 60, seed=2)
    feed.narrow(parse("model:mini"))
    narrowed = feed.rows()
    assert {row.model for row in narrowed} == {"gpt-4o-mini"}
    feed.narrow(parse(""))
    assert len(feed.rows()) == 60
    feed.narrow(parse("model:mini"))
    feed.release()
    assert {row.model for row in feed.rows()} == {"gpt-4o-mini"}
    assert len(feed.rows()) > len(narrowed)


def test_a_filter_cleared_while_frozen_is_gone() -> None:
    feed = Feed()
    finished(feed, 60)
    feed.narrow(parse("model:mini"))
    feed.freeze()
    feed.narrow(parse(""))
    assert len(feed.rows()) == 60
    feed.release()
    assert len(feed.rows()) == 60


def test_an_empty_feed_that_is_frozen_stays_so() -> None:
    feed = Feed()
    feed.freeze()
    feed.move(1)
    finished(feed, 3)
    assert feed.rows() == []
