"""An older ledger under a running arbstr: adopted beside its requests, whatever ends it meanwhile."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.process.test_ledger import CONFIG, rows
from tests.support.ledger_builders import first_ledger
from tests.support.serve_process import ServeProcess, eventually
from tests.unit.ledger.test_adoption import many_rows, rollups

ROWS = 30_000
EVERYTHING = "since=2000-01-01T00:00:00Z"
LEFT = "SELECT COUNT(*) FROM requests WHERE facet IS NULL"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(CONFIG)
    path = tmp_path / "arbstr.db"
    first_ledger(path)
    many_rows(path, ROWS)
    return path


def served(path: Path) -> ServeProcess:
    return ServeProcess(
        path.parent, "-c", "config.toml", "--mock", env={"DATABASE_URL": str(path), "ARBSTR_LOG": "info"}
    )


def total(arbstr: ServeProcess) -> int:
    counted: int = arbstr.get(f"/v1/stats?{EVERYTHING}")["counts"]["total"]
    return counted


def is_counted(arbstr: ServeProcess, wanted: int) -> bool:
    """Whether as many are counted and no more: at once, save on a busy machine."""
    return eventually(lambda: total(arbstr) >= wanted) and total(arbstr) == wanted


def is_adopted(path: Path) -> Callable[[], bool]:
    return lambda: rows(path, LEFT) == [(0,)]


def test_requests_are_served_and_counted_while_old_rows_are_adopted_and_the_log_says_how_far(path: Path) -> None:
    with served(path) as arbstr:
        asked = 0
        while not is_adopted(path)():
            assert arbstr.chat().status_code == 200
            asked += 1
            assert is_counted(arbstr, ROWS + asked)
            listed = arbstr.get("/v1/requests")
            assert listed["data"][0]["model"] == "gpt-4o"
        eventually(lambda: f"{ROWS:,} rows of an earlier arbstr are adopted" in arbstr.stderr)
        assert f"adopting {ROWS:,} rows of an earlier arbstr" in arbstr.stderr
        assert total(arbstr) == ROWS + asked
        assert arbstr.stop() == 0


def test_an_adoption_that_is_killed_again_and_again_ends_with_the_sums_of_a_rebuild(path: Path) -> None:
    for killed_after_s in (0.02, 0.05, 0.1, 0.2):
        with served(path) as arbstr:
            time.sleep(killed_after_s)
            arbstr.process.kill()
            arbstr.process.wait()
    with served(path) as arbstr:
        assert total(arbstr) == ROWS
        eventually(is_adopted(path))
        assert total(arbstr) == ROWS
        assert arbstr.stop() == 0
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    adopted = rollups(path)
    subprocess.run([sys.executable, "-m", "arbstr", "db", "rebuild"], env={"DATABASE_URL": str(path)}, check=True)
    assert rollups(path) == adopted


@pytest.mark.slow
def test_answers_take_a_tenth_of_a_second_while_half_a_million_rows_are_adopted(path: Path) -> None:
    many_rows(path, 500_000 - ROWS)
    times: list[float] = []
    with served(path) as arbstr, httpx.Client(base_url=arbstr.url) as client:
        while not is_adopted(path)():
            for question in (f"stats?{EVERYTHING}", "stats", "requests", "requests?page=5"):
                began = time.monotonic()
                client.get(f"/v1/{question}")
                times.append(time.monotonic() - began)
            time.sleep(0.01)
        assert arbstr.stop() == 0
    assert sorted(times)[int(len(times) * 0.95)] < 0.1
