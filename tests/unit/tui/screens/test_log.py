"""The screen of the log, by keys and clicks."""

from __future__ import annotations

import logging

from tests.support.dashboard_fakes import NOON, lived_in
from tests.support.dashboard_pilot import dashboard_pilot


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
