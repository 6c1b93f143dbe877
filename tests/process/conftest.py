"""One arbstr for each module: what one test's provider does to it must not show in the next.

Coverage costs a process a third of its start: it is measured where nothing else runs what the process runs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.support.faulty_provider import FaultyProviderHarness, faulty_provider_harness


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def faulty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FaultyProviderHarness]:
    async with faulty_provider_harness(tmp_path_factory.mktemp("faulty")) as made:
        yield made


MEASURED = {"test_serve", "test_dashboard_program", "test_dashboard_life", "test_cli", "test_money_kills"}


@pytest.fixture(scope="module", autouse=True)
def _unmeasured(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        if request.path.stem not in MEASURED:
            environment.setenv("COVERAGE_PROCESS_CONFIG", "")
        yield
