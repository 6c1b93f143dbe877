"""The soak itself: that it runs, finds nothing wrong with arbstr, and would notice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.perf.soak import __main__ as command
from tests.perf.soak.clients import Seen
from tests.perf.soak.verdict import faults_of_clients, faults_of_ledger

ROW = ("id-1", True, None, 0)


def ledger(home: Path, *rows: tuple[str, bool, int | None, int]) -> Path:
    path = home / "ledger.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE requests (correlation_id, success, error_status, open)")
        db.executemany("INSERT INTO requests VALUES (?, ?, ?, ?)", rows)
        db.commit()
    return path


def seen(status: int = 200, *, whole: bool = True, kind: str = "usual") -> list[Seen]:
    return [Seen(kind, "id-1", status, whole)]


def test_a_short_one_finds_no_error_row_or_temporary_file_that_should_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only a long one can tell whether memory is flat, and idle connections are kept for a minute.
    monkeypatch.setattr(command, "growth", lambda curve: [])
    monkeypatch.setattr(command, "left_over", lambda arbstr, before: [])
    assert command.soak(tmp_path, 300, 20) == []


@pytest.mark.parametrize(
    ("clients", "rows"),
    [
        pytest.param(seen(), [ROW], id="whole"),
        pytest.param(seen(404), [("id-1", False, 404, 0)], id="refused"),
        pytest.param(seen(whole=False), [("id-1", False, 502, 0)], id="broke off"),
        pytest.param(seen(whole=False, kind="leaver"), [("id-1", False, 499, 0)], id="left"),
        pytest.param([Seen("early_leaver")], [("id-2", False, 499, 0)], id="left before the answer"),
    ],
)
def test_rows_that_are_as_clients_saw_it_pass(
    tmp_path: Path, clients: list[Seen], rows: list[tuple[str, bool, int | None, int]]
) -> None:
    assert faults_of_ledger(ledger(tmp_path, *rows), clients) == []


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="none"),
        pytest.param([ROW, ROW], id="two"),
        pytest.param([("id-1", True, None, 1)], id="open"),
        pytest.param([("id-1", False, 502, 0)], id="another end"),
        pytest.param([("id-1", True, 502, 0)], id="success and an error"),
        pytest.param([("id-2", True, None, 0)], id="somebody else's"),
    ],
)
def test_rows_that_are_not_as_the_client_saw_it_are_noticed(
    tmp_path: Path, rows: list[tuple[str, bool, int | None, int]]
) -> None:
    assert faults_of_ledger(ledger(tmp_path, *rows), seen())


def test_undeserved_errors_and_growing_memory_are_noticed() -> None:
    assert faults_of_clients([Seen("usual", wrong="status 503")] * 2) == ["usual: status 503, 2 times"]
    assert command.growth([60, 70, 71, 72, 71, 72]) == []
    assert command.growth([60, 70, 71, 72, 71, 90])
