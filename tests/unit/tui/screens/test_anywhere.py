"""What holds on every screen."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from textual.widgets import Input

from arbstr.events import RequestFinished, RequestReceived
from arbstr.monitoring.source import LinkState, Outage
from tests.screenshots.scenes import settled
from tests.support.dashboard_fakes import NOON, FakeSource, Traffic, lived_in
from tests.support.dashboard_pilot import DashboardPilot, dashboard_pilot, happen
from tui.widgets.panel import Panel


@pytest.mark.parametrize("size", [(60, 15), (99, 29), (300, 80)])  # at others: test_snapshots
async def test_every_screen_draws_at_every_size(size: tuple[int, int]) -> None:
    async with dashboard_pilot(lived_in(), size=size) as each:
        for key in "12345":
            await each.press(key)
            await each.pilot.pause(0.05)
            assert "arbstr" in each.text
            assert "quit" in each.text.splitlines()[-1]


LIVE = ("Requests", "Providers", "Spend by model", "Spending")
PROVIDERS = ("Providers", "Price board", "alpha  UTC")
MONEY = ("By model", "Hours", "Dearest requests", "Failures", "Budgets", "Learned lengths")


@pytest.mark.parametrize("size", [(60, 15), (80, 24)], ids=lambda size: f"{size[0]}x{size[1]}")
async def test_a_small_terminal_says_that_there_are_more_panels_and_w_leads_to_them(size: tuple[int, int]) -> None:
    async with dashboard_pilot(lived_in(), size=size) as each:
        for key, titles in (("1", LIVE), ("3", PROVIDERS), ("4", MONEY)):
            await each.press(key)
            await settled(each)
            hidden = [title for title in titles if not any(f" {title} " in line for line in edges(each))]
            if hidden:
                await each.shows(f"w {len(hidden)} more panel")
            else:
                await each.hides("more panel")
            for _ in titles:
                await each.press("w")
                await each.pilot.pause(0.02)
                hidden = [title for title in hidden if not any(f" {title} " in line for line in edges(each))]
            assert not hidden


async def test_where_all_panels_fit_none_is_said_to_be_missing() -> None:
    async with dashboard_pilot(lived_in()) as each:
        for key in "134":
            await each.press(key)
            await settled(each)
            assert "more panel" not in each.text
        await each.pilot.resize_terminal(80, 24)
        await each.shows("w 3 more panels")
        await each.pilot.resize_terminal(120, 36)
        await each.hides("more panels")


def edges(each: DashboardPilot) -> list[str]:
    """Return the lines that panels' titles are in."""
    return [line for line in each.text.splitlines() if line.startswith(("─", "╭", " Spending"))]


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


async def test_a_panel_that_was_out_of_sight_has_the_place_of_another_while_the_cursor_is_in_it() -> None:
    async with dashboard_pilot(lived_in(), size=(80, 24)) as each:
        await each.press("w", "w")
        await each.shows("↵ requests", "Spend by model")
        await each.hides("to probe")
        await each.press("escape")
        await each.shows("to probe")
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
