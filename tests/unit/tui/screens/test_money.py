"""The screen of money, by keys and clicks."""

from __future__ import annotations

import re
from dataclasses import replace

from arbstr.events import RequestFinished
from tests.screenshots.scenes import settled
from tests.support.dashboard_fakes import NOON, FakeSource, Traffic, lived_in
from tests.support.dashboard_pilot import dashboard_pilot
from tui.widgets.rows_panel import RowsPanel


async def test_money_says_what_is_configured_and_what_is_not() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("4")
        await each.shows("By model provider policy session client day hour", "41,200 of 50,000", "0.83")
        await each.shows("Hours", "Dearest requests", "Failures", "as of 14:02:11")
    async with dashboard_pilot(FakeSource()) as each:
        await each.press("4")
        await each.shows("not configured", "no data yet", "no requests in 1 h", "no request cost anything")


async def test_hours_of_few_days_leave_room_to_say_how_to_read_them() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("4")
        await each.shows(
            "Fri 07 Mar", "Each day adds a line, up to 14 days", "▓ ▒ ░ a quarter of the one before, · nothing"
        )
        await each.pilot.resize_terminal(120, 28)
        await each.hides("Each day adds a line")
        await each.shows("Fri 14 Mar", "Hours")


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
