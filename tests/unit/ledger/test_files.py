"""Where a ledger is, and who may look into it."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from arbstr.ledger.files import logs_of
from arbstr.ledger.model import Filter
from arbstr.ledger.read_connection import ReadConnection
from arbstr.ledger.writer import LedgerWriter
from tests.support.ledger_builders import first_ledger, insert, record, write


@pytest.fixture(autouse=True)
def _everything_is_allowed() -> Iterator[None]:
    """The umask of a careless system."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(path: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob(f"{path.name}*")}


async def test_a_ledger_and_all_beside_it_are_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    ledger = LedgerWriter(path)
    await ledger.start()
    ledger.append(record())
    await ledger.settle()
    with closing(ReadConnection(path)) as questions:
        assert questions.count(Filter()) == 1
        found = modes(path)
    await ledger.close()
    assert {"arbstr.db", "arbstr.db-wal", "arbstr.db-shm", "arbstr.db-session-1"} == set(found)
    assert set(found.values()) == {0o600}
    assert set(modes(path).values()) == {0o600}


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o640, 0o604, 0o755])
async def test_what_others_could_open_is_taken_from_them_and_said_once(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "arbstr.db"
    first_ledger(path)
    insert(path)
    path.chmod(mode)
    caplog.set_level(logging.INFO, "arbstr.ledger.files")
    await write(path, [record()])
    await write(path, [record()])
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    [line] = caplog.messages
    assert str(path) in line
    assert f"{mode:04o}" in line


async def test_logs_that_a_crash_left_are_tightened_too(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    await write(path, [record()])
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        with other:
            other.execute("CREATE TABLE kept (id INTEGER)")
        for log in logs_of(path):
            log.chmod(0o644)
        ledger = LedgerWriter(path)
        await ledger.start()
        assert set(modes(path).values()) == {0o600}
        await ledger.close()


async def test_a_ledger_behind_a_link_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    link = tmp_path / "arbstr.db"
    link.symlink_to(tmp_path / "elsewhere.db")
    await write(link, [record()])
    assert stat.S_IMODE((tmp_path / "elsewhere.db").stat().st_mode) == 0o600


async def test_the_file_of_another_user_is_left_as_it_is_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "arbstr.db"
    first_ledger(path)
    path.chmod(0o664)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    await write(path, [record()])
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    assert "one of them owns it" in caplog.text


@pytest.mark.parametrize("name", [b"\xff\xfe", b"caf\xe9", "bücher ☕".encode(), b"a?b#c%41"])
async def test_a_ledger_may_lie_under_a_directory_of_any_name(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name) / "arbstr.db"
    path.parent.mkdir()
    await write(path, [record()])
    with closing(ReadConnection(path)) as questions:
        assert questions.count(Filter()) == 1
    assert {file.name.partition("-")[0] for file in path.parent.iterdir()} == {"arbstr.db"}
