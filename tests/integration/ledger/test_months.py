"""Rows of PostgreSQL are kept by months: whole ones are dropped, and what others do meanwhile goes on."""

from __future__ import annotations

import asyncio

import psycopg

from arbstr.ledger.backend import OpenLedger
from arbstr.ledger.model import Filter
from arbstr.ledger.pending_row import PendingRow
from arbstr.ledger.writer import LedgerWriter
from arbstr.places import PostgresPlace
from arbstr.types import RequestRecord
from tests.support.ledger_builders import DAY, HOUR, NOON, record
from tests.support.ledgers import PostgresLedgers, asked, opened, write_rows

CUTOFF = NOON + 14 * DAY  # the middle of January


def spread() -> list[RequestRecord]:
    """Rows of November to February, four a month."""
    return [record(received_at_ms=NOON + month * 30 * DAY + n * 7 * DAY) for month in (-2, -1, 0, 1) for n in range(4)]


def months(own_ledgers: PostgresLedgers, place: PostgresPlace) -> list[str]:
    """Return the months that have rows."""
    return [
        name.removeprefix("requests_")
        for (name,) in own_ledgers.read(place, "SELECT DISTINCT tableoid::regclass::text FROM requests ORDER BY 1")
    ]


def december_is_there(own_ledgers: PostgresLedgers, place: PostgresPlace) -> bool:
    return own_ledgers.read(place, "SELECT to_regclass('requests_2025_12')") != [(None,)]


def assert_sums_stay(own_ledgers: PostgresLedgers, place: PostgresPlace, rows: list[RequestRecord]) -> None:
    with asked(own_ledgers, place) as queries:
        for group_by in (None, "model", "hour"):
            sums = queries.stats(Filter(), group_by)
            assert sums.overall.total == len(rows)
            assert sums.overall.cost_msats == sum(row.cost_msats or 0 for row in rows)
        kept = [row for row in rows if row.received_at_ms >= CUTOFF - CUTOFF % DAY]
        assert queries.count(Filter()) == len(kept)


async def test_rows_of_the_first_month_and_of_the_last_year_are_kept(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    instants = [0, 253_402_300_799_999]  # 31 December 9999, its last instant
    await write_rows(place, [record(received_at_ms=at_ms) for at_ms in instants])
    assert months(own_ledgers, place) == ["1970_01", "9999_12"]
    with asked(own_ledgers, place) as queries:
        assert queries.count(Filter()) == queries.stats(Filter()).overall.total == 2


async def test_whole_months_are_dropped_and_that_of_the_cutoff_is_not(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    rows = spread()
    await write_rows(place, rows)
    ledger = await opened(place)
    assert not await ledger.prune(CUTOFF, CUTOFF + DAY)
    assert not december_is_there(own_ledgers, place)
    assert months(own_ledgers, place) == ["2026_01", "2026_02"]
    assert_sums_stay(own_ledgers, place, rows)
    await ledger.close()


async def test_a_month_that_is_read_right_now_goes_the_next_time(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    rows = spread()
    await write_rows(place, rows)
    ledger = await opened(place)
    with psycopg.connect(place.url.reveal()) as reading:
        reading.execute("SELECT COUNT(*) FROM requests")  # and its transaction goes on
        await ledger.prune(CUTOFF, CUTOFF + DAY)
        assert december_is_there(own_ledgers, place)
        assert_sums_stay(own_ledgers, place, rows)  # as if its rows were gone
    await ledger.prune(CUTOFF, CUTOFF + DAY)
    assert not december_is_there(own_ledgers, place)
    assert_sums_stay(own_ledgers, place, rows)
    await ledger.close()


async def test_the_first_row_of_a_month_waits_for_no_reader(own_ledgers: PostgresLedgers, place: PostgresPlace) -> None:
    await write_rows(place, [record()])
    with psycopg.connect(place.url.reveal()) as reading:
        reading.execute("SELECT COUNT(*) FROM requests")
        await write_rows(place, [record(received_at_ms=NOON + 40 * DAY)])
    with asked(own_ledgers, place) as queries:
        assert queries.count(Filter()) == 2


async def test_a_row_of_a_month_that_another_instance_has_dropped_is_entered(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    early = NOON - 40 * DAY
    await write_rows(place, [record(received_at_ms=early)])
    ledger, other = LedgerWriter(place), await opened(place)
    await ledger.start()
    ledger.append(record(received_at_ms=early + HOUR))
    await ledger.change(lambda db, rollups: "it knows that month")
    await other.prune(CUTOFF, CUTOFF + DAY)
    ledger.append(record(received_at_ms=early + HOUR))
    ledger.append(record(received_at_ms=CUTOFF))
    while ledger.queued_rows:
        ledger._wake_now()
        await asyncio.sleep(0)
    await ledger.close()
    await other.close()
    with asked(own_ledgers, place) as queries:
        assert queries.count(Filter()) == 1
        assert queries.stats(Filter()).overall.total == 4


async def test_months_are_dropped_while_others_write_and_read(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    rows = spread()
    await write_rows(place, rows)
    pruner, writers = await opened(place), [await opened(place) for _ in range(2)]
    added = [record(received_at_ms=CUTOFF + n * HOUR, cost_msats=n) for n in range(40)]

    def read() -> None:
        with asked(own_ledgers, place) as queries:
            for _ in range(10):
                assert queries.stats(Filter(until_ms=CUTOFF - 1)).overall.total == 10

    async def write(number: int) -> None:
        for row in added[number::2]:
            await writers[number].write([PendingRow(row, final=True)], {}, {})

    await asyncio.gather(asyncio.to_thread(read), write(0), write(1), pruner.prune(CUTOFF, CUTOFF + DAY))
    while await pruner.prune(CUTOFF, CUTOFF + DAY):
        pass
    assert_sums_stay(own_ledgers, place, [*rows, *added])
    for ledger in (pruner, *writers):
        await ledger.close()


async def test_several_instances_that_prune_at_once_do_not_hinder_each_other(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    rows = [*spread(), *(record(received_at_ms=CUTOFF - DAY) for _ in range(1200))]
    await write_rows(place, rows)
    ledgers = [await opened(place) for _ in range(3)]

    async def prune(ledger: OpenLedger) -> None:
        while await ledger.prune(CUTOFF, CUTOFF + DAY):
            pass

    await asyncio.gather(*map(prune, ledgers))
    await prune(ledgers[0])
    assert months(own_ledgers, place) == ["2026_01", "2026_02"]
    assert own_ledgers.read(place, "SELECT COUNT(*) FROM requests") == [(6,)]
    assert_sums_stay(own_ledgers, place, rows)
    for ledger in ledgers:
        await ledger.close()
