"""Ledgers and processes: crashes, two at once, disks that are full or read-only."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from arbstr.ledger.model import Filter
from arbstr.ledger.read_connection import ReadConnection
from arbstr.ledger.writer import LedgerWriter
from tests.support.ledger_builders import read, record, write
from tests.support.processes import end


class Child:
    """A process with a ledger of its own."""

    def __init__(self, path: Path, *options: str) -> None:
        command = [sys.executable, "-m", "tests.support.ledger_child", str(path), *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.states: list[str] = []

    def do(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        self._until_ok()

    def _until_ok(self) -> None:
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline().strip()) != "ok":
            assert line.startswith("state"), f"the child has ended: {line!r}"
            self.states.append(line.removeprefix("state "))

    def __enter__(self) -> Child:
        try:
            self._until_ok()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        end(self.process)


OPEN = "SELECT correlation_id, open > 0, success, error_status, error_message FROM requests ORDER BY id"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arbstr.db"


async def test_rows_that_a_crash_left_open_are_closed_as_interrupted_at_the_next_start(path: Path) -> None:
    with Child(path) as child:
        child.do("begin broken")
        child.do("begin ended")
        child.do("append ended")
        child.kill()
    await write(path, [])
    said = "interrupted: arbstr stopped before the answer had ended"
    assert read(path, OPEN) == [("broken", 0, 0, 500, said), ("ended", 0, 1, None, None)]
    unknown = read(path, "SELECT stream_duration_ms FROM requests WHERE correlation_id = 'broken'")
    assert unknown == [(None,)], "nobody knows how long it went on"
    assert list(path.parent.glob("*session*")) == []
    await write(path, [record()])
    with closing(ReadConnection(path)) as questions:
        figures = questions.stats(Filter()).overall
    assert (figures.total, figures.success) == (3, 2)


async def test_what_an_interrupted_stream_may_have_cost_is_spent(path: Path) -> None:
    """It stands in the row from its opening on; a crashed process settled nothing."""
    ledger = LedgerWriter(path)
    await ledger.start()
    ledger.begin(record(request_id="broken", streaming=True, cost_msats=None, doubtful_msats=901))
    ledger.append(record(request_id="ended", cost_msats=420))
    await ledger.close()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE requests SET open = 77 WHERE correlation_id = 'broken'")  # of a session that is dead
    await write(path, [])
    with closing(ReadConnection(path)) as questions:
        assert questions.spent_msats(Filter()) == 420 + 901
        assert questions.stats(Filter()).overall.cost_msats == 420


async def test_a_second_arbstr_leaves_the_open_rows_of_the_first_alone(path: Path) -> None:
    with Child(path) as first, Child(path) as second:
        first.do("begin stream")
        second.do("begin other")
        second.do("close")
        await write(path, [])  # a third one starts and ends
        assert read(path, OPEN)[0] == ("stream", 1, 1, None, None)
        assert read(path, OPEN)[1][1:4] == (0, 0, 500)
        first.do("append stream")
        assert read(path, OPEN)[0] == ("stream", 0, 1, None, None)


def test_two_processes_add_to_the_same_sums(path: Path) -> None:
    with Child(path) as first, Child(path) as second:
        for number in range(10):
            first.do(f"append first-{number}")
            second.do(f"append second-{number}")
        assert (first.states, second.states) == ([], [])
    assert read(path, "SELECT COUNT(DISTINCT id) FROM requests") == [(20,)]
    assert read(path, "SELECT total, cost_msats FROM rollups WHERE facet = 0") == [(20, 8400)] * 2


def test_on_a_full_disk_rows_wait_and_are_written_when_there_is_room(path: Path) -> None:
    with Child(path) as child:
        child.do("fill 50")
        size = sum(file.stat().st_size for file in path.parent.glob("arbstr.db*"))
        child.do(f"limit {size}")
        child.do("fill 2000")
        child.do("append last")
        assert [state.split()[0] for state in child.states] == ["False"]
        assert read(path, "SELECT COUNT(*) FROM requests WHERE correlation_id = 'last'") == [(0,)]
        child.do("limit none")
        child.do("close")
    assert [state.split()[0] for state in child.states] == ["False", "True"]
    assert read(path, "SELECT COUNT(*) FROM requests") == [(2051,)]
    assert read(path, "SELECT total FROM rollups WHERE facet = 0") == [(2051,)] * 2


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody may enter, and only its owner write to."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o555)
        yield Path(directory)
        Path(directory).chmod(0o755)


def test_on_a_read_only_database_it_starts_and_says_so_once(tmp_path: Path, open_directory: Path) -> None:
    asyncio.run(write(tmp_path / "arbstr.db", [record()]))
    path = open_directory / "arbstr.db"
    open_directory.chmod(0o755)
    (tmp_path / "arbstr.db").rename(path)
    path.chmod(0o444)
    open_directory.chmod(0o555)
    with Child(path, "nobody") as child:
        child.do("append one")
        child.do("wait 0.3")
        child.do("append two")
        [state] = child.states
        assert state.startswith("False")
    assert read(path, "SELECT COUNT(*) FROM requests") == [(1,)]
