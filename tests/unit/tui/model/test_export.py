"""What is filtered, as a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import Filter
from tests.support.dashboard_fakes import NOON, FakeLedger, Traffic
from tui.model.export import export, file_name


@pytest.fixture
def ledger() -> FakeLedger:
    fake, traffic = FakeLedger(), Traffic()
    fake.records = [traffic.request(NOON - number * 1000)[1].record for number in range(450)]
    return fake


def test_names_say_what_and_when() -> None:
    assert file_name("csv", NOON, filtered=False) == "arbstr-requests-20250314T140211Z.csv"
    assert file_name("json", NOON, filtered=True) == "arbstr-requests-filtered-20250314T140211Z.json"


async def test_csv_holds_every_row_with_titles(ledger: FakeLedger, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    assert await export(ledger, Filter(), "timestamp", "desc", path) == 450
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    record = ledger.records[0]
    assert len(rows) == 450
    assert rows[0]["request_id"] == record.request_id
    assert float(rows[0]["cost_sats"]) * 1000 == record.cost_msats
    assert {row["success"] for row in rows} == {"true", "false"}


async def test_json_is_an_array_of_one_row_a_line(ledger: FakeLedger, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    await export(ledger, Filter(success=False), "timestamp", "asc", path)
    rows = json.loads(path.read_text())
    failed = [record for record in ledger.records if not record.success]
    assert [row["request_id"] for row in rows] == [record.request_id for record in reversed(failed)]
    assert rows[0]["error"]["status"] == 502
    assert len(path.read_text().splitlines()) == len(rows) + 2


async def test_no_rows_are_an_empty_array(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    assert await export(FakeLedger(), Filter(), "timestamp", "desc", path) == 0
    assert json.loads(path.read_text()) == []


async def test_a_file_that_exists_is_not_written_over(ledger: FakeLedger, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        await export(ledger, Filter(), "timestamp", "desc", path)
    assert path.read_text() == "mine"


async def test_half_a_file_is_not_left_behind(ledger: FakeLedger, tmp_path: Path) -> None:
    ledger.problem = "gone"
    with pytest.raises(LedgerUnavailable):
        await export(ledger, Filter(), "timestamp", "desc", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
