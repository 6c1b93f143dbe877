"""`arbstr serve` as a process: how it starts, what it says, how it stops."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.support.paths import TOP
from tests.support.patience import PATIENCE_S
from tests.support.processes import insist_on_end, started, stop
from tests.support.serve_process import ServeProcess, chat, eventually

KEY = "sk-never-to-be-seen-0123456789"
SLOW = '[[mock.providers]]\nname = "mock-a"\nmodels = ["gpt-4o"]\ntokens_per_second = 40\ndelay_ms = 50\n'

PATIENT = "[server]\nshutdown_grace = 3600\n"  # what ends within a test has not waited for it

QUICK = SLOW.replace("40", "0")

HANGING_LOOKUPS = """
import socket, time
found = socket.getaddrinfo

def hang(host, *args, **more):
    if str(host).startswith("stuck") and not more.get("flags"):
        time.sleep(600)
    return found(host, *args, **more)

socket.getaddrinfo = hang
"""


def rows(path: Path) -> list[tuple[int, int]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT success, open FROM requests ORDER BY id").fetchall()


def configured(home: Path, text: str) -> str:
    (home / "config.toml").write_text(text)
    return "config.toml"


def test_a_mock_run_answers_at_once_without_a_configuration_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, "--mock") as arbstr:
        answer = arbstr.chat()
        assert answer.status_code == 200
        assert answer.json()["choices"]
        eventually(lambda: "to try it: curl" in arbstr.stderr)
        assert f"base URL for clients: {arbstr.url}/v1; models: gpt-4o, gpt-4o-mini" in arbstr.stderr
        assert arbstr.get("/v1/stats")["counts"]["total"] == 1
        assert arbstr.stop() == 0
    assert not list(tmp_path.glob("*.db*"))


def test_a_mock_run_speaks_every_dialect_and_meters_each(tmp_path: Path) -> None:
    said = [{"role": "user", "content": "hi"}]
    requests: dict[str, dict[str, object]] = {
        "chat/completions": {"model": "gpt-4o", "messages": said},
        "responses": {"model": "gpt-4o", "input": "hi"},
        "messages": {"model": "gpt-4o", "messages": said, "max_tokens": 20},
        "completions": {"model": "gpt-4o", "prompt": "hi"},
        "embeddings": {"model": "text-embedding-3-small", "input": "hi"},
        "images/generations": {"model": "gpt-image-1", "prompt": "a cat"},
        "audio/speech": {"model": "tts-1", "input": "hi", "voice": "alloy"},
        "moderations": {"input": "hi"},
        "rerank": {"model": "rerank-1", "query": "hi", "documents": ["hi"]},
    }
    with ServeProcess(tmp_path, "--mock") as arbstr:
        for path, body in requests.items():
            assert httpx.post(f"{arbstr.url}/v1/{path}", json=body, timeout=PATIENCE_S).status_code == 200, path
        rows = {row["dialect"]: row for row in arbstr.get("/v1/requests")["data"]}
    assert set(rows) == {"chat", *requests} - {"chat/completions"}
    for dialect in ("chat", "responses", "messages", "completions", "embeddings", "images/generations"):
        assert rows[dialect]["success"]
        assert rows[dialect]["tokens"]["input"] > 0
        assert rows[dialect]["cost"]["sats"] > 0


@pytest.mark.usefixtures("measured")
def test_the_ledger_is_where_the_environment_says(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.db"
    with ServeProcess(tmp_path, "--mock", env={"DATABASE_URL": f"sqlite:///{path}"}) as arbstr:
        arbstr.chat()
        assert arbstr.stop() == 0
    assert rows(path) == [(1, 0)]


def test_a_taken_port_is_one_sentence_and_status_2(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, "--mock") as arbstr:
        second = ServeProcess(tmp_path, "--mock", "-l", arbstr.url.removeprefix("http://"))
        assert second.refuses_to_start() == 2
        complaint = [line for line in second.stderr.splitlines() if line.startswith("arbstr:")]
        assert len(complaint) == 1
        assert "is already in use; stop the program that listens there" in complaint[0]
        assert "Traceback" not in second.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_arbstr_stops_in_good_order_when_asked(tmp_path: Path, number: int) -> None:
    with ServeProcess(tmp_path, "--mock") as arbstr:
        assert arbstr.stop(number) == 0
        assert "Traceback" not in arbstr.stderr


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])  # what measures coverage takes SIGTERM for itself
def test_a_signal_that_was_ignored_at_the_start_stays_ignored(tmp_path: Path, number: int) -> None:
    """`nohup` ignores SIGHUP, a shell's `&` in a script SIGINT."""
    ignoring = ("bash", "-c", f"trap '' {number}; exec \"$@\"", "-")
    with ServeProcess(tmp_path, "--mock", under=ignoring) as arbstr:
        arbstr.process.send_signal(number)
        assert arbstr.chat().status_code == 200
        assert arbstr.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_closed_standard_streams_are_no_reason_to_fail(tmp_path: Path, closed: str) -> None:
    path = tmp_path / "arbstr.db"
    options = ("-c", configured(tmp_path, QUICK), "--mock")
    closing_them = ("bash", "-c", f'exec "$@" {closed}', "-")
    with ServeProcess(tmp_path, *options, env={"DATABASE_URL": str(path)}, under=closing_them) as arbstr:
        assert arbstr.chat().status_code == 200
        assert arbstr.stop() == 0
    assert rows(path) == [(1, 0)]


@pytest.mark.usefixtures("measured")
def test_all_standard_streams_may_be_closed(tmp_path: Path) -> None:
    log = tmp_path / "arbstr.log"
    options = ("-c", configured(tmp_path, QUICK + f'[logging]\nfile = "{log}"\n'), "--mock")
    command = [sys.executable, "-m", "arbstr", "serve", "-l", "127.0.0.1:0", *options]
    with started(["bash", "-c", 'exec "$@" <&- >&- 2>&-', "-", *command], cwd=tmp_path) as process:
        eventually(lambda: log.exists() and "listens on" in log.read_text())
        assert stop(process) == 0


@pytest.mark.usefixtures("measured")
def test_a_rotated_log_is_opened_again_at_sigusr1(tmp_path: Path) -> None:
    log = tmp_path / "arbstr.log"
    options = ("-c", configured(tmp_path, QUICK + f'[logging]\nfile = "{log}"\n'), "--mock")
    command = [sys.executable, "-m", "arbstr", "serve", "-l", "127.0.0.1:0", *options]
    with started(command, cwd=tmp_path) as process:
        eventually(lambda: log.exists() and "listens on" in log.read_text())
        log.rename(tmp_path / "arbstr.log.1")
        process.send_signal(signal.SIGUSR1)
        eventually(log.exists)
        assert stop(process) == 0
    assert "listens on" in (tmp_path / "arbstr.log.1").read_text()


@pytest.mark.usefixtures("measured")
def test_a_running_stream_finishes_while_new_requests_are_turned_away(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    options = ("-c", configured(tmp_path, SLOW), "--mock")
    with ServeProcess(tmp_path, *options, env={"DATABASE_URL": str(path)}) as arbstr:
        url = f"{arbstr.url}/v1/chat/completions"
        with httpx.Client(timeout=PATIENCE_S) as kept, httpx.Client(timeout=PATIENCE_S) as streaming:
            kept.get(f"{arbstr.url}/health")  # a connection from before the end
            with streaming.stream("POST", url, json=chat(stream=True)) as stream:
                pieces = stream.iter_raw()
                text = next(pieces)
                arbstr.process.send_signal(signal.SIGTERM)
                eventually(lambda: "stopping: 1 request has" in arbstr.stderr)
                refused = kept.post(url, json=chat())
                text += b"".join(pieces)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert int(refused.headers["Retry-After"]) >= 1
        assert text.endswith(b"data: [DONE]\n\n")
        assert b'"arbstr"' in text
        assert arbstr.process.wait(PATIENCE_S) == 0
    assert sorted(rows(path)) == [(0, 0), (1, 0)]


@pytest.mark.usefixtures("measured")
def test_a_second_signal_does_not_wait_for_what_is_running(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    options = ("-c", configured(tmp_path, PATIENT), "--mock")
    with (
        ServeProcess(tmp_path, *options, env={"DATABASE_URL": str(path)}) as arbstr,
        httpx.Client(timeout=PATIENCE_S) as client,
        client.stream("POST", f"{arbstr.url}/v1/chat/completions", json=chat("mock-stall", stream=True)) as stream,
    ):
        next(stream.iter_raw())
        arbstr.process.send_signal(signal.SIGTERM)
        eventually(lambda: "stopping" in arbstr.stderr)
        arbstr.stop()
    assert rows(path) == [(0, 0)]


def test_a_name_server_that_never_answers_holds_up_neither_others_nor_the_end(tmp_path: Path) -> None:
    """Several hosts whose lookups hang, as many as the loop's own threads and more, beside a provider that works."""
    (tmp_path / "sitecustomize.py").write_text(HANGING_LOOKUPS)
    with ServeProcess(tmp_path, "--mock") as provider:
        stuck = "".join(
            f'[[providers]]\nname = "stuck-{number}"\nurl = "http://stuck-{number}.test/v1"\nmodels = ["stuck"]\n'
            for number in range(8)
        )
        good = f'[[providers]]\nname = "good"\nurl = "{provider.url}/v1"\nmodels = ["gpt-4o"]\n'
        options = ("-c", configured(tmp_path, PATIENT + stuck + good))
        paths = f"{tmp_path}:{TOP}"
        with ServeProcess(tmp_path, *options, env={"PYTHONPATH": paths}) as arbstr, httpx.Client() as client:
            for _ in range(4):
                with pytest.raises(httpx.ReadTimeout):
                    client.post(f"{arbstr.url}/v1/chat/completions", json=chat("stuck"), timeout=0.2)
            assert arbstr.chat("gpt-4o").status_code == 200
            insist_on_end(arbstr.process)


def test_the_start_says_which_proxy_is_taken(tmp_path: Path) -> None:
    text = '[[providers]]\nname = "alpha"\nurl = "https://alpha.example/v1"\n'
    options = ("-c", configured(tmp_path, text))
    env = {"HTTPS_PROXY": "http://user:hunter22hunter22@proxy.lan:3128"}
    with ServeProcess(tmp_path, *options, env=env) as arbstr:
        assert "reached through the proxy http://[REDACTED]@proxy.lan:3128, from HTTPS_PROXY: alpha" in arbstr.stderr
        assert "hunter22" not in arbstr.stderr
        assert arbstr.stop() == 0


def test_a_key_is_not_said_even_when_everything_is(tmp_path: Path) -> None:
    text = f'[[providers]]\nname = "a"\nurl = "http://127.0.0.1:1/v1"\napi_key = "{KEY}"\n[retry]\nmax_retries = 0\n'
    options = ("-c", configured(tmp_path, text))
    with ServeProcess(tmp_path, *options, env={"ARBSTR_LOG": "debug,aiohttp=debug"}) as arbstr:
        assert arbstr.chat().status_code == 502
        assert KEY not in httpx.get(f"{arbstr.url}/providers").text
        arbstr.stop()
        assert KEY not in arbstr.stderr
    assert not any(KEY.encode() in file.read_bytes() for file in tmp_path.glob("arbstr.db*"))


def test_the_log_is_as_quiet_as_the_environment_says(tmp_path: Path) -> None:
    options = ("-c", configured(tmp_path, QUICK), "--mock")
    with ServeProcess(tmp_path, *options, env={"ARBSTR_LOG": "arbstr=error,arbstr.runtime.compose=info"}) as arbstr:
        arbstr.chat()
        arbstr.stop()
        assert len(arbstr.stderr.splitlines()) == 1


def test_each_line_of_a_json_log_is_json(tmp_path: Path) -> None:
    options = ("-c", configured(tmp_path, QUICK + '[logging]\nformat = "json"\n'), "--mock")
    with ServeProcess(tmp_path, *options) as arbstr:
        arbstr.chat()
        arbstr.stop()
        lines = [json.loads(line) for line in arbstr.stderr.splitlines()]
    assert len(lines) >= 2


@pytest.mark.parametrize("later", ["textual", "arbstr.shapes", "arbstr.server.openapi"])
def test_the_proxy_starts_without_what_it_needs_later_or_never(later: str) -> None:
    code = f"import sys, arbstr.cli, arbstr.runtime.lifecycle, arbstr.mock; sys.exit({later!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
