"""The list over the whole ledger."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import Entry, Filter, GroupBy, Stats
from tests.support.dashboard_fakes import NOON, FakeLedger, Traffic
from tests.support.effort import examples
from tui.model.filter_language import parse
from tui.model.ledger_list import CHUNK, CHUNKS_KEPT, LedgerList

PAGE = 20


def ledger(rows: int) -> FakeLedger:
    fake, traffic = FakeLedger(), Traffic()
    fake.records = [traffic.request(NOON - (rows - number) * 1000)[1].record for number in range(rows)]
    return fake


def listing(fake: FakeLedger) -> LedgerList:
    return LedgerList(fake, lambda: NOON)


async def fill(rows: LedgerList) -> None:
    while (chunk := rows.missing(PAGE)) is not None:
        await rows.load(chunk)


async def in_sight(rows: LedgerList) -> list[Entry]:
    await fill(rows)
    entries = [rows.row(index) for index in range(rows.top, min(rows.top + PAGE, rows.total or 0))]
    assert None not in entries
    return [entry for entry in entries if entry is not None]


async def truth(fake: FakeLedger, rows: LedgerList) -> list[Entry]:
    return (await fake.page(rows.where, rows.sort, rows.order, 1, 10**6)).entries


async def test_an_empty_ledger_is_an_empty_list() -> None:
    rows = listing(ledger(0))
    await rows.restart()
    rows.move(1, PAGE)
    assert (rows.total, rows.selected, rows.missing(PAGE)) == (0, None, None)


@settings(max_examples=examples(12))
@given(st.lists(st.tuples(st.sampled_from(["move", "scroll", "select"]), st.integers(-900, 900)), max_size=8))
async def test_what_is_in_sight_is_what_the_ledger_has_there(moves: list[tuple[str, int]]) -> None:
    fake = ledger(750)
    rows = listing(fake)
    await rows.restart()
    for how, by in moves:
        getattr(rows, how)(by, PAGE)
        all_rows = await truth(fake, rows)
        assert await in_sight(rows) == all_rows[rows.top : rows.top + PAGE]
        if rows.selected is not None:
            assert rows.selected_row == all_rows[rows.selected]


@pytest.mark.parametrize("steps", range(6))
async def test_every_sort_shows_its_own_order_to_the_last_row(steps: int) -> None:
    fake = ledger(250)
    rows = listing(fake)
    await rows.restart()
    for _ in range(steps):
        rows.next_sort()
        await rows.restart()
    rows.select(10**9, PAGE)
    all_rows = await truth(fake, rows)
    assert await in_sight(rows) == all_rows[-PAGE:]
    assert rows.selected_row == all_rows[-1]


async def test_new_rows_show_while_following_and_never_move_a_selection() -> None:
    fake = ledger(300)
    rows = listing(fake)
    await rows.restart()
    rows.move(0, PAGE)
    rows.move(5, PAGE)
    selected, before = rows.selected_row, await in_sight(rows)
    fake.records += [replace(fake.records[-1], request_id=f"new-{n}", received_at_ms=NOON + 1 + n) for n in range(40)]
    assert not rows.following
    rows.scroll(150, PAGE)
    await fill(rows)
    rows.scroll(-150, PAGE)
    assert await in_sight(rows) == before
    assert rows.selected_row == selected
    rows.follow()
    await rows.restart()
    assert (await in_sight(rows))[0].request_id == "new-39"


async def test_a_selection_holds_a_list_that_goes_on_until_tonight() -> None:
    fake = ledger(30)
    rows = listing(fake)
    await rows.narrow(parse("until:2025-03-14"))
    rows.move(5, PAGE)
    before = await in_sight(rows)
    fake.records.append(replace(fake.records[-1], request_id="new", received_at_ms=NOON + 1))
    rows.move(1, PAGE)
    await fill(rows)
    assert await in_sight(rows) == before


async def test_a_filter_narrows_by_parts_of_names() -> None:
    fake = ledger(300)
    rows = listing(fake)
    await rows.narrow(parse("model:gpt provider:bet status:ok >5sats"))
    entries = await truth(fake, rows)
    assert rows.total == len(entries) > 0
    assert all("gpt" in entry.model and entry.provider == "beta" and entry.success for entry in entries)
    assert all(entry.cost_msats is not None and entry.cost_msats >= 5000 for entry in entries)
    await rows.narrow(parse("model:no-such"))
    assert rows.total == 0


async def test_a_ledger_list_keeps_only_so_many_chunks_in_memory() -> None:
    fake = ledger(CHUNK * 3)
    rows = listing(fake)
    await rows.restart()
    rows.total = CHUNK * 1000
    for chunk in range(CHUNKS_KEPT + 10):
        await rows.load(chunk)
    assert len(rows._chunks) == CHUNKS_KEPT


async def test_an_answer_to_an_old_question_is_dropped() -> None:
    fake = ledger(300)
    rows = listing(fake)
    await rows.restart()
    rows.scroll(200, PAGE)
    slow = rows.load(2)
    await rows.narrow(parse("model:llama"))
    await slow
    assert all(entry is None or "llama" in entry.model for entry in map(rows.row, range(rows.total or 0)))


async def test_an_unreadable_ledger_is_an_error_to_its_caller() -> None:
    fake = ledger(3)
    rows = listing(fake)
    fake.problem = "locked"
    with pytest.raises(LedgerUnavailable):
        await rows.restart()


async def test_the_first_rows_are_there_before_they_are_counted() -> None:
    fake = ledger(300)
    rows, count = listing(fake), fake.count
    may_count = asyncio.Event()

    async def slow(where: Filter) -> int:
        await may_count.wait()
        return await count(where)

    fake.count = slow  # type: ignore[method-assign]  # of this one
    there = asyncio.Event()
    reading = asyncio.create_task(rows.restart(there.set))
    await there.wait()
    assert rows.row(0) is not None
    assert (rows.total, rows.counted) == (CHUNK, False)
    may_count.set()
    await reading
    assert (rows.total, rows.counted) == (300, True)


async def test_a_filter_is_summed_up_and_the_sums_of_another_are_dropped() -> None:
    fake = ledger(300)
    rows = listing(fake)
    await rows.narrow(parse("model:gpt"))
    await rows.sum_up(patience_s=60)
    passed = [record for record in fake.records if "gpt" in record.model]
    assert rows.sums is not None
    assert (rows.sums.sums.total, rows.everything) == (len(passed), 300)
    assert rows.sums.sums.cost_msats == sum(record.cost_msats or 0 for record in passed)
    await rows.narrow(parse("model:llama"))
    assert rows.sums is None


async def test_sums_are_of_the_rows_that_were_kept() -> None:
    fake = ledger(20)
    rows = listing(fake)
    asked: list[Filter] = []
    stats = fake.stats

    async def noted(where: Filter, group_by: GroupBy | None = None) -> Stats:
        asked.append(where)
        return await stats(where, group_by)

    fake.stats = noted  # type: ignore[method-assign]  # of this one
    await rows.restart()
    await rows.sum_up(patience_s=60)
    assert [where.since_ms for where in asked] == [fake.records[0].received_at_ms]
