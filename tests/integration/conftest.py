"""A proxy harness for each test: scripted providers and a whole arbstr, on the event loop that arbstr runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop

from arbstr.runtime import process
from tests.support.harness import ProxyHarness


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProxyHarness]:
    # The heap that arbstr would freeze at its start is the test run's here.
    monkeypatch.setattr(process, "freeze_gc", lambda: None)
    async with ProxyHarness(tmp_path / "arbstr.db") as made:
        yield made
