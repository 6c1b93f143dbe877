"""One arbstr for each module: what one test's provider does to it must not show in the next.

Coverage costs a process a third of its start: it is measured where a test asks for it by the fixture `measured`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.support.faulty_provider import FaultyProviderHarness, faulty_provider_harness

MEASURING = "COVERAGE_PROCESS_CONFIG"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def faulty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FaultyProviderHarness]:
    async with faulty_provider_harness(tmp_path_factory.mktemp("faulty")) as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def _unmeasured() -> Iterator[str]:
    """What has processes measured, which they do not see."""
    measuring = os.environ.get(MEASURING, "")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(MEASURING, "")
        yield measuring


@pytest.fixture
def measured(_unmeasured: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the coverage of processes too: nothing else runs what they run."""
    monkeypatch.setenv(MEASURING, _unmeasured)
