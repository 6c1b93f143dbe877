"""One arbstr for each module: what one test's provider does to it must not show in the next."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.faulty_provider import Troubled, in_trouble


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def troubled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Troubled]:
    async with in_trouble(tmp_path_factory.mktemp("troubled")) as made:
        yield made
