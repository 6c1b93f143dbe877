"""The first screen, by keys and clicks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from textual.events import Key

from arbstr.clock import DAY_MS
from arbstr.events import Alert, AlertRaised, OverchargeFound, RequestReceived
from tests.support.dashboard_fakes import NOON, FakeLedger, FakeSource, Traffic, lived_in
from tests.support.dashboard_pilot import SHORT, DashboardPilot, dashboard_pilot, happen
from tui.format import sats_round
from tui.screens.detail import DetailScreen


async def test_requests_show_as_they_come_and_figures_follow() -> None:
    async with dashboard_pilot(FakeSource()) as each:
        each.source.publish(RequestReceived("r1", NOON, "gpt-4o", streaming=True))
        await each.shows("▸ waiting  gpt-4o", "1 running")
        (end,) = happen(each.source, 1)
        cost = end.record.cost_msats
        assert cost is not None
        await each.shows(f"{cost / 1000:,.3f} sats", "✓ ok")


async def test_figures_equal_what_the_ledger_says_within_one_refresh() -> None:
    async with dashboard_pilot(FakeSource()) as each:
        happen(each.source, 25)
        total = each.source.totals
        await each.shows(f"start {sats_round(total.cost_msats)}", f"{total.requests}")
        await each.shows("today UTC", sats_round(total.cost_msats))
        await each.until(lambda: getattr(each.app.dashboard.figures.today, "cost_msats", None) == total.cost_msats)


async def test_an_empty_ledger_says_what_to_try_and_copies_it() -> None:
    async with dashboard_pilot(FakeSource()) as each:
        await each.shows("No requests yet", "curl http://127.0.0.1:8080/v1/chat/completions", '"model": "gpt-4o"')
        await each.press("y")
        assert each.app.clipboard.startswith("curl http://127.0.0.1:8080")
        body = each.app.clipboard.partition("-d '")[2].rstrip("'")
        assert json.loads(body)["messages"][0]["role"] == "user"


async def test_where_no_provider_has_a_key_the_first_step_is_to_get_one() -> None:
    source = FakeSource()
    source.providers = {
        name: replace(each, inert=True, masked_key=None) for name, each in source.providers.items() if name < "c"
    }
    async with dashboard_pilot(source) as each:
        await each.shows("No provider has a key yet. Get one from a Routstr node (y copies it):", "arbstr fund alpha")
        await each.press("y")
        assert each.app.clipboard == "arbstr fund alpha"
        await each.press("2")
        await each.shows("No provider has a key yet. Get one from a Routstr node:", "arbstr fund alpha")


async def test_new_rows_never_move_the_selection() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("j", "j")
        selected = each.app.dashboard.model.feed.selected_item
        before = each.text
        happen(each.source, 7)
        await each.shows("held  +7 new")
        assert each.app.dashboard.model.feed.selected_item is selected
        rows = [line for line in before.splitlines() if "▸ stream" in line]
        assert all(row in each.text for row in rows)
        await each.press("escape")
        await each.hides("held")


async def test_freezing_stops_everything_and_thawing_catches_up() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.shows("sats")
        await each.press("f")
        before = each.text.splitlines()[1:-1]
        happen(each.source, 3)
        await each.shows("frozen  +3 new")
        assert each.text.splitlines()[1:-1] == before
        await each.press("f")
        await each.hides("frozen")
        await each.shows(f"start {sats_round(each.source.totals.cost_msats)}")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (("question_mark",), "Help ‖ frozen"),
        (("2", "e"), "─ ‖ frozen ─"),
        (("2", "c"), "─ ‖ frozen ─"),
        (("2", "e", "p"), "─ ‖ frozen ─"),
        (("2",), "‖ frozen  ─╮"),
        (("ctrl+p",), "▔ ‖ frozen ▔"),
    ],
    ids=["help", "question", "columns", "path", "preview", "palette"],
)
async def test_frozen_is_said_on_windows_and_the_preview_too(keys: tuple[str, ...], said: str) -> None:
    async with dashboard_pilot(lived_in(), size=(160, 40)) as each:
        await each.shows("Spend by model")
        await each.hides(said)
        await each.press("f", *keys)
        await each.shows(said)


async def test_the_feed_is_filtered_and_says_so() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("slash")
        await each.type("model:mini")
        await each.until(lambda: not any("claude" in line for line in each.text.splitlines() if "✓ ok" in line))
        await each.shows("filtered  Esc clears")
        await each.press("enter")
        await each.press("j")
        assert each.app.dashboard.model.feed.selected == 0
        await each.press("escape")
        await each.press("escape")
        await each.hides("filtered")


async def test_a_filter_that_is_not_understood_says_why() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("slash")
        await each.type("status:odd")
        await each.shows("status is ok, error, left, or a number like 502")


async def test_the_time_range_goes_round() -> None:
    async with dashboard_pilot(lived_in()) as each:
        for name in ("24 h", "7 d", "5 min", "1 h"):
            await each.press("t")
            await each.shows(f"last {name}")


async def test_enter_opens_a_request_and_escape_goes_back() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("j", "j", "j", "j")
        item = each.app.dashboard.model.feed.selected_item
        assert item is not None
        await each.press("enter")
        await each.shows("Request in full", item.request_id, "Why this provider")
        await each.press("y")
        await each.until(lambda: each.app.clipboard == item.request_id)
        await each.shows("Its id is copied")
        await each.press("escape", "escape")
        await each.shows("Spend by model")


@pytest.mark.parametrize("keys", [("j", "enter"), ("question_mark",), ("2", "e")], ids=["request", "help", "question"])
async def test_two_keys_that_leave_at_once_leave_one_thing(keys: tuple[str, ...]) -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press(*keys)
        await each.until(lambda: len(each.app.screen_stack) == 2)
        over = each.app.screen
        for _ in range(3):
            each.app.post_message(Key("escape", "\x1b"))
        await each.until(lambda: each.app.screen is not over)
        await each.pilot.pause(0.1)
        assert each.app.is_running
        await each.shows("▶ live")


async def test_enter_opens_the_newest_request_of_the_ledger_where_none_is_selected_yet() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("newest first", "✓ ok")
        await each.press("enter")
        await each.shows("Request in full", "Why this provider")


@pytest.mark.parametrize("key", ["1", "2"])
async def test_next_and_previous_request_in_full(key: str) -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press(key)
        await each.shows("✓ ok")
        await each.press("j", "j", "j", "j", "j", "enter")
        await each.shows("Request in full")
        ids = []
        for step in ("n", "n", "p", "p", "p"):
            ids.append(_opened(each))
            await each.press(step)
            await each.until(lambda: _opened(each) != ids[-1])
        assert ids[0] == ids[4]
        assert ids[1] == ids[3]
        assert len({*ids, _opened(each)}) == 4
        await each.press("escape")
        await each.hides("Request in full")


def _opened(each: DashboardPilot) -> str:
    return next(line.split()[2] for line in each.text.splitlines() if line.startswith("│ Request "))


async def test_past_the_rows_that_have_been_read_the_next_request_is_read() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("783")
        await each.press("G", "enter")
        await each.shows(each.source.ledger.records[0].request_id)
        await each.press("p")
        await each.shows(each.source.ledger.records[1].request_id)


async def test_what_can_be_copied_of_a_request() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("783")
        newest = each.source.ledger.records[-1]
        for opened in ((), ("enter",)):
            await each.press(*opened)
            for key, begins in (
                ("r", "783,"),
                ("j", '{"id"'),
                ("c", "curl http://127.0.0.1:8080/v1/requests/"),
                ("i", newest.request_id),
            ):
                await each.press("y")
                await each.until(lambda: each.app.clipboard == newest.request_id)
                await each.shows("its row, as CSV", "its JSON")
                await each.press(key)
                await each.until(lambda: each.app.clipboard.startswith(begins))  # noqa: B023 - awaited at once
                assert newest.request_id in each.app.clipboard
        await each.press("y")
        await each.shows("a new request like it")
        await each.press("up", "enter")
        await each.until(lambda: each.app.clipboard.startswith("curl http://127.0.0.1:8080/v1/chat/completions"))
        assert newest.model in each.app.clipboard


async def test_text_of_a_request_is_selected_with_the_mouse_and_copied() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2", "s", "s", "enter")
        await each.shows("Request in full", "Attempts")
        line = next(y for y, text in enumerate(each.text.splitlines()) if text.startswith("│ Received"))
        begin = each.text.splitlines()[line].index("2025")
        await each.pilot.mouse_down(offset=(begin, line))
        await each.pilot.hover(offset=(begin + 10, line))
        await each.pilot.mouse_up(offset=(begin + 10, line))
        await each.until(lambda: bool(each.app.screen.get_selected_text()))
        await each.press("ctrl+c")
        assert each.app.clipboard.startswith("2025-03-")
        assert "│" not in each.app.clipboard
        assert each.app.return_code is None


async def test_freezing_shows_on_a_request_in_full_and_digits_close_it() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("783")
        await each.press("enter")
        await each.shows("Request in full", "▶ live")
        await each.press("f")
        await each.shows("‖ frozen")
        await each.press("f", "2")
        await each.shows("newest first")
        await each.press("enter")
        await each.shows("Request in full")
        await each.press("1", "2")
        await each.shows("newest first")
        assert "Request in full" not in each.text


async def test_enter_on_the_feed_opens_the_request_at_the_top_where_none_is_selected() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("enter")
        await each.shows("Request in full", "▸ running")


async def test_an_opened_running_request_sees_its_end() -> None:
    async with dashboard_pilot(FakeSource()) as each:
        events, end = Traffic(1).request(NOON)
        for event in events:
            each.source.publish(event)
        await each.shows("▸ ")
        await each.press("j", "enter")
        await each.shows("▸ running")
        each.source.publish(end)
        await each.shows("✓ ok", "Why this provider")


async def test_a_request_whose_row_waits_to_be_written_is_asked_for_now_and_then() -> None:
    source = FakeSource()
    async with dashboard_pilot(source, timings=replace(SHORT, row_retry_s=3600.0)) as each:
        happen(source, 1)
        await each.shows("✓ ok")
        source.ledger = unwritten = FakeLedger()
        await each.press("j", "enter")
        await each.shows("Request in full", "✓ ok")
        await each.until(lambda: unwritten.asked == 1)
        for _ in range(50):
            each.app.repaint()
            await each.pilot.pause()
        assert unwritten.asked == 1
        await each.press("escape")
        each.app.dashboard.timings = replace(SHORT, row_retry_s=0.01)
        await each.press("enter")
        await each.shows("Request in full")
        source.own_ledger.records[0] = replace(source.own_ledger.records[0], error_message="from the ledger")
        unwritten.records = source.own_ledger.records
        await each.shows("from the ledger")


async def test_a_double_click_opens_a_row() -> None:
    async with dashboard_pilot(lived_in()) as each:
        line = next(number for number, text in enumerate(each.text.splitlines()) if "✓ ok" in text)
        await each.pilot.click(offset=(20, line), times=2)
        await each.until(lambda: isinstance(each.app.screen, DetailScreen))


def spent(scope: str, percent: int, msats: int) -> AlertRaised:
    return AlertRaised(Alert("budget", scope, NOON, NOON + DAY_MS, "day", percent, msats, 5_000_000))


async def test_notices_are_shown() -> None:
    async with dashboard_pilot(lived_in()) as each:
        each.source.bus.publish(spent("[/x]\x1b", 90, 4_600_000))
        await each.shows("Budget of policy [/x]� for this day", "92 %")


@pytest.mark.parametrize("size", [(120, 36), (80, 24)], ids=["wide", "narrow"])
async def test_notices_come_one_at_a_time_and_hide_no_figures(size: tuple[int, int]) -> None:
    async with dashboard_pilot(lived_in(), size=size) as each:
        before = each.text.splitlines()
        for model in ("gpt-4o", "llama-3.3-70b"):
            each.source.publish(OverchargeFound("alpha", model, 1.2, 120, 100))
            each.source.publish(OverchargeFound("beta", model, 1.3, 130, 100))
        await each.shows("beta charges 1.30 times its rates for gpt-4o")
        await each.press("u")
        await each.shows("Times in UTC")
        assert "charges" not in each.text
        after = each.text.splitlines()
        changed = [row for row, line in enumerate(before) if line != after[row]]
        assert changed == [len(before) - (2 if size[0] >= 100 else 1)]  # the bottoms of boxes, or the keys


async def test_a_key_that_is_held_piles_up_no_notices() -> None:
    async with dashboard_pilot(lived_in()) as each:
        for _ in range(30):
            each.app.post_message(Key("u", "u"))
        await each.shows("Times in")
        await each.pilot.pause(0.3)
        assert each.text.count("Times in") == 1


async def test_a_notice_does_not_drive_an_error_away() -> None:
    async with dashboard_pilot(lived_in()) as each:
        each.source.publish(spent("global", 100, 5_000_000))
        await each.shows("Budget for this day")
        await each.press("u")
        await each.shows("Times in", "Budget for this day")


@pytest.mark.parametrize("size", [(120, 36), (80, 24), (60, 15)], ids=["wide", "narrow", "least"])
@pytest.mark.parametrize("filtering", [False, True], ids=["", "filtering"])
async def test_the_screen_makes_room_for_notices_of_several_lines(size: tuple[int, int], filtering: bool) -> None:
    async with dashboard_pilot(lived_in(), size=size) as each:
        await each.press(*(["/", "g"] if filtering else []))
        below = [line for line in each.text.splitlines()[-7:-1] if "to probe" in line or " / " in line]
        each.app.notify("The ledger can't be written: no space left on the disk", severity="error")
        each.app.notify("Times in UTC")
        await each.shows("can't be written", "Times in UTC")
        await each.until(lambda: each.app.screen.query_one("#keys").styles.margin.top == 1)
        await each.shows(*below)

        each.app.clear_notifications()
        await each.until(lambda: not each.app.screen.query_one("#keys").styles.margin.top)


async def test_missed_events_are_made_good_by_a_snapshot() -> None:
    source = FakeSource()
    async with dashboard_pilot(source) as each:
        for number in range(15):
            happen(source, 800, seed=number)  # far more than the mailbox holds
        await each.until(lambda: each.app.dashboard.model.totals == source.totals)
        await each.shows(f"{source.totals.requests:,}")


async def test_an_unreadable_ledger_is_said_and_the_rest_goes_on() -> None:
    source = lived_in()
    source.ledger.problem = "database is locked"
    async with dashboard_pilot(lived_in()) as each:
        each.source.ledger.problem = "database is locked"
        happen(each.source, 1)
        await each.shows("ledger can't be read: database is locked")
        each.source.ledger.problem = None
        happen(each.source, 1, seed=5)
        await each.hides("ledger can't be read: database is locked")
