"""The command line as people and scripts meet it: output and exit status; as processes where it makes a difference."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import typer

import arbstr
from arbstr.cli.program import application
from arbstr.cli.tables import Column, table
from tests.support.command import Done, run_command
from tests.support.patience import PATIENCE_S
from tests.support.processes import started, wait_asleep

KEY = "sk-5ecret0123456789"
TOKEN = "tok-l3t-me-in-0000"
COMMANDS = [
    "serve", "tui", "reload", "init", "check", "doctor", "connect", "discover", "providers", "requests", "stats",
    "statusline", "balance", "fund", "refund", "recover", "simulate", "db",
]  # fmt: skip
SUBCOMMANDS = ["db info", "db vacuum", "db rebuild"]
GOOD = f"""
[server]
auth_token = "${{TOKEN}}"
[[providers]]
name = "provider-alpha"
url = "https://api.routstr.com/v1"
models = ["gpt-4o", "claude-3.5-sonnet"]
input_rate = 10
output_rate = 30.5
base_fee = 1
[[providers]]
name = "beta"
url = "http://beta.example/v1"
api_key = "${{BETA}}"
[[providers]]
name = "gamma"
url = "http://gamma.example/v1"
api_key = "{KEY}"
[[providers]]
name = "delta"
url = "http://delta.example/v1"
[[policies.rules]]
name = "code"
keywords = ["code"]
"""
ENVIRON = {"TOKEN": TOKEN, "BETA": "short", "ARBSTR_PROVIDER_ALPHA_API_KEY": KEY + "-alpha"}
BAD = """
[server]
lisen = "x"
[[providers]]
name = "a"
url = "https://user:hunter2@a.example/v1"
input_rate = -1
"""


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """Nothing of the developer's own environment but what a process needs to start."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or "COV" in name}
    return {**kept, "PYTHONPATH": str(Path(arbstr.__file__).parent.parent), **(more or {})}


def python(
    *arguments: str, cwd: Path, environ: dict[str, str] | None = None, stdin: int = subprocess.DEVNULL
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(environ),
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def arbstr_run(*arguments: str, cwd: Path, environ: dict[str, str] | None = None) -> Done:
    return run_command(*arguments, cwd=cwd, environ=environment(environ))


def process(*arguments: str, cwd: Path, environ: dict[str, str] | None = None, stdin: int = subprocess.DEVNULL) -> Done:
    done = python("-m", "arbstr", *arguments, cwd=cwd, environ=environ, stdin=stdin)
    return Done(done.stdout, done.stderr, done.returncode)


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(GOOD)
    path.chmod(0o600)
    return tmp_path


def complaints(run: Done, status: int) -> list[str]:
    """What was said on stderr by a command that failed as it should: sentences, nothing else."""
    assert run.returncode == status, run.stderr
    assert "Traceback" not in run.stderr
    assert all(line.startswith("arbstr: ") for line in run.stderr.splitlines())
    return [line.removeprefix("arbstr: ") for line in run.stderr.splitlines()]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("--help",),
        (),
        ("serve", "--help"),
        ("check",),
        ("providers",),
        ("providers", "--json"),
        ("servd",),
    ],
)
def test_a_command_prints_the_same_as_a_process(cwd: Path, arguments: tuple[str, ...]) -> None:
    assert process(*arguments, cwd=cwd, environ=ENVIRON) == arbstr_run(*arguments, cwd=cwd, environ=ENVIRON)


# --- help and version


def test_version_is_printed(tmp_path: Path) -> None:
    run = arbstr_run("--version", cwd=tmp_path)
    assert re.fullmatch(rf"arbstr {re.escape(arbstr.__version__)}( \([0-9a-f]{{7,40}}\))?\n", run.stdout)
    assert (run.stderr, run.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"_ARBSTR_COMPLETE": "complete_bash", "COMP_WORDS": "arbstr serve --mo", "COMP_CWORD": "2"}, "--mock"),
        ({"_ARBSTR_COMPLETE": "complete_bash", "COMP_WORDS": "arbstr clients ro", "COMP_CWORD": "2"}, "rotate"),
        ({"_ARBSTR_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "arbstr ser"}, "serve"),
    ],
)
def test_shells_complete_commands_and_options(tmp_path: Path, variables: dict[str, str], expected: str) -> None:
    run = process(cwd=tmp_path, environ=variables)
    assert run.returncode == 0, run.stderr
    assert expected in re.findall(r"[\w-]+", run.stdout)


def test_the_completion_of_a_shell_is_shown(tmp_path: Path) -> None:
    # Else it asks which shell has started it: here that is whatever runs the tests.
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    run = process("--show-completion", "bash", cwd=tmp_path, environ=named)
    assert run.returncode == 0, run.stderr
    assert "_ARBSTR_COMPLETE=complete_bash" in run.stdout


# --- the manual page


def test_the_manual_has_every_command_with_its_options(tmp_path: Path) -> None:
    page = arbstr_run("man", cwd=tmp_path).stdout
    assert page.isascii()
    assert "\\[u" not in page  # nor names characters that a terminal without UTF-8 lacks
    assert page.startswith('.TH ARBSTR 1 "" "arbstr ')
    text = page.replace("\\-", "-")
    for name in typer.main.get_command(application()).commands:  # type: ignore[attr-defined]  # it is a group
        assert f"\n.SS arbstr {name}" in text
    assert "\n.SS arbstr clients rotate [OPTIONS] NAME\n" in text
    assert "\n.TP\n\\fB-l, --listen HOST:PORT\\fR\n" in text
    assert "\nExample: arbstr db vacuum\n" in text
    if groff := shutil.which("groff"):  # says what it does not understand, where it is at hand
        done = subprocess.run(
            [groff, "-man", "-ww", "-z"], input=page, text=True, capture_output=True, timeout=60, check=True
        )
        assert done.stderr == ""


def test_the_version_is_the_packages() -> None:
    project = tomllib.loads((Path(arbstr.__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert project["version"] == arbstr.__version__


@pytest.mark.parametrize("command", [*COMMANDS, *SUBCOMMANDS])
def test_every_command_has_help_with_an_example(tmp_path: Path, command: str) -> None:
    run = arbstr_run(*command.split(), "--help", cwd=tmp_path)
    assert run.returncode == 0
    assert run.stderr == ""
    assert f"Example: arbstr {command}" in run.stdout


def test_help_lists_every_command(tmp_path: Path) -> None:
    shown = arbstr_run("--help", cwd=tmp_path).stdout
    assert all(re.search(rf"^  {command} +[A-Z]", shown, re.MULTILINE) for command in COMMANDS)
    assert "..." not in shown.partition("Commands:")[2], "no command's sentence is cut"


@pytest.mark.parametrize("arguments", [(), ("db",)])
def test_nothing_asked_shows_the_help_and_is_no_success(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    run = arbstr_run(*arguments, cwd=tmp_path)
    assert run.returncode == 2
    assert run.stdout.startswith(" ".join(("Usage: arbstr", *arguments)))
    assert run.stderr == ""


def loaded(cwd: Path, arguments: list[str], wanted: set[str]) -> list[str]:
    """Those of the modules that a command loads."""
    program = f"""
import sys
sys.argv = ["arbstr", *{arguments}]
from arbstr.cli import main
try:
    main()
finally:
    print(*sorted({wanted} & set(sys.modules)), file=sys.stderr)
"""
    return python("-c", program, cwd=cwd, environ=ENVIRON).stderr.splitlines()[-1].split()


FOR_SERVING = {"aiohttp", "httpx", "textual", "rich", "aiosqlite", "asyncio", "uvloop", "orjson", "coincurve"}


@pytest.mark.parametrize("arguments", [["--help"], ["check"], ["providers"], ["providers", "--json"]])
def test_no_command_that_does_not_serve_loads_what_serving_needs(cwd: Path, arguments: list[str]) -> None:
    assert loaded(cwd, arguments, FOR_SERVING) == []


@pytest.mark.parametrize("arguments", [["--version"], ["statusline", "--json", "-c", "config.toml"]])
def test_what_a_prompt_waits_for_loads_no_command_line_at_all(cwd: Path, arguments: list[str]) -> None:
    assert loaded(cwd, arguments, (FOR_SERVING | {"typer", "pydantic"}) - {"orjson"}) == []


@pytest.mark.parametrize("heavy", ["prometheus_client", "arbstr.server.openapi"])
def test_serving_does_not_load_what_only_few_requests_need(cwd: Path, heavy: str) -> None:
    program = f"import sys, arbstr.runtime.compose; print({heavy!r} in sys.modules)"
    assert python("-c", program, cwd=cwd, environ=ENVIRON).stdout == "False\n"


# --- usage


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["servd"], "No such command 'servd'. Did you mean 'serve'?; try arbstr --help"),
        (["serve", "--prot", "1"], "No such option: --prot; try arbstr serve --help"),
        (["check", "extra"], "Got unexpected extra argument(s) (extra); try arbstr check --help"),
        (["serve", "-c"], "Option '-c' requires an argument"),
        (["serve", "-l", "80"], "Invalid value for '-l' / '--listen': '80' lacks a port; write HOST:PORT, as in"),
        (["serve", "-l", "::1:80"], "Invalid value for '-l' / '--listen': '::1:80' has more than one colon; write an"),
        (["serve", "-l", "a:99999"], "Invalid value for '-l' / '--listen': 'a:99999' has no valid port; it must be"),
    ],
)
def test_wrong_usage_is_one_sentence(cwd: Path, arguments: list[str], complaint: str) -> None:
    (said,) = complaints(arbstr_run(*arguments, cwd=cwd, environ=ENVIRON), 2)
    assert said.startswith(complaint)


def test_the_dashboard_needs_a_terminal(cwd: Path) -> None:
    (said,) = complaints(process("tui", "--demo", cwd=cwd), 2)
    assert "terminal" in said
    assert "arbstr serve" in said


def test_the_dashboard_needs_a_terminal_on_both_sides(cwd: Path) -> None:
    controller, terminal = pty.openpty()
    (said,) = complaints(process("tui", "--demo", cwd=cwd, stdin=terminal), 2)
    os.close(controller)
    os.close(terminal)
    assert "arbstr serve" in said


# --- check


def test_check_shows_where_each_key_comes_from(cwd: Path) -> None:
    run = arbstr_run("check", cwd=cwd, environ=ENVIRON)
    assert run.returncode == 0
    rows = [re.split(r" {2,}", line) for line in run.stdout.splitlines()]
    assert ["provider-alpha", "sk-5ec...***", "convention (ARBSTR_PROVIDER_ALPHA_API_KEY)"] in rows
    assert ["beta", "[REDACTED]", "environment reference (BETA)"] in rows
    assert ["gamma", "sk-5ec...***", "literal"] in rows
    assert ["delta", "-", "none (ARBSTR_DELTA_API_KEY is not set)"] in rows
    assert "config.toml is valid: 4 providers, 2 models, 1 rule, 7 warnings." in run.stdout


def test_check_warns_on_stderr(cwd: Path) -> None:
    (cwd / "config.toml").chmod(0o644)
    run = arbstr_run("check", cwd=cwd, environ=ENVIRON)
    literal, mode, *others = run.stderr.splitlines()
    assert literal.startswith("warning: config.toml: providers[2].api_key is a literal key; set ARBSTR_GAMMA_API_KEY")
    assert mode.endswith("others can read it (mode 0644); run chmod 600 config.toml")
    assert [line.removeprefix("warning: config.toml: ")[:22] for line in others] == [
        "providers[1].url sends",
        "providers[1] has no ra",
        "providers[2].url sends",
        "providers[2] has no ra",
        "providers[3] has no ke",
        "providers[3] has no ra",
    ]
    assert run.returncode == 0


def test_check_warns_of_a_server_that_is_open_to_all(cwd: Path) -> None:
    (cwd / "open.toml").write_text('[server]\nlisten = "0.0.0.0:80"\n[[providers]]\nname = "a"\nurl = "http://a"')
    run = arbstr_run("check", "-c", "open.toml", cwd=cwd)
    assert run.returncode == 0
    assert "warning: listening on 0.0.0.0:80 without server.auth_token" in run.stderr


@pytest.mark.parametrize("command", ["check", "serve", "providers"])
def test_an_invalid_configuration_is_a_line_for_each_problem(cwd: Path, command: str) -> None:
    (cwd / "bad.toml").write_text(BAD)
    said = complaints(arbstr_run(command, "-c", "bad.toml", cwd=cwd), 1)
    assert said == [
        "bad.toml: server.lisen is not a known key; did you mean server.listen?",
        "bad.toml: providers[0].url is not a valid URL: it contains credentials; remove them and use api_key",
        "bad.toml: providers[0].input_rate is -1; it must be at least 0",
    ]


@pytest.mark.parametrize("command", ["check", "serve", "providers"])
def test_a_missing_configuration_says_how_to_start(tmp_path: Path, command: str) -> None:
    (said,) = complaints(arbstr_run(command, cwd=tmp_path), 1)
    assert said.startswith("config.toml: no such file; 'arbstr init' writes one")
    assert "arbstr serve --mock" in said


def test_the_environment_names_the_configuration_and_a_flag_wins(cwd: Path) -> None:
    (cwd / "bad.toml").write_text(BAD)
    environ = {**ENVIRON, "ARBSTR_CONFIG": "bad.toml"}
    assert arbstr_run("check", cwd=cwd, environ=environ).returncode == 1
    assert arbstr_run("check", "-c", "config.toml", cwd=cwd, environ=environ).returncode == 0


def test_a_wrong_environment_is_a_problem_too(cwd: Path) -> None:
    environ = {**ENVIRON, "DATABASE_URL": "mysql://u:hunter2@h/d", "ARBSTR_LOG": "loud"}
    first, second = complaints(arbstr_run("check", cwd=cwd, environ=environ), 1)
    assert first.startswith("DATABASE_URL names neither a file nor a database of SQLite or PostgreSQL")
    assert "hunter2" not in first
    assert second.startswith("ARBSTR_LOG has an unknown level")


def test_serving_other_machines_needs_a_token_or_saying_so(cwd: Path) -> None:
    (cwd / "open.toml").write_text('[[providers]]\nname = "a"\nurl = "http://a"')
    (said,) = complaints(arbstr_run("serve", "-c", "open.toml", "-l", "0.0.0.0:0", cwd=cwd), 1)
    assert "lets other machines spend your sats" in said
    assert "--insecure" in said


# --- providers


def test_providers_are_a_table(cwd: Path) -> None:
    lines = arbstr_run("providers", cwd=cwd, environ=ENVIRON).stdout.splitlines()
    assert re.split(r" {2,}", lines[0]) == ["name", "in/1k", "out/1k", "fee", "key", "source", "url", "models"]
    assert re.split(r" {2,}", lines[1]) == [
        "provider-alpha",
        "10",
        "30.5",
        "1",
        "sk-5ec...***",
        "convention",
        "https://api.routstr.com/v1",
        "gpt-4o, claude-3.5-sonnet",
    ]
    assert lines[4].endswith("any")
    assert len({line.find("http") for line in lines[1:]}) == 1, "columns are aligned"


def test_what_a_node_lists_is_not_shown_as_free(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[[providers]]\nname = "node"\nurl = "https://node.example/v1"\nkind = "routstr"\nbase_fee = 2\n')
    path.chmod(0o600)
    row = arbstr_run("providers", cwd=tmp_path).stdout.splitlines()[1]
    assert re.split(r" {2,}", row) == [
        "node",
        "listed",
        "listed",
        "2",
        "-",
        "none",
        "https://node.example/v1",
        "listed",
    ]
    assert "is valid: 1 provider, models as listed, 0 rules, " in arbstr_run("check", cwd=tmp_path).stdout


def test_providers_are_json(cwd: Path) -> None:
    shown = json.loads(arbstr_run("providers", "--json", cwd=cwd, environ=ENVIRON).stdout)
    assert list(shown) == ["providers"]
    assert shown["providers"][0] == {
        "name": "provider-alpha",
        "url": "https://api.routstr.com/v1",
        "models": ["gpt-4o", "claude-3.5-sonnet"],
        "input_rate_sats_per_1k": 10,
        "output_rate_sats_per_1k": 30.5,
        "base_fee_sats": 1,
        "api_key": "sk-5ec...***",
        "key_source": "convention",
    }
    assert shown["providers"][3]["api_key"] is None


def test_a_table_shows_foreign_text_as_text() -> None:
    assert table([Column("a", right=True), Column("b")], [["x\x1b[2J", "yy"], ["z", ""]]) == [
        "    a  b",
        "x\N{REPLACEMENT CHARACTER}[2J  yy",
        "    z",
    ]


def test_a_table_is_aligned_by_what_a_terminal_shows() -> None:
    lines = table([Column("name"), Column("b")], [["提供者", "1"], ["alpha", "2"]])
    assert lines == ["name    b", "提供者  1", "alpha   2"]


# --- what every command keeps to


@pytest.mark.parametrize("arguments", [["check"], ["providers"], ["providers", "--json"], ["--help"], ["nonsense"]])
def test_output_that_is_no_terminal_has_no_colour(cwd: Path, arguments: list[str]) -> None:
    colour = {"TERM": "xterm-256color", "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "PY_COLORS": "1"}
    run = arbstr_run(*arguments, cwd=cwd, environ={**ENVIRON, **colour})
    assert "\x1b" not in run.stdout + run.stderr


@pytest.mark.parametrize(
    "arguments", [["check"], ["providers"], ["providers", "--json"], ["serve", "--mock", "-c", "x"]]
)
def test_no_command_shows_a_key(cwd: Path, arguments: list[str]) -> None:
    run = arbstr_run(*arguments, cwd=cwd, environ={**ENVIRON, "ARBSTR_LOG": "debug"})
    assert KEY not in run.stdout + run.stderr
    assert TOKEN not in run.stdout + run.stderr
    assert "short" not in run.stdout + run.stderr


def test_a_reader_that_has_seen_enough_is_no_error(cwd: Path) -> None:
    providers = "".join(f'[[providers]]\nname = "p{i}"\nurl = "http://a{i}"\n' for i in range(3000))
    (cwd / "many.toml").write_text(providers)
    command = f"{sys.executable} -m arbstr providers -c many.toml | head -1"
    run = subprocess.run(
        command, shell=True, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert run.stderr == ""
    assert run.stdout.startswith("name")


@pytest.mark.usefixtures("measured")
def test_ctrl_c_is_quiet(cwd: Path) -> None:
    """While it reads a configuration that does not come."""
    os.mkfifo(cwd / "pipe.toml")
    command = [sys.executable, "-m", "arbstr", "check", "-c", "pipe.toml"]
    with started(command, cwd=cwd, env=environment(), stderr=subprocess.PIPE) as process:
        writer = opened_by_its_reader(cwd / "pipe.toml")
        wait_asleep(process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
        os.close(writer)
    assert (process.returncode, err) == (130, "")


def opened_by_its_reader(pipe: Path) -> int:
    """The writing end of a named pipe, once somebody reads it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < deadline, "nobody opened the pipe"
            time.sleep(0.01)


def test_output_that_cannot_be_written_is_one_sentence(cwd: Path) -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "arbstr", "providers", "-c", cwd / "config.toml"],
            env=environment(ENVIRON),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert run.returncode == 1
    assert run.stderr == "arbstr: No space left on device\n"


def test_a_terminal_of_few_characters_is_no_error(cwd: Path) -> None:
    (cwd / "config.toml").write_text('[[providers]]\nname = "東京"\nurl = "http://a"')
    run = process("providers", cwd=cwd, environ={"PYTHONIOENCODING": "ascii"})
    assert run.stderr == ""
    assert run.returncode == 0
    assert "\\u6771\\u4eac" in run.stdout


def test_a_fault_of_arbstrs_own_is_one_sentence_without_its_text(cwd: Path) -> None:
    program = f"""
import sys
import arbstr.config.settings
def fail(*args, **kwargs):
    raise KeyError({KEY!r})
arbstr.config.settings.resolve = fail
sys.argv = ["arbstr", "check"]
from arbstr.cli import main
main()
"""
    run = python("-c", program, cwd=cwd)
    assert run.returncode == 1
    assert run.stdout == ""
    assert re.fullmatch(r"arbstr: internal error \(KeyError in <string>:5\); please report it .*\n", run.stderr)
