"""One arbstr for each module: what one test's provider does to it must not show in the next."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.faulty_provider import FaultyProviderHarness, faulty_provider_harness


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def faulty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FaultyProviderHarness]:
    async with faulty_provider_harness(tmp_path_factory.mktemp("faulty")) as made:
        yield made
