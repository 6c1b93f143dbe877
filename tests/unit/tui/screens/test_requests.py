"""The list of requests, where another arbstr is watched."""

from __future__ import annotations

from arbstr.monitoring.source import LinkState, Outage
from tests.support.dashboard_fakes import NOON, lived_in
from tests.support.dashboard_pilot import dashboard_pilot


async def test_a_list_without_a_connection_says_so_and_shows_what_it_had() -> None:
    source = lived_in()
    source.link = LinkState("http://10.0.0.5:8080")
    async with dashboard_pilot(source) as each:
        await each.press("2")
        await each.shows("newest first", "14:02:0")
        source.link = LinkState(source.link.url, Outage("connection refused", NOON, NOON + 4000))
        source.ledger.problem = "connection refused"
        await each.shows("stale: no connection, as of 14:02:11", "14:02:0")
        await each.hides("newest first")
