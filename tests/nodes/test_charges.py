"""What left the balance is what arbstr says a request cost: row, header and trailer alike, to the millisat."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.nodes.market import ONE_SAT_USD, Node, asked_upstream, await_price, funded, rich, set_bitcoin_price
from tests.support.patience import PATIENCE_S
from tests.support.serve_process import ServeProcess, eventually

pytestmark = pytest.mark.nodes

MINI = "gpt-4o-mini"
QUICK = "[retry]\nmax_retries = 1\nbackoff = 0.05\n"


@dataclass
class Bought:
    """One request through arbstr, the money it took at each node, and its row."""

    status: int
    headers: httpx.Headers
    body: bytes
    took_msats: dict[str, int]
    row: dict[str, Any]

    @property
    def trailer(self) -> dict[str, Any]:
        """arbstr's event at a stream's end."""
        events = [json.loads(line[6:]) for line in self.body.split(b"\n") if line.startswith(b"data: {")]
        (figures,) = [event["arbstr"] for event in events if "arbstr" in event]
        return dict(figures)

    @property
    def said_msats(self) -> int | None:
        """What arbstr says it cost; header or trailer, and row, must agree."""
        in_row = self.row["cost"]["sats"]
        if "x-arbstr-cost-sats" in self.headers:
            assert float(self.headers["x-arbstr-cost-sats"]) == in_row
        elif b'"arbstr"' in self.body:
            assert self.trailer["cost_sats"] == in_row
        return None if in_row is None else round(in_row * 1000)


class Buyer:
    """arbstr in front of the nodes that a test names."""

    def __init__(self, arbstr: ServeProcess, nodes: list[Node]) -> None:
        self.arbstr = arbstr
        self.nodes = {node.name: node for node in nodes}

    def balances(self) -> dict[str, int]:
        return {name: node.settled_msats() for name, node in self.nodes.items()}

    def row(self, request_id: str) -> dict[str, Any]:
        """The request's row, once it is closed."""
        path = f"{self.arbstr.url}/v1/requests/{request_id}"
        found = eventually(lambda: (answer := httpx.get(path, timeout=10)).status_code == 200 and answer)
        return dict(found.json())

    def ask(self, wish: str = "", *, model: str = MINI, **fields: Any) -> Bought:
        """Send a request whose prompt holds a wish for the API behind the nodes."""
        before = self.balances()
        with httpx.Client(timeout=PATIENCE_S) as client:
            answer = client.post(f"{self.arbstr.url}/v1/chat/completions", json=request(wish, model=model, **fields))
        row = self.row(answer.headers["x-arbstr-request-id"])
        after = self.balances()
        took = {name: before[name] - after[name] for name in before}
        return Bought(answer.status_code, answer.headers, answer.content, took, row)


def request(wish: str, *, model: str = MINI, **fields: Any) -> dict[str, Any]:
    text = f"Please. [[{wish}]]" if wish else "Please."
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 1000, **fields}


Opening = Callable[..., Buyer]


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Opening]:
    """Start arbstr before nodes: `opening("a", "b", model=…, sats=…, more=…, provider=…)`."""
    with ExitStack() as stack:

        def opened(*names: str, model: str = MINI, sats: int = 0, more: str = "", provider: str = "") -> Buyer:
            nodes = [funded(name, sats) if sats else rich(name) for name in names]
            tables = "".join(node.provider(model, provider) for node in nodes)
            (tmp_path / "config.toml").write_text(QUICK + more + tables)
            (tmp_path / "config.toml").chmod(0o600)
            return Buyer(stack.enter_context(ServeProcess(tmp_path, "-c", "config.toml")), nodes)

        yield opened


@pytest.fixture(autouse=True, scope="module")
def usual_prices() -> Iterator[None]:
    yield
    for name in ("a", "b"):
        set_bitcoin_price(name, ONE_SAT_USD)


# --- the same number everywhere


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("wish", "model"),
    [
        ("in=1000 out=500", MINI),
        ("in=777 out=333", MINI),
        ("in=1 out=1", MINI),
        ("in=2000 out=100 cached=1500", MINI),
        ("in=2000 out=100 cached=2000", "gpt-4o"),
        ("in=777 out=333", "claude-sonnet-4"),
        ("in=3000 out=100 cached=1000 cwrite=1500", "claude-sonnet-4"),
        ("in=1000 out=500 usd=0.01", MINI),
    ],
)
def test_what_it_took_is_what_arbstr_says(opening: Opening, wish: str, model: str, stream: bool) -> None:
    buyer = opening("a", model=model)
    bought = buyer.ask(wish, model=model, stream=stream)
    assert bought.status == 200
    assert bought.took_msats["a"] > 0
    assert bought.said_msats == bought.took_msats["a"]
    stats = buyer.arbstr.get("/v1/stats")
    assert round(stats["costs"]["total_cost_sats"] * 1000) == bought.took_msats["a"]


def test_the_price_by_the_rates_stands_beside_the_charge(opening: Opening) -> None:
    bought = opening("a").ask("in=1000 out=500 usd=0.01")
    assert bought.row["cost"]["provider_sats"] == bought.row["cost"]["sats"]
    assert bought.row["cost"]["list_sats"] == 0.455
    assert bought.row["cost"]["sats"] > 10


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_answer_without_usage_costs_what_the_node_takes(opening: Opening, stream: bool) -> None:
    bought = opening("a").ask("nousage", stream=stream)
    assert bought.status == 200
    assert bought.took_msats["a"] == (bought.said_msats or 0)


def test_a_client_that_leaves_in_the_middle_pays_and_its_row_says_how_much(opening: Opening) -> None:
    buyer = opening("a")
    before = buyer.balances()["a"]
    url = f"{buyer.arbstr.url}/v1/chat/completions"
    wanted = request("n=10 gap=0.1 in=1000 out=500", stream=True)
    with httpx.Client(timeout=PATIENCE_S) as client, client.stream("POST", url, json=wanted) as stream:
        request_id = stream.headers["x-arbstr-request-id"]
        next(stream.iter_raw())
    row = buyer.row(request_id)
    assert (row["success"], row["error"]["status"]) == (False, 499)
    assert round(row["cost"]["sats"] * 1000) == before - buyer.balances()["a"] > 0


# --- failures are paid once, or not at all


@pytest.mark.parametrize("status", [429, 500, 503, 404, 403, 401, 408])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_one_node_refuses_is_bought_at_the_other(opening: Opening, status: int, stream: bool) -> None:
    bought = opening("a", "b").ask(f"in=1000 out=100 a.status={status}", stream=stream)
    assert bought.status == 200
    assert bought.row["provider"] == "b" or bought.headers["x-arbstr-provider"] == "b"
    assert bought.took_msats["a"] == 0
    assert bought.said_msats == bought.took_msats["b"] > 0


def test_a_newer_node_whose_upstream_fails_rests_and_costs_nothing(opening: Opening) -> None:
    """Node b answers as nodes after 0.4.7 do: 424 for its upstream's failures. It is cheapest for long questions."""
    long: dict[str, Any] = {
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "word " * 400 + "[[in=500 out=1 b.status=503]]"}],
    }
    buyer = opening("a", "b")
    bought = buyer.ask(**long)
    assert bought.status == 200
    assert bought.headers["x-arbstr-retries"] == "1/b"
    assert bought.took_msats["b"] == 0
    assert bought.said_msats == bought.took_msats["a"] > 0
    assert "x-arbstr-retries" not in buyer.ask(**long).headers, "b is left alone for a while"
    assert buyer.arbstr.get("/health")["providers"]["b"]["state"] == "closed"


def test_a_model_that_is_gone_at_one_node_rests_there_and_the_node_stays_in_use(opening: Opening) -> None:
    buyer = opening("a", "b")
    for _ in range(4):
        assert buyer.ask("in=100 out=10 a.status=404").status == 200
    health = buyer.arbstr.get("/health")["providers"]
    assert {name: one["state"] for name, one in health.items()} == {"a": "closed", "b": "closed"}
    assert buyer.ask("in=100 out=10").headers["x-arbstr-provider"] == "b"


def test_a_stream_that_breaks_off_costs_what_the_node_takes(opening: Opening) -> None:
    """The node takes nothing for it, but keeps the reservation for minutes: hence a key of its own."""
    buyer = opening("a", sats=50)
    url = f"{buyer.arbstr.url}/v1/chat/completions"
    answer = httpx.post(url, json=request("n=6 cut=3", stream=True), timeout=PATIENCE_S)
    row = buyer.row(answer.headers["x-arbstr-request-id"])
    assert b'"error"' in answer.content
    assert (row["success"], row["error"]["status"]) == (False, 502)
    assert row["cost"]["sats"] in (None, 0)
    info = buyer.nodes["a"].info()
    assert info["balance"] + info["reserved"] == 50_000


def test_a_provider_that_is_too_slow_is_not_asked_twice_by_the_client_either(opening: Opening) -> None:
    timeouts = "timeouts = { connect = 5, first_byte = 1, idle = 5 }\n"
    before = asked_upstream()
    bought = opening("a", provider=timeouts).ask("in=100 out=10 delay=2.5")
    assert bought.status == 504
    assert bought.headers["x-should-retry"] == "false"
    assert asked_upstream() == before + 1


def test_refusals_that_are_all_alike_are_passed_on(opening: Opening) -> None:
    buyer = opening("a", "b")
    busy = buyer.ask("status=429 after=60")
    assert (busy.status, busy.took_msats) == (429, {"a": 0, "b": 0})
    assert int(busy.headers["retry-after"]) >= 30
    assert buyer.ask("x", model="no-such-model").status == 404


# --- money at the node


def test_many_at_once_on_a_small_balance_open_no_breaker(opening: Opening) -> None:
    buyer = opening("a", model="gpt-4o", sats=25)

    async def crowd() -> list[int]:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            body = request("in=10 out=10 delay=0.3", model="gpt-4o", max_tokens=500)
            asked = [client.post(f"{buyer.arbstr.url}/v1/chat/completions", json=body) for _ in range(8)]
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    statuses = asyncio.run(crowd())
    assert set(statuses) <= {200, 402}
    assert 200 in statuses
    assert buyer.arbstr.get("/health")["providers"]["a"]["state"] == "closed"
    eventually(lambda: buyer.ask("in=10 out=10", model="gpt-4o", max_tokens=100).status == 200)


def test_a_price_that_falls_is_found(opening: Opening) -> None:
    """Node a is dear at first, and learned to be; it becomes the cheapest without a change in the configuration."""
    set_bitcoin_price("a", ONE_SAT_USD / 4)  # four times the sats for the same dollars
    node = rich("a")
    usual = Node("b", "").rates[MINI]["completion"]
    buyer = opening("a", "b")
    await_price(node, MINI, 4 * 0.606)
    for _ in range(6):
        buyer.ask("in=1000 out=500")
    set_bitcoin_price("a", ONE_SAT_USD)
    await_price(node, MINI, 0.606)
    took = [sum(buyer.ask("in=1000 out=500").took_msats.values()) for _ in range(20)]
    cheapest = min(took)
    assert sum(took) <= 1.3 * 20 * cheapest, f"{took} at {usual} a thousand"
