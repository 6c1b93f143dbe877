"""In a real terminal: how the dashboard starts and ends, and that what runs beside it does not suffer."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE_S
from tests.support.terminal import Terminal, python

LIVE = "▶ live"


class Beside:
    """What the program beside the dashboard reports."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def said(self) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            merged |= json.loads(line)
        return merged


@pytest.fixture
def beside(tmp_path: Path) -> Beside:
    return Beside(tmp_path / "report")


@pytest.fixture
def terminal(beside: Beside) -> Iterator[Terminal]:
    with Terminal(python("-m", "tests.support.ticking", str(beside.path))) as running:
        running.wait_for(LIVE)
        yield running


@pytest.mark.usefixtures("measured")
def test_quits_by_key_after_a_question_while_requests_are_running(terminal: Terminal, beside: Beside) -> None:
    terminal.type("q")
    terminal.wait_for("3 requests are running")
    terminal.type("q")
    assert terminal.wait_end() == 0
    assert beside.said()["how"] == "quit"
    terminal.check_restored()


def test_keys_that_come_after_the_one_that_quits_change_nothing(terminal: Terminal, beside: Beside) -> None:
    terminal.type("\x112/\x1b\x1b3q")
    assert terminal.wait_end() == 0
    assert beside.said()["how"] == "quit"


@pytest.mark.usefixtures("measured")
def test_ctrl_c_asks_once_and_quits_the_second_time(terminal: Terminal, beside: Beside) -> None:
    terminal.type("\x03")
    terminal.wait_for("Ctrl-C again quits")
    terminal.type("\x03")
    assert terminal.wait_end() == 0
    assert beside.said()["how"] == "quit"


def test_a_byte_that_is_no_utf_8_ends_nothing(terminal: Terminal, beside: Beside) -> None:
    terminal.type(b"\xff\xc3\xe9\x80")
    terminal.type("2")
    terminal.wait_for("newest first")
    terminal.type("\x11")
    assert terminal.wait_end() == 0
    assert beside.said()["how"] == "quit"


TORN = (
    *(b"\x1b[200~", b"\x1b[201~", b"\x1b[<0;9999999;99999999M", b"\x1b[48;99999;99999;1;1t", b"\x1b[97;1;55296u"),
    *(b"\x1b", b"\x1b[<0;20;20M", b"\x1b[<32;40;22M", b"\x1b[<0;30;23m"),
    *(b"2", b"3", b"/", b"\r", b"\t", b"e", b"?", b"\x10", b"y"),
)
QUITS = re.compile(rb"[\x03\x11qQ\x1f]")  # of these bytes some end it, as they should


@pytest.mark.parametrize("seed", [0])
def test_no_bytes_whatever_end_what_runs_beside(terminal: Terminal, beside: Beside, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        terminal.type(QUITS.sub(b"", rng.choice(TORN) + rng.randbytes(rng.randrange(60))))
        while terminal.pump(0.02):
            pass
    assert terminal.process.poll() is None
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.wait_end() == 0
    assert (beside.said()["how"], beside.said()["reason"]) == ("stopped", "")
    terminal.check_restored()


def test_a_huge_paste_holds_the_loop_for_no_time(terminal: Terminal, beside: Beside) -> None:
    os.kill(terminal.process.pid, signal.SIGUSR1)  # what came before does not count
    terminal.type("/")
    terminal.wait_for("/ ")
    terminal.type(b"\x1b[200~")
    for _ in range(500):
        terminal.type(b"x" * 4000)
        terminal.pump(0)
    terminal.type(b"\x1b[201~")
    terminal.wait_for("xxxxx")
    terminal.type("\x1b")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.wait_end() == 0
    assert beside.said()["worst_s"] < 1


def test_ctrl_z_and_sigtstp_stop_nothing(terminal: Terminal) -> None:
    terminal.type("\x1a")
    terminal.process.send_signal(signal.SIGTSTP)
    terminal.wait_for("can't be suspended")
    assert "State:\tT" not in Path(f"/proc/{terminal.process.pid}/status").read_text()


@pytest.mark.usefixtures("measured")
def test_a_terminal_that_stops_reading_does_not_hold_the_loop(terminal: Terminal, beside: Beside) -> None:
    """A driver that waited for it would wait for ever: nothing is read until the tick has said that it goes on."""
    for presses in range(100):  # switching screens paints whole ones: more than any pty buffers
        terminal.type("12345"[presses % 5])
        time.sleep(0.01)
    for _ in range(2):
        size = beside.path.stat().st_size
        os.kill(terminal.process.pid, signal.SIGUSR1)
        until = time.monotonic() + PATIENCE_S
        while beside.path.stat().st_size == size:
            assert time.monotonic() < until
            time.sleep(0.01)
    terminal.type("1")
    terminal.wait_for("Spend by model")
    terminal.wait_for(LIVE)


@pytest.mark.usefixtures("measured")
def test_quits_while_the_terminal_does_not_read(terminal: Terminal, beside: Beside) -> None:
    terminal.type("12345" * 20)
    terminal.process.send_signal(signal.SIGTERM)
    terminal.process.wait(timeout=PATIENCE_S)
    assert beside.said() | {"how": "stopped", "reason": ""} == beside.said()
    assert terminal.modes == terminal.modes_before


@pytest.mark.usefixtures("measured")
def test_follows_the_size_of_the_window(terminal: Terminal) -> None:
    terminal.wait_for("Spend by model")
    terminal.resize(80, 24)
    terminal.wait_gone("Spend by model")
    terminal.wait_for("Providers")
    terminal.resize(50, 12)
    terminal.wait_for("arbstr needs 60x15")
    terminal.resize(120, 36)
    terminal.wait_for("Spend by model")
