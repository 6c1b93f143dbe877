"""arbstr with its ledger in PostgreSQL: away, killed, two at once; no request fails, no row is lost."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.support.postgres import PASSWORD, PostgresServer
from tests.support.serve_process import ServeProcess, chat, eventually

CONFIG = """
[[mock.providers]]
name = "mock-a"
models = ["gpt-4o"]
tokens_per_second = 0
delay_ms = 0

[[mock.providers]]
name = "mock-slow"
models = ["slow"]
tokens_per_second = 1
delay_ms = 0
"""


BUDGET = """
[budget]
max_sats_per_month = 100
"""


def serving(home: Path, url: str) -> ServeProcess:
    return ServeProcess(home, "-c", "config.toml", "--mock", env={"DATABASE_URL": url})


def until_refused(*instances: ServeProcess) -> httpx.Response:
    """Ask until a budget refuses; return the refusal."""
    for _ in range(1000):
        for arbstr in instances:
            answer = arbstr.chat()
            if answer.status_code != 200:
                assert answer.status_code == 402, answer.text
                return answer
    raise AssertionError("no budget has refused")


def spent_sats(url: str) -> float:
    with psycopg.connect(url) as connection:
        [sats] = connection.execute("SELECT COALESCE(SUM(cost_sats), 0) FROM requests").fetchone() or (0,)
    return float(sats)


def total(arbstr: ServeProcess) -> int:
    counted: int = arbstr.get("/v1/stats")["counts"]["total"]
    return counted


def open_rows(url: str) -> int:
    with psycopg.connect(url) as connection:
        [counted] = connection.execute("SELECT COUNT(*) FROM open_requests").fetchone() or (0,)
    return int(counted)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(CONFIG)
    return tmp_path


def test_what_one_instance_wrote_another_answers_and_a_kill_leaves_an_interrupted_stream(
    home: Path, postgres_url: str
) -> None:
    with serving(home, postgres_url) as one, serving(home, postgres_url) as other:
        for arbstr in (one, other, one):
            assert arbstr.chat().status_code == 200
        assert eventually(lambda: total(one) == total(other) == 3)
        with httpx.stream("POST", f"{one.url}/v1/chat/completions", json=chat("slow", stream=True)) as stream:
            next(stream.iter_bytes())
            eventually(lambda: open_rows(postgres_url) == 1)
            command = Path(f"/proc/{one.process.pid}/cmdline").read_bytes()
            one.process.kill()
            one.process.wait()
        assert other.stop() == 0
        assert PASSWORD not in one.stderr + other.stderr + command.decode()
    with serving(home, postgres_url) as again:
        found = eventually(lambda: again.get("/v1/requests?model=slow")["data"])
        assert [(row["success"], row["error"]["status"]) for row in found] == [(False, 500)]
        assert total(again) == 4


def test_requests_go_on_while_the_database_is_away_and_their_rows_come_at_the_next_start(
    home: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    try:
        with serving(home, postgres_url) as arbstr:
            assert arbstr.chat().status_code == 200
            assert eventually(lambda: total(arbstr) == 1)
            postgres.crash()
            assert {arbstr.chat().status_code for _ in range(3)} == {200}
            assert arbstr.stop() == 0
            assert "can't be used" in arbstr.stderr
            assert "3 of them are in files beside it" in arbstr.stderr
            assert PASSWORD not in arbstr.stderr
    finally:
        postgres.start()
    with serving(home, postgres_url) as again:
        assert eventually(lambda: total(again) == 4)


def test_instances_share_a_budget_also_when_one_is_killed_and_while_the_database_is_away(
    home: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    with (home / "config.toml").open("a") as config:
        config.write(BUDGET)
    try:
        with serving(home, postgres_url) as one, serving(home, postgres_url) as other:
            for arbstr in (one, other, one):
                assert arbstr.chat().status_code == 200
            one.process.kill()
            one.process.wait()
            message = until_refused(other).json()["error"]["message"]
            assert re.search(r"\d more are held by this instance and [\d.]+ by others", message)
            assert spent_sats(postgres_url) <= 100
            with psycopg.connect(postgres_url, autocommit=True) as connection:  # a quarter of an hour later
                connection.execute("UPDATE budget_leases SET renewed_at = renewed_at - interval '16 min'")
            assert eventually(lambda: other.chat().status_code == 200)
            postgres.crash()
            notice = eventually(lambda: other.chat() and other.get("/health").get("ledger"))
            assert notice.startswith("ledger away; ")
            until_refused(other)
            postgres.start()
            eventually(lambda: "ledger" not in other.get("/health"))
            assert eventually(lambda: "the ledger is back: budgets are leased from it again" in other.stderr)
            assert "ledger away; " in other.stderr
            assert other.stop() == 0
        assert spent_sats(postgres_url) <= 100
    finally:
        if not postgres.runs:
            postgres.start()


def test_an_instance_that_starts_without_the_database_admits_what_no_budget_counts_alone(
    home: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    with (home / "config.toml").open("a") as config:
        config.write(BUDGET)
    postgres.crash()
    try:
        with serving(home, postgres_url) as arbstr:
            refused = arbstr.chat()
            assert (refused.status_code, refused.headers["Retry-After"]) == (402, "1")
            assert "nothing of it is leased to this instance" in refused.json()["error"]["message"]
            assert "budgets admit no requests" in arbstr.get("/health")["ledger"]
            postgres.start()
            assert eventually(lambda: arbstr.chat().status_code == 200)
    finally:
        if not postgres.runs:
            postgres.start()
