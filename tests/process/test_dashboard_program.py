"""`arbstr tui` itself, whole, in a real terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.ledger_builders import FIRST_SCHEMA
from tests.support.patience import PATIENCE_S
from tests.support.provider import DONE, ScriptedProvider, chunk, sse_reply, stream_events
from tests.support.serve_process import chat
from tests.support.terminal import ROOT, Terminal, python, url_of
from tui.format import sats, sats_round, short_durations
from tui.render.themes import DARK, LIGHT

ARBSTR = python("-m", "arbstr")
LIVE = "▶ live"
KEY = "sk-very-secret-0123456789"
NOBODY = "http://127.0.0.1:9/v1"
QUICK = '[[mock.providers]]\nname = "mock-a"\nmodels = ["gpt-4o"]\ntokens_per_second = 0\ndelay_ms = 0\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """One provider, at an address where nobody listens."""
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
        [server]
        listen = "127.0.0.1:0"
        [database]
        path = "{tmp_path.as_posix()}/ledger.db"
        [retry]
        max_retries = 0
        [breaker]
        failure_threshold = 1
        [[providers]]
        name = "alpha"
        url = "{NOBODY}"
        api_key = "{KEY}"
        models = ["gpt-4o"]
        input_rate = 10
        output_rate = 30
        """
    )
    path.chmod(0o600)
    return path


@contextmanager
def running(config: Path, *more: str, **env: str) -> Iterator[Terminal]:
    with Terminal([*ARBSTR, "tui", "-c", str(config), *more], env=env) as terminal:
        terminal.wait_for(LIVE)
        yield terminal


def asking(config: Path, url: str) -> Path:
    """The configuration, with its provider there."""
    config.write_text(config.read_text().replace(NOBODY, url))
    return config


def background_of(terminal: Terminal) -> str:
    """The colour behind the upper left corner, as themes write it."""
    return f"#{terminal.screen.buffer[0][0].bg}"


def ask(terminal: Terminal, model: str = "gpt-4o") -> int:
    """Ask for a completion; the answer's status."""
    return httpx.post(f"{url_of(terminal)}/v1/chat/completions", json=chat(model), timeout=PATIENCE_S).status_code


def get(terminal: Terminal, path: str) -> dict[str, Any]:
    document: dict[str, Any] = httpx.get(url_of(terminal) + path, timeout=PATIENCE_S).json()
    return document


@pytest.mark.usefixtures("measured")
def test_the_proxy_answers_behind_the_dashboard_which_shows_what_it_answers(config: Path) -> None:
    config.write_text(config.read_text().replace("[breaker]", "[breaker]\n        open_for = 600"))
    with running(config) as terminal:
        terminal.wait_for("No requests yet")
        assert ask(terminal) == 502
        terminal.wait_for("✗ 502")
        terminal.wait_for("0 of 1 provider")
        assert ask(terminal, "[/x][red]") == 404
        terminal.wait_for("[/x][red]")
        assert ask(terminal, "\x1b]52;c;aGVsbG8=\x07\x1b[2J") in (400, 404)
        assert b"\x1b]52" not in terminal.raw
        terminal.type("2")
        terminal.wait_for("Requests  3")
        terminal.type("3")
        terminal.wait_for("sk-ver...***")
        assert KEY.encode() not in terminal.raw
        terminal.type("q")
        assert terminal.wait_end() == 0


@pytest.mark.usefixtures("measured")
def test_a_light_terminal_is_asked_and_gets_the_light_theme_and_a_choice_is_remembered(
    config: Path, tmp_path: Path
) -> None:
    state = str(tmp_path / "state")
    with running(config, XDG_STATE_HOME=state) as terminal:
        terminal.wait(lambda: b"\x1b]11;?" in terminal.raw, "the question for the background")
        terminal.type(b"\x1b]11;rgb:fb")
        terminal.type(b"fb/fafa/f7f7\x1b\\")
        terminal.wait(lambda: background_of(terminal) == LIGHT.background, "the light theme")
        terminal.type("u")
        terminal.wait_for("Times in")
        terminal.type("q")
        assert terminal.wait_end() == 0
    assert json.loads((tmp_path / "state" / "arbstr" / "dashboard.json").read_text()) == {"utc": True}
    with running(config, "--theme", "dark", XDG_STATE_HOME=state) as terminal:
        assert background_of(terminal) == DARK.background
        assert b"\x1b]11;?" not in terminal.raw


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it_with_status_0_and_the_terminal_as_it_was(config: Path, number: signal.Signals) -> None:
    with running(config) as terminal:
        terminal.process.send_signal(number)
        assert terminal.wait_end() == 0
        terminal.check_restored()


def test_a_taken_port_is_one_sentence_and_status_2_before_the_screen_changes(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with Terminal([*ARBSTR, "tui", "-c", str(config), "-l", taken]) as terminal:
            assert terminal.wait_end() == 2
            assert "already in use" in terminal.text
            assert b"\x1b[?1049h" not in terminal.raw


def test_the_size_is_that_of_the_terminal_whatever_the_environment_says(config: Path) -> None:
    with running(config, COLUMNS="80", LINES="24") as terminal:
        terminal.wait_for("Spend by model")


@pytest.mark.parametrize("without", ["stdin", "stderr", "both"])
def test_without_a_terminal_it_says_so_names_serve_and_exits_2(config: Path, without: str) -> None:
    master, slave = pty.openpty()
    nowhere = subprocess.DEVNULL
    done = subprocess.run(
        [*ARBSTR, "tui", "-c", str(config)],
        cwd=ROOT,
        stdin=slave if without == "stderr" else nowhere,
        stdout=nowhere,
        stderr=slave if without == "stdin" else subprocess.PIPE,
        timeout=PATIENCE_S,
        check=False,
    )
    said = os.read(master, 4096) if without == "stdin" else done.stderr
    os.close(master)
    os.close(slave)
    assert done.returncode == 2
    assert b"arbstr serve" in said


@pytest.mark.parametrize("kind", ["dumb", "unknown"])
def test_a_terminal_that_can_only_print_is_an_error_with_status_2(config: Path, kind: str) -> None:
    with Terminal([*ARBSTR, "tui", "-c", str(config)], env={"TERM": kind}) as terminal:
        assert terminal.wait_end() == 2
        assert "arbstr serve" in terminal.text.replace("\n", "")
        assert f"TERM={kind}" in terminal.text
        assert b"\x1b" not in terminal.raw


def cpu_s(pid: int) -> float:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.usefixtures("measured")
def test_when_its_terminal_goes_away_the_proxy_goes_on_says_why_once_and_rests(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "arbstr.log"
    config.write_text(config.read_text() + f'\n[logging]\nfile = "{log.as_posix()}"\n')
    with running(config) as terminal:
        terminal.hang_up()
        while "continues without it" not in log.read_text():
            assert terminal.process.poll() is None
            time.sleep(0.02)
        before = cpu_s(terminal.process.pid)
        time.sleep(1)
        assert cpu_s(terminal.process.pid) - before < 0.3
        assert ask(terminal) == 502
        assert get(terminal, "/health")["version"]
        assert log.read_text().count("the dashboard lost its terminal: ") == 1
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(timeout=PATIENCE_S) == 0


def test_a_ledger_that_cannot_be_written_at_the_start_is_said_on_every_screen(config: Path, tmp_path: Path) -> None:
    with running(config):
        pass
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with running(config) as terminal:
            for key in "12345":
                terminal.type(key)
                terminal.wait_for("ledger can't be written")
            other.execute("ROLLBACK")
            terminal.wait_gone("ledger can't be written")


SPENT = re.compile("month budget (spent, refusing until|refuses at [0-9]+ %, resets) ")  # as long as the answer was


def test_a_spent_budget_is_said_on_every_screen_and_nothing_looks_well_beside_it(config: Path) -> None:
    config.write_text(f"{config.read_text()}\n[budget]\nmax_sats_per_month = 12\n{QUICK}")
    with running(config, "--mock") as terminal:
        while (status := ask(terminal)) != 402:
            assert status == 200
        for key in "23451":
            terminal.type(key)
            terminal.wait(lambda: SPENT.search(terminal.text) is not None, "that the budget refuses")
            assert "●" not in terminal.text.splitlines()[0]


def test_a_balance_that_is_used_up_is_said_on_every_screen_until_it_suffices(config: Path) -> None:
    config.write_text(config.read_text().replace('["gpt-4o"]', '["gpt-4o", "mock-error-402"]'))
    with running(config, "--mock") as terminal:
        assert ask(terminal, "mock-error-402") == 402
        for key in "23451":
            terminal.type(key)
            terminal.wait_for("no balance left at mock-alpha")
        terminal.wait_for("✕ 0 of 1 providers serving")
        while ask(terminal) != 200:  # for some seconds it is not asked
            terminal.pump(0.1)
        terminal.wait_gone("no balance left")


HELD = """
import asyncio, os, sys
from arbstr.ledger.write_connection import WriteConnection
absorb, adopted = WriteConnection.absorb, WriteConnection.adopted

async def held(self):
    if (await adopted(self)).done and not os.path.exists("{go_on}"):
        await asyncio.sleep(0.02)
        return True
    return await absorb(self)

WriteConnection.absorb = held
from arbstr.cli import main
sys.argv[0] = "arbstr"
main()
"""


def test_the_adoption_of_an_earlier_ledger_is_followed_on_the_screen(config: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as database, database:
        database.executescript(FIRST_SCHEMA)
        database.executemany(
            "INSERT INTO requests (correlation_id, timestamp, model, provider, cost_sats, latency_ms, success)"
            " VALUES (?, ?, 'gpt-4o', 'alpha', 1.5, 100, 1)",
            ((f"old-{day}-{row}", f"2025-01-{day:02}T12:00:00Z") for day in range(1, 29) for row in range(400)),
        )
    go_on = tmp_path / "go-on"
    with Terminal(python("-c", HELD.format(go_on=go_on.as_posix()), "tui", "-c", str(config))) as terminal:
        terminal.wait_for("adopting old rows")
        go_on.touch()
        terminal.wait_gone("adopting old rows")
        terminal.type("2")
        terminal.wait_for("11,200")


def test_after_a_restart_the_feed_begins_with_what_the_ledger_has(config: Path) -> None:
    with running(config) as terminal:
        assert ask(terminal) == 502
        terminal.wait_for("✗ 502")
    with running(config) as terminal:
        terminal.wait_for("✗ 502")
        assert "No requests yet" not in terminal.text


def test_a_breaker_whose_time_is_up_is_ready_to_be_probed_without_any_traffic(config: Path) -> None:
    config.write_text(config.read_text().replace("failure_threshold = 1", "failure_threshold = 1\nopen_for = 0.5"))
    with running(config) as terminal:
        assert ask(terminal) == 502
        terminal.wait_for("◐ 1 provider serving")
        terminal.wait_for("◐ to probe  alpha")
        assert "to probe" in terminal.text
        assert get(terminal, "/health")["providers"]["alpha"]["state"] == "half_open"


@pytest.mark.parametrize(
    ("env", "of_its_own"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": ""}, True),
        ({"TERM": "linux", "COLORTERM": ""}, False),
    ],
)
def test_only_a_terminal_with_many_colours_gets_colours_of_ours(
    config: Path, env: dict[str, str], of_its_own: bool
) -> None:
    with running(config, **env) as terminal:
        terminal.wait_for("Spend by model")
        assert (b"[48;" in terminal.raw or b";48;" in terminal.raw) is of_its_own


def test_no_colour_when_it_is_not_wanted(config: Path) -> None:
    with running(config, NO_COLOR="1") as terminal:
        terminal.wait_for("Spend by model")
        codes = {code for part in bytes(terminal.raw).split(b"\x1b[")[1:] for code in _colours(part)}
        assert not codes


def _colours(part: bytes) -> list[str]:
    """The colours that an escape sequence sets, the terminal's own default aside."""
    text, end, _ = part.partition(b"m")
    if not end or not text or not all(byte in b"0123456789;" for byte in text):
        return []
    return [code for code in text.decode().split(";") if code.isdigit() and 30 <= int(code) % 60 <= 48 and code != "39"]


CRASH = """
import sys
from tui.widgets.feed import FeedPanel
FeedPanel.draw = lambda self, width, height: [][width]
from arbstr.cli import main
sys.argv[0] = "arbstr"
main()
"""


@pytest.mark.usefixtures("measured")
def test_when_the_dashboard_dies_the_proxy_goes_on_and_says_why(config: Path) -> None:
    with Terminal(python("-c", CRASH, "tui", "-c", str(config))) as terminal:
        terminal.wait(lambda: b"continues without it at http" in terminal.raw.rpartition(b"\n")[0], "a line about it")
        assert b"the dashboard crashed: IndexError" in terminal.raw
        assert ask(terminal) == 502
        assert get(terminal, "/health")["version"]
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait_end() == 0
        assert "Traceback" not in terminal.text
        terminal.check_restored()


def test_the_demo_is_alive_in_one_command() -> None:
    with Terminal([*ARBSTR, "tui", "--demo", "-l", "127.0.0.1:0"]) as terminal:
        terminal.wait_for("fake providers")
        terminal.wait_for("✓ ok")
        terminal.wait(lambda: "│ 0.000 sats" not in terminal.text, "some spending")
        terminal.type("q")
        assert terminal.wait_end() == 0


async def test_what_still_finishes_after_quitting_is_said_in_one_line(config: Path) -> None:
    go_on = asyncio.Event()
    async with ScriptedProvider(sse_reply(chunk("a"), go_on, *stream_events("b"))) as provider:
        with running(asking(config, provider.url)) as terminal:
            async with (
                httpx.AsyncClient(base_url=url_of(terminal), timeout=PATIENCE_S) as client,
                client.stream("POST", "/v1/chat/completions", json=chat(stream=True)) as answer,
            ):
                pieces = answer.aiter_raw()
                got = await anext(pieces)
                for key, said in (("", "1 running"), ("q", "1 request is running"), ("q", "stopping: 1 request has")):
                    terminal.type(key)
                    await asyncio.to_thread(terminal.wait_for, said)
                go_on.set()
                got += b"".join([piece async for piece in pieces])
            assert got.endswith(DONE)
            assert await asyncio.to_thread(terminal.wait_end) == 0
            after = bytes(terminal.raw).rpartition(b"\x1b[?1049l")[2]
            assert after.count(b"\n") == 1, after


def test_figures_are_those_of_the_endpoints_within_one_refresh(config: Path) -> None:
    config.write_text(config.read_text() + QUICK)
    with running(config, "--mock") as terminal:
        for _ in range(4):
            assert ask(terminal) == 200
        stats = get(terminal, "/v1/stats?range=last_7d")
        spent, total = round(stats["costs"]["total_cost_sats"] * 1000), stats["counts"]["total"]
        performance = stats["performance"]
        half, most = short_durations(performance["p50_latency_ms"], performance["p95_latency_ms"])
        terminal.wait_for("Spent  today UTC")
        terminal.wait_for(f"│ {sats_round(spent)} sats")
        terminal.wait_for(f"7 days {sats_round(spent)} sats")
        terminal.wait_for(f"start {sats(spent)} sats")
        terminal.wait_for(f"│ {total} ")
        terminal.wait_for(f"p50 {half} p95 {most} ")
