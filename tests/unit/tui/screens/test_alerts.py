"""The list of what needs attention: it leads to where each can be read."""

from __future__ import annotations

import pytest

from arbstr.events import Alert
from tests.support.dashboard_fakes import NOON, lived_in
from tests.support.dashboard_pilot import dashboard_pilot
from tui.model.alert_text import alert_text

ALERTS = (
    Alert("price_jump", "delta", NOON - 60_000, models=("gpt-4o-mini", "m1", "m2", "m3")),
    Alert("provider_down", "gamma", NOON - 50_000, reason="3 failures in a row"),
    Alert("balance", "beta", NOON - 40_000, msats=2_500_000, hours=1.5),
    Alert("unexplained_charge", "alpha", NOON - 30_000, NOON + 600_000, msats=1700),
    Alert("budget", "code", NOON - 20_000, NOON + 600_000, "hour", 90, 9_200_000, 10_000_000),
)


async def test_alerts_are_listed_with_their_time_the_latest_first() -> None:
    source = lived_in()
    source.alerts = ALERTS
    async with dashboard_pilot(source) as each:
        await each.shows("! 5 alerts")
        await each.press("exclamation_mark")
        await each.shows("What needs attention")
        said = [
            "14:01:51  Budget of policy code for this hour: 9,200 of 10,000 sats spent (92 %)",
            "14:01:41  alpha took 1.700 sats that no request explains",
            "14:01:31  beta's balance of 2,500 sats lasts 1 h 30 m at this rate: top it up",
            "14:01:21  gamma is down: 3 failures in a row",
            "14:01:11  delta's prices jumped tenfold, and are doubted until they are read twice: gpt-4o-mini, m1, m2",
        ]
        places = [each.text.index(line) for line in said]
        assert places == sorted(places)


def test_a_balance_of_nothing_does_not_last() -> None:
    assert alert_text(Alert("balance", "beta", NOON, msats=0, hours=0.0)) == "beta's balance is used up: top it up"


@pytest.mark.parametrize(
    ("key", "leads_to"),
    [("1", "Learned lengths"), ("2", "Learned lengths"), ("3", "╭ beta ─"), ("4", "╭ gamma ─"), ("5", "╭ delta ─")],
)
async def test_an_alert_leads_to_the_screen_that_has_its_figures(key: str, leads_to: str) -> None:
    source = lived_in()
    source.alerts = ALERTS
    async with dashboard_pilot(source) as each:
        await each.press("exclamation_mark")
        await each.shows("What needs attention")
        await each.press(key)
        await each.shows(leads_to)


async def test_a_click_on_the_top_line_lists_the_alerts() -> None:
    source = lived_in()
    source.alerts = ALERTS[:1]
    async with dashboard_pilot(source) as each:
        await each.shows("prices at delta jumped", "! 1 alert")
        await each.pilot.click(offset=(3, 0))
        await each.shows("What needs attention")


async def test_without_alerts_nothing_is_listed() -> None:
    async with dashboard_pilot(lived_in()) as each:
        assert "alert" not in each.text
        await each.press("exclamation_mark")
        await each.shows("Nothing needs attention")
