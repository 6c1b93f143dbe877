"""What fails between an instance and PostgreSQL, or in either: rows wait, and each is entered once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from arbstr.ledger import writer
from arbstr.ledger.backend import backend_at
from arbstr.ledger.model import Filter
from arbstr.ledger.postgres import write_connection
from arbstr.ledger.postgres.connection import PostgresConnection
from arbstr.ledger.spill import files_beside
from arbstr.ledger.writer import LedgerWriter
from arbstr.places import PostgresPlace
from arbstr.types import RequestRecord
from tests.support.ledger_builders import DAY, HOUR, MINUTE, NOON, record
from tests.support.ledgers import PostgresLedgers, asked, started_fully, write_rows
from tests.support.paths import TOP
from tests.support.patience import PATIENCE_S, SHORT_S
from tests.support.postgres import PostgresServer
from tests.support.processes import started
from tests.support.stalling_proxy import StallingProxy, Way


@pytest.fixture
def own_server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The server, running again afterwards."""
    yield postgres
    if not postgres.runs:
        postgres.start()


def rows_of(seed: int, count: int) -> list[RequestRecord]:
    return [record(cost_msats=seed * 1000 + n, received_at_ms=NOON + n * MINUTE) for n in range(count)]


def assert_each_once(own_ledgers: PostgresLedgers, place: PostgresPlace, rows: list[RequestRecord]) -> None:
    with asked(own_ledgers, place) as queries:
        overall = queries.stats(Filter()).overall
        assert (queries.count(Filter()), overall.total) == (len(rows), len(rows))
        assert overall.cost_msats == sum(row.cost_msats or 0 for row in rows)


async def written(ledger: LedgerWriter) -> None:
    """Wait until all that was appended is in the database."""
    async with asyncio.timeout(PATIENCE_S):
        while ledger.queued_rows or ledger.problem is not None:
            ledger._wake_now()
            await asyncio.sleep(0.01)
    await ledger.change(lambda db, rollups: "and what waited in files")


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_network_that_stalls_is_given_up_and_nothing_is_lost_nor_twice(
    own_ledgers: PostgresLedgers,
    place: PostgresPlace,
    own_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    way: Way,
) -> None:
    name = place.url.reveal().partition("@/")[2].partition("?")[0]
    await write_rows(place, [])
    async with StallingProxy(own_server.directory / ".s.PGSQL.5432") as network:
        behind = PostgresPlace.at(f"postgresql://arbstr@127.0.0.1:{network.port}/{name}", place.local)
        failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def note(ok: bool, message: str) -> None:
            if not ok and not failed.done():
                failed.set_result(message)

        ledger = LedgerWriter(behind, on_state=note)
        await ledger.start()
        await started_fully(ledger)
        monkeypatch.setattr(writer, "MOST_WAITING", 40)
        monkeypatch.setattr(write_connection, "PATIENCE_S", SHORT_S)
        network.stall(way)
        rows = rows_of(1, 60)
        for row in rows[:10]:
            ledger.append(row)
        async with asyncio.timeout(PATIENCE_S):
            await network.held.wait()
            assert "the server has not answered for" in await failed
        for row in rows[10:]:
            ledger.append(row)
            await asyncio.sleep(0)
            if ledger.queued_rows >= 30:
                await ledger._make_room()
        assert ledger.queued_rows <= 40
        assert files_beside(behind.spilled_at)
        monkeypatch.setattr(write_connection, "PATIENCE_S", PATIENCE_S)
        network.resume()
        await written(ledger)
        assert files_beside(behind.spilled_at) == []
        network.cut()
        late = rows_of(2, 3)
        for row in late:
            ledger.append(row)
        await written(ledger)
        await ledger.close()
    assert_each_once(own_ledgers, place, [*rows, *late])


async def test_a_primary_that_may_only_be_read_counts_as_away(
    own_ledgers: PostgresLedgers, place: PostgresPlace, own_server: PostgresServer
) -> None:
    rows = rows_of(3, 8)
    states: asyncio.Queue[bool] = asyncio.Queue()
    ledger = LedgerWriter(place, on_state=lambda ok, message: states.put_nowait(ok))
    await ledger.start()
    ledger.append(rows[0])
    await written(ledger)
    known = ledger._connection
    own_server.ask("ALTER SYSTEM SET default_transaction_read_only = on")
    try:
        own_server.ask("SELECT pg_reload_conf()")
        async with asyncio.timeout(PATIENCE_S):
            while states.empty():  # the server heeds it a moment later
                ledger.append(row := record(cost_msats=1))
                rows.append(row)
                await ledger.settle(PATIENCE_S)
        for row in rows[1:8]:
            ledger.append(row)
        assert ledger.queued_rows >= 7
    finally:
        own_server.ask("ALTER SYSTEM RESET default_transaction_read_only")
        own_server.ask("SELECT pg_reload_conf()")
    await written(ledger)
    assert (states.get_nowait(), states.get_nowait()) == (False, True)
    assert ledger._connection is not known  # where there are several servers, another one may be the primary now
    await ledger.close()
    assert_each_once(own_ledgers, place, rows)


def test_a_full_disk_passes_and_a_row_that_can_not_be_stored_does_not(place: PostgresPlace) -> None:
    backend = backend_at(place)
    away = (psycopg.errors.DiskFull(), psycopg.errors.ReadOnlySqlTransaction(), psycopg.errors.AdminShutdown())
    assert all(backend.will_pass(error) for error in (*away, psycopg.OperationalError("connection lost"), OSError()))
    assert not any(backend.will_pass(error) for error in (psycopg.DataError(), psycopg.IntegrityError(), ValueError()))


async def test_another_server_takes_over(tmp_path: Path, postgres: PostgresServer) -> None:
    primary = PostgresServer(postgres.binaries)
    standby: PostgresServer | None = None
    try:
        url = primary.new_database()
        name = url.rpartition("/arbstr_")[2].partition("?")[0]
        standby = primary.standby()
        hosts = f"{primary.directory},{standby.directory}"
        either = f"postgresql://arbstr@/arbstr_{name}?host={hosts}&target_session_attrs=read-write"
        place = PostgresPlace.at(either, tmp_path / "arbstr.db")
        rows = rows_of(4, 40)
        ledger = LedgerWriter(place)
        await ledger.start()
        for row in rows[:20]:
            ledger.append(row)
        await written(ledger)
        await asyncio.to_thread(_until_it_follows, primary)
        primary.crash()
        for row in rows[20:]:
            ledger.append(row)
        standby.ask("SELECT pg_promote()")
        await written(ledger)
        await ledger.close()
        assert_each_once(PostgresLedgers(either, tmp_path), place, rows)
    finally:
        for server in (primary, standby):
            if server is not None:
                server.stop()


def _until_it_follows(primary: PostgresServer) -> None:
    """Wait until the standby has all that the primary has acknowledged: it may be behind, and lose it."""
    [(written_upto,)] = primary.ask("SELECT pg_current_wal_lsn()")
    sql = f"SELECT COUNT(*) FROM pg_stat_replication WHERE replay_lsn >= '{written_upto}'"
    while primary.ask(sql) != [(1,)]:
        pass


_CHILD = """
import asyncio, sys
from pathlib import Path
from arbstr.ledger.writer import LedgerWriter
from arbstr.places import PostgresPlace
from tests.support.ledger_builders import record

async def main():
    ledger = LedgerWriter(PostgresPlace.at(sys.argv[1], Path(sys.argv[2])))
    await ledger.start()
    number = 0
    while True:
        ledger.append(record(request_id=f"{sys.argv[3]}-{number}", cost_msats=1))
        number += 1
        if number % 50 == 0:
            await ledger.settle(30)
            print(number, flush=True)

asyncio.run(main())
"""


def test_instances_that_are_killed_leave_whole_batches_and_all_they_were_sure_of(
    own_ledgers: PostgresLedgers, place: PostgresPlace, tmp_path: Path
) -> None:
    acknowledged = {}
    for name in ("one", "two"):
        command = [sys.executable, "-c", _CHILD, place.url.reveal(), str(tmp_path / "x"), name]
        with started(command, cwd=TOP, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            for _ in range(3):
                acknowledged[name] = int(child.stdout.readline())
            os.kill(child.pid, signal.SIGKILL)  # wherever its next batch is
            child.wait()
    with asked(own_ledgers, place) as queries:
        overall = queries.stats(Filter()).overall
        assert overall.total == overall.cost_msats == queries.count(Filter()) >= sum(acknowledged.values())
    sql = "SELECT split_part(correlation_id, '-', 1), COUNT(DISTINCT correlation_id) FROM requests GROUP BY 1"
    there = dict(own_ledgers.read(place, sql))
    assert all(there[name] >= count for name, count in acknowledged.items())


async def test_clocks_that_are_minutes_apart_lose_nothing_but_a_day_that_is_over(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    midnight = NOON + 12 * HOUR
    fast, slow = (
        LedgerWriter(place, keep_days=2, clock=lambda shift=shift: (midnight + shift) / 1000)  # type: ignore[misc]  # a lambda with a default
        for shift in (10 * MINUTE, -10 * MINUTE)
    )
    rows = [record(received_at_ms=midnight - n * DAY + shift) for n in range(4) for shift in (-MINUTE, MINUTE)]
    for ledger, some in ((fast, rows[::2]), (slow, rows[1::2])):
        await ledger.start()
        for row in some:
            ledger.append(row)
        await written(ledger)
    for ledger in (fast, slow, fast):
        ledger._prune_at = 0
        ledger.append(row := record(received_at_ms=midnight))
        rows.append(row)
        await written(ledger)
    await asyncio.gather(fast.close(), slow.close())
    kept = [row for row in rows if row.received_at_ms >= midnight - 2 * DAY]  # by the fast clock: it is tomorrow there
    with closing(own_ledgers.connect(place)) as queries:
        assert queries.count(Filter()) == len(kept)
        assert queries.stats(Filter()).overall.total == len(rows)


async def test_rows_that_wait_for_the_same_database_by_another_url_are_named(
    own_ledgers: PostgresLedgers, place: PostgresPlace, caplog: pytest.LogCaptureFixture
) -> None:
    before = PostgresPlace.at("postgresql://old.example/arbstr", place.local)
    ledger = LedgerWriter(before)
    ledger.append(row := record(cost_msats=1))
    assert await ledger._put_aside(list(ledger._waiting.values())) == 1
    [stray] = files_beside(before.spilled_at)
    await write_rows(place, [])
    assert f"such as {stray}; if it is this one, rename them to begin with {place.spilled_at.name}" in caplog.text
    stray.rename(place.spilled_at.with_name(stray.name.replace(before.spilled_at.name, place.spilled_at.name)))
    again = LedgerWriter(place)
    await again.start()
    await written(again)
    await again.close()
    assert_each_once(own_ledgers, place, [row])


def test_limits_that_a_database_has_for_other_programs_are_not_arbstrs(
    own_ledgers: PostgresLedgers, place: PostgresPlace
) -> None:
    limits = ["statement_timeout", "lock_timeout", "idle_session_timeout", "idle_in_transaction_session_timeout"]
    settings = {**dict.fromkeys(limits, "1h"), "default_transaction_isolation": "serializable"}
    [(name,)] = own_ledgers.read(place, "SELECT current_database()")
    with psycopg.connect(place.url.reveal(), autocommit=True) as connection:
        for setting, value in settings.items():
            connection.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'".encode())
    with closing(PostgresConnection(place)) as db:
        found = {setting: db.execute(f"SHOW {setting}").fetchone() for setting in settings}
    assert found == {**dict.fromkeys(limits, ("0",)), "default_transaction_isolation": ("read committed",)}
