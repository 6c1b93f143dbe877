"""The list of requests, by keys and clicks, and where another arbstr is watched."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.events import MouseScrollDown
from textual.widgets import Input, SelectionList

from arbstr.ledger.model import Entry, Filter, GroupBy, Stats
from arbstr.monitoring.source import LinkState, Outage
from tests.support.dashboard_fakes import NOON, lived_in
from tests.support.dashboard_pilot import SHORT, dashboard_pilot, happen
from tui.format import sats_round
from tui.timings import NORMAL
from tui.widgets.panel import Panel

# As if every query took hours, so that the next may come only after as long.
AS_IF_SLOW = replace(SHORT, query_share=1e-9, most_query_wait_s=3600.0)


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
