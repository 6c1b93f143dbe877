"""`arbstr tui --attach` in a terminal of its own: it watches an arbstr that goes, comes back, and stays."""

from __future__ import annotations

from pathlib import Path

from tests.support.command import run_command
from tests.support.ports import reserved_port
from tests.support.serve_process import ServeProcess
from tests.support.terminal import Terminal, python

LIVE = "▶ live"
TOKEN = "the-operators-token-0123456789"
CONFIG = f"""
[server]
auth_token = "{TOKEN}"
[[providers]]
name = "alpha"
url = "http://127.0.0.1:9/v1"
api_key = "sk-very-secret-0123456789"
models = ["gpt-4o"]
input_rate = 10
output_rate = 30
"""


def attached(url: str, *more: str, **env: str) -> Terminal:
    return Terminal(python("-m", "arbstr", "tui", "--attach", url, *more), env=env)


def test_it_outlives_its_arbstr_finds_it_again_and_leaves_it_running(tmp_path: Path) -> None:
    with reserved_port() as port:
        address = f"127.0.0.1:{port}"
        with ServeProcess(tmp_path, "--mock", "-l", address) as first, attached(address) as terminal:
            terminal.wait_for(LIVE)
            terminal.wait_for("watching, read-only")
            assert first.chat().status_code == 200
            terminal.wait_for("✓ ok")
            first.process.kill()
            terminal.wait_for("no connection")
            terminal.wait_for("stale since")
            with ServeProcess(tmp_path, "--mock", "-l", address) as second:
                terminal.wait_for(LIVE)
                assert "no connection" not in terminal.text
                terminal.type("q")
                assert terminal.wait_end() == 0
                assert terminal.modes == terminal.modes_before
                assert second.chat().status_code == 200


def test_the_token_is_asked_for_where_it_is_needed_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CONFIG)
    with ServeProcess(tmp_path) as serving:
        with attached(serving.url) as terminal:
            terminal.wait_for("Token of http://127.0.0.1")
            terminal.type(f"{TOKEN}\r")
            terminal.wait_for(LIVE)
            terminal.type("3")
            terminal.wait_for("sk-ver...***")
            terminal.type("q")
            assert terminal.wait_end() == 0
            assert TOKEN.encode() not in terminal.raw
        with attached(serving.url, ARBSTR_TOKEN="a-wrong-token-0123456789") as terminal:
            terminal.wait_for("refuses the token")
            assert terminal.wait_end() == 1
            assert b"a-wrong-token" not in terminal.raw


def test_what_cannot_be_watched_is_one_sentence(tmp_path: Path) -> None:
    with attached("127.0.0.1:9") as terminal:
        terminal.wait_for("arbstr: no arbstr answers at http://127.0.0.1")
        assert terminal.wait_end() == 1
    for options, says in (
        (("ftp://127.0.0.1",), "is no address of an arbstr"),
        (("http://user:secret@127.0.0.1",), "may not hold a user or password"),
        (("127.0.0.1:8080", "--demo"), "it goes with --token alone"),
    ):
        done = run_command("tui", "--attach", *options, environ={})
        assert done.returncode == 2
        assert says in done.stderr
