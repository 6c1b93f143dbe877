"""Balances at nodes decide what is sent where: no 402 of theirs is needed to find out that money is short."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from arbstr.engine.node_reservation import measure, reserved_msats
from arbstr.market.model_lists import read_priced
from tests.nodes.market import Node, fresh_token, funded, rich
from tests.nodes.test_catalogue import TABLE
from tests.nodes.test_charges import MINI, request
from tests.support.patience import PATIENCE_S
from tests.support.serve_process import ServeProcess, eventually

pytestmark = pytest.mark.nodes

CLAUDE = "claude-sonnet-4"


class Buyer:
    """arbstr in front of nodes, whose balances it has read."""

    def __init__(self, arbstr: ServeProcess) -> None:
        self.arbstr = arbstr

    def balance(self, name: str) -> dict[str, Any]:
        """What arbstr says that it holds at a node."""
        return {one["name"]: dict(one["balance"]) for one in self.arbstr.get("/providers")["providers"]}[name]

    def awaits(self, name: str, free_sats: float) -> None:
        eventually(lambda: self.balance(name)["free_sats"] == free_sats)

    def ask(self, wish: str = "in=1000 out=500", **fields: Any) -> httpx.Response:
        """Send a request; a cap of None is left out."""
        body = {name: value for name, value in request(wish, **fields).items() if value is not None}
        return httpx.post(f"{self.arbstr.url}/v1/chat/completions", json=body, timeout=PATIENCE_S)

    def failures(self, answer: httpx.Response) -> list[int | None]:
        """The statuses with which nodes refused a request, in order."""
        path = f"{self.arbstr.url}/v1/requests/{answer.headers['x-arbstr-request-id']}"
        detail = eventually(lambda: (found := httpx.get(path, timeout=10)).status_code == 200 and found).json()
        return [attempt["status"] for attempt in detail["attempts"] if attempt["failure"]]


@contextmanager
def buying(directory: Path, *nodes: Node, more: str = "") -> Iterator[Buyer]:
    tables = [TABLE.format(name=node.name, url=node.url, key=node.key) for node in nodes]
    (directory / "config.toml").write_text("".join(tables) + more)
    (directory / "config.toml").chmod(0o600)
    with ServeProcess(directory, "-c", "config.toml") as arbstr:
        buyer = Buyer(arbstr)
        eventually(lambda: all(buyer.balance(node.name)["state"] == "known" for node in nodes))
        eventually(lambda: any(model["id"] == MINI for model in arbstr.get("/v1/models")["data"]))
        yield buyer


def test_of_ten_sats_what_fits_is_bought_and_the_rest_elsewhere_without_a_402(tmp_path: Path) -> None:
    with buying(tmp_path, funded("a", 10), rich("b")) as buyer:
        assert buyer.balance("a")["free_sats"] == 10
        assert str(buyer.balance("a")["node_version"]).startswith("0.4.5")
        dear = buyer.ask(model=CLAUDE, max_tokens=4096)  # reserves 62 sats
        assert (dear.status_code, dear.headers["x-arbstr-provider"]) == (200, "b")
        fitting = [buyer.ask() for _ in range(3)]
        assert {answer.headers["x-arbstr-provider"] for answer in fitting} == {"a"}
        uncapped = buyer.ask(max_tokens=None)  # reserves 9.8 sats
        assert uncapped.headers["x-arbstr-provider"] == "b"
        assert not any(buyer.failures(answer) for answer in (dear, *fitting, uncapped))
        buyer.awaits("a", 10 - 3 * 0.455)


def test_alone_with_ten_sats_the_largest_cap_that_is_named_fits_and_no_larger_one(tmp_path: Path) -> None:
    with buying(tmp_path, funded("a", 10)) as buyer:
        refused = buyer.ask(model=CLAUDE, max_tokens=4096)
        assert (refused.status_code, refused.json()["error"]["code"]) == (402, "insufficient_balance")
        assert not buyer.failures(refused)
        largest = int(refused.json()["error"]["message"].split("would fit is ")[1].split(",")[0])
        assert buyer.ask(model=CLAUDE, max_tokens=largest + 1).status_code == 402
        bought = buyer.ask("in=10 out=10", model=CLAUDE, max_tokens=largest)
        assert bought.status_code == 200
        assert not buyer.failures(bought)


@pytest.mark.parametrize("cap", [1000, 5000, None])
def test_eight_at_once_on_twenty_five_sats_get_no_402(tmp_path: Path, cap: int | None) -> None:
    """They reserve 0.6, 3 and 9.8 sats each."""
    with buying(tmp_path, funded("a", 25), rich("b")) as buyer, ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: buyer.ask("delay=1 in=100 out=50", max_tokens=cap), range(8)))
        assert [answer.status_code for answer in answers] == [200] * 8
        assert not any(buyer.failures(answer) for answer in answers)
        at_a = sum(answer.headers["x-arbstr-provider"] == "a" for answer in answers)
        assert at_a == {1000: 8, 5000: 8, None: 2}[cap]
        health = buyer.arbstr.get("/health")["providers"]
        assert {one["state"] for one in health.values()} == {"closed"}


def test_eight_at_once_on_twenty_five_sats_at_one_node_alone_get_no_402(tmp_path: Path) -> None:
    """Two of them fit at a time; what they reserved and did not use is free for the next."""
    with buying(tmp_path, funded("a", 25)) as buyer, ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: buyer.ask("delay=1 in=100 out=50", max_tokens=None), range(8)))
        assert [answer.status_code for answer in answers] == [200] * 8
        assert not any(buyer.failures(answer) for answer in answers)


def test_a_policys_cap_makes_requests_fit_that_have_none(tmp_path: Path) -> None:
    policy = '[[policies.rules]]\nname = "short"\nkeywords = ["please"]\ndefault_max_tokens = 1000\n'
    with buying(tmp_path, funded("a", 2), more=policy) as buyer:
        assert [buyer.ask(max_tokens=None).status_code for _ in range(3)] == [200] * 3
        refused = buyer.ask(max_tokens=16_000)
        assert (refused.status_code, refused.json()["error"]["param"]) == (402, "max_tokens")
        assert not buyer.failures(refused)


def test_an_emptied_node_rests_and_is_bought_from_again_after_a_top_up(tmp_path: Path) -> None:
    poor = funded("a", 2)
    with buying(tmp_path, poor, rich("b")) as buyer:
        where = [buyer.ask().headers["x-arbstr-provider"] for _ in range(5)]
        assert where == ["a"] * 4 + ["b"]  # 0.455 sats each, of which the node wants 0.603 to be there
        topped = httpx.post(
            f"{poor.url}/v1/balance/topup",
            json={"cashu_token": fresh_token(10)},
            headers={"Authorization": f"Bearer {poor.key}"},
            timeout=60,
        )
        assert topped.status_code == 200
        buyer.awaits("a", 12 - 4 * 0.455)
        assert buyer.ask().headers["x-arbstr-provider"] == "a"


def test_a_key_that_another_program_has_emptied_costs_one_refusal_at_most(tmp_path: Path) -> None:
    shared = funded("a", 3)
    with buying(tmp_path, shared, rich("b")) as buyer:
        for _ in range(6):
            httpx.post(
                f"{shared.url}/v1/chat/completions",
                json=request("in=1000 out=500"),
                headers={"Authorization": f"Bearer {shared.key}"},
                timeout=PATIENCE_S,
            )
        answers = [buyer.ask() for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200] * 4
        refusals = [status for answer in answers for status in buyer.failures(answer)]
        assert refusals in ([], [402])
        assert buyer.arbstr.get("/health")["providers"]["a"]["state"] == "closed"


# --- the formula


def emptied(name: str) -> Node:
    """A node with a key that holds nothing: what it refuses it says the reservation of, at no cost."""
    node = funded(name, 1)
    refund = f"{node.url}/v1/balance/refund"
    httpx.post(refund, headers={"Authorization": f"Bearer {node.key}"}, timeout=60).raise_for_status()
    return node


def quote(node: Node, path: str, body: dict[str, Any]) -> int:
    """What the node would reserve, in msats."""
    key = {"Authorization": f"Bearer {node.key}"}
    refused = httpx.post(f"{node.url}/v1/{path}", json=body, headers=key, timeout=PATIENCE_S)
    assert refused.status_code == 402, refused.text
    return int(refused.json()["error"]["message"].split(" msats)")[0].split("(")[1])


def bodies(count: int) -> Iterator[tuple[str, dict[str, Any]]]:
    chance = random.Random(14)
    for _ in range(count):
        text = "wört " * chance.choice([0, 1, 7, 300, 20_000])
        content: Any = chance.choice([text, [{"type": "text", "text": text}, {"type": "text", "text": "x"}], None])
        asked = {"role": chance.choice(["user", "system"]), "content": content}
        body: dict[str, Any] = {
            "model": chance.choice([MINI, "gpt-4o", CLAUDE, "deepseek-r1"]),
            "messages": [asked] * chance.choice([1, 3]),
        }
        extras: dict[str, Any] = {
            "max_tokens": chance.choice([1, 100, 5000, 100_000]),
            "max_completion_tokens": chance.choice([50, 9000]),
            "tools": [{"type": "function", "function": {"name": "f", "description": "y" * 5000}}],
            "n": 3,
        }
        path = "chat/completions"
        body |= {name: value for name, value in extras.items() if chance.random() < 0.5}
        yield chance.choice([(path, body)] * 5 + other_dialects(body["model"], asked, text or "x"))


def other_dialects(model: str, message: dict[str, Any], text: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("responses", {"model": model, "input": text, "max_output_tokens": 100}),
        ("messages", {"model": model, "messages": [message], "system": text, "max_tokens": 3000}),
        ("completions", {"model": model, "prompt": text, "max_tokens": 3000}),
        ("embeddings", {"model": "text-embedding-3-small", "input": text}),
    ]


def test_what_arbstr_expects_a_node_to_reserve_is_what_it_reserves() -> None:
    nodes = {name: emptied(name) for name in ("a", "b")}
    listed = {
        name: read_priced(httpx.get(f"{node.url}/v1/models", timeout=10).json(), lambda model: True)
        for name, node in nodes.items()
    }
    for place, (path, body) in enumerate(bodies(120)):
        name = "ab"[place % 2]
        terms = next((model.terms for model in listed[name] if model.id == body["model"]), None)
        if terms is None:
            assert (name, body["model"]) == ("b", "deepseek-r1"), "which b does not sell"
            continue
        assert quote(nodes[name], path, body) == reserved_msats(terms, measure(body, newer=False)), body


def test_what_is_reserved_while_a_request_runs_is_what_arbstr_holds_for_it(tmp_path: Path) -> None:
    node = funded("a", 50)
    with buying(tmp_path, node) as buyer, ThreadPoolExecutor(1) as client:
        answer = client.submit(buyer.ask, "delay=3 in=10 out=10", max_tokens=5000)
        info = eventually(lambda: (said := node.info())["reserved"] and said)
        eventually(lambda: buyer.balance("a")["reserved_sats"] == info["reserved"] / 1000)
        assert 3000 < info["reserved"] < 3100
        assert answer.result().status_code == 200
    assert node.settled_msats() == 50_000 - 8
