"""Nodes as they announce themselves, and what `check --online` learns from them about keys."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import time
import tomllib
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from tests.nodes.market import Node, asked_upstream, funded, rich, scripts
from tests.nodes.test_charges import MINI, Buyer
from tests.support.command import Done, run_command
from tests.support.nostr import Author, Document
from tests.support.serve_process import ServeProcess, eventually

pytestmark = pytest.mark.nodes

RELAY = "ws://127.0.0.1:9404"
NAMES = {"Market node a": "a", "Market node b": "b"}
CONFIG = f'[discovery]\nrelays = ["{RELAY}"]  # the market\'s own\n\n[policies]\ndefault_strategy = "cheapest"\n'


def run(directory: Path, *arguments: str, **environ: str) -> Done:
    return run_command(*arguments, environ=environ, cwd=directory)


def discovered(directory: Path) -> dict[str, Any]:
    """What `discover --json` prints, once both nodes have announced themselves."""

    def found() -> Any:
        done = run(directory, "discover", "--relay", RELAY, "--json")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        return document if {node["name"] for node in document["nodes"]} >= set(NAMES) else None

    document: dict[str, Any] = eventually(found)
    return document


def publish(*events: Document) -> None:
    """Have the relay keep these events; it checks their ids, but not who signed them."""

    async def send() -> list[bool]:
        async with aiohttp.ClientSession() as session, session.ws_connect(RELAY) as socket:
            kept = []
            for event in events:
                await socket.send_str(json.dumps(["EVENT", event]))
                kept.append(json.loads((await socket.receive()).data)[2])
            return kept

    assert all(asyncio.run(send()))


def test_both_nodes_are_found_with_their_true_prices(tmp_path: Path) -> None:
    document = discovered(tmp_path)
    assert document["mix"]["source"] == "default"
    (relay,) = document["relays"]
    assert relay["problem"] is None
    for node in document["nodes"]:
        name = NAMES[node["name"]]
        assert (node["url"], node["reachable"], node["problem"]) == (rich(name).url, True, None)
        assert node["mints"] == ["http://127.0.0.1:9403"]
        assert node["version"].startswith("0.4")
        assert node["models"] == len(rich(name).rates)
        sold = [part for part in document["mix"]["models"] if part["model"] in rich(name).rates]
        cost = sum(part["share"] * quoted(rich(name), part) for part in sold)
        covered = sum(part["share"] for part in sold)
        assert node["mix_covered"] == pytest.approx(covered)
        assert node["sats_per_request"] == pytest.approx(cost / covered)


def quoted(node: Node, part: dict[str, Any]) -> float:
    rates = node.rates[part["model"]]
    return float(part["input_tokens"] * rates["prompt"] + part["output_tokens"] * rates["completion"]) / 1000


def test_forged_and_future_announcements_change_nothing(tmp_path: Path) -> None:
    before = discovered(tmp_path)
    victim, evil = (node["pubkey"] for node in before["nodes"]), Author(666)
    lies = [evil.announces("http://127.0.0.1:9401", d=f"lie-{number}") for number in range(2)]
    forged = [resigned({**lie, "pubkey": pubkey}) for lie, pubkey in zip(lies, victim, strict=True)]
    ahead = [evil.announces("http://127.0.0.1:9401", d="ahead", at_s=time.time() + seconds) for seconds in (901, 10**8)]
    asked = asked_upstream()
    publish(*forged, *ahead, evil.signs(38421, ("d", "other"), content="another protocol's"))
    after = discovered(tmp_path)
    assert facts(after) == facts(before)
    assert after["relays"][0]["forged"] == 2
    assert asked_upstream() == asked


def resigned(event: Document) -> Document:
    """An event whose id is right for what it says, and whose signature is another's."""
    author = Author(1).signs(event["kind"], *map(tuple, event["tags"]), content=event["content"])
    return {**author, "pubkey": event["pubkey"], "id": id_of({**author, "pubkey": event["pubkey"]})}


def id_of(event: Document) -> str:
    parts = [0, *(event[key] for key in ("pubkey", "created_at", "kind", "tags", "content"))]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def facts(document: dict[str, Any]) -> list[dict[str, Any]]:
    """What is known of each node, without how long it took to answer."""
    return sorted(
        ({key: value for key, value in node.items() if key != "latency_ms"} for node in document["nodes"]),
        key=lambda node: str(node["name"]),
    )


def test_what_is_added_is_inert_until_it_has_a_key(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    discovered(tmp_path)
    done = run(tmp_path, "discover", "--add")
    assert done.returncode == 0, done.stderr
    assert path.read_text().startswith(CONFIG)
    assert path.stat().st_mode & 0o777 == 0o600
    added = {table["name"]: table for table in tomllib.loads(path.read_text())["providers"]}
    assert added["market-node-a"] == {"name": "market-node-a", "url": f"{rich('a').url}/v1", "kind": "routstr"}
    request = {"model": MINI, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    asked = asked_upstream()
    with ServeProcess(tmp_path, "-c", "config.toml") as arbstr:
        refused = httpx.post(f"{arbstr.url}/v1/chat/completions", json=request, timeout=10)
        assert refused.status_code == 503
        assert "arbstr fund" in refused.json()["error"]["message"]
        assert arbstr.get("/v1/models")["data"] == []
    assert asked_upstream() == asked
    paid = run(tmp_path, "fund", "market-node-a", "--token", token(10))
    assert paid.returncode == 0, paid.stderr
    node = Node("a", tomllib.loads(path.read_text())["providers"][list(added).index("market-node-a")]["api_key"])
    assert node.settled_msats() == 10_000
    with ServeProcess(tmp_path, "-c", "config.toml") as arbstr:
        buyer = Buyer(arbstr, [node])
        eventually(lambda: arbstr.get("/v1/models")["data"])
        bought = buyer.ask("in=100 out=5", max_tokens=5)
        assert bought.status == 200
        assert bought.headers["x-arbstr-provider"] == "market-node-a"
        assert bought.said_msats == bought.took_msats["a"] > 0


# --- keys


def table(name: str, key: str, url: str = "") -> str:
    address = url or f"{rich('a').url}/v1"
    return f'[[providers]]\nname = "{name}"\nurl = "{address}"\nkind = "routstr"\napi_key = "{key}"\n'


def token(sats: int) -> str:
    """A fresh token of the market's mint."""
    command = [str(Path(os.environ["TMPDIR"]) / "arbstr-market/venv/bin/python"), str(scripts() / "money.py"), "token"]
    made = subprocess.run([*command, str(sats)], capture_output=True, text=True, timeout=60, check=True)
    return made.stdout.split()[-1]


def expiring(sats: int) -> Node:
    """Node a with a key that has expired."""
    wanted = {"initial_balance_token": token(sats), "validity_date": int(time.time()) - 5}
    answer = httpx.post(f"{rich('a').url}/v1/balance/create", json=wanted, timeout=60).raise_for_status()
    return Node("a", answer.json()["api_key"])


def refunded(sats: int) -> Node:
    """Node a with a key whose money has been taken back."""
    node = funded("a", sats)
    headers = {"Authorization": f"Bearer {node.key}"}
    httpx.post(f"{node.url}/v1/balance/refund", headers=headers, timeout=60).raise_for_status()
    return node


def test_check_online_names_bad_expired_and_refunded_keys_and_wrong_addresses(tmp_path: Path) -> None:
    keys = {
        "good": rich("a").key,
        "bad": "sk-" + "0" * 64,
        "expired": expiring(10).key,
        "refunded": refunded(10).key,
        "upstream": rich("b").key,
    }
    tables = [
        table(name, key, "http://127.0.0.1:9401/a/v1" if name == "upstream" else "") for name, key in keys.items()
    ]
    (tmp_path / "config.toml").write_text("".join(tables) + 'models = ["gpt-4o"]\n')
    (tmp_path / "config.toml").chmod(0o600)
    done = run(tmp_path, "check", "--online")
    assert done.returncode == 1
    problems = [line.removeprefix("problem: ") for line in done.stderr.splitlines() if line.startswith("problem: ")]
    assert [problem.partition(":")[0] for problem in problems] == ["bad", "expired", "refunded", "upstream"]
    said = dict(zip(("bad", "expired", "refunded", "upstream"), problems, strict=True))
    assert "the node does not know it" in said["bad"]
    assert "has expired" in said["expired"]
    assert "refunded or is used up" in said["refunded"]
    assert "no Routstr node" in said["upstream"] or "not a Routstr node" in said["upstream"]
    assert not any(key in done.stdout + done.stderr for key in keys.values())
