"""Several instances on one ledger in PostgreSQL: nothing is lost, nothing counts twice, whatever fails meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.backend import backend_at
from arbstr.ledger.model import Filter
from arbstr.ledger.pending_row import PendingRow
from arbstr.ledger.postgres import connection
from arbstr.ledger.writer import LedgerWriter
from arbstr.places import PostgresPlace
from arbstr.types import RequestRecord
from tests.support.ledger_builders import HOUR, NOON, record
from tests.support.ledgers import PostgresLedgers, asked, opened, started_fully, write_rows
from tests.support.patience import PATIENCE_S, SHORT_S
from tests.support.postgres import PASSWORD, PostgresServer

MONTH = 31 * 24 * HOUR
_OURS = "application_name = 'arbstr'"


def mixed_rows(seed: int, size: int) -> list[RequestRecord]:
    random = Random(seed)
    return [
        record(
            received_at_ms=NOON + random.randint(-3, 3) * HOUR + random.choice([0, MONTH]),
            model=random.choice(["gpt-4o", "claude", "mistral"]),
            provider=random.choice(["alpha", "beta", None]),
            cost_msats=random.randint(0, 10**6),
            latency_ms=random.randint(0, 60_000),
            success=random.random() < 0.9,
            streaming=random.random() < 0.5,
            session=random.choice([None, "a" * 16, "b" * 16, "c" * 16]),
        )
        for _ in range(size)
    ]


def assert_exact(own_ledgers: PostgresLedgers, place: PostgresPlace, rows: list[RequestRecord]) -> None:
    """Check that rows and all sums over them are those of these records, to the millisat."""
    own_ledgers.check_sums(place)
    with asked(own_ledgers, place) as queries:
        assert queries.count(Filter()) == len(rows)
        for group_by in (None, "model", "provider", "session", "hour", "day"):
            sums = queries.stats(Filter(), group_by)
            groups = list(sums.groups.values()) or [sums.overall]
            assert sum(one.total for one in groups) == sums.overall.total == len(rows)
            assert (
                sum(one.cost_msats for one in groups)
                == sums.overall.cost_msats
                == sum(row.cost_msats or 0 for row in rows)
            )
    [(booked,)] = own_ledgers.read(place, "SELECT COALESCE(SUM(msats), 0) FROM booked")
    assert booked == sum(row.cost_msats or 0 for row in rows if row.provider is not None)
    assert own_ledgers.read(place, "SELECT COUNT(*) - COUNT(DISTINCT correlation_id) FROM requests") == [(0,)]


async def test_instances_that_write_at_once_add_to_the_same_sums(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    rows = mixed_rows(1, 600)
    writers = [LedgerWriter(place) for _ in range(4)]
    await asyncio.gather(*(writer.start() for writer in writers))  # all of them make the schema
    for number, row in enumerate(rows):
        writers[number % 4].append(row)
        if number % 50 == 0:
            await asyncio.sleep(0)
            await writers[number % 3].settle(PATIENCE_S)
    await asyncio.gather(*(writer.close() for writer in writers))
    assert_exact(own_ledgers, place, rows)
    assert own_ledgers.read(place, "SELECT COUNT(*) FROM sessions") == [(0,)]


async def test_a_batch_that_is_sent_again_counts_once(own_ledgers: PostgresLedgers, place: PostgresPlace) -> None:
    rows = mixed_rows(2, 40)
    batch = [PendingRow(row, final=True) for row in rows]
    one, other = await opened(place), await opened(place)
    await one.write(batch[:30], {}, {})
    await one.write(batch[:30], {}, {})
    await other.write(batch, {}, {})
    await other.write([*batch, *batch], {}, {})
    await one.close()
    await other.close()
    assert_exact(own_ledgers, place, rows)


async def test_kills_of_the_server_amid_writes_lose_nothing(
    own_ledgers: PostgresLedgers, place: PostgresPlace, server: PostgresServer
) -> None:
    rows = mixed_rows(3, 300)
    writers = [LedgerWriter(place) for _ in range(4)]
    for writer in writers:
        await writer.start()
    kills = {70: signal.SIGKILL, 200: signal.SIGQUIT}
    for number, row in enumerate(rows):
        writers[number % 4].append(row)
        if number in kills:
            for writer in writers:
                writer._wake_now()
            await asyncio.to_thread(server.crash, kills[number])  # wherever the batches are
            await asyncio.to_thread(server.start)
    for writer in writers:
        writer._wake_now()
        assert await writer.change(lambda db, rollups: "written")
    await asyncio.gather(*(writer.close() for writer in writers))
    assert_exact(own_ledgers, place, rows)


async def test_a_server_that_stalls_is_given_up_and_the_rows_are_written_later(
    own_ledgers: PostgresLedgers, place: PostgresPlace, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = asyncio.Event()
    ledger = LedgerWriter(place, on_state=lambda ok, message: None if ok else failed.set())
    await ledger.start()
    await started_fully(ledger)
    sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'arbstr' AND datname = current_database()"
    backends = [pid for (pid,) in own_ledgers.read(place, sql)]
    monkeypatch.setattr("arbstr.ledger.postgres.write_connection.PATIENCE_S", SHORT_S)
    for pid in backends:
        os.kill(pid, signal.SIGSTOP)
    try:
        rows = mixed_rows(4, 10)
        for row in rows:
            ledger.append(row)
        async with asyncio.timeout(PATIENCE_S):
            await failed.wait()
        assert ledger.queued_rows == 10
        monkeypatch.undo()
        ledger._wake_now()
        assert await ledger.change(lambda db, rollups: "written by another connection")
    finally:
        for pid in backends:
            os.kill(pid, signal.SIGCONT)
    await ledger.close()
    assert_exact(own_ledgers, place, rows)


async def test_the_streams_of_a_dead_instance_are_closed_by_another(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    dead, alive = await opened(place), await opened(place)
    stream = record(streaming=True, cost_msats=None, doubtful_msats=900, session="a" * 16)
    await dead.write([PendingRow(stream, final=False)], {}, {})
    await alive.absorb()
    with asked(own_ledgers, place) as queries:
        assert queries.count(Filter()) == 0  # its instance lives
    dead._db.abort()  # type: ignore[attr-defined]  # as a kill does
    await asyncio.to_thread(_until, own_ledgers, place, _OURS, 1)
    alive._look_at = 0  # type: ignore[attr-defined]  # a minute later
    await alive.absorb()
    with asked(own_ledgers, place) as queries:
        [entry] = queries.slice(Filter(), None, 10)
    assert (entry.request_id, entry.success, entry.error_status) == (stream.request_id, False, 500)
    # It was only cut off: the end that it knows is true.
    late = await opened(place)
    ended = record(request_id=stream.request_id, streaming=True, cost_msats=77, stream_duration_ms=5, session="a" * 16)
    await late.write([PendingRow(ended, final=True)], {}, {})
    await late.write([PendingRow(ended, final=True)], {}, {})
    for ledger in (late, alive, dead):
        await ledger.close()
    assert_exact(own_ledgers, place, [ended])
    with asked(own_ledgers, place) as queries:
        assert queries.stats(Filter(success=False)).overall.total == 0


def _until(own_ledgers: PostgresLedgers, place: PostgresPlace, which: str, wanted: int) -> None:
    """Wait until the server has so many such connections to the ledger."""
    until = time.monotonic() + PATIENCE_S
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    while own_ledgers.read(place, f"SELECT COUNT(*) FROM pg_stat_activity WHERE {others} AND {which}") != [(wanted,)]:
        assert time.monotonic() < until
        time.sleep(0.02)


async def test_an_instance_that_comes_back_resumes_its_session(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    backend = backend_at(place)
    first, _ = await backend.open()
    [(number,)] = own_ledgers.read(place, "SELECT id FROM sessions")
    first._db.abort()  # type: ignore[attr-defined]  # the network is cut
    await asyncio.to_thread(_until, own_ledgers, place, _OURS, 0)
    again, _ = await backend.open()
    assert own_ledgers.read(place, "SELECT id FROM sessions") == [(number,)]
    await again.close()
    await first.close()


async def test_idle_readers_notice_that_the_server_has_restarted(
    own_ledgers: PostgresLedgers, place: PostgresPlace, server: PostgresServer
) -> None:
    await write_rows(place, [record()])
    with asked(own_ledgers, place) as queries:
        assert queries.count(Filter()) == 1
        server.crash()
        with pytest.raises(LedgerUnavailable, match="can't be used"):
            queries.count(Filter())
        server.start()
        assert queries.count(Filter()) == 1
        server.crash()
        server.start()
        assert queries.count(Filter()) == 1


async def test_a_ledger_of_a_newer_arbstr_is_refused(own_ledgers: PostgresLedgers, place: PostgresPlace) -> None:
    await write_rows(place, [record()])
    ledger = await opened(place)
    await ledger.change(lambda db, rollups: db.execute("INSERT INTO schema_versions VALUES (99, now(), 99)"))
    await ledger.close()
    with pytest.raises(LedgerUnavailable, match="newer arbstr \\(schema 99"):
        await LedgerWriter(place).start()
    with pytest.raises(LedgerUnavailable, match="update arbstr"):
        own_ledgers.connect(place)


async def test_an_earlier_server_than_its_statements_need_is_refused(
    own_ledgers: PostgresLedgers, place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    [(version,)] = own_ledgers.read(place, "SELECT current_setting('server_version_num')::integer / 10000")
    monkeypatch.setattr(connection, "OLDEST", version + 1)
    said = f"is in PostgreSQL {version}; arbstr needs {version + 1} or later: update the server"
    with pytest.raises(LedgerUnavailable, match=said):
        await LedgerWriter(place).start()
    with pytest.raises(LedgerUnavailable, match=said):
        own_ledgers.connect(place)


async def test_a_server_that_is_away_at_the_start_is_reported_and_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = PostgresPlace.at(f"postgresql://someone:{PASSWORD}@/ledger?host={tmp_path}", tmp_path / "arbstr.db")
    states: list[tuple[bool, str]] = []
    ledger = LedgerWriter(place, on_state=lambda ok, message: states.append((ok, message)))
    await ledger.start()
    [(ok, message)] = states
    assert not ok
    assert message.startswith(f"The ledger postgresql://{tmp_path}/ledger can't be used: ")
    assert PASSWORD not in caplog.text + message + str(place) + repr(place)
    with pytest.raises(LedgerUnavailable) as caught:
        backend_at(place).connect()
    assert PASSWORD not in str(caught.value)
    ledger._close_by = 0.0
    await ledger.close()


async def test_there_is_no_ledger_before_the_first_start(own_ledgers: PostgresLedgers, place: PostgresPlace) -> None:
    with pytest.raises(LedgerUnavailable, match=f"No ledger at {place} yet"):
        own_ledgers.connect(place)


async def test_a_query_that_is_given_up_ends_at_the_server(own_ledgers: PostgresLedgers, place: PostgresPlace) -> None:
    await write_rows(place, [])
    with closing(own_ledgers.connect(place)) as queries:
        asking = asyncio.create_task(asyncio.to_thread(_sleep, queries))
        await asyncio.to_thread(_until, own_ledgers, place, "query LIKE 'SELECT pg_sleep%'", 1)
        queries.interrupt()
        with pytest.raises(LedgerUnavailable, match="cancel"):
            await asking
        assert queries.count(Filter()) == 0


def _sleep(queries: object) -> None:
    with queries._view() as view:  # type: ignore[attr-defined]  # what takes long, without rows that take long to make
        view.one("SELECT pg_sleep(?)", (PATIENCE_S,))
