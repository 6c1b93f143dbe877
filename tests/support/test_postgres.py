from __future__ import annotations

import pytest

from tests.support import postgres
from tests.support.postgres import PostgresServer, postgres_server


def test_each_test_has_an_empty_database_of_its_own(postgres: PostgresServer) -> None:
    import psycopg

    urls = [postgres.new_database(), postgres.new_database()]
    with psycopg.connect(urls[0]) as connection:
        connection.execute("CREATE TABLE kept (id int)")
    with psycopg.connect(urls[1]) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert found == []


def test_without_a_server_the_reason_for_skipping_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "programs", lambda: None)
    with pytest.raises(pytest.skip.Exception, match="\\.ci/setup postgres"), postgres_server():
        pass
