"""The dashboard by keys and clicks."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key, MouseScrollDown
from textual.widgets import Input, SelectionList

from arbstr.clock import DAY_MS
from arbstr.dashboard_keys import with_changes
from arbstr.events import Alert, AlertRaised, OverchargeFound, RequestFinished, RequestReceived
from arbstr.ledger.model import Entry, Filter, GroupBy, Stats
from arbstr.monitoring.source import LinkState, Outage
from tests.screenshots.scenes import settled
from tests.support.dashboard_fakes import NOON, FakeLedger, FakeSource, Traffic, lived_in
from tests.support.dashboard_pilot import SHORT, DashboardPilot, dashboard_pilot
from tui.format import sats_round
from tui.intake import Background
from tui.model.habits import Habits
from tui.model.options import Options
from tui.render.themes import LIGHT, TERMINAL
from tui.screens.detail import DetailScreen
from tui.timings import NORMAL
from tui.widgets.panel import Panel
from tui.widgets.rows_panel import RowsPanel

# As if every query took hours, so that the next may come only after as long.
AS_IF_SLOW = replace(SHORT, query_share=1e-9, most_query_wait_s=3600.0)


def happen(source: FakeSource, count: int, seed: int = 99) -> list[RequestFinished]:
    """Let so many requests come in and end."""
    traffic, ends = Traffic(seed), []
    for number in range(count):
        events, end = traffic.request(source.now_ms + number)
        for event in (*events, end):
            source.publish(event)
        ends.append(end)
    return ends


# ── getting about ──


async def test_every_screen_by_number_and_by_tab() -> None:
    marks = ["Spend by model", "newest first", "Health and history", "Learned lengths", "following"]
    async with dashboard_pilot(lived_in()) as each:
        for number, mark in enumerate(marks, 1):
            await each.press(str(number))
            await each.shows(mark)
        await each.press("tab")
        await each.shows(marks[0])
        await each.press("shift+tab")
        await each.shows(marks[4])
        await each.press("escape")
        await each.shows(marks[0])


async def test_tab_leaves_a_request_in_full_for_the_next_screen() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("j", "enter")
        await each.shows("Request in full")
        await each.press("tab")
        await each.shows("newest first")


@pytest.mark.parametrize(
    ("key", "typed", "stays", "goes"), [("3", "BETA", "beta", "delta"), ("4", "mini", "gpt-4o-mini", "llama")]
)
async def test_providers_and_sums_are_filtered_by_name(key: str, typed: str, stays: str, goes: str) -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press(key)
        await each.shows(stays, goes)
        await each.press("slash")
        await each.type(typed)
        await each.hides(goes)
        assert stays in each.text
        await each.press("escape")
        await each.shows(goes)


async def test_a_filter_that_no_provider_passes_leaves_nothing_to_act_on() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3", "slash")
        await each.type("nobody")
        await each.press("enter")
        await each.shows("no provider passes the filter")
        await each.press("space", "r", "j")
        assert all(provider.in_rotation for provider in each.source.providers.values())


async def test_a_click_on_the_bottom_line_is_as_good_as_the_key() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.pilot.click(offset=(each.text.splitlines()[-1].index("Money"), 35))
        await each.shows("Learned lengths")
        await each.pilot.click(offset=(each.text.splitlines()[-1].index("freeze"), 35))
        await each.shows("‖ frozen")


async def test_help_is_found_by_typing_and_left_by_escape() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("question_mark")
        await each.shows("Everywhere", "Filters on Live and Requests", "Open the selected request in full")
        assert each.text.count("Everywhere") == 1
        await each.type("rotation")
        await each.hides("Everywhere")
        await each.shows("Take the provider out of rotation")
        await each.press("escape")
        await each.hides("Take the provider out")


async def test_help_begins_with_the_screen_in_sight_and_finds_a_key_by_its_name() -> None:
    async with dashboard_pilot(lived_in(), size=(80, 24)) as each:
        await each.press("5", "question_mark")
        await each.shows("Wrap long lines", "status:error")
        await each.type("f")
        await each.shows("Freeze what is shown")
        await each.hides("status:error")


async def test_where_a_line_of_the_help_has_no_room_its_rest_stands_below_its_words() -> None:
    async with dashboard_pilot(lived_in(), size=(60, 15)) as each:
        await each.press("question_mark")
        await each.shows("Copy its id, then also its row")
        lines = each.text.splitlines()
        place = next(y for y, text in enumerate(lines) if "Copy its id" in text)
        rest = lines[place + 1].removeprefix("│").removesuffix("│")
        assert len(rest) - len(rest.lstrip()) == lines[place].index("Copy") - 1
        assert "command" in rest


async def test_enter_in_the_help_does_what_the_line_says_where_it_can_be_done() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("question_mark")
        await each.type("freeze")
        await each.press("enter")
        await each.shows("‖ frozen")
        await each.press("question_mark")
        await each.type("breaker")
        await each.press("enter")
        await each.shows("Health and history")


async def test_tab_in_the_help_shows_the_next_part() -> None:
    async with dashboard_pilot(lived_in(), size=(80, 24)) as each:
        await each.press("question_mark", "tab", "tab")
        await each.shows("Palette: every command by name")
        await each.press("shift+tab")
        await each.shows("models whose name contains it")


async def test_the_palette_offers_every_action_of_the_screen_and_the_themes() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("newest first")
        commands = {command.title: command.help for command in each.app.get_system_commands(each.app.screen)}
        assert commands["Choose the columns"] == "Here, key c"
        names = list(commands)
        assert {"Sort by the next of time, cost and first byte", "Theme: light", "Mouse: off", "Help"} <= set(names)
        assert "Close the provider's breaker" not in names
        await each.press("ctrl+p")
        await each.type("Theme: light")
        await each.until(lambda: "Change the colours" in each.text)
        await each.press("enter")
        await each.until(lambda: each.app.theme == LIGHT.name)


@pytest.mark.parametrize("theme", [LIGHT.name, TERMINAL.name, "nord"])
async def test_a_theme_repaints_everything(theme: str) -> None:
    async with dashboard_pilot(lived_in()) as each:
        before = each.app.export_screenshot()
        each.app.theme = theme
        await each.pilot.pause(0.1)
        assert each.app.export_screenshot() != before
        await each.shows("Spend by model")


# ── live ──


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


# ── requests ──


async def test_the_ledger_scrolls_to_its_end_and_back() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("newest first", "783")
        oldest, newest = each.source.ledger.records[0], each.source.ledger.records[-1]
        await each.press("G")
        await each.shows(f"{oldest.cost_msats / 1000:,.3f}" if oldest.cost_msats else "–")
        await each.press("enter")
        await each.shows(oldest.request_id)
        await each.press("escape", "g", "enter")
        await each.shows(newest.request_id)


async def test_the_wheel_and_a_click_on_the_scroll_bar_move_through_the_ledger() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("newest first", "gpt-4o")
        panel = each.app.screen.query_one("#ledger", Panel)
        first = each.text.splitlines()[3]
        panel.post_message(MouseScrollDown(panel, 5, 5, 0, 1, 0, False, False, False))
        await each.until(lambda: each.text.splitlines()[3] != first and "Esc follows" in each.text)
        await each.pilot.click(offset=(panel.region.right - 1, panel.region.bottom - 2))
        await each.press("G")
        last = each.text.splitlines()[-3]
        await each.pilot.click(offset=(panel.region.right - 1, panel.region.y + 2))
        await each.until(lambda: each.text.splitlines()[3] == first and last not in each.text)


async def test_f1_says_what_can_be_typed_while_a_filter_is() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2", "slash")
        await each.type("gpt")
        await each.press("f1")
        await each.shows("Filters on Live and Requests", "status:error")
        await each.press("escape", "escape")
        await each.hides("Tab completes")


async def test_sorting_and_filtering_the_ledger() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("newest first")
        await each.press("s")
        dearest = max(record.cost_msats or 0 for record in each.source.ledger.records)
        await each.shows("dearest first", f"{dearest / 1000:,.3f}")
        await each.press("slash")
        await each.type("status:error")
        await each.press("enter")
        failed = sum(not record.success for record in each.source.ledger.records)
        await each.shows(f"Requests  {failed}", "✗ 502", "filtered")
        await each.press("escape")
        await each.shows("Requests  783")


async def test_a_column_is_sorted_by_its_key_or_a_click_on_its_title_and_again_the_other_way_round() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("newest first")
        for key, said in (
            ("C", "dearest first"),
            ("C", "cheapest first"),
            ("L", "slowest"),
            ("S", "fastest"),
            ("T", "newest"),
        ):
            await each.press(key)
            await each.shows(said)
        header = each.text.splitlines()[2]
        await each.pilot.click("#ledger", offset=(header.index("sats") + 1, 1))
        await each.shows("dearest first", "sats ▼")
        await each.pilot.click("#ledger", offset=(each.text.splitlines()[2].index("sats") + 1, 1))
        await each.shows("cheapest first", "sats ▲")
        await each.pilot.click("#ledger", offset=(header.index("model") + 1, 1))
        await each.shows("model has no order in the ledger")


async def test_the_list_is_summed_up_and_so_is_what_a_filter_leaves() -> None:
    async with dashboard_pilot(lived_in()) as each:
        records = each.source.ledger.records
        await each.press("2")
        failed = [record for record in records if not record.success]
        await each.shows(
            f"Σ {sats_round(sum(record.cost_msats or 0 for record in records))} sats", f"failed {len(failed)}"
        )
        await each.press("slash")
        await each.type("model:llama status:ok")
        await each.press("enter")
        passed = [record for record in records if record.success and record.model.startswith("llama")]
        await each.shows(f"Requests  {len(passed)} of {len(records)}", "failed 0")
        await each.shows(f"Σ {sats_round(sum(record.cost_msats or 0 for record in passed))} sats")


async def test_sums_that_take_too_long_are_given_up_and_the_list_does_not_wait_for_them() -> None:
    source = lived_in()
    stats, asked = source.ledger.stats, asyncio.Event()

    async def slow(where: Filter, group_by: GroupBy | None = None) -> Stats:
        if where.texts:
            asked.set()
            await asyncio.Event().wait()
        return await stats(where, group_by)

    source.own_ledger.stats = slow  # type: ignore[method-assign]  # of this one
    async with dashboard_pilot(source, timings=replace(SHORT, longest_sums_s=0.3)) as each:
        await each.press("2", "slash")
        await each.type("failed")
        await asked.wait()
        await each.shows("✗ 502", "Σ takes too long")


async def test_columns_are_chosen_and_stay_chosen() -> None:
    async with dashboard_pilot(lived_in(), size=(200, 40)) as each:
        await each.press("2")
        await each.shows("policy", "Preview")
        await each.press("c")
        await each.shows("Columns, as far as there is room", "▐X▌ policy", "▐ ▌ client")
        chosen = each.app.screen.query_one(SelectionList)
        chosen.deselect("policy").deselect("preview").select("id")
        await each.press("enter")
        await each.hides("Preview")
        await each.shows("id  ")
        assert "policy" not in each.text
        await each.press("1", "2", "c", "escape")
        await each.until(lambda: "Columns" not in each.text and "newest" in each.text)
        assert "policy" not in each.text


async def test_the_request_under_the_cursor_is_shown_beside_the_list_where_there_is_room() -> None:
    async with dashboard_pilot(lived_in(), size=(140, 36)) as each:
        rows = each.source.ledger.records
        await each.press("2")
        await each.shows("Preview", rows[-1].request_id)
        await each.press("j", "j")
        await each.shows(rows[-2].request_id)
        await each.pilot.resize_terminal(139, 36)
        await each.hides("Preview")


async def test_new_rows_come_in_while_following_and_are_counted_while_not() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("783")
        each.source.now_ms += 60_000
        happen(each.source, 2)
        await each.shows("785")
        await each.press("j")
        happen(each.source, 3, seed=5)
        await each.shows("+3 new")
        await each.press("escape")
        await each.shows("788")


async def test_a_slow_filter_does_not_keep_the_list_old_once_it_is_gone() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("783")
        each.app.dashboard.timings = AS_IF_SLOW
        await each.press("slash")
        await each.type("refused")
        await each.press("enter")
        await each.shows("filtered, Esc clears")
        each.app.dashboard.timings = SHORT
        await each.press("escape")
        await each.shows("Requests  783")
        happen(each.source, 2)
        await each.shows("Requests  785")


async def test_no_question_is_so_slow_that_the_list_stays_old_for_long() -> None:
    assert NORMAL.most_query_wait_s <= 10
    async with dashboard_pilot(lived_in(), timings=replace(AS_IF_SLOW, most_query_wait_s=0.05)) as each:
        await each.press("2")
        await each.shows("Requests  783")
        happen(each.source, 2)
        await each.shows("Requests  785")


@pytest.mark.parametrize("keys", [("slash", "a", "enter"), ("s",), ("1", "2"), ("j", "escape")])
async def test_what_someone_does_to_the_list_does_not_wait_for_a_pause_to_pass(keys: tuple[str, ...]) -> None:
    async with dashboard_pilot(lived_in(), timings=AS_IF_SLOW) as each:
        await each.press("2")
        await each.shows("Requests  783")
        happen(each.source, 2)
        await each.press(*keys)
        await each.until(lambda: "+2 new" not in each.text and "as of" not in each.text and "783" not in each.text)


async def test_a_list_that_is_old_says_of_when_it_is_and_how_many_are_missing() -> None:
    async with dashboard_pilot(lived_in(), timings=AS_IF_SLOW) as each:
        await each.press("2")
        await each.shows("Requests  783")
        happen(each.source, 38)
        each.source.now_ms += 3000
        await each.shows("as of 14:02:11, +38 new")
        await each.press("slash")
        await each.type("refused")
        await each.press("enter")
        await each.hides("as of")
        happen(each.source, 3, seed=5)
        each.source.now_ms += 3000
        await each.shows("as of 14:02:14, +3 new  filtered, Esc clears")


@pytest.mark.parametrize(("key", "suffix"), [("c", "csv"), ("j", "json")])
async def test_what_is_filtered_is_exported_and_where_to_is_said(
    key: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("783")
        await each.press("e")
        await each.shows("Export 783 requests as")
        await each.press(key)
        await each.shows("783 requests in")
    assert (tmp_path / f"arbstr-requests-20250314T140211Z.{suffix}").stat().st_size > 10_000


async def test_an_export_goes_where_it_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("783")
        await each.press("e", "p")
        await each.shows("Export to")
        assert each.app.screen.query_one("#to", Input).value == str(tmp_path / "arbstr-requests-20250314T140211Z.csv")
        each.app.screen.query_one("#to", Input).value = str(tmp_path / "mine.json")
        await each.press("enter")
        await each.shows("783 requests in")
    assert len(json.loads((tmp_path / "mine.json").read_text())) == 783


async def test_an_export_says_how_far_it_is_and_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = lived_in()
    entries, goes_on = source.ledger.entries, asyncio.Event()

    async def slow(*args: Any) -> AsyncIterator[Entry]:
        async for number, entry in _numbered(entries(*args)):
            if number == 400:
                await goes_on.wait()
            yield entry

    monkeypatch.setattr(source.ledger, "entries", slow)
    async with dashboard_pilot(source) as each:
        await each.press("2")
        await each.shows("783")
        await each.press("e", "c")
        await each.shows("exporting, 51 %, e stops")
        assert len(os.listdir(tmp_path)) == 1  # noqa: PTH208 - paths know no quicker way
        await each.press("e")
        await each.shows("The export was stopped")
        await each.hides("e stops")
    assert not os.listdir(tmp_path)  # noqa: PTH208 - paths know no quicker way


async def _numbered(entries: AsyncIterator[Entry]) -> AsyncIterator[tuple[int, Entry]]:
    number = 0
    async for entry in entries:
        yield number, entry
        number += 1


async def test_what_is_exported_is_what_the_list_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("783")
        await each.press("f")
        each.source.now_ms += 1000
        happen(each.source, 2)
        await each.press("e", "c")
        await each.shows("783 requests in")


async def test_a_failed_export_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arbstr-requests-20250314T140211Z.csv").touch()
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("783")
        await each.press("e", "c")
        await each.shows("The export failed", "File exists")


# ── providers ──


async def test_space_takes_a_provider_out_and_back() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3", "j")
        await each.press("space")
        assert not each.source.providers["beta"].in_rotation
        await each.shows("○  beta", "beta is out of rotation", "put back")
        await each.press("space")
        assert each.source.providers["beta"].in_rotation


async def test_the_last_provider_in_rotation_is_taken_out_only_after_a_question() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3")
        for name in ("beta", "gamma", "delta"):
            each.source.change(name, in_rotation=False)
        await each.shows("1 of 4 providers serving")
        await each.press("space")
        await each.shows("alpha is the last provider in rotation", "every request will be refused")
        await each.press("space", "enter", "escape")
        assert each.source.providers["alpha"].in_rotation
        await each.press("space", "y")
        await each.until(lambda: not each.source.providers["alpha"].in_rotation)
        await each.press("space")  # back in, of which nobody needs to be asked
        await each.until(lambda: each.source.providers["alpha"].in_rotation)


async def test_r_does_not_promise_that_a_provider_out_of_rotation_is_asked() -> None:
    async with dashboard_pilot(lived_in()) as each:
        each.source.change("gamma", state="open", in_rotation=False)
        await each.press("3", "G", "k", "r")
        await each.shows("gamma's breaker is closed, but it is out of rotation")


async def test_r_closes_a_breaker() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3", "G", "k")
        await each.shows("connection refused", "sk-abc...***", "+8.0 %")
        await each.press("r")
        assert each.source.providers["gamma"].state == "closed"
        await each.shows("closed by hand")


async def test_a_provider_that_is_gone_is_said() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3")
        del each.source.providers["alpha"]
        await each.press("space")
        await each.shows("alpha is not configured any more")


# ── money ──


async def test_money_says_what_is_configured_and_what_is_not() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("4")
        await each.shows("By model provider policy session client day hour", "41,200 of 50,000", "0.83")
        await each.shows("Hours", "Dearest requests", "Failures", "as of 14:02:11")
    async with dashboard_pilot(FakeSource()) as each:
        await each.press("4")
        await each.shows("not configured", "no data yet", "no requests in 1 h", "no request cost anything")


async def test_money_by_client() -> None:
    source = lived_in()
    source.ledger.records[-3:] = [replace(record, client="laptop") for record in source.ledger.records[-3:]]
    async with dashboard_pilot(source, size=(160, 50)) as each:
        await each.press("4", "l", "l", "l", "l")
        await each.shows("laptop")


async def test_money_is_grouped_by_what_is_wanted() -> None:
    async with dashboard_pilot(lived_in(), size=(80, 24)) as each:
        await each.press("4")
        for by in ("model", "provider", "policy", "session", "client", "day", "hour", "model"):
            await each.shows(f"By {by} ")
            await each.press("l")
        await each.shows("By provider ")
        await each.press("left", "left")
        await each.shows("By hour ", "last 24 h, UTC")


async def test_every_panel_of_money_comes_into_sight_on_the_smallest_terminal() -> None:
    async with dashboard_pilot(lived_in(), size=(60, 15)) as each:
        await each.press("4")
        for title in ("By model", "Hours", "Dearest requests", "Failures", "Budgets", "Learned lengths"):
            await each.shows(title)
            await each.press("w")
        await each.shows("By model")
        await each.press("W")
        await each.shows("Learned lengths")
        await each.press("escape")
        await each.shows("By model")


async def test_a_line_of_money_leads_to_its_requests_in_that_time() -> None:
    async with dashboard_pilot(lived_in(), size=(160, 40)) as each:
        await each.press("4")
        await each.shows("By model", "gpt-4o-mini")
        line = next(text for text in each.text.splitlines() if "│ gpt-4o " in text)
        requests = re.search(r" (\d+) +\d+\.\d+ +\d+\.\d+ ", line)
        assert requests is not None
        await each.press("enter")
        await each.shows('model:"gpt-4o" since:2025-03-14T13:02:11', f"Requests  {requests[1]} ")
        await each.press("4", "w")
        await each.press("j", "enter")
        await each.shows("since:2025-03-13T00:00:00 until:2025-03-13T23:59:59")


async def test_the_most_expensive_requests_are_opened_in_full_one_after_the_other() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("4")
        await each.shows("Dearest requests", "sats  model")
        await each.press("w", "w")
        await each.until(lambda: each.app.screen.query_one("#dearest", RowsPanel).selected is not None)
        lately = [row for row in each.source.own_ledger.records if row.received_at_ms > NOON - 3_600_000]
        dearest = sorted(lately, key=lambda row: -(row.cost_msats or 0))
        await each.press("enter")
        await each.shows("Request in full", dearest[0].request_id)
        await each.press("n")
        await each.shows(dearest[1].request_id)
        await each.press("escape")
        await each.shows("Dearest requests")


async def test_a_click_on_a_line_of_money_selects_it_and_two_open_it() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("4")
        await each.shows("By model", "llama-3.3-70b")
        await settled(each)
        line = next(y for y, text in enumerate(each.text.splitlines()) if "│ llama-3.3-70b" in text)
        await each.pilot.click(offset=(6, line), times=2)
        await each.shows('model:"llama-3.3-70b" since:')


async def test_money_says_that_the_ledger_cannot_be_read() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("4")
        await each.shows("By model", "llama-3.3-70b")
        each.source.own_ledger.problem = "disk I/O error"
        await each.press("l")
        await each.shows("the ledger can't be read", "disk I/O error", "as of 14:02:11")


async def test_sorting_money() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("4")
        await each.shows("sats ▼")
        await each.press("s")
        await each.shows("requests ▼")
        await each.press("S")
        await each.shows("requests ▲")


async def test_a_click_on_a_title_of_money_sorts_by_it_and_one_on_a_grouping_groups() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("4")
        await each.shows("sats ▼", "gpt-4o-mini")
        await settled(each)

        async def click(word: str) -> None:
            lines = each.text.splitlines()
            top = next(y for y, text in enumerate(lines) if "By model" in text)
            y = next(y for y in (top, top + 1) if f" {word} " in lines[y])
            await each.pilot.click(offset=(lines[y].index(f" {word} ") + 1, y))

        await click("each")
        await each.shows("each ▼")
        await click("each")
        await each.shows("each ▲")
        await click("share")
        await each.shows("share has no order")
        await click("hour")
        await each.shows("hour ▼", "last 24 h, UTC")
        await click("provider")
        await each.shows("sats ▼", "last 1 h")


async def test_a_selected_line_of_money_stays_selected_when_others_overtake_it() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("4")
        await each.shows("By model", "gpt-4o-mini")
        await each.press("j", "j")
        table = each.app.screen.query_one("#groups", RowsPanel)
        selected = table.selected
        assert selected is not None
        dear = Traffic(9).request(NOON - 1)[1].record
        each.source.publish(RequestFinished(replace(dear, model="brand-new", cost_msats=10**9)))
        await each.shows("brand-new")
        assert table.selected is not None
        assert table.selected.key == selected.key


# ── log ──


async def test_the_log_shows_arbstrs_own_lines_by_level_and_text() -> None:
    async with dashboard_pilot(lived_in()) as each:
        each.log.add(NOON, logging.INFO, "arbstr.runtime.compose", "arbstr listens")
        each.log.add(NOON, logging.WARNING, "arbstr.engine.circuit_breaker", "gamma is left alone")
        await each.press("5")
        await each.shows("arbstr listens", "gamma is left alone")
        await each.press("l")
        await each.hides("arbstr listens")
        await each.press("l", "l", "l", "slash")
        await each.type("listens")
        await each.hides("gamma is left")
        await each.press("escape")
        await each.shows("gamma is left")


async def test_levels_of_the_log_by_their_own_keys() -> None:
    async with dashboard_pilot(lived_in()) as each:
        for level, word in ((10, "fine"), (20, "usual"), (30, "odd"), (40, "wrong")):
            each.log.add(NOON, level, "arbstr.runtime.compose", f"{word} thing")
        await each.press("5")
        for key, gone, there in (
            ("e", "odd thing", "wrong thing"),
            ("w", "usual thing", "odd thing"),
            ("i", "fine thing", "usual thing"),
        ):
            await each.press(key)
            await each.hides(gone)
            await each.shows(there)
        await each.press("d")
        await each.shows("fine thing")


async def test_n_finds_a_warning_and_enter_opens_the_request_that_it_is_about() -> None:
    async with dashboard_pilot(lived_in()) as each:
        odd, usual = (record.request_id for record in each.source.ledger.records[-2:])
        each.log.add(NOON, logging.WARNING, "arbstr.requests", f"attempt failed id={odd}")
        for _ in range(50):
            each.log.add(NOON, logging.INFO, "arbstr.requests", f"request id={usual} status=200")
        await each.press("5")
        await each.shows("following")
        assert "attempt failed" not in each.text
        await each.press("n")
        await each.shows("attempt failed", "scrolled, Esc follows")
        await each.press("enter")
        await each.shows("Request in full", odd)
        await each.press("escape", "N")
        await each.shows("No warning further up")
        await each.press("escape")
        await each.hides("attempt failed")


async def test_enter_on_the_log_opens_the_request_of_the_lowest_line() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("5", "enter")
        await each.shows("No line in sight is about a request")
        ids = [record.request_id for record in each.source.ledger.records[-2:]]
        for request_id in ids:
            each.log.add(NOON, logging.INFO, "arbstr.requests", f"request id={request_id} status=200")
        each.log.add(NOON, logging.INFO, "arbstr.runtime.compose", "nothing about a request")
        each.app.repaint()
        await each.shows("nothing about")
        await each.press("enter")
        await each.shows("Request in full", ids[1])
        await each.press("n")
        await each.shows(ids[0])
        await each.press("escape")
        await each.shows("nothing about")


# ── anywhere ──


@pytest.mark.parametrize("size", [(60, 15), (99, 29), (300, 80)])  # at others: test_snapshots
async def test_every_screen_draws_at_every_size(size: tuple[int, int]) -> None:
    async with dashboard_pilot(lived_in(), size=size) as each:
        for key in "12345":
            await each.press(key)
            await each.pilot.pause(0.05)
            assert "arbstr" in each.text
            assert "quit" in each.text.splitlines()[-1]


async def test_q_asks_while_requests_run_and_ctrl_q_does_not() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("q")
        await each.shows("3 requests are running")
        await each.press("escape")
        await each.hides("requests are running")
        assert each.app.return_code is None
        await each.press("q", "q")
        await each.until(lambda: each.app.return_code == 0)
    async with dashboard_pilot(FakeSource()) as each:
        await each.press("q")
        await each.until(lambda: each.app.return_code == 0)
    async with dashboard_pilot(lived_in()) as each:
        await each.press("ctrl+q")
        await each.until(lambda: each.app.return_code == 0)


async def test_too_small_a_terminal_says_so_and_can_still_quit() -> None:
    async with dashboard_pilot(lived_in(), size=(59, 20)) as each:
        await each.shows("arbstr needs 60x15", "The proxy goes on")
        await each.press("q")
    assert each.app.return_code == 0


HOSTILE = [
    "[/x]",
    "[bold red]",
    "\x1b[2J\x1b]52;c;aGk=\x07",
    "a\u202eb\u200bc",
    "模型" * 80,
    "👩‍👩‍👧" * 20,
    "$var {x} %s",
]


async def test_hostile_text_is_shown_as_text_everywhere() -> None:
    source, traffic = FakeSource(), Traffic()
    for number, text in enumerate(HOSTILE):
        record = replace(traffic.request(NOON)[1].record, model=text, policy=text, provider=text, error_message=text)
        record = replace(record, request_id=f"{text}{number}", success=number % 2 == 0)
        source.publish(RequestReceived(f"run-{number}", NOON, text, streaming=True))
        source.publish(RequestFinished(record))
        source.providers[text] = replace(
            source.providers["alpha"], name=text, last_error=text, url=text, models=(text,)
        )
    source.ledger_problem = HOSTILE[2]
    async with dashboard_pilot(source, size=(160, 50)) as each:
        each.log.add(NOON, logging.ERROR, HOSTILE[0], HOSTILE[2])
        for key in "12345":
            await each.press(key)
            await each.pilot.pause(0.1)
            assert "\x1b" not in each.text
            each.app.export_screenshot()
        await each.press("2", "j", "enter")
        await each.shows("Request in full")
        assert not set("\x1b\x07\u202e\u200b") & set(each.text)


async def test_ctrl_c_copies_what_is_selected_in_a_filter() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("slash")
        await each.type("gpt")
        each.app.screen.query_one("#typed", Input).select_all()
        await each.press("ctrl+c")
        assert each.app.clipboard == "gpt"
        assert each.app.return_code is None


async def test_times_are_local_until_u_asks_for_utc() -> None:
    from datetime import timedelta, timezone

    async with dashboard_pilot(lived_in()) as each:
        each.app.dashboard.zone = each.app.dashboard._local = timezone(timedelta(hours=2))
        each.app.repaint()
        await each.shows("16:02:1", "UTC+02:00")
        await each.press("u")
        await each.shows("14:02:1")
        await each.hides("UTC+02:00")
        await each.press("u", "2")
        await each.shows("16:02:1", "when UTC+02:00 ▼")
        await each.press("u")
        await each.shows("14:02:1", "when UTC ▼")


async def test_a_date_of_another_year_names_it() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("03-14 14:02:1")
        each.source.now_ms += 400 * 24 * 3_600_000
        each.app.repaint()
        await each.shows("2025-03-14 14:02")


@pytest.mark.parametrize("key", ["2", "5"])
async def test_t_is_not_offered_where_there_is_no_time_range(key: str) -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press(key)
        await each.until(lambda: " t 1 h" not in each.text.splitlines()[-1])
        await each.press("t")
        await each.shows("This screen has all there is")
        assert each.app.dashboard.range.name == "1 h"


async def test_requests_that_the_ledger_has_not_got_yet_are_not_denied() -> None:
    source = FakeSource()
    async with dashboard_pilot(source) as each:
        happen(source, 1)
        source.own_ledger.records.clear()
        await each.press("2")
        await each.shows("None of the requests is in the ledger yet")


async def test_nothing_is_painted_when_nothing_changes() -> None:
    async with dashboard_pilot(FakeSource()) as each:
        await each.shows("No requests yet")
        await each.pilot.pause(0.4)
        painted = len(each.app.frame_budget.holds)
        displays = 0

        def count() -> None:
            nonlocal displays
            displays += 1

        each.app.post_display_hook = count  # type: ignore[method-assign]  # a hook is there to be replaced
        await each.pilot.pause(0.5)
        assert displays == 0
        assert len(each.app.frame_budget.holds) == painted


async def test_enter_on_a_line_of_the_price_board_shows_the_requests_of_its_model() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3")
        await each.shows("Price board", "★", "over ★")
        await each.press("w", "j", "enter")
        await each.shows("newest first", 'model:"claude-3.5-sonnet" since:2025-03-14T13:02:11')
        await each.press("3", "escape", "j", "enter")
        await each.shows("newest first", 'provider:"beta"')


async def test_on_live_enter_leads_from_every_summary_to_the_requests_that_it_is_about() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.shows("Spend by model", "★", "failed 502")
        for panels, downs, wanted in (
            (1, 1, ('provider:"beta"',)),
            (2, 0, ('model:"gpt-4o"', "since:2025-03-14T13:02:11")),
            (3, 0, ("since:2025-03-14T00:00:00",)),
            (3, 99, ("since:2025-03-14T13:02:11",)),
        ):
            await each.press("1", *["w"] * panels, *["j"] * downs)
            await each.shows("↵ requests")
            await each.press("enter")
            await each.shows("newest first", *wanted)
            await each.press("1", "escape")
            await each.hides("↵ requests")


async def test_on_live_a_click_on_a_summary_leads_to_its_requests_too() -> None:
    async with dashboard_pilot(lived_in()) as each:
        for text, wanted in (
            ("Spent", "since:2025-03-14T00:00:00"),
            ("502·", "status:502 since:"),
            ("beta     ", 'provider:"beta"'),
            ("claude-3.5-sonnet  ", 'model:"claude-3.5-sonnet" since:2025-03-14T13:02:11'),
        ):
            await each.shows("Spend by model", "★", text)
            lines = each.text.splitlines()
            y = max(number for number, line in enumerate(lines) if text in line)
            await each.pilot.click(offset=(lines[y].rindex(text) + 1, y))
            await each.shows("newest first", wanted)
            await each.press("escape", "1")


async def test_where_a_panel_is_out_of_sight_the_cursor_is_not_in_it() -> None:
    async with dashboard_pilot(lived_in(), size=(80, 24)) as each:
        await each.press("w", "w")
        await each.shows("↵ requests")
        await each.press("w")
        await each.hides("↵ requests")


async def test_enter_on_a_provider_shows_its_requests_and_a_click_on_a_model_those_of_the_model() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3", "j")
        await each.shows("Price board", "★")
        await each.press("enter")
        await each.shows("newest first", 'provider:"beta"')
        await each.until(lambda: "alpha" not in each.text)
        await each.press("3")
        await each.shows("Price board")
        await settled(each)
        line = next(y for y, text in enumerate(each.text.splitlines()) if "llama-3.3-70b" in text)
        await each.pilot.click(offset=(6, line))
        await each.shows("newest first", 'model:"llama-3.3-70b"')
        await each.until(lambda: "gpt-4o" not in each.text)


async def test_on_a_low_screen_a_provider_in_full_is_worth_more_than_the_board() -> None:
    async with dashboard_pilot(lived_in(), size=(60, 15)) as each:
        await each.press("3")
        await each.shows("https://alpha.example.com/v1")
        assert "Price board" not in each.text


WATCHED = LinkState("http://10.0.0.5:8080")
LOST = LinkState(WATCHED.url, Outage("connection refused", NOON, NOON + 4000))


def faded(each: DashboardPilot) -> set[bool]:
    """Whether the panels between the bars have lost their colours."""
    panels = each.app.screen.query(Panel).exclude("#top, #keys")
    return {panel._strip_cache.styles["bad"] == panel._strip_cache.styles["muted"] for panel in panels}


async def test_what_is_out_of_date_has_no_colours_on_any_screen_until_it_is_current_again() -> None:
    source = lived_in()
    source.link = WATCHED
    async with dashboard_pilot(source) as each:
        assert faded(each) == {False}
        source.link = LOST
        await each.shows("no connection", "stale since")
        for key in "12345":
            await each.press(key)
            await each.until(lambda: faded(each) == {True})
        source.link = WATCHED
        await each.shows("▶ live")
        for key in "12345":
            await each.press(key)
            await each.until(lambda: faded(each) == {False})


async def test_while_the_connection_is_lost_nothing_that_ran_is_said_to_run_on() -> None:
    source = lived_in()
    source.link = WATCHED
    (received, *_), _ = Traffic(5).request(NOON - 3_000)
    async with dashboard_pilot(source) as each:
        source.publish(received)
        await each.shows("▸ waiting", " 3.0 s ")
        source.link = LOST
        source.now_ms += 60_000
        await each.shows("stale since")
        await each.shows("▸ waiting", " 3.0 s ")


async def test_a_dashboard_that_only_watches_changes_no_provider() -> None:
    source = lived_in()
    source.link = WATCHED
    async with dashboard_pilot(source) as each:
        await each.press("3")
        await each.shows("Price board")
        assert "take out" not in each.text
        for key in ("space", "r"):
            await each.press(key)
            await each.shows("This dashboard only watches")
        assert all(status.in_rotation for status in source.snapshot().providers)


# ── what is chosen ──


def chosen(path: Path) -> Options:
    return Options(habits=Habits(path))


async def test_range_zone_and_theme_are_so_again_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "dashboard.json"
    async with dashboard_pilot(lived_in(), options=chosen(path)) as each:
        await each.press("t", "u", "ctrl+p")
        await each.type("Theme: nord")
        await each.until(lambda: "Change the colours" in each.text)
        await each.press("enter")
        await each.until(lambda: path.exists() and set(json.loads(path.read_text())) == {"range", "utc", "theme"})
    async with dashboard_pilot(lived_in(), options=chosen(path)) as each:
        assert (each.app.theme, each.app.dashboard.range.name) == ("nord", "24 h")
        assert each.app.dashboard.zone is not None


async def test_a_theme_that_is_asked_for_goes_before_the_one_remembered(tmp_path: Path) -> None:
    path = tmp_path / "dashboard.json"
    path.write_text('{"theme": "nord"}')
    async with dashboard_pilot(lived_in(), options=replace(chosen(path), theme="light")) as each:
        assert each.app.theme == LIGHT.name


@pytest.mark.parametrize(("remembered", "theme"), [("{}", LIGHT.name), ('{"theme": "nord"}', "nord")])
async def test_a_light_terminal_gets_the_light_theme_unless_another_was_chosen(
    tmp_path: Path, remembered: str, theme: str
) -> None:
    path = tmp_path / "dashboard.json"
    path.write_text(remembered)
    async with dashboard_pilot(lived_in(), options=chosen(path)) as each:
        each.app.post_message(Background(light=True))
        await each.pilot.pause()
        assert each.app.theme == theme


async def test_other_keys_act_and_are_shown_in_place_of_the_own() -> None:
    keys = with_changes({"freeze": ("F",), "filter": (",", "f6")})
    async with dashboard_pilot(lived_in(), options=Options(keymap=keys)) as each:
        await each.shows("F freeze", ", filter")
        await each.press("f")
        await each.press("F")
        await each.shows("‖ frozen", "F unfreeze")
        await each.press("comma")
        await each.shows("Tab completes")
        await each.press("escape", "question_mark")
        await each.type("freeze")
        await each.shows("F                Freeze what is shown")


async def test_a_read_only_dashboard_says_so_and_changes_nothing() -> None:
    async with dashboard_pilot(lived_in(), options=Options(read_only=True)) as each:
        await each.press("3")
        await each.shows("read-only", "Health and history")
        assert "take out" not in each.text
        await each.press("space")
        await each.shows("This dashboard is read-only")
        await each.press("r")
        assert all(provider.in_rotation for provider in each.source.providers.values())


async def test_the_palette_leads_to_a_provider_and_to_a_time_range() -> None:
    async with dashboard_pilot(lived_in()) as each:
        for typed, shown in (("Provider: gamma", "connection refused"), ("Time range: 7 d", "7 d")):
            await each.press("ctrl+p")
            await each.type(typed)
            await each.until(lambda typed=typed: typed in each.text)  # type: ignore[misc]  # as it is now
            await each.press("enter")
            await each.shows(shown)
        assert each.app.dashboard.range.name == "7 d"


async def test_counters_count_from_a_reset_on_and_from_the_start_again() -> None:
    source = lived_in()
    async with dashboard_pilot(source, size=(160, 50)) as each:
        requests = f"{source.totals.requests:,}"
        await each.shows("Requests  since start", f"│ {requests} ")
        await each.press("z")
        await each.shows("since 14:0", "z since start")
        assert "since start ─" not in each.text
        happen(source, 3)
        await each.shows("│ 3 ")
        await each.press("z")
        await each.shows("Requests  since start", f"│ {source.totals.requests:,} ")
