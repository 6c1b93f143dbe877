"""A proxy harness for each test: scripted providers and a whole arbstr, on the event loop that arbstr runs on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from arbstr.runtime import process
from tests.support.harness import ProxyHarness


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def harness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[ProxyHarness]:
    # The heap that arbstr would freeze at its start is the test run's here.
    monkeypatch.setattr(process, "freeze_gc", lambda: None)
    async with ProxyHarness(tmp_path / "arbstr.db") as made:
        yield made
    # What goes wrong after the client has left no answer shows.
    faults = [*caplog.get_records("setup"), *caplog.get_records("call")]
    assert [
        each.getMessage() for each in faults if each.name == "aiohttp.server" and each.levelno >= logging.ERROR
    ] == []
