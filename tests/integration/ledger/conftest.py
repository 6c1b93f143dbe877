"""Tests with `ledgers` run on either database: what one does the other does. `own_ledgers` are in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arbstr.places import PostgresPlace
from tests.support.ledgers import Ledgers, PostgresLedgers, SqliteLedgers
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ledgers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ledgers:
    directory = tmp_path_factory.mktemp("ledgers")
    if request.param == "sqlite":
        return SqliteLedgers(directory)
    return PostgresLedgers(request.getfixturevalue("postgres").new_database(), directory)


@pytest.fixture
def own_ledgers(postgres_url: str, tmp_path: Path) -> PostgresLedgers:
    return PostgresLedgers(postgres_url, tmp_path)


@pytest.fixture
def place(own_ledgers: PostgresLedgers) -> PostgresPlace:
    """An empty database of the test's own."""
    return own_ledgers.place()


@pytest.fixture
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The server, running again afterwards."""
    yield postgres
    if not postgres.runs:
        postgres.start()
