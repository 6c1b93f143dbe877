"""What is remembered of a dashboard: in a small file, whatever is in it already."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
from pathlib import Path

import pytest

from tui.model.habits import MOST_BYTES, Habits


async def keep(habits: Habits, **choices: str | bool) -> None:
    """Remember choices, and wait until they are written."""
    for name, value in choices.items():
        habits.keep(name, value)
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_what_is_kept_is_there_the_next_time_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "dashboard.json"
    await keep(Habits(path), theme="nord", utc=True)
    assert Habits(path).text("theme") == "nord"
    assert Habits(path).flag("utc") is True
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"\xff\xfe",
        b"[1, 2]",
        b'"nord"',
        b"{",
        b'{"theme": 3, "utc": "yes", "columns": [1]}',
        b"[" * 5000,
        b'{"theme": "' + b"x" * MOST_BYTES + b'"}',
    ],
)
async def test_rubbish_is_as_good_as_nothing_and_is_replaced(tmp_path: Path, written: bytes) -> None:
    path = tmp_path / "dashboard.json"
    path.write_bytes(written)
    habits = Habits(path)
    assert (habits.text("theme"), habits.flag("utc"), habits.texts("columns")) == (None, None, None)
    await keep(habits, theme="nord")
    assert Habits(path).text("theme") == "nord"


async def test_what_another_version_or_another_dashboard_has_written_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "dashboard.json"
    path.write_text('{"theme": "dark", "of tomorrow": {"a": [1]}}')
    habits = Habits(path)
    path.write_text('{"theme": "dark", "of tomorrow": {"a": [1]}, "range": "7 d"}')
    await keep(habits, theme="light")
    assert json.loads(path.read_text()) == {"theme": "light", "of tomorrow": {"a": [1]}, "range": "7 d"}


async def test_a_run_with_fakes_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "dashboard.json"
    path.write_text('{"theme": "light"}')
    habits = Habits(path, writes=False)
    await keep(habits, theme="dark")
    assert habits.text("theme") == "dark"
    assert path.read_text() == '{"theme": "light"}'


async def test_where_nothing_can_be_written_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file where the directory would be")
    habits = Habits(tmp_path / "state" / "dashboard.json")
    with caplog.at_level(logging.WARNING):
        await keep(habits, theme="nord", range="1 h", utc=True)
    assert [record.message.startswith("what is chosen in the dashboard") for record in caplog.records] == [True]
    assert habits.text("theme") == "nord"
