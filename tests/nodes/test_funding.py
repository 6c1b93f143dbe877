"""Money to real nodes and back, to the sat: by token and Lightning, interrupted, refused, expired."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.nodes.market import NODES, Node, fresh_token
from tests.nodes.test_charges import MINI, request
from tests.support.kill_points import CommandRunner, Ended
from tests.support.paths import TOP
from tests.support.patience import PATIENCE_S
from tests.support.serve_process import ServeProcess, eventually

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(300)]

TABLE = '[[providers]]\nname = "{name}"   # one of two\nurl = "{url}/v1"\nkind = "routstr"\n'
MOST_STEPS = 100


class Purse:
    """A configuration of both nodes, without keys at first, and the commands about its money."""

    def __init__(self, directory: Path, runner: CommandRunner) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self._runner = runner
        self.config = directory / "config.toml"
        self.config.write_text("\n".join(TABLE.format(name=name, url=url) for name, url in NODES.items()))
        self.config.chmod(0o600)

    def run(self, *arguments: str, stdin: str = "", kill_at: int = 0) -> Ended:
        return self._runner.run(self.directory, *arguments, stdin=stdin, kill_at=kill_at)

    def done(self, *arguments: str, stdin: str = "") -> Ended:
        ended = self.run(*arguments, stdin=stdin)
        assert ended.status == 0, ended.err
        return ended

    def key(self, name: str) -> str | None:
        tables = {table["name"]: table for table in tomllib.loads(self.config.read_text())["providers"]}
        key = tables[name].get("api_key")
        return None if key is None else str(key)

    def node(self, name: str) -> Node:
        return Node(name, self.key(name) or "")

    def use(self, name: str, key: str) -> None:
        """Put a key into the file by hand."""
        url = f'url = "{NODES[name]}/v1"\n'
        self.config.write_text(self.config.read_text().replace(url, f'{url}api_key = "{key}"\n'))

    @property
    def journal(self) -> str:
        path = self.directory / "config.toml.money"
        return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module")
def runner() -> Iterator[CommandRunner]:
    with CommandRunner() as running:
        yield running


@pytest.fixture
def purse(tmp_path: Path, runner: CommandRunner) -> Purse:
    return Purse(tmp_path / "purse", runner)


def test_there_and_back_to_the_sat(purse: Purse) -> None:
    token = fresh_token(120)
    before = purse.config.read_text()
    purse.done("fund", "a", stdin=token)
    key = purse.key("a")
    assert key == f"sk-{hashlib.sha256(token.encode()).hexdigest()}"
    assert purse.config.read_text().replace(f'api_key = "{key}"\n', "") == before
    assert purse.config.stat().st_mode & 0o777 == 0o600
    purse.done("fund", "a", stdin=fresh_token(30))
    assert purse.node("a").info()["balance"] == 150_000
    purse.done("refund", "a", "--to", "token.txt")
    assert purse.node("a").info()["balance"] == 0
    assert "refunded" in purse.done("balance").out
    purse.done("fund", "b", stdin=(purse.directory / "token.txt").read_text())
    assert purse.node("b").info()["balance"] == 150_000
    assert purse.journal == ""


def test_a_first_invoice_gives_a_key_and_a_later_one_tops_it_up(purse: Purse) -> None:
    for sats, holds in ((40, 40), (25, 65)):
        ended = purse.done("fund", "b", "--lightning", str(sats))
        assert f"b holds {holds}.000 sats" in ended.out
    assert purse.node("b").info()["balance"] == 65_000
    refunded = purse.done("refund", "b")
    purse.done("fund", "a", stdin=refunded.out)
    assert purse.node("a").info()["balance"] == 65_000


def test_what_was_paid_for_an_invoice_that_nobody_waited_for_is_taken_up(purse: Purse) -> None:
    command = [sys.executable, "-m", "arbstr", "fund", "a", "--lightning", "33"]
    environ = {**os.environ, "PYTHONPATH": str(TOP)}
    with subprocess.Popen(command, cwd=purse.directory, env=environ, stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline().startswith("lnbc330")
        waiting.send_signal(signal.SIGKILL)
    assert "lnbc330" in purse.journal
    eventually(lambda: purse.run("recover").status == 0 and not purse.journal)
    assert purse.node("a").info()["balance"] == 33_000


@pytest.mark.parametrize("keyed", [False, True], ids=["first", "later"])
def test_a_forged_or_spent_token_changes_nothing(purse: Purse, keyed: bool) -> None:
    spent = fresh_token(20)
    if keyed:
        purse.done("fund", "a", stdin=fresh_token(50))
    purse.done("fund", "b", stdin=spent)
    before = purse.config.read_text()
    for wrong in (spent, f"{spent[:200]}AAAA{spent[204:]}", "cashuBgarbagegarbage", "cashuAeyJ0b2tlbiI6W119"):
        ended = purse.run("fund", "a", stdin=wrong)
        assert ended.status == 1, wrong
        assert "did not take the token" in ended.err
        assert wrong not in ended.err
    assert purse.config.read_text() == before
    assert purse.journal == ""
    assert not keyed or purse.node("a").info()["balance"] == 50_000


def test_an_expired_key_takes_nothing_and_pays_back_all(purse: Purse) -> None:
    body = {"initial_balance_token": fresh_token(70), "validity_date": int(time.time()) + 1}
    made = httpx.post(f"{NODES['a']}/v1/balance/create", json=body, timeout=PATIENCE_S).raise_for_status().json()
    purse.use("a", made["api_key"])
    eventually(lambda: "expired" in purse.done("balance").out)
    token = fresh_token(10)
    assert "the key has expired" in purse.run("fund", "a", stdin=token).err
    refunded = purse.done("refund", "a")
    assert "70 sats" in refunded.err
    purse.done("fund", "b", stdin=refunded.out)
    purse.done("fund", "b", stdin=token)
    assert purse.node("b").info()["balance"] == 80_000


def test_an_unknown_key_is_named_before_anything_is_sent(purse: Purse) -> None:
    purse.use("a", "sk-deadbeefdeadbeef")
    assert "bad key" in purse.done("balance").out
    for command in ("fund", "refund"):
        ended = purse.run(command, "a", stdin=fresh_token(5))
        assert ended.status == 1
        assert "does not know the key that arbstr has (sk-dea...***)" in ended.err


def test_a_refund_waits_for_a_request_that_is_under_way(purse: Purse) -> None:
    purse.done("fund", "a", stdin=fresh_token(90))
    headers = {"Authorization": f"Bearer {purse.key('a')}"}
    body = request("in=1000 out=500 delay=3")
    url = f"{NODES['a']}/v1/chat/completions"
    asking = threading.Thread(target=httpx.post, args=(url,), kwargs={"json": body, "headers": headers, "timeout": 60})
    asking.start()
    eventually(lambda: purse.node("a").info()["reserved"] > 0)
    refunded = purse.done("refund", "a")
    asking.join(PATIENCE_S)
    purse.done("fund", "b", stdin=refunded.out)
    assert purse.node("b").info()["balance"] == 89_000, "0.455 sats were charged, the rest of that sat is the node's"


def test_a_top_up_is_spent_by_an_arbstr_that_runs(purse: Purse) -> None:
    purse.done("fund", "a", stdin=fresh_token(1))
    purse.config.write_text("[retry]\nmax_retries = 0\n" + purse.config.read_text())
    body = request("in=1000 out=500", max_tokens=3000)
    with ServeProcess(purse.directory, "-c", "config.toml") as arbstr:
        url = f"{arbstr.url}/v1/chat/completions"
        eventually(lambda: MINI in arbstr.get("/v1/models")["data"][0]["id"] or arbstr.get("/v1/models")["data"])
        assert httpx.post(url, json=body, timeout=PATIENCE_S).status_code == 402
        purse.done("fund", "a", stdin=fresh_token(100))
        eventually(lambda: httpx.post(url, json=body, timeout=PATIENCE_S).status_code == 200)


def test_a_first_key_is_used_by_an_arbstr_that_runs(purse: Purse) -> None:
    purse.done("fund", "b", stdin=fresh_token(60))
    with ServeProcess(purse.directory, "-c", "config.toml") as arbstr:

        def held() -> dict[str, float | None]:
            providers = arbstr.get("/providers")["providers"]
            return {one["name"]: (one["balance"] or {}).get("free_sats") for one in providers}

        eventually(lambda: held() == {"a": None, "b": 60.0})
        ended = purse.done("fund", "a", stdin=fresh_token(90))
        assert "uses the new key within two seconds" in ended.err
        eventually(lambda: held() == {"a": 90.0, "b": 60.0})
        assert "config.toml is in force" in purse.done("reload").out


# --- killed


@pytest.mark.parametrize("keyed", [False, True], ids=["first", "later"])
def test_a_fund_that_is_killed_pays_once(tmp_path: Path, runner: CommandRunner, keyed: bool) -> None:
    """Each round pays with the token that the round before got back: nothing may have been lost on the way."""
    token, key = fresh_token(16), ""
    for number in range(1, MOST_STEPS):
        purse = Purse(tmp_path / str(number), runner)
        if key and keyed:
            purse.use("a", key)
        ended = purse.run("fund", "a", stdin=token, kill_at=number)
        was_under_way = token in purse.journal
        purse.done("recover")
        assert purse.journal == ""
        if not (purse.key("a") and purse.node("a").info()["balance"]):
            assert not was_under_way, ended.step
            purse.done("fund", "a", stdin=token)  # it is its owner's still
        key = purse.key("a") or ""
        assert purse.node("a").info()["balance"] == 16_000, ended.step
        token = purse.done("refund", "a").out
        if not ended.was_killed:
            return
    raise AssertionError("it never came to its end")


def test_a_refund_that_is_killed_is_handed_over_once(tmp_path: Path, runner: CommandRunner) -> None:
    token = fresh_token(32)
    for number in range(1, MOST_STEPS):
        purse = Purse(tmp_path / str(number), runner)
        purse.done("fund", "a", stdin=token)
        assert purse.node("a").info()["balance"] == 32_000
        ended = purse.run("refund", "a", "--to", "token.txt", kill_at=number)
        purse.done("recover")
        assert purse.journal == ""
        file = purse.directory / "token.txt"
        if purse.node("a").info()["balance"]:
            assert not (file.exists() and file.read_text()), ended.step
            file.unlink(missing_ok=True)
            purse.done("refund", "a", "--to", "token.txt")
        token = file.read_text()  # the next round pays with it: it is whole, and worth what it was
        if not ended.was_killed:
            return
    raise AssertionError("it never came to its end")
