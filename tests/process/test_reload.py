"""Reloads of the real program: by a signal, by the command, by a changed file, and a terminal that has gone."""

from __future__ import annotations

import os
import pty
import signal
import sys
import threading
from functools import partial
from pathlib import Path

import httpx

from tests.support.command import run_command
from tests.support.patience import PATIENCE_S
from tests.support.serve_process import ServeProcess, chat, eventually

OPENS_A_TERMINAL = "import os, sys; os.setsid(); os.open(sys.argv[1], os.O_RDWR); os.execvp(sys.argv[2], sys.argv[2:])"


def configured(home: Path, token: str = "first", more: str = "") -> None:
    """Write a configuration with this token, in one step."""
    text = f'[server]\nauth_token = "{token}"\n{more}[[mock.providers]]\nname = "quick"\nmodels = ["gpt-4o"]\n'
    (home / "next.toml").write_text(f"{text}delay_ms = 0\ntokens_per_second = 0\n")
    (home / "next.toml").replace(home / "config.toml")


def status(arbstr: ServeProcess, token: str) -> int:
    url, headers = f"{arbstr.url}/v1/chat/completions", {"Authorization": f"Bearer {token}"}
    return httpx.post(url, json=chat(), headers=headers, timeout=PATIENCE_S).status_code


def reloaded(arbstr: ServeProcess, times: int) -> bool:
    return arbstr.stderr.count("configuration reloaded") >= times


def serving(home: Path, *, under: tuple[str, ...] = ()) -> ServeProcess:
    configured(home)
    return ServeProcess(home, "-c", "config.toml", "--mock", env={"DATABASE_URL": str(home / "arbstr.db")}, under=under)


def test_sighup_and_the_command_reload_and_a_changed_file_does_by_itself(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": str(tmp_path / "arbstr.db")}
    with serving(tmp_path) as arbstr:
        assert (status(arbstr, "first"), status(arbstr, "second")) == (200, 401)
        configured(tmp_path, "second")
        done = run_command("reload", environ=environ, cwd=tmp_path)
        assert (done.stdout, done.stderr, done.returncode) == ("config.toml is in force\n", "", 0)
        assert (status(arbstr, "first"), status(arbstr, "second")) == (401, 200)
        configured(tmp_path, "third")
        eventually(lambda: status(arbstr, "third") == 200)
        reloaded = arbstr.stderr.count("configuration reloaded")
        arbstr.process.send_signal(signal.SIGHUP)
        eventually(lambda: arbstr.stderr.count("configuration reloaded") > reloaded)
        assert arbstr.stop() == 0
    assert not [path.name for path in tmp_path.iterdir() if "control" in path.name]


def test_a_refused_file_fails_the_command_with_every_error(tmp_path: Path) -> None:
    environ = {"DATABASE_URL": str(tmp_path / "arbstr.db")}
    with serving(tmp_path) as arbstr:
        configured(tmp_path, "second", 'lisen = ":1"\nmax_in_flight = "many"\n')
        done = run_command("reload", environ=environ, cwd=tmp_path)
        assert (done.stdout, done.returncode) == ("", 1)
        lines = done.stderr.splitlines()
        assert [line.startswith("arbstr: config.toml: server.") for line in lines] == [True, True]
        assert (status(arbstr, "first"), status(arbstr, "second")) == (200, 401)
        configured(tmp_path, "second", 'listen = ":1"\nshutdown_grace = 1\n[logging]\nformat = "json"\n')
        done = run_command("reload", environ=environ, cwd=tmp_path)
        assert done.stdout == "config.toml is in force\nwithout effect until arbstr is restarted: logging.format\n"
        assert status(arbstr, "second") == 200


def test_the_command_says_that_nothing_runs(tmp_path: Path) -> None:
    configured(tmp_path)
    done = run_command("reload", environ={}, cwd=tmp_path)
    assert done.returncode == 1
    assert "no arbstr runs with the ledger arbstr.db; arbstr serve starts one" in done.stderr


def test_a_terminal_that_has_gone_ends_it_and_a_signal_before_that_reloads(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    under = (sys.executable, "-c", OPENS_A_TERMINAL, os.ttyname(slave))
    with serving(tmp_path, under=under) as arbstr:
        arbstr.process.send_signal(signal.SIGHUP)
        eventually(lambda: "configuration reloaded" in arbstr.stderr)
        os.close(slave)
        os.close(master)
        assert arbstr.process.wait(PATIENCE_S) == 0


def test_reloads_between_requests_lose_none(tmp_path: Path) -> None:
    """The longer one is `python -m tests.perf.reloads`."""
    answers: list[tuple[int, bool, bool]] = []
    ended = threading.Event()

    def ask(arbstr: ServeProcess, streams: bool) -> None:
        headers = {"Authorization": "Bearer first"}
        with httpx.Client(base_url=arbstr.url, headers=headers, timeout=PATIENCE_S) as client:
            while not ended.is_set():
                answer = client.post("/v1/chat/completions", json=chat(stream=streams))
                answers.append((answer.status_code, '"arbstr":{' in answer.text, streams))

    with serving(tmp_path) as arbstr:
        clients = [threading.Thread(target=ask, args=(arbstr, streams)) for streams in (False, True)]
        try:
            for client in clients:
                client.start()
            for count in range(1, 11):
                arbstr.process.send_signal(signal.SIGHUP)
                eventually(partial(reloaded, arbstr, count))
        finally:
            ended.set()
            for client in clients:
                client.join()
        assert set(answers) == {(200, False, False), (200, True, True)}
