"""A proxy harness for each test: scripted providers and a whole arbstr, on the event loop that arbstr runs on."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from functools import cache, partialmethod
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import uvloop

from arbstr.engine.routing import policy
from arbstr.ledger.writer import LedgerWriter
from arbstr.runtime import process
from tests.support.harness import ProxyHarness
from tests.support.ledger_builders import write
from tests.support.patience import PATIENCE_S

installed = cache(entry_points)  # asked at each start of arbstr, and read from the files of all packages


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be copied: making one takes longer than most requests."""
    path = tmp_path_factory.mktemp("empty") / "arbstr.db"
    asyncio.run(write(path, []))
    return path


@pytest.fixture
async def harness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, empty_ledger: Path
) -> AsyncIterator[ProxyHarness]:
    # The heap that arbstr would freeze at its start is the test run's here.
    monkeypatch.setattr(process, "freeze_gc", lambda: None)
    monkeypatch.setattr(policy, "entry_points", installed)
    # Rows are waited for, not for a moment only.
    monkeypatch.setattr(LedgerWriter, "settle", partialmethod(LedgerWriter.settle, PATIENCE_S))
    shutil.copy(empty_ledger, tmp_path / "arbstr.db")
    async with ProxyHarness(tmp_path / "arbstr.db") as made:
        yield made
    # What goes wrong after the client has left no answer shows.
    faults = [*caplog.get_records("setup"), *caplog.get_records("call")]
    assert [
        each.getMessage() for each in faults if each.name == "aiohttp.server" and each.levelno >= logging.ERROR
    ] == []
