"""The market of real nodes, as tests use it: keys and balances, prices, and a configuration for arbstr."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tests.support.patience import PATIENCE_S
from tests.support.serve_process import eventually

SCRIPTS = "ROUTSTR_NODE"
NODES = {"a": "http://127.0.0.1:9411", "b": "http://127.0.0.1:9412"}
UPSTREAM = "http://127.0.0.1:9401"
ONE_SAT_USD = 100_000  # dollars a bitcoin, at which a sat is a tenth of a cent


def scripts() -> Path:
    """The folder of the market's scripts."""
    return Path(os.environ[SCRIPTS]).resolve()


@dataclass(frozen=True)
class Node:
    """A node and a key of ours there."""

    name: str
    key: str

    @property
    def url(self) -> str:
        return NODES[self.name]

    def info(self) -> dict[str, Any]:
        """What the node says about the key; balance and what is reserved in msats."""
        answer = httpx.get(f"{self.url}/v1/balance/info", headers={"Authorization": f"Bearer {self.key}"}, timeout=10)
        info: dict[str, Any] = answer.raise_for_status().json()
        return info

    def held_msats(self) -> int:
        """What the key holds in msats, reserved or not."""
        info = self.info()
        return int(info["balance"] + info["reserved"])

    def settled_msats(self) -> int:
        """The balance in msats, once nothing is reserved any more."""
        return int(eventually(lambda: (info := self.info())["reserved"] == 0 and info)["balance"])

    @cached_property
    def rates(self) -> dict[str, dict[str, float]]:
        """Sats per 1000 tokens by model and kind, as the node lists them."""
        listed = httpx.get(f"{self.url}/v1/models", timeout=10).json()["data"]
        return {model["id"]: {kind: 1000 * price for kind, price in model["sats_pricing"].items()} for model in listed}

    def provider(self, model: str, more: str = "") -> str:
        """A `[[providers]]` table that sells one model of the node."""
        rates = self.rates[model]
        cached, written = (rates[kind] or rates["prompt"] for kind in ("input_cache_read", "input_cache_write"))
        return (
            f'[[providers]]\nname = "{self.name}"\nurl = "{self.url}/v1"\napi_key = "{self.key}"\n'
            f'models = ["{model}"]\n'
            f"input_rate = {rates['prompt']:.12f}\noutput_rate = {rates['completion']:.12f}\n"
            f"cached_input_rate = {cached:.12f}\ncache_write_rate = {written:.12f}\n{more}"
        )


def _market() -> Path:
    return Path(os.environ.get("TMPDIR", "/tmp"), "arbstr-market")


def rich(name: str) -> Node:
    """A node with the key that the market was started with: enough for every test."""
    return Node(name, (_market() / "run" / f"key-{name}").read_text().strip())


def funded(name: str, sats: int) -> Node:
    """A node with a fresh key that holds so many sats."""
    command = [str(_market() / "venv/bin/python"), str(scripts() / "money.py"), "fund", name, str(sats)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return Node(name, made.stdout.split()[-1])


def fresh_token(sats: int) -> str:
    """A Cashu token of the market's mint: paid for by Lightning at a node, which pays it back. It takes a second."""
    asked = {"amount_sats": sats, "purpose": "create"}
    invoices = f"{NODES['b']}/lightning/invoice"
    invoice = httpx.post(invoices, json=asked, timeout=PATIENCE_S).raise_for_status().json()["invoice_id"]
    paid = eventually(
        lambda: (
            (state := httpx.get(f"{invoices}/{invoice}/status", timeout=PATIENCE_S).json())["status"] == "paid"
            and state
        )
    )
    headers = {"Authorization": f"Bearer {paid['api_key']}"}
    refund = httpx.post(f"{NODES['b']}/v1/balance/refund", headers=headers, timeout=PATIENCE_S)
    return str(refund.raise_for_status().json()["token"])


def set_bitcoin_price(name: str, usd: float) -> None:
    """Move a node's prices: it reads this within seconds."""
    (_market() / "run" / f"btc_usd-{name}").write_text(str(usd))


def await_price(node: Node, model: str, sats_per_1k: float) -> None:
    """Wait until the node asks so much for output, give or take a thousandth."""
    deadline = time.monotonic() + PATIENCE_S
    while abs(Node(node.name, node.key).rates[model]["completion"] / sats_per_1k - 1) > 1e-3:
        assert time.monotonic() < deadline, "the node's price did not move"
        time.sleep(0.2)


def asked_upstream() -> int:
    """How many requests the API behind the nodes has had."""
    return len(httpx.get(f"{UPSTREAM}/log", timeout=10).json()["data"])
