"""`arbstr balance`, `fund`, `refund` and `recover` as people and scripts meet them; secrets go where they belong."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from arbstr.config.key_writing import write_key
from arbstr.market.money_journal import journal_path, opened
from tests.support.command import Done, run_command
from tests.support.money_node import Account, MoneyNodes, Node
from tests.support.paths import TOP
from tests.support.patience import PATIENCE_S
from tests.support.processes import started
from tests.support.serve_process import ServeProcess, eventually
from tests.support.terminal import Terminal, python

KEY = "sk-0123456789abcdef"
SECRET = re.compile(r"sk-[0-9a-f]{10}|cashu[AB][0-9a-f]{10}|lnbc\w{10}")
UNAVAILABLE = (503, {"error": {"message": "Cashu mint is unreachable", "code": "cashu_mint_unreachable"}})


@pytest.fixture(scope="module")
def nodes() -> Iterator[MoneyNodes]:
    with MoneyNodes() as serving:
        yield serving


class Desk:
    """A directory with a configuration: Routstr nodes by name, and one provider that is none."""

    def __init__(self, nodes: MoneyNodes, directory: Path, **keys: str | None) -> None:
        self.directory = directory
        self.mint = nodes.mint
        self.nodes: dict[str, Node] = {}
        tables = ['[[providers]]\nname = "plain"\nurl = "http://127.0.0.1:1/v1"\ninput_rate = 1\n']
        for name, key in keys.items():
            at = f"{name}-{nodes.mint.next()}"
            self.nodes[name] = nodes.node(at)
            line = "" if key is None else f'api_key = "{key}"\n'
            tables.append(
                f'[[providers]]\nname = "{name}"  # {name}\nurl = "{nodes.url(at)}"\nkind = "routstr"\n{line}'
            )
            if key is not None:
                self.nodes[name].accounts[key] = Account(free=100_000, reserved=0, history=["in"])
        self.config = directory / "config.toml"
        self.config.write_text("\n".join(tables))
        self.config.chmod(0o600)

    def run(self, *arguments: str, stdin: str = "") -> Done:
        given = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        before, sys.stdin = sys.stdin, given
        try:
            return run_command(*arguments, environ={}, cwd=self.directory)
        finally:
            sys.stdin = before

    def key(self, name: str) -> str | None:
        tables = {table["name"]: table for table in tomllib.loads(self.config.read_text())["providers"]}
        key = tables[name].get("api_key")
        return None if key is None else str(key)

    @property
    def journal(self) -> str:
        path = self.directory / "config.toml.money"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def desk(nodes: MoneyNodes, tmp_path: Path) -> Desk:
    return Desk(nodes, tmp_path, a=KEY, b=None)


# --- fund


def test_a_first_fund_writes_the_key_and_nothing_else(desk: Desk) -> None:
    before = desk.config.read_text()
    done = desk.run("fund", "b", stdin=f"{desk.mint.token(250)}\n")
    assert (done.returncode, done.stdout) == (0, "b has a first key, written into config.toml\nb holds 250.000 sats\n")
    assert desk.config.read_text().replace(f'api_key = "{desk.key("b")}"\n', "") == before
    assert desk.config.stat().st_mode & 0o777 == 0o600
    assert SECRET.search(done.stdout + done.stderr + desk.journal) is None


def test_a_token_may_come_wrapped_and_as_an_address(desk: Desk) -> None:
    token = desk.mint.token(250)
    done = desk.run("fund", "a", stdin=f"  cashu:{token[:30]}\r\n{token[30:]}\n\n")
    assert (done.returncode, done.stdout) == (0, "a has 250.000 sats more\na holds 350.000 sats\n")


def test_a_token_on_the_command_line_works_with_a_warning(desk: Desk) -> None:
    done = desk.run("fund", "a", "--token", desk.mint.token(250))
    assert done.returncode == 0
    assert "in the shell's history" in done.stderr
    assert SECRET.search(done.stdout + done.stderr) is None


def test_a_spent_token_is_an_error_and_nothing_changes(desk: Desk) -> None:
    token = desk.mint.token(250)
    assert desk.run("fund", "a", stdin=token).returncode == 0
    done = desk.run("fund", "a", stdin=token)
    assert done.returncode == 1
    assert done.stderr == "arbstr: a did not take the token: HTTP 400: Cashu token already spent\n"
    assert desk.nodes["a"].accounts[KEY].free == 350_000
    assert desk.journal == ""


def test_what_could_not_be_sent_is_said_to_be_so(desk: Desk) -> None:
    desk.config.write_text('[[providers]]\nname = "c"\nkind = "routstr"\nurl = "http://127.0.0.1:1/v1"\n')
    done = desk.run("fund", "c", stdin=desk.mint.token(250))
    assert done.returncode == 1
    assert "nothing was sent, and the token is as it was" in done.stderr
    assert desk.journal == ""


def test_a_second_fund_at_once_tops_up_the_key_that_the_first_one_got(desk: Desk) -> None:
    command = [*python("-m", "arbstr", "fund", "b", "-c", str(desk.config)), "--token", desk.mint.token(250)]
    said = desk.directory / "said"
    with said.open("w") as err, ExitStack() as waiting:
        with opened(journal_path(desk.config)):
            second = waiting.enter_context(started(command, cwd=TOP, stdout=subprocess.PIPE, stderr=err))
            eventually(lambda: "history" in said.read_text())  # the warning comes before it waits for the journal
            desk.nodes["b"].accounts[KEY] = Account(free=5_000)
            write_key(desk.config, 2, KEY)
        assert second.communicate(timeout=PATIENCE_S)[0] == "b has 250.000 sats more\nb holds 255.000 sats\n"


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "why"),
    [
        (["fund", "aa"], "", 2, 'no provider is named "aa"; did you mean "a"?'),
        (["fund", "zz"], "", 2, "the Routstr nodes are a, b"),
        (["fund", "plain"], "", 2, '"plain" is no Routstr node; only kind = "routstr" holds money'),
        (["fund", "a", "--lightning", "0"], "", 2, "greater than or equal to 1"),
        (["fund", "a", "--lightning", "5", "--token", "cashuBsecret01234"], "", 2, "choose one"),
        (["fund", "a"], "", 1, "no token came"),
        (["fund", "a"], "secret-thing", 1, "that is no Cashu token"),
        (["fund", "a", "cashuBsecret01234"], "", 2, "unexpected extra argument"),
        (["refund", "b"], "", 1, "has no key, so there is nothing to take back"),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_repeated(
    desk: Desk, arguments: list[str], stdin: str, status: int, why: str
) -> None:
    done = desk.run(*arguments, stdin=stdin)
    assert done.returncode == status
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
    assert desk.journal == ""


def test_a_configuration_without_a_node_holds_no_money(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[[providers]]\nname = "x"\nurl = "http://x"\ninput_rate = 1\n')
    done = run_command("balance", environ={}, cwd=tmp_path)
    assert done.returncode == 1
    assert 'no provider with kind = "routstr"' in done.stderr


# --- an invoice


def test_an_invoice_in_a_pipe_is_one_line(desk: Desk) -> None:
    desk.nodes["b"].pays_itself = True
    done = desk.run("fund", "b", "--lightning", "50")
    assert done.returncode == 0
    invoice, *rest = done.stdout.splitlines()
    (made,) = desk.nodes["b"].invoices.values()
    assert invoice == made["bolt11"]
    assert rest == ["b has 50 sats more, paid by Lightning", "b holds 50.000 sats"]
    assert "\x1b" not in done.stdout + done.stderr
    assert SECRET.search(done.stderr) is None


def test_an_invoice_on_a_terminal_is_a_code_that_fits_and_ctrl_c_keeps_it(desk: Desk) -> None:
    command = python("-m", "arbstr", "fund", "b", "-c", str(desk.config), "--lightning", "50")
    node = desk.nodes["b"]
    with Terminal(command, columns=80, rows=48) as terminal:
        terminal.wait_for("waiting for 50 sats")
        code = [line for line in terminal.text.splitlines() if "█" in line or "▀" in line]
        assert len(code) > 20
        assert max(map(len, (line.rstrip() for line in code))) < 80
        cell = terminal.screen.buffer[terminal.screen.display.index(code[5])][20]
        assert (cell.fg, cell.bg) == ("000000", "ffffff"), "whatever the terminal's own colours are"
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.wait_end() == 130
        assert "interrupted; money that was under way is in the journal" in terminal.text
    (kept,) = node.invoices.values()
    with Terminal(command, columns=80, rows=48) as terminal:
        terminal.wait_for("waiting for 50 sats")
        assert kept["bolt11"] in terminal.text.replace("\n", "")
        node.pay()
        assert terminal.wait_end() == 0
        assert "b holds 50.000 sats" in terminal.text
    assert desk.key("b") == kept["key"]
    assert desk.journal == ""


@pytest.mark.parametrize(("columns", "coded"), [(50, False), (200, True)])
def test_a_code_that_does_not_fit_is_left_out(desk: Desk, columns: int, coded: bool) -> None:
    command = python("-m", "arbstr", "fund", "b", "-c", str(desk.config), "--lightning", "50")
    with Terminal(command, columns=columns, rows=48) as terminal:
        terminal.wait_for("waiting for 50 sats")
        assert ("▀" in terminal.text) is coded
        assert "lnbc500n1" in terminal.text


def test_an_invoice_over_another_amount_is_not_shown_without_a_word(desk: Desk) -> None:
    desk.nodes["b"].pays_itself = True
    desk.nodes["b"].factor = 1000
    assert "careful: this invoice asks for 5,000.000 sats" in desk.run("fund", "b", "--lightning", "50").stderr


# --- the prompt


def test_a_token_of_any_length_is_typed_without_being_shown(desk: Desk) -> None:
    token = desk.mint.token(250)
    long = token + "A" * 6000
    desk.mint.unspent[long] = desk.mint.unspent.pop(token)
    with Terminal(python("-m", "arbstr", "fund", "a", "-c", str(desk.config))) as terminal:
        terminal.wait_for("Cashu token for a (not shown):")
        terminal.type(long[:3000])
        terminal.type("x\x7f")
        terminal.type(long[3000:] + "\n")
        assert terminal.wait_end() == 0
        assert "a holds 350.000 sats" in terminal.text
        assert token[:20].encode() not in terminal.raw
        assert terminal.modes == terminal.modes_before


def test_ctrl_c_at_the_prompt_ends_it_and_leaves_the_terminal_as_it_was(desk: Desk) -> None:
    with Terminal(python("-m", "arbstr", "fund", "a", "-c", str(desk.config))) as terminal:
        terminal.wait_for("(not shown):")
        terminal.type("cashuB123")
        terminal.interrupt()
        assert terminal.wait_end() != 0
        assert "Traceback" not in terminal.text
        assert terminal.modes == terminal.modes_before
    assert desk.journal == ""


# --- balance


def test_each_node_has_a_line_and_all_together_a_sum(desk: Desk) -> None:
    desk.nodes["a"].accounts[KEY] = Account(free=1_234_567, reserved=365)
    lines = [re.split(r" {2,}", line) for line in desk.run("balance").stdout.splitlines()]
    assert lines[:3] == [
        ["provider", "free sats", "reserved", "key", "state"],
        ["a", "1,234.567", "0.365", "sk-012...***", "ok"],
        ["b", "-", "-", "-", "no key; arbstr fund b gets one"],
    ]
    assert lines[3] == ["sum", "1,234.567", "0.365"]


NEXT = {
    "empty": "empty; arbstr fund a tops it up",
    "refunded": "refunded; arbstr fund a tops it up",
    "expired": "expired; arbstr refund a gets back what it holds",
    "bad_key": "bad key: HTTP 401: Invalid API key; correct api_key, or take it out and run arbstr fund a",
}


@pytest.mark.parametrize(
    ("account", "state"),
    [
        (Account(free=1), "ok"),
        (Account(reserved=1), "ok"),
        (Account(spent=5, history=["in"]), "empty"),
        (Account(history=["in", "out"]), "refunded"),
        (Account(free=5, validity_date=1.0), "expired"),
        (None, "bad_key"),
    ],
)
def test_what_state_a_key_is_in_is_said(desk: Desk, account: Account | None, state: str) -> None:
    desk.nodes["a"].accounts = {KEY: account} if account else {}
    done = desk.run("balance", "--json")
    assert done.returncode == 0
    said = json.loads(done.stdout)
    assert [one["state"] for one in said["providers"]] == [state, "no_key"]
    assert said["free_sats"] == (account.free / 1000 if account else 0)
    assert KEY not in done.stdout + done.stderr
    if state != "ok":
        assert NEXT[state] in desk.run("balance").stdout


def test_a_node_that_does_not_answer_is_a_failure_and_the_others_are_shown(desk: Desk) -> None:
    desk.nodes["a"].scripted["/v1/balance/info"] = [UNAVAILABLE] * 2
    done = desk.run("balance")
    assert done.returncode == 1
    assert "can't be read: HTTP 503: Cashu mint is unreachable" in done.stdout
    assert "no key" in done.stdout
    assert json.loads(desk.run("balance", "--json").stdout)["providers"][0]["problem"].startswith("HTTP 503")


# --- refund, recover


def test_a_refund_is_the_only_thing_on_stdout(desk: Desk) -> None:
    done = desk.run("refund", "a")
    assert (done.returncode, done.stdout) == (0, f"{desk.nodes['a'].accounts[KEY].refund}\n")
    assert done.stderr == "arbstr: a has paid back 100 sats\n"


def test_a_refund_to_a_file_is_shown_nowhere(desk: Desk) -> None:
    done = desk.run("refund", "a", "--to", "token.txt")
    assert (done.returncode, done.stdout) == (0, "")
    file = desk.directory / "token.txt"
    assert file.read_text() == f"{desk.nodes['a'].accounts[KEY].refund}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    again = desk.run("refund", "a", "--to", "token.txt")
    assert again.returncode == 1
    assert "exists; name a file that does not" in again.stderr


def test_a_refund_that_is_refused_leaves_no_file(desk: Desk) -> None:
    desk.nodes["a"].scripted["/v1/balance/refund"] = [(400, {"detail": "Balance too small to refund"})]
    done = desk.run("refund", "a", "--to", "token.txt")
    assert done.returncode == 1
    assert "pays nothing back: HTTP 400: Balance too small to refund" in done.stderr
    assert not (desk.directory / "token.txt").exists()
    assert desk.journal == ""


def test_a_refund_that_is_sent_elsewhere_leaves_no_file(desk: Desk) -> None:
    desk.nodes["a"].scripted["/v1/balance/refund"] = [(200, {"recipient": "me@ln.example" + "\x1b[2J" * 100})]
    done = desk.run("refund", "a", "--to", "token.txt")
    assert (done.returncode, done.stdout) == (0, "")
    assert "has sent its refund to me@ln.example" in done.stderr
    assert len(done.stderr) < 200
    assert "\x1b" not in done.stderr
    assert not (desk.directory / "token.txt").exists()


@pytest.mark.usefixtures("at_once")
def test_a_refund_that_is_dropped_leaves_no_empty_file(desk: Desk) -> None:
    desk.nodes["a"].scripted["/v1/balance/refund"] = [(200, {"token": 7})] * 6
    assert desk.run("refund", "a", "--to", "token.txt").returncode == 1
    assert (desk.directory / "token.txt").exists()
    assert desk.run("recover", "--drop").returncode == 0
    assert not (desk.directory / "token.txt").exists()
    assert desk.journal == ""


def test_nothing_to_recover_is_said(desk: Desk) -> None:
    done = desk.run("recover")
    assert (done.returncode, done.stderr) == (0, "arbstr: no money is under way\n")
    assert sorted(file.name for file in desk.directory.iterdir()) == ["config.toml"]


def interrupted(desk: Desk, name: str, token: str) -> None:
    """Fund while the mint is away, so that the token stays in the journal."""
    path = "/v1/balance/topup" if desk.key(name) else "/v1/balance/create"
    desk.nodes[name].scripted[path] = [UNAVAILABLE] * 3
    assert desk.run("fund", name, stdin=token).returncode == 1
    assert token in desk.journal


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbstr.market.settlement._AGAIN_S", 0.01)


@pytest.mark.usefixtures("at_once")
def test_what_was_interrupted_is_recovered(desk: Desk) -> None:
    interrupted(desk, "b", desk.mint.token(250))
    done = desk.run("recover")
    assert (done.returncode, done.stderr) == (0, "arbstr: b has a first key, written into config.toml\n")
    assert desk.nodes["b"].accounts[desk.key("b") or ""].free == 250_000
    assert desk.journal == ""


@pytest.mark.usefixtures("at_once")
def test_a_token_that_is_refused_at_last_is_given_back(desk: Desk) -> None:
    token = desk.mint.token(250)
    interrupted(desk, "a", token)
    desk.mint.spend(token)
    done = desk.run("recover")
    assert (done.returncode, done.stdout) == (0, f"{token}\n")
    assert "did not take the token" in done.stderr
    assert desk.journal == ""


@pytest.mark.usefixtures("at_once")
def test_what_can_not_be_finished_is_a_failure_and_can_be_dropped(desk: Desk) -> None:
    token = desk.mint.token(250)
    interrupted(desk, "a", token)
    desk.nodes["a"].scripted["/v1/balance/topup"] = [UNAVAILABLE] * 6
    done = desk.run("recover")
    assert (done.returncode, done.stdout) == (1, "")
    assert "mint is unreachable" in done.stderr
    assert done.stderr.endswith("arbstr: `arbstr recover --drop` gives a token back that can't be paid in\n")
    done = desk.run("recover", "--drop")
    assert (done.returncode, done.stdout) == (0, f"{token}\n")
    assert desk.journal == ""


def test_a_journal_that_can_not_be_read_stops_every_move(desk: Desk) -> None:
    (desk.directory / "config.toml.money").write_text("cashuBsecret01234\n")
    for command in (["recover"], ["fund", "a"], ["refund", "a"]):
        done = desk.run(*command, stdin=desk.mint.token(250))
        assert done.returncode == 1
        assert "line 1, can't be read" in done.stderr
        assert "secret" not in done.stderr
    assert desk.nodes["a"].accounts[KEY].free == 100_000


# --- an arbstr that runs


@pytest.mark.usefixtures("at_once")
def test_the_next_start_takes_up_what_was_interrupted_and_logs_no_secret(desk: Desk) -> None:
    token = desk.mint.token(250)
    interrupted(desk, "b", token)
    with ServeProcess(desk.directory, "-c", "config.toml", env={"ARBSTR_LOG": "debug"}) as arbstr:
        eventually(lambda: desk.journal == "")
        eventually(lambda: "b has a first key" in arbstr.stderr)
        assert arbstr.stop() == 0
        assert SECRET.search(arbstr.stderr) is None
    assert desk.nodes["b"].accounts[desk.key("b") or ""].free == 250_000
    for file in desk.directory.iterdir():
        assert token.encode() not in file.read_bytes(), file.name


def test_a_refund_that_was_interrupted_waits_for_its_owner_and_is_not_logged(desk: Desk) -> None:
    desk.nodes["a"].lost += ["/v1/balance/refund"] * 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("arbstr.market.settlement._AGAIN_S", 0.01)
        assert desk.run("refund", "a").returncode == 1
    with ServeProcess(desk.directory, "-c", "config.toml", env={"ARBSTR_LOG": "debug"}) as arbstr:
        eventually(lambda: "`arbstr recover` shows the token" in arbstr.stderr)
        assert SECRET.search(arbstr.stderr) is None
        done = eventually(lambda: (done := desk.run("recover")).returncode == 0 and done)
        assert done.stdout == f"{desk.nodes['a'].accounts[KEY].refund}\n"


def test_a_top_up_is_noticed_while_arbstr_runs(desk: Desk) -> None:
    with ServeProcess(desk.directory, "-c", "config.toml") as arbstr:

        def shown() -> float | None:
            (found,) = [one for one in arbstr.get("/providers")["providers"] if one["name"] == "a"]
            return None if found.get("balance") is None else found["balance"].get("free_sats")

        eventually(lambda: shown() == 100)
        assert desk.run("fund", "a", stdin=desk.mint.token(250)).returncode == 0
        eventually(lambda: shown() == 350)
