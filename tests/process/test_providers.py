"""`arbstr providers` beside a running arbstr: what that knows of health, balances and prices."""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx

from tests.support.command import run_command
from tests.support.patience import PATIENCE_S
from tests.support.serve_process import ServeProcess, eventually

ALPHA = (
    '[[providers]]\nname = "alpha"\nurl = "http://127.0.0.1:9/v1"\nmodels = ["m"]\ninput_rate = 2\noutput_rate = 8\n'
)
NODE = '[[providers]]\nname = "node"\nurl = "http://127.0.0.1:9"\nkind = "routstr"\napi_key = "sk-0123456789abcdef"\n'
TOKEN = '[server]\nlisten = "{address}"\nauth_token = "tok-l3t-me-in-0000"\n'


def config(directory: Path, name: str, *tables: str) -> str:
    path = directory / name
    path.write_text("".join(tables))
    path.chmod(0o600)
    return name


def shown(directory: Path, *arguments: str) -> str:
    done = run_command("providers", *arguments, cwd=directory, environ={})
    assert done.returncode == 0, done.stderr
    return done.stdout


def fields(table: str) -> list[list[str]]:
    return [re.split(r" {2,}", line) for line in table.splitlines()]


def test_a_running_arbstr_tells_of_health_balances_and_prices(tmp_path: Path) -> None:
    served = config(tmp_path, "served.toml", TOKEN.format(address="127.0.0.1:0"), ALPHA, NODE)
    with ServeProcess(tmp_path, "-c", served) as arbstr:
        address = arbstr.url.removeprefix("http://")
        asked = config(tmp_path, "asked.toml", TOKEN.format(address=address), ALPHA, NODE)
        header, alpha, node = fields(shown(tmp_path, "-c", asked))
        assert header[:6] == ["name", "state", "balance", "lasts", "prices", "charged"]
        assert alpha[:8] == ["alpha", "ok", "-", "-", "configured", "-", "2", "8"]
        assert node[:9] == ["node", "ok", "unknown", "-", "no list yet", "-", "-", "-", "-"]
        headers = {"Authorization": "Bearer tok-l3t-me-in-0000"}
        listed: dict[str, Any] = json.loads(shown(tmp_path, "-c", asked, "--json"))
        live = httpx.get(f"{arbstr.url}/providers", headers=headers, timeout=PATIENCE_S).json()
        assert [one["name"] for one in listed["providers"]] == ["alpha", "node"]
        assert listed["providers"][1].keys() == live["providers"][1].keys()
        assert listed["providers"][0] == live["providers"][0]
        assert listed["providers"][1]["input_rate_sats_per_1k"] is None


def test_an_arbstr_with_other_providers_tells_nothing_of_these(tmp_path: Path) -> None:
    served = config(tmp_path, "served.toml", ALPHA)
    with ServeProcess(tmp_path, "-c", served) as arbstr:
        listen = f'[server]\nlisten = "{arbstr.url.removeprefix("http://")}"\n'
        moved = ALPHA.replace("127.0.0.1:9/", "127.0.0.1:10/")
        asked = config(tmp_path, "asked.toml", listen, moved)
        assert fields(shown(tmp_path, "-c", asked))[0][:3] == ["name", "in/1k", "out/1k"]
        both = config(tmp_path, "both.toml", listen, ALPHA, moved.replace("alpha", "beta"))
        assert [row[:2] for row in fields(shown(tmp_path, "-c", both))[1:]] == [
            ["alpha", "ok"],
            ["beta", "not running"],
        ]


def test_what_a_node_has_not_listed_yet_is_unknown_and_not_free(tmp_path: Path) -> None:
    name = config(tmp_path, "config.toml", NODE, "output_rate = 8\n")
    assert fields(shown(tmp_path, "-c", name))[1][:4] == ["node", "listed", "8", "listed"]
    (node,) = json.loads(shown(tmp_path, "-c", name, "--json"))["providers"]
    rates = ("input_rate_sats_per_1k", "output_rate_sats_per_1k", "base_fee_sats")
    assert [node[rate] for rate in rates] == [None, 8, None]


class ManyNodes(BaseHTTPRequestHandler):
    """As many nodes as are asked for, with 340 models each."""

    MODELS = json.dumps(
        {
            "data": [
                {
                    "id": f"model-{number}",
                    "canonical_slug": f"vendor/model-{number}-20260101",
                    "alias_ids": [f"vendor/model-{number}", f"model-{number}-latest"],
                    "context_length": 128_000,
                    "sats_pricing": {"prompt": 0.001, "completion": 0.002, "max_cost": 300.0},
                }
                for number in range(340)
            ]
        }
    ).encode()
    BALANCE = b'{"balance": 1000000, "version": "0.4.5"}'

    def do_GET(self) -> None:
        body = self.MODELS if self.path.endswith("/models") else self.BALANCE
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class EmptyNode(ManyNodes):
    """A node where the key holds nothing."""

    BALANCE = b'{"balance": 0, "reserved": 0, "version": "0.4.5"}'


def test_a_node_without_key_or_money_is_not_said_to_be_ok(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyNode) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        empty = NODE.replace("127.0.0.1:9", f"127.0.0.1:{server.server_address[1]}")
        later = NODE.replace("node", "later").partition("api_key")[0]
        with ServeProcess(tmp_path, "-c", config(tmp_path, "served.toml", empty, later)) as arbstr:
            eventually(lambda: arbstr.get("/providers")["providers"][0]["balance"]["read_at"])
            listen = f'[server]\nlisten = "{arbstr.url.removeprefix("http://")}"\n'
            asked = config(tmp_path, "asked.toml", listen, empty, later)
            assert [row[:2] for row in fields(shown(tmp_path, "-c", asked))[1:]] == [
                ["node", "no balance"],
                ["later", "no key"],
            ]
        server.shutdown()


def test_ten_nodes_with_340_models_each_fit_into_90_mb(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), ManyNodes) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_address[1]}"
        tables = (
            f'[[providers]]\nname = "n{number}"\nkind = "routstr"\nurl = "{at}/{number}/v1"\n'
            f'api_key = "sk-012345678{number}"\n'
            for number in range(10)
        )
        (tmp_path / "config.toml").write_text("\n".join(tables))
        with ServeProcess(tmp_path, forked=False) as arbstr:
            eventually(lambda: all(len(one["models"]) == 340 for one in arbstr.get("/providers")["providers"]))
            assert arbstr.peak_mb() < 90
        server.shutdown()
