"""Each test here runs on either database: what one does the other does."""

from __future__ import annotations

import pytest

from tests.support.ledgers import Ledgers, PostgresLedgers, SqliteLedgers


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ledgers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ledgers:
    directory = tmp_path_factory.mktemp("ledgers")
    if request.param == "sqlite":
        return SqliteLedgers(directory)
    return PostgresLedgers(request.getfixturevalue("postgres").new_database(), directory)
