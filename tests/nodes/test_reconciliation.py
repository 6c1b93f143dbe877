"""What left the balances is in the ledger: on rows where it is known what for, else as unexplained."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.nodes.market import Node, funded
from tests.nodes.test_charges import MINI, QUICK, request
from tests.support.patience import PATIENCE_S
from tests.support.serve_process import ServeProcess

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(240)]

TABLE = '[[providers]]\nname = "{name}"\nurl = "{url}/v1"\nkind = "routstr"\napi_key = "{key}"\nrefresh = 1\n'
BOOKED_WITHIN_S = 30.0  # of the node's own booking


class Books:
    """arbstr before nodes where it has fresh keys; it may be killed and started again."""

    def __init__(self, stack: ExitStack, directory: Path, nodes: list[Node], more: str, policies: str) -> None:
        tables = [TABLE.format(name=node.name, url=node.url, key=node.key) + more for node in nodes]
        (directory / "config.toml").write_text(QUICK + policies + "".join(tables))
        (directory / "config.toml").chmod(0o600)
        self.nodes, self.directory, self._stack = {node.name: node for node in nodes}, directory, stack
        self.before = {name: node.held_msats() for name, node in self.nodes.items()}
        self.start()

    def start(self) -> None:
        self.arbstr = self._stack.enter_context(ServeProcess(self.directory, "-c", "config.toml"))
        until(lambda: all(one["balance"]["read_at"] for one in self.arbstr.get("/providers")["providers"]))

    def kill(self) -> None:
        self.arbstr.process.send_signal(signal.SIGKILL)
        self.arbstr.process.wait(10)

    @property
    def url(self) -> str:
        return f"{self.arbstr.url}/v1/chat/completions"

    def ask(self, wish: str, **fields: Any) -> httpx.Response:
        return httpx.post(self.url, json=request(wish, **fields), timeout=PATIENCE_S)

    def leave(self, wish: str, after_s: float = 0.5, **fields: Any) -> None:
        """Ask, and go away in the middle."""
        limited = httpx.Client(timeout=httpx.Timeout(PATIENCE_S, read=after_s))
        asked = request(wish, **fields)
        with suppress(httpx.TimeoutException), limited, limited.stream("POST", self.url, json=asked) as stream:
            next(stream.iter_raw())
            time.sleep(after_s)

    def taken(self) -> dict[str, int]:
        """By node, what has left the balance, in msats."""
        return {name: self.before[name] - node.held_msats() for name, node in self.nodes.items()}

    def stats(self) -> dict[str, Any]:
        return dict(self.arbstr.get("/v1/stats?group_by=provider"))

    def booked(self) -> dict[str, int]:
        groups = self.stats()["providers"]
        return {name: round(1000 * groups[name]["costs"]["total_cost_sats"]) for name in self.nodes}

    def unexplained(self) -> int:
        return round(1000 * float(self.stats()["costs"].get("unexplained_sats", 0)))

    def rows(self) -> list[dict[str, Any]]:
        return list(self.arbstr.get("/v1/requests")["data"])

    def agree(self, within_s: float = BOOKED_WITHIN_S) -> None:
        """Wait until the ledger says what the nodes say, which take no more."""
        until(lambda: not any(node.info()["reserved"] for node in self.nodes.values()), within_s)
        until(lambda: self.booked() == self.taken(), within_s)


def until(true: Callable[[], Any], within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.2)


Opening = Callable[..., Books]


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Opening]:
    with ExitStack() as stack:
        yield lambda *names, more="", policies="": Books(
            stack, tmp_path, [funded(name, 200) for name in names], more, policies
        )


IMPATIENT = "timeouts = { connect = 5, first_byte = 1, idle = 1 }\n"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_a_late_answer_cost_is_booked_to_its_request(opening: Opening, stream: bool) -> None:
    books = opening("a", more=IMPATIENT)
    assert books.ask("in=1000 out=500 delay=3", stream=stream).status_code in (200, 504)
    books.agree()
    [row] = books.rows()
    assert row["success"] is False
    assert round(1000 * row["cost"]["sats"]) == books.taken()["a"] == 455
    assert row["charged_for_nothing"]
    assert books.unexplained() == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_a_client_that_left_has_cost_is_booked_to_its_request(opening: Opening, stream: bool) -> None:
    books = opening("a", more='on_client_gone = "cancel"\n')
    books.leave("in=1000 out=500 n=20 gap=0.2" if stream else "in=1000 out=500 delay=3", stream=stream)
    books.agree()
    [row] = books.rows()
    assert row["error"]["status"] == 499
    assert round(1000 * row["cost"]["sats"]) == books.taken()["a"] > 0
    assert "doubtful_sats" not in row["cost"]


def test_what_a_killed_arbstr_left_open_is_booked_at_the_next_start(opening: Opening) -> None:
    books = opening("a")
    books.ask("in=100 out=10")
    asked = request("in=1000 out=500 n=10 gap=0.2", stream=True)
    with httpx.stream("POST", books.url, json=asked, timeout=PATIENCE_S) as stream:
        next(stream.iter_raw())
        time.sleep(0.3)
        books.kill()
    books.start()
    books.agree()
    interrupted = next(row for row in books.rows() if not row["success"])
    assert round(1000 * interrupted["cost"]["sats"]) == 455
    assert books.unexplained() == 0


def test_what_was_in_doubt_when_arbstr_was_stopped_is_booked_at_the_next_start(opening: Opening) -> None:
    books = opening("a", more=IMPATIENT)
    assert books.ask("in=1000 out=500 delay=4").status_code == 504
    assert books.arbstr.stop() == 0
    until(lambda: books.taken()["a"] > 0)
    books.start()
    books.agree()
    assert [row["cost"]["sats"] for row in books.rows()] == [0.455]
    assert books.unexplained() == 0


def test_what_was_under_way_without_a_row_when_arbstr_was_killed_is_unexplained(opening: Opening) -> None:
    books = opening("a")
    books.leave("in=1000 out=500 delay=2")
    books.kill()
    books.start()
    books.agree(within_s=60)
    assert (books.unexplained(), books.stats()["counts"]["total"]) == (455, 0)


@pytest.mark.parametrize("status", [404, 424, 429, 500])
def test_refusals_cost_nothing(opening: Opening, status: int) -> None:
    books = opening("a", "b")
    books.ask(f"in=1000 out=500 status={status}", stream=True)
    books.ask(f"in=1000 out=500 b.status={status}")
    books.ask(f"in=1000 out=500 a.status={status}", stream=True)
    books.agree()
    assert books.unexplained() == 0


def test_a_stream_that_is_reset_leaves_nothing_open_but_the_reservation(opening: Opening) -> None:
    """The node takes nothing for it, and holds the reservation for minutes; what else is in doubt goes on."""
    books = opening("a", more=IMPATIENT)
    books.ask("n=6 cut=3", stream=True)
    books.ask("in=1000 out=500 delay=2")
    until(lambda: books.taken()["a"] == 455)
    until(lambda: books.booked() == books.taken(), BOOKED_WITHIN_S)
    assert books.unexplained() == 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_answer_without_usage_costs_what_the_balance_says(opening: Opening, stream: bool) -> None:
    books = opening("a")
    assert books.ask("nousage", stream=stream).status_code == 200
    books.agree()
    assert books.unexplained() == 0


def test_another_use_of_the_key_is_one_unexplained_charge(opening: Opening) -> None:
    books = opening("a")
    books.ask("in=1000 out=500")
    node = books.nodes["a"]
    answer = httpx.post(
        f"{node.url}/v1/chat/completions",
        json=request("in=2000 out=500"),
        headers={"Authorization": f"Bearer {node.key}"},
        timeout=PATIENCE_S,
    )
    assert answer.status_code == 200
    time.sleep(1)
    books.agree(within_s=60)
    assert books.unexplained() == books.taken()["a"] - 455
    assert books.stats()["counts"]["total"] == 1
    assert [row["cost"]["sats"] for row in books.rows()] == [0.455]


def test_many_at_once_of_which_some_leave(opening: Opening) -> None:
    books = opening("a", "b", more='on_client_gone = "cancel"\n')
    wishes = [("in=1000 out=500 n=10 gap=0.2", True, 1.0), ("in=777 out=333 delay=2", False, 0.7)] * 3
    leaving = [
        threading.Thread(
            target=books.leave, args=(wish,), kwargs={"after_s": after, "stream": stream, "max_tokens": 500}
        )
        for wish, stream, after in wishes
    ]
    for one in leaving:
        one.start()
    for _ in range(5):
        assert books.ask("in=100 out=50").status_code == 200
    for one in leaving:
        one.join()
    books.agree()
    assert books.unexplained() == 0
    assert all(row["cost"]["sats"] is not None for row in books.rows())


def test_a_node_that_takes_more_than_it_asks_is_left_out_where_that_is_configured(opening: Opening) -> None:
    books = opening("a", "b", policies='[policies]\non_overcharge = "exclude"\n')
    for _ in range(6):
        answer = books.ask("in=1000 out=500 a.usd=0.01")
    assert answer.headers["x-arbstr-provider"] == "b"
    ratios = {one["name"]: one["charged_ratios"] for one in books.arbstr.get("/providers")["providers"]}
    assert ratios["a"][MINI] > 2
    assert ratios["b"][MINI] == 1
    books.agree()
