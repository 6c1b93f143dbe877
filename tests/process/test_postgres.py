"""arbstr with its ledger in PostgreSQL: away, killed, two at once; no request fails, no row is lost."""

from __future__ import annotations

import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from tests.support.balancer import Balancer
from tests.support.patience import PATIENCE_S
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


def serving(home: Path, url: str, *, forked: bool = True) -> ServeProcess:
    return ServeProcess(home, "-c", "config.toml", "--mock", env={"DATABASE_URL": url}, forked=forked)


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
    with serving(home, postgres_url, forked=False) as one, serving(home, postgres_url) as other:
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
            assert eventually(lambda: "ledger away; " in other.stderr)
            postgres.start()
            eventually(lambda: "ledger" not in other.get("/health"))
            assert eventually(lambda: "the ledger is back: budgets are leased from it again" in other.stderr)
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


class Clients:
    """Programs behind one address that ask again where a connection is lost; `answered` are the ids they were sent."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._ended = Event()
        self.answered: list[str] = []

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                response = httpx.post(self._url, json=chat(), timeout=PATIENCE_S)
            except httpx.TransportError:
                continue
            if response.status_code == 200:  # not one of those that an instance turns away at its end
                self.answered.append(response.headers["x-arbstr-request-id"])

    def wait_for(self, more: int) -> None:
        upto = len(self.answered) + more
        eventually(lambda: len(self.answered) >= upto)

    def end(self) -> None:
        self._ended.set()


def ids(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [one for (one,) in connection.execute("SELECT correlation_id FROM requests")]


def test_an_instance_that_is_asked_to_stop_leaves_its_address_to_the_next(home: Path, postgres_url: str) -> None:
    with (
        serving(home, postgres_url) as arbstr,
        httpx.stream("POST", f"{arbstr.url}/v1/chat/completions", json=chat("slow", stream=True)) as stream,
    ):
        pieces = stream.iter_bytes()
        next(pieces)
        arbstr.process.send_signal(signal.SIGTERM)
        eventually(lambda: "stopping: 1 request has" in arbstr.stderr)
        with socket.create_server(("127.0.0.1", urlsplit(arbstr.url).port or 0)):
            assert next(pieces)


def test_two_instances_behind_one_address_are_stopped_killed_and_started_again_one_after_the_other(
    home: Path, postgres_url: str
) -> None:
    with (
        Balancer() as balancer,
        serving(home, postgres_url) as one,
        serving(home, postgres_url) as other,
        ThreadPoolExecutor(2) as threads,
    ):
        balancer.backends = [one.url, other.url]
        clients = Clients(balancer.url)
        asking = [threads.submit(clients.run) for _ in range(2)]
        try:
            clients.wait_for(5)
            assert one.stop() == 0  # the other serves all
            clients.wait_for(5)
            with serving(home, postgres_url) as updated:
                balancer.backends = [updated.url, other.url]
                clients.wait_for(5)
                known = list(clients.answered)
                eventually(lambda: set(known) <= set(ids(postgres_url)))
                other.process.kill()
                other.process.wait()
                at_the_kill = list(clients.answered)
                clients.wait_for(5)
                clients.end()
                for each in asking:
                    each.result()
                assert updated.stop() == 0
        finally:
            clients.end()
    there = ids(postgres_url)
    assert len(there) == len(set(there))
    assert set(clients.answered) - set(there) <= set(at_the_kill) - set(known)  # its last moments
