"""Every piece of every screen in widths from 60 to 300: it fits, and no figure in it is cut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from arbstr.types import BudgetStatus
from tests.screenshots.scenes import fill_log, settled
from tests.support.dashboard_fakes import NOON, FakeSource, Traffic, lived_in
from tests.support.dashboard_pilot import DashboardPilot, dashboard_pilot
from tui.render.layout import Line, width_of
from tui.screens.detail import DetailScreen
from tui.widgets.panel import Panel
from tui.widgets.rows_panel import RowsPanel
from tui.widgets.scroll_panel import ScrollPanel

# A number that ends in an ellipsis. The digits of a name (`claude-3…`) are text.
CUT = re.compile(r"(?<![\w.,…-])[-+<]?\d[\d,.:]*…")
WIDTHS = (*range(60, 140), *range(140, 301, 4))  # what changes with the width changes in most of them below 140


def rich(times: int) -> FakeSource:
    """A source whose figures are so many times as large, and which has everything that is ever shown."""
    source = lived_in()
    source.own_ledger.records = [
        replace(
            record,
            cost_msats=None if record.cost_msats is None else record.cost_msats * times,
            provider_cost_msats=None if record.provider_cost_msats is None else record.provider_cost_msats * times,
            median_msats=None if record.median_msats is None else record.median_msats * times // 2,
            input_tokens=None if record.input_tokens is None else record.input_tokens * times,
            cached_tokens=None if record.cached_tokens is None else record.cached_tokens * times,
            cache_saved_msats=None if record.cache_saved_msats is None else -record.cache_saved_msats * times,
            switching_msats=None if record.switching_msats is None else record.switching_msats * times,
        )
        for record in source.own_ledger.records
    ]
    totals = source.totals
    source.totals = replace(
        totals,
        cost_msats=totals.cost_msats * times,
        compared_msats=totals.compared_msats * times,
        saved_vs_median_msats=-totals.saved_vs_median_msats * times,
        requests=totals.requests * times,
        input_tokens=totals.input_tokens * times,
        cached_tokens=totals.cached_tokens * times,
        cache_saved_msats=-totals.cache_saved_msats * times,
        switching_msats=totals.switching_msats * times,
    )
    source.providers["alpha"] = replace(source.providers["alpha"], in_flight=1234, charged_ratio=1.25)
    source.budgets = tuple(
        BudgetStatus(scope, period, 41_200_000 * times, 0, 50_000_000 * times, NOON + 90 * 60_000)
        for scope, period in (("global", "day"), ("code_generation", "month"))
    )
    for event in Traffic(5).request(NOON - 100)[0]:
        source.publish(event)
    return source


def drawn(panel: Panel, width: int, height: int) -> list[Line]:
    """What the panel draws at that size, whatever its own is."""
    return list(panel.draw(width, height))


def check(each: DashboardPilot, widths: Sequence[int]) -> None:
    for panel in each.app.screen.query(Panel):
        if isinstance(panel, ScrollPanel):  # whose lines are made for the width that they have
            continue
        height = panel.size.height or 8  # some are out of sight on so low a terminal, not on others as narrow
        for width in widths:
            for line in drawn(panel, width, height):
                text = "".join(part for part, _ in line)
                assert not CUT.search(text), f"{panel!r} at {width}: {text}"
                assert width_of(line) <= width, f"{panel!r} at {width}: {text}"


@pytest.mark.parametrize(("size", "times"), [((60, 15), 1_000_000), ((120, 36), 1), ((120, 36), 1_000_000)])
async def test_every_piece_fits_and_cuts_no_figure(size: tuple[int, int], times: int) -> None:
    async with dashboard_pilot(rich(times), size=size) as each:
        fill_log(each.log)
        if times == 1:
            each.app.dashboard.hide_columns(frozenset())  # every column of the ledger is wanted
        for key in "12345":
            await each.press(key)
            await settled(each)
            check(each, [width for width in WIDTHS if size[0] < 100 or width >= 100])
        await each.press("4")
        for turn, key in enumerate(("right",) * 6 + ("w",) * 5):  # they differ little: a quarter of the widths each
            await each.press(key)
            await settled(each)
            check(each, WIDTHS[turn % 4 :: 4])


@pytest.mark.parametrize("size", [(60, 15), (80, 24), (100, 30), (120, 36), (160, 50), (200, 60)])
async def test_what_a_list_has_no_room_for_is_counted(size: tuple[int, int]) -> None:
    source = lived_in()
    async with dashboard_pilot(source, size=size) as each:
        for key in "134":
            await each.press(key)
            await settled(each)
            for panel in each.app.screen.query(RowsPanel):
                hidden = len(panel._rows) - panel.page
                if panel.display and panel.size.height and panel.region.height and hidden > 0:
                    assert f"… {hidden} more" in "".join(text for text, _ in panel._lines[0]), f"{panel!r} {size}"
            names = [provider.name for provider in source.providers.values()]
            missing = [name for name in names if f" {name} " not in each.text]
            if missing and key != "4":
                assert f"… {len(missing)} more" in each.text, each.text


@pytest.mark.parametrize("width", [60, 67, 72, 77, 100, 111, 116, 130, 300])
async def test_whole_screens_cut_no_figure(width: int) -> None:
    async with dashboard_pilot(rich(1000), size=(width, 30)) as each:
        for keys in (("1",), ("2",), ("3",), ("4",), ("2", "j", "enter")):
            await each.press(*keys)
            await settled(each)
            assert not CUT.search(each.text), each.text
        assert isinstance(each.app.screen, DetailScreen)
