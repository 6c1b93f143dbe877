"""What is written is there, once, with all sums over it: whatever the database, and whenever it can be written."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any

import pytest

from arbstr.ledger import accounts, writer
from arbstr.ledger.accounts import Booking, Books, Change, Reading
from arbstr.ledger.backend import backend_at
from arbstr.ledger.database import NotWritable
from arbstr.ledger.model import Entry, Filter
from arbstr.ledger.pending_row import PendingRow
from arbstr.ledger.spill import files_beside
from arbstr.ledger.writer import LedgerWriter
from arbstr.places import Place
from arbstr.types import Attempt, Doubt, RequestRecord
from tests.support.ledger_builders import DAY, HOUR, NOON, record
from tests.support.ledgers import Ledgers, PostgresLedgers, asked, opened, write_rows
from tests.support.patience import PATIENCE_S

EVERYTHING = record(
    request_id="0000-full", model="gpt-4o", provider="alpha", policy="code", streaming=True, input_tokens=12,
    output_tokens=9, cost_msats=1_234_567, provider_cost_msats=1, latency_ms=310, stream_duration_ms=900,
    list_cost_msats=420, cached_tokens=7, cache_write_tokens=3, served_model="gpt-4o-mini", dialect="messages",
    session="0123456789abcdef", client="laptop", implausible="charge", doubtful_msats=901, predicted_cached_tokens=5,
    cache_saved_msats=44, switching_msats=-3, error_message="half way", dearest_msats=99, median_msats=66,
)  # fmt: skip


@asynccontextmanager
async def writing(place: Place, **options: Any) -> AsyncIterator[LedgerWriter]:
    ledger = LedgerWriter(place, **options)
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close()


def only_entry(ledgers: Ledgers, place: Place) -> Entry:
    with asked(ledgers, place) as queries:
        [entry] = queries.slice(Filter(), None, 10)
    return entry


async def test_a_row_is_read_back_as_it_was_written(ledgers: Ledgers) -> None:
    place = ledgers.place()
    await write_rows(place, [EVERYTHING])
    entry = only_entry(ledgers, place)
    kept = {field.name for field in fields(Entry)} & {field.name for field in fields(RequestRecord)}
    assert len(kept) >= 25
    assert {name: getattr(entry, name) for name in kept} == {name: getattr(EVERYTHING, name) for name in kept}
    assert (entry.at_ms, entry.timestamp) == (NOON, "2026-01-01T12:00:00.000Z")


async def test_attempts_and_odd_texts_survive(ledgers: Ledgers) -> None:
    place = ledgers.place()
    odd = "zero \0, half a pair \ud800, Ünï 🙂, 'quotes' \\ \t\n"
    attempt = Attempt("alpha", started_ms=3, duration_ms=12, status=502, message="bad gateway")
    await write_rows(place, [record(request_id="0000-odd", model=odd, error_message=odd, attempts=(attempt,))])
    entry = only_entry(ledgers, place)
    assert entry.model.replace("\ufffd", "\0") == odd.replace("\ud800", "?")
    with asked(ledgers, place) as queries:
        detail = queries.request("0000-odd")
    assert detail is not None
    assert detail.attempts is not None
    assert [each["provider"] for each in detail.attempts] == ["alpha"]


async def test_numbers_beyond_all_reason_are_bounded_and_spoil_nothing(ledgers: Ledgers) -> None:
    place = ledgers.place()
    await write_rows(place, [record(cost_msats=10**30, input_tokens=-(10**30)), record(cost_msats=1)])
    with asked(ledgers, place) as queries:
        assert queries.stats(Filter()).overall.cost_msats == 10**12 + 1


async def test_a_stream_is_listed_once_it_has_ended(ledgers: Ledgers) -> None:
    place = ledgers.place()
    stream = record(streaming=True, stream_duration_ms=700)
    async with writing(place) as ledger:
        ledger.begin(record(request_id=stream.request_id, streaming=True, output_tokens=None))
        await ledger.settle(PATIENCE_S)
        with asked(ledgers, place) as queries:
            assert (queries.count(Filter()), queries.request(stream.request_id)) == (0, None)
            assert queries.stats(Filter()).overall.total == 0
            assert queries.info()["open"].startswith("1 ")
        ledger.append(stream)
        await ledger.settle(PATIENCE_S)
    assert only_entry(ledgers, place).stream_duration_ms == 700
    with asked(ledgers, place) as queries:
        assert queries.stats(Filter()).overall.total == 1
        assert queries.info()["open"].startswith("0 ")


async def doubts_at_a_start(place: Place) -> list[tuple[str, int]]:
    """Return the requests whose cost is in doubt, and what they are expected to cost, in msats."""
    seen: list[Books] = []
    async with writing(place) as ledger:
        await ledger.change(lambda db, rollups: None)
        await ledger.change(
            lambda db, rollups: accounts.balance(db, rollups, "an account", ["alpha"], NOON, seen.append)
        )
    return [(doubt.request_id, doubt.expected_msats) for doubt in seen[0].doubts]


async def test_a_stream_whose_arbstr_died_is_closed_as_interrupted_and_its_cost_in_doubt(ledgers: Ledgers) -> None:
    place = ledgers.place()
    async with writing(place) as dead:
        dead.begin(record(request_id="0000-cut", streaming=True, doubtful_msats=900, cost_msats=None))
        await dead.settle(PATIENCE_S)
    async with asyncio.timeout(PATIENCE_S):
        while not (doubts := await doubts_at_a_start(place)):  # a server notices a moment later that its client is gone
            pass
    assert doubts == [("0000-cut", 900)]
    entry = only_entry(ledgers, place)
    assert (entry.success, entry.error_status, entry.stream_duration_ms) == (False, 500, None)
    assert "interrupted" in (entry.error_message or "")
    with asked(ledgers, place) as queries:
        assert queries.stats(Filter()).overall.total == 1


async def test_rows_wait_while_the_database_is_away_and_are_written_when_it_is_back(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ledgers.place()
    states: list[bool] = []
    ledger = LedgerWriter(place, on_state=lambda ok, message: states.append(ok))
    reach, away = ledger._backend.open, True

    async def may_open() -> Any:
        if away:
            raise NotWritable("The ledger is away.")
        return await reach()

    monkeypatch.setattr(ledger._backend, "open", may_open)
    await ledger.start()
    for _ in range(5):
        ledger.append(record())
    assert (ledger.queued_rows, states, ledger.problem) == (5, [False], "The ledger is away.")
    away = False
    ledger._wake_now()
    assert await ledger.change(lambda db, rollups: "done") == "done"
    assert (ledger.queued_rows, states, ledger.problem) == (0, [False, True], None)
    await ledger.close()
    with asked(ledgers, place) as queries:
        assert queries.count(Filter()) == 5


async def test_what_can_not_be_written_waits_in_files_and_comes_back_exactly_once(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ledgers.place()
    await write_rows(place, [record()])
    monkeypatch.setattr(writer, "_CLOSE_S", 0.0)
    ledger = LedgerWriter(place)

    async def away() -> Any:
        raise NotWritable("The ledger is away.")

    monkeypatch.setattr(ledger._backend, "open", away)
    await ledger.start()
    rows = [record(cost_msats=n, received_at_ms=NOON + n * HOUR) for n in range(1, 50)]
    for row in rows:
        ledger.append(row)
    ledger.begin(record(request_id="0000-cut", streaming=True, cost_msats=None))
    await ledger.close()
    [file] = files_beside(backend_at(place).spilled_at)
    shutil.copy(file, file.with_name(file.name.replace("-unwritten-", "-unwritten-copy")))
    assert file.stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        await write_rows(place, [])
        async with writing(place) as again:
            await again.change(lambda db, rollups: None)
    assert files_beside(backend_at(place).spilled_at) == []
    with asked(ledgers, place) as queries:
        whole = queries.stats(Filter(), "day")
        assert (whole.overall.total, whole.overall.cost_msats) == (51, 420 + sum(range(1, 50)))
        assert sum(day.total for day in whole.groups.values()) == queries.count(Filter()) == 51


async def test_while_the_database_is_away_for_long_a_kill_loses_no_row_that_waits(
    ledgers: Ledgers, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ledgers.place()
    await write_rows(place, [])
    ledger = LedgerWriter(place)

    async def away() -> Any:
        raise NotWritable("The ledger is away.")

    put_aside, saved = ledger._put_aside, asyncio.Event()

    async def noticed(some: Sequence[PendingRow]) -> int:
        if kept := await put_aside(some):
            saved.set()
        return kept

    monkeypatch.setattr(ledger, "_put_aside", noticed)
    monkeypatch.setattr(writer, "_IN_MEMORY_S", 0.0)
    monkeypatch.setattr(ledger._backend, "open", away)
    await ledger.start()
    rows = [record(cost_msats=n) for n in range(1, 20)]
    for row in rows:
        ledger.append(row)
    ledger.begin(record(request_id="0000-open", streaming=True, cost_msats=None))
    async with asyncio.timeout(PATIENCE_S):
        await saved.wait()
    assert ledger.queued_rows == 1  # the stream's, which has not ended
    assert ledger._task is not None
    ledger._task.cancel()  # as far as a kill goes, from here: nothing is written at the end
    async with writing(place) as again:
        await again.change(lambda db, rollups: None)
    with asked(ledgers, place) as queries:
        assert queries.stats(Filter()).overall.total == queries.count(Filter()) == 19


async def test_what_was_learned_and_the_session_key_are_kept(ledgers: Ledgers) -> None:
    place = ledgers.place()
    async with writing(place) as ledger:
        key = await ledger.session_key()
        ledger.save_learned({"code": (1.5, 3)}, {("speed", "alpha"): "[1]", ("speed", "beta"): "[2]"})
        await ledger.change(lambda db, rollups: None)
        ledger.save_learned({"code": (2.5, 4)}, {("speed", "alpha"): "[3]"})
    async with writing(place) as ledger:
        learned = await ledger.load_learned()
        assert learned.ratios == {"code": (2.5, 4)}
        assert learned.cells == {("speed", "alpha"): "[3]", ("speed", "beta"): "[2]"}
        assert (await ledger.session_key(), len(key)) == (key, 16)


async def test_old_rows_go_and_their_sums_stay(ledgers: Ledgers) -> None:
    place = ledgers.place()
    await write_rows(place, [record(received_at_ms=NOON - n * DAY, cost_msats=1) for n in range(10)])
    ledger = await opened(place)
    while await ledger.prune(NOON - 4 * DAY, NOON):
        pass
    assert await ledger.reached(NOON + 5 * DAY) == NOON
    await ledger.close()
    with asked(ledgers, place) as queries:
        assert queries.count(Filter()) == 5
        assert queries.stats(Filter()).overall.cost_msats == 10
        assert queries.stats(Filter(until_ms=NOON - 4 * DAY - HOUR)).overall.total == 5
        assert queries.info()["pruned"] == "before 2025-12-28T00:00:00.000Z"


async def test_a_cutoff_ahead_of_the_clock_is_that_of_the_oldest_row(ledgers: Ledgers) -> None:
    place = ledgers.place()
    await write_rows(place, [record(received_at_ms=NOON - DAY), record()])
    ledger = await opened(place)
    await ledger.prune(NOON - 1000 * DAY, NOON + 99 * DAY)
    await ledger.change(lambda db, rollups: _set_cutoff(db, NOON + 50 * DAY))
    await ledger.mend_cutoff(NOON)
    await ledger.close()
    with asked(ledgers, place) as queries:
        assert queries.count(Filter()) == 2


def _set_cutoff(db: Any, at_ms: int) -> None:
    db.execute("UPDATE ledger_state SET value = ? WHERE name = 'pruned_before_ms'", (at_ms,))


@pytest.mark.parametrize("session", [None, "a" * 16])
async def test_what_a_balance_tells_changes_the_row_and_every_sum(ledgers: Ledgers, session: str | None) -> None:
    place = ledgers.place()
    late = record(
        request_id="0000-late", success=False, error_status=504, cost_msats=None, doubtful_msats=900,
        doubts=(Doubt("alpha", 900),), session=session,
    )  # fmt: skip
    reading = Reading(1000, 9000)
    async with writing(place) as ledger:

        async def book(change: Change) -> Any:
            return await ledger.change(
                lambda db, rollups: accounts.balance(db, rollups, "an account", ["alpha"], NOON, lambda books: change)
            )

        await book(Change(0, reading))
        ledger.append(late)
        ledger.append(record(cost_msats=100))
        _, [amended] = await book(Change(455, reading, (Booking("0000-late", "alpha", 455, final=True),)))
        assert (amended.cost_msats, amended.was_msats, amended.counted_msats) == (455, None, 455 - 900)
        await book(Change(500, reading, provider="alpha", unexplained_msats=45))
        await book(Change(480, reading, provider="alpha", unexplained_msats=-20))
        known = await ledger.change(lambda db, rollups: accounts.known_accounts(db))
        assert known == {"an account"}
    with asked(ledgers, place) as queries:
        for group_by in ("model", "hour", "day", "dialect"):
            sums = queries.stats(Filter(), group_by)
            assert sums.overall.cost_msats == 455 + 100 + 25
            assert sums.overall.unexplained_msats == 25
        assert queries.spent_msats(Filter()) == 555
    if isinstance(ledgers, PostgresLedgers):
        ledgers.check_sums(place)


async def test_a_failed_change_changes_nothing(ledgers: Ledgers) -> None:
    place = ledgers.place()
    async with writing(place) as ledger:
        ledger.append(record())

        def fail(db: Any, rollups: Any) -> None:
            db.execute("DELETE FROM requests")
            raise OSError("in the middle")

        with pytest.raises(Exception, match="in the middle"):
            await ledger.change(fail)
    with asked(ledgers, place) as queries:
        assert queries.count(Filter()) == 1
