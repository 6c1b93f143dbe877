"""Nodes by name, address and key alone: their models, names and moving prices are read from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.nodes.market import ONE_SAT_USD, await_price, rich, set_bitcoin_price
from tests.nodes.test_charges import MINI, Buyer, request
from tests.support.serve_process import ServeProcess, eventually

pytestmark = pytest.mark.nodes

USAGE = "in=1000 out=500"
TABLE = '[[providers]]\nname = "{name}"\nurl = "{url}/v1"\nkind = "routstr"\napi_key = "{key}"\nrefresh = 1\n'


@contextmanager
def buying(directory: Path) -> Iterator[Buyer]:
    nodes = [rich(name) for name in ("a", "b")]
    tables = [TABLE.format(name=node.name, url=node.url, key=node.key) for node in nodes]
    (directory / "config.toml").write_text("".join(tables))
    (directory / "config.toml").chmod(0o600)
    with ServeProcess(directory, "-c", "config.toml") as arbstr:
        eventually(lambda: MINI in cheapest(arbstr.url))
        yield Buyer(arbstr, nodes)


def cheapest(url: str) -> dict[str, str]:
    """The cheapest provider by model."""
    listed = httpx.get(f"{url}/v1/models", timeout=10).json()["data"]
    return {model["id"]: model["arbstr"]["cheapest"] for model in listed}


@pytest.fixture
def usual_b() -> Iterator[float]:
    """What node b usually asks for output; it asks that again after the test."""
    node = rich("b")
    usual = node.rates[MINI]["completion"]
    yield usual
    set_bitcoin_price("b", ONE_SAT_USD)
    await_price(node, MINI, usual)


@pytest.mark.parametrize("asked", [MINI, "GPT-4o-Mini", "openai/gpt-4o-mini", "openai/gpt-4o-mini-2024-07-18"])
def test_every_spelling_is_served_and_costs_the_same(tmp_path: Path, asked: str) -> None:
    with buying(tmp_path) as buyer:
        bought = buyer.ask(USAGE, model=asked)
        assert bought.status == 200
        assert bought.said_msats == sum(bought.took_msats.values()) == 455
        assert bought.row["cost"]["list_sats"] == 0.455


def test_a_price_that_moves_is_used_after_one_refresh(tmp_path: Path, usual_b: float) -> None:
    with buying(tmp_path) as buyer:
        assert buyer.ask(USAGE).headers["x-arbstr-provider"] == "a"
        set_bitcoin_price("b", ONE_SAT_USD * 2)  # a token costs half as many sats
        await_price(rich("b"), MINI, usual_b / 2)
        eventually(lambda: cheapest(buyer.arbstr.url)[MINI] == "b")
        bought = buyer.ask(USAGE)
        assert bought.headers["x-arbstr-provider"] == "b"
        assert bought.said_msats == bought.took_msats["b"]
        assert bought.row["cost"]["list_sats"] == bought.row["cost"]["sats"]
        set_bitcoin_price("b", ONE_SAT_USD / 2)  # and now twice as many as usual
        await_price(rich("b"), MINI, usual_b * 2)
        eventually(lambda: cheapest(buyer.arbstr.url)[MINI] == "a")
        assert buyer.ask(USAGE).headers["x-arbstr-provider"] == "a"


def test_twenty_requests_after_a_fall_cost_what_the_cheaper_node_asks(tmp_path: Path, usual_b: float) -> None:
    with buying(tmp_path) as buyer:
        set_bitcoin_price("b", ONE_SAT_USD * 2)
        await_price(rich("b"), MINI, usual_b / 2)
        eventually(lambda: cheapest(buyer.arbstr.url)[MINI] == "b")
        rates = rich("b").rates[MINI]
        least_msats = math.ceil(round(1000 * rates["prompt"] + 500 * rates["completion"], 6))
        before = buyer.balances()
        with httpx.Client(timeout=60) as client:
            path = f"{buyer.arbstr.url}/v1/chat/completions"
            answers = [client.post(path, json=request(USAGE)) for _ in range(20)]
        after = buyer.balances()
        assert {answer.headers["x-arbstr-provider"] for answer in answers} == {"b"}
        assert {name: before[name] - after[name] for name in before} == {"a": 0, "b": 20 * least_msats}
        price = httpx.post(f"{buyer.arbstr.url}/v1/cost", json=request(""), timeout=10).json()["candidates"][0]["price"]
        assert price["output_rate_sats_per_1k"] == pytest.approx(rates["completion"], rel=1e-3)
        assert (price["source"], price["age_s"] <= 2) == ("list", True)
