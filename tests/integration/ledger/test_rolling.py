"""Instances of two versions on one ledger in PostgreSQL: while they are updated one after the other, and not after."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from arbstr.errors import LedgerUnavailable
from arbstr.ledger import writer
from arbstr.ledger.model import Filter
from arbstr.ledger.postgres import schema
from arbstr.ledger.writer import LedgerWriter
from arbstr.places import PostgresPlace
from tests.support.ledger_builders import record
from tests.support.ledgers import PostgresLedgers, asked, write_rows
from tests.support.patience import PATIENCE_S
from tests.support.postgres import PostgresServer

NEXT = schema.LATEST_VERSION + 1


@pytest.fixture
def place(postgres: PostgresServer, tmp_path: Path) -> PostgresPlace:
    """A database that no other test has: another version migrates it."""
    return PostgresPlace.at(postgres.new_database(), tmp_path / "arbstr.db")


def later_version(monkeypatch: pytest.MonkeyPatch, directory: Path, script: str) -> None:
    """Have this arbstr be one that knows one script more; `undo` makes it the earlier one again."""
    path = directory / f"{NEXT:04}_next.sql"
    path.write_text(script)
    monkeypatch.setattr(schema, "_SCRIPTS", [*schema._SCRIPTS, path])
    monkeypatch.setattr(schema, "LATEST_VERSION", NEXT)


async def test_an_earlier_version_goes_on_with_what_a_later_one_has_migrated(
    place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = LedgerWriter(place)
    await early.start()
    early.append(record())
    await early.change(lambda db, rollups: "written")
    later_version(monkeypatch, tmp_path, "ALTER TABLE requests ADD COLUMN region text;")
    late = LedgerWriter(place)
    await late.start()
    late.append(record())
    monkeypatch.undo()
    early.append(record())
    await asyncio.gather(*(each.change(lambda db, rollups: "written") for each in (early, late)))
    assert early.problem is None
    await write_rows(place, [record()])  # also after a restart
    with asked(PostgresLedgers(place.url.reveal(), tmp_path), place) as queries:
        assert queries.count(Filter()) == queries.stats(Filter()).overall.total == 4
        assert queries.info()["schema"] == str(NEXT)
    await asyncio.gather(early.close(), late.close())


async def test_an_earlier_version_stops_where_a_later_one_has_changed_what_it_knows(
    place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = asyncio.Event()
    early = LedgerWriter(place, on_state=lambda ok, message: None if ok else stopped.set())
    await early.start()
    early.append(record())
    await early.change(lambda db, rollups: "written")
    later_version(monkeypatch, tmp_path, f"-- needs {NEXT}\nALTER TABLE requests DROP COLUMN client;")
    late = LedgerWriter(place)
    await late.start()
    await late.close()
    monkeypatch.undo()
    early.append(record())
    async with asyncio.timeout(PATIENCE_S):
        await stopped.wait()
    assert early.queued_rows == 1  # it waits, to be written after the update
    sentence = f"newer arbstr \\(schema {NEXT}, this one knows {NEXT - 1}\\); update arbstr"
    with pytest.raises(LedgerUnavailable, match=sentence):
        await LedgerWriter(place).start()
    monkeypatch.setattr(writer, "_CLOSE_S", 0.0)
    await early.close()


async def test_instances_that_start_at_once_migrate_once(
    place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_rows(place, [record()])
    later_version(monkeypatch, tmp_path, "ALTER TABLE requests ADD COLUMN region text; SELECT pg_sleep(0.05);")
    writers = [LedgerWriter(place) for _ in range(3)]
    await asyncio.gather(*(writer.start() for writer in writers))  # a second time the script would fail
    assert [writer.problem for writer in writers] == [None] * 3
    await asyncio.gather(*(writer.close() for writer in writers))


async def test_a_migration_that_has_to_wait_for_a_reader_holds_up_no_writer(
    place: PostgresPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_rows(place, [record()])
    early = LedgerWriter(place)
    await early.start()
    monkeypatch.setattr(schema, "_TABLE_WITHIN", "20ms")
    later_version(monkeypatch, tmp_path, "ALTER TABLE requests ADD COLUMN region text;")
    migrated = asyncio.Event()
    late = LedgerWriter(place, on_state=lambda ok, message: migrated.set() if ok else None)
    with psycopg.connect(place.url.reveal()) as reading:
        reading.execute("SELECT COUNT(*) FROM requests")
        await late.start()
        assert "lock timeout" in (late.problem or "")
        early.append(record())
        assert await early.change(lambda db, rollups: "written") == "written"
    async with asyncio.timeout(PATIENCE_S):
        await migrated.wait()
    assert early.problem is None
    await asyncio.gather(early.close(), late.close())
