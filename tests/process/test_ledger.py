"""A ledger that is full, locked, read-only, gone or broken under a running arbstr: no request fails, no row is lost."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.serve_process import ServeProcess, eventually

CONFIG = """
[[mock.providers]]
name = "mock-a"
models = ["gpt-4o"]
tokens_per_second = 0
delay_ms = 0

[logging]
log_requests = false
"""
BOUND_BY_MODES = (
    ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
)  # to root no file is read-only


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path / "arbstr.db"


@contextmanager
def serving(path: Path, under: list[str] | None = None) -> Iterator[ServeProcess]:
    """An arbstr that keeps this ledger; at its end it stops in good order, and the ledger is sound."""
    options = ("-c", "config.toml", "--mock")
    with ServeProcess(path.parent, *options, env={"DATABASE_URL": str(path)}, under=under or []) as arbstr:
        yield arbstr
        assert arbstr.stop() == 0
        assert "Traceback" not in arbstr.stderr
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "SELECT COUNT(*) FROM requests WHERE open <> 0") == [(0,)]


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def count(path: Path) -> int:
    [(total,)] = rows(path, "SELECT COUNT(DISTINCT correlation_id) FROM requests")
    assert isinstance(total, int)
    return total


def ask(arbstr: ServeProcess, times: int = 1) -> None:
    for number in range(times):
        assert arbstr.chat(stream=number % 2 == 1).status_code == 200


def waits(arbstr: ServeProcess) -> bool:
    return "wait in memory" in arbstr.stderr


def has_written_again(arbstr: ServeProcess) -> bool:
    return "writable again" in arbstr.stderr


def limit_files(arbstr: ServeProcess, size: int) -> None:
    """No file may grow beyond this, which is as a full disk to a database."""
    hard = resource.prlimit(arbstr.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(arbstr.process.pid, resource.RLIMIT_FSIZE, (size, hard))


def test_on_a_full_disk_rows_wait_in_memory_until_there_is_room(path: Path) -> None:
    with serving(path) as arbstr:
        ask(arbstr, 5)
        limit_files(arbstr, 100_000)
        asked = 5
        while not waits(arbstr):
            ask(arbstr)
            asked += 1
            assert asked < 2000
        ask(arbstr, 20)
        assert arbstr.stderr.count("wait in memory") == arbstr.stderr.count("writable again") + 1
        limit_files(arbstr, resource.RLIM_INFINITY)
        eventually(lambda: arbstr.stderr.count("wait in memory") == arbstr.stderr.count("writable again"))
        ask(arbstr)
        assert arbstr.get("/v1/stats")["counts"]["total"] == asked + 21
    assert count(path) == asked + 21


def test_a_ledger_that_another_program_has_locked_gets_its_rows_later(path: Path) -> None:
    with serving(path) as arbstr:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            ask(arbstr, 3)
            eventually(lambda: waits(arbstr))
            ask(arbstr, 3)
            assert arbstr.get("/v1/stats")["counts"]["total"] == 0
            other.execute("ROLLBACK")
        eventually(lambda: has_written_again(arbstr))
        assert arbstr.get("/v1/stats")["counts"]["total"] == 6
        assert arbstr.stderr.count("wait in memory") == 1
    assert count(path) == 6


def test_rows_that_wait_when_it_is_stopped_are_there_at_the_next_start(path: Path) -> None:
    """Another process holds the lock at SIGTERM, for longer than arbstr waits."""
    with serving(path) as arbstr:
        ask(arbstr)
    options = ("-c", "config.toml", "--mock")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with ServeProcess(path.parent, *options, env={"DATABASE_URL": str(path)}) as arbstr:
            ask(arbstr, 3)
            assert arbstr.stop() == 0
            assert "3 rows could not be written" in arbstr.stderr
            assert "will be written at the next start" in arbstr.stderr
        other.execute("ROLLBACK")
    assert count(path) == 1
    with serving(path) as arbstr:
        assert arbstr.get("/v1/stats")["counts"]["total"] == 4
        assert arbstr.get("/v1/requests")["total"] == 4
    with serving(path) as arbstr:
        assert arbstr.get("/v1/stats")["counts"]["total"] == 4
    assert count(path) == 4


def test_on_a_disk_that_stays_full_rows_are_there_at_the_next_start(path: Path) -> None:
    with serving(path) as arbstr:
        ask(arbstr, 5)
    options = ("-c", "config.toml", "--mock")
    with ServeProcess(path.parent, *options, env={"DATABASE_URL": str(path)}) as arbstr:
        limit_files(arbstr, 60_000)
        asked = 0
        while not waits(arbstr):
            ask(arbstr)
            asked += 1
            assert asked < 2000
        assert arbstr.stop() == 0
    with serving(path) as arbstr:
        assert arbstr.get("/v1/stats")["counts"]["total"] == asked + 5
    assert count(path) == asked + 5


def test_names_that_clients_make_up_stay_out_of_the_sums_and_are_found_all_the_same(path: Path) -> None:
    def sizes() -> list[tuple[Any, ...]]:
        return rows(path, "SELECT (SELECT COUNT(*) FROM facets), (SELECT COUNT(*) FROM rollups)")

    with serving(path) as arbstr:
        ask(arbstr)
        assert arbstr.chat("made-up-0").status_code == 404
        assert arbstr.get("/v1/stats")["counts"] == {"total": 2, "success": 1, "error": 1, "streaming": 0}
        before = sizes()
        for n in range(1, 20):
            assert arbstr.chat(f"made-up-{n}", stream=n % 2 == 0).status_code == 404
        one = arbstr.get("/v1/stats?model=Made-Up-7&group_by=provider")
        assert (one["counts"]["error"], one["providers"]["(none)"]["counts"]["total"]) == (1, 1)
        assert [row["model"] for row in arbstr.get("/v1/requests?model=made-up-7")["data"]] == ["made-up-7"]
        models = arbstr.get("/v1/stats?group_by=model")["models"]
        assert {name for name in models if name.startswith("made-up-")} == {f"made-up-{n}" for n in range(20)}
        assert sizes()[0][0] == before[0][0] + 2  # facets: for streams, of outcomes and of rows
    assert sizes()[0][1] <= before[0][1] + 8  # an hour may have begun


def test_arbstr_starts_on_a_ledger_that_is_locked_altogether(path: Path) -> None:
    with serving(path) as arbstr:
        ask(arbstr)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with serving(path) as arbstr:
            ask(arbstr, 2)
            assert waits(arbstr)
            other.execute("ROLLBACK")
            other.close()
            eventually(lambda: has_written_again(arbstr))
    assert count(path) == 3


@pytest.mark.parametrize("read_only", ["the file", "the directory"])
def test_a_read_only_ledger_gets_its_rows_once_it_can_be_written(path: Path, read_only: str) -> None:
    with serving(path) as arbstr:
        ask(arbstr)
    home = path.parent / "read-only"
    home.mkdir()
    moved = path.rename(home / path.name)
    locked, mode = (moved, 0o444) if read_only == "the file" else (home, 0o555)
    locked.chmod(mode)
    options = ("-c", "config.toml", "--mock")
    with ServeProcess(path.parent, *options, env={"DATABASE_URL": str(moved)}, under=BOUND_BY_MODES) as arbstr:
        ask(arbstr, 2)
        eventually(lambda: waits(arbstr))
        assert count(moved) == 1
        locked.chmod(0o755)
        eventually(lambda: has_written_again(arbstr))
        assert arbstr.get("/v1/stats")["counts"]["total"] == 3
        assert arbstr.stop() == 0
    assert count(moved) == 3


def test_the_log_of_a_ledger_that_was_read_only_does_not_keep_it_so(path: Path) -> None:
    """SQLite gives the log's files the permissions that the database had, and finds them at the next try."""
    with serving(path) as arbstr:
        ask(arbstr)
    path.chmod(0o444)
    options = ("-c", "config.toml", "--mock")
    with ServeProcess(path.parent, *options, env={"DATABASE_URL": str(path)}, under=BOUND_BY_MODES) as arbstr:
        ask(arbstr, 2)
        eventually(lambda: waits(arbstr))
        assert f"no permission to write to {path}." in arbstr.stderr
        eventually(lambda: Path(f"{path}-shm").exists())
        path.chmod(0o644)
        eventually(lambda: has_written_again(arbstr))
        assert {log.stat().st_mode & 0o777 for log in (Path(f"{path}-wal"), Path(f"{path}-shm"))} == {0o600}
        assert arbstr.stop() == 0
    assert count(path) == 3


@pytest.mark.parametrize("suffixes", [("",), ("-wal",), ("-shm",), ("", "-wal", "-shm")], ids="+".join)
def test_a_ledger_that_is_deleted_while_in_use_is_created_again(path: Path, suffixes: tuple[str, ...]) -> None:
    with serving(path) as arbstr:
        ask(arbstr, 3)
        assert arbstr.get("/v1/stats")["counts"]["total"] == 3  # readers have it open, too
        for suffix in suffixes:
            Path(f"{path}{suffix}").unlink()
        ask(arbstr, 4)
        if "" in suffixes:
            eventually(lambda: "deleted or replaced" in arbstr.stderr and has_written_again(arbstr))
            assert arbstr.get("/v1/stats")["counts"]["total"] == 4
    assert count(path) >= 4


def test_a_ledger_that_is_replaced_under_it_is_used_from_then_on(path: Path) -> None:
    with serving(path) as arbstr:
        ask(arbstr, 3)
    saved = path.rename(path.with_name("saved.db"))
    with serving(path) as arbstr:
        ask(arbstr, 5)
        assert arbstr.get("/v1/stats")["counts"]["total"] == 5
        saved.rename(path)
        ask(arbstr)
        eventually(lambda: has_written_again(arbstr))
        assert arbstr.get("/v1/stats")["counts"]["total"] == 4
    assert count(path) == 4


def test_a_ledger_that_is_none_is_set_aside_and_a_new_one_begun(path: Path) -> None:
    path.write_bytes(b"this is no database at all" * 1000)
    with serving(path) as arbstr:
        ask(arbstr)
        assert "set aside as" in arbstr.stderr
    (aside,) = path.parent.glob("arbstr.db.corrupt-*")
    assert aside.read_bytes().startswith(b"this is no database")
    assert count(path) == 1


def test_a_ledger_that_is_overwritten_under_it_is_set_aside_and_a_new_one_begun(path: Path) -> None:
    with serving(path) as arbstr:
        ask(arbstr, 3)
    with serving(path) as arbstr:
        with path.open("r+b") as file:
            file.seek(8192)
            file.write(b"nonsense" * 20_000)
        ask(arbstr, 3)
        eventually(lambda: "set aside as" in arbstr.stderr and has_written_again(arbstr))
        ask(arbstr)
    assert list(path.parent.glob("arbstr.db.corrupt-*"))
    assert count(path) == 4
