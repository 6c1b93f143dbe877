"""The table of the Requests screen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

import pytest

from arbstr.types import RequestRecord
from tests.support.dashboard_fakes import NOON, FakeSource, Traffic
from tui.model.ledger_list import LedgerList
from tui.render.layout import EMPTY
from tui.widgets.ledger_table import LedgerPanel

FAILED = replace(
    Traffic().request(NOON)[1].record,
    success=False,
    error_status=502,
    error_message="the pipe is broken",
    cost_msats=None,
    provider_cost_msats=None,
    input_tokens=None,
    output_tokens=None,
)


async def shown(record: RequestRecord, width: int) -> str:
    """The only row of the table."""
    source = FakeSource()
    source.own_ledger.records = [record]
    rows = LedgerList(source.ledger, source.clock)
    await rows.restart()
    panel = LedgerPanel()
    panel.show(rows, NOON, UTC, EMPTY, ())
    return "".join(text for text, _ in panel.draw(width, 6)[2])


@pytest.mark.parametrize("width", [100, 120, 160, 220])
async def test_a_request_that_failed_says_why_where_its_figures_would_be(width: int) -> None:
    assert "the pipe is broken" in await shown(FAILED, width)


async def test_there_is_no_room_for_why_in_a_narrow_table() -> None:
    assert "the pipe" not in await shown(FAILED, 70)


async def test_what_a_failed_request_cost_is_not_hidden_by_why() -> None:
    row = await shown(replace(FAILED, cost_msats=1234), 120)
    assert "1.234" in row
    assert "the pipe" not in row


@pytest.mark.parametrize("width", [80, 120, 160])
async def test_of_a_request_that_reached_no_provider_why_takes_the_place_of_all_about_one(width: int) -> None:
    row = await shown(replace(FAILED, provider=None, error_message="The budget of policy 'code' is spent."), width)
    assert "The budget of policy 'code' is" in row


async def test_rows_that_are_yet_to_be_counted_are_said_to_be_so_many_at_least() -> None:
    source, traffic = FakeSource(), Traffic()
    source.own_ledger.records = [traffic.request(NOON - number)[1].record for number in range(120)]
    rows, panel, titles = LedgerList(source.ledger, source.clock), LedgerPanel(), list[str]()

    def draw() -> None:
        panel.show(rows, NOON, UTC, EMPTY, ())
        titles.append("".join(text for text, _ in panel.draw(120, 20)[0]))

    await rows.restart(draw)
    draw()
    assert [title.split("Requests")[1].split()[0] for title in titles] == ["100+", "120"]
