"""`arbstr init`: a first configuration, from flags or from answers; and the files that run arbstr as a service."""

from __future__ import annotations

import errno
import io
import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import arbstr
from arbstr.config.loader import load
from arbstr.config.toml_file import example_path
from tests.integration.test_metrics import LABELS
from tests.support.command import Done, run_command
from tests.support.paths import TOP
from tests.support.patience import PATIENCE_S
from tests.support.serve_process import ServeProcess
from tests.support.terminal import Terminal

NODE = "https://node.example.com/v1"


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())


def init(path: Path, *arguments: str, status: int = 0, environ: dict[str, str] | None = None) -> Done:
    done = run_command("init", *arguments, cwd=path, environ=environ or {})
    assert done.returncode == status, done.stderr
    return done


def written(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def test_without_flags_and_terminal_it_writes_a_valid_configuration_of_defaults(tmp_path: Path) -> None:
    done = init(tmp_path)
    assert done.stdout.startswith("wrote config.toml")
    assert "arbstr fund routstr " in done.stdout
    assert (tmp_path / "config.toml").stat().st_mode & 0o777 == 0o600
    config = load(tmp_path / "config.toml", {}).config
    [provider] = config.providers
    assert (provider.name, provider.url, provider.kind) == ("routstr", "https://api.routstr.com/v1", "routstr")
    assert str(config.server.address) == "127.0.0.1:8080"
    assert config.policies.rules == ()
    assert run_command("check", cwd=tmp_path, environ={}).returncode == 0


def test_it_has_every_option_of_the_example_with_its_comment(tmp_path: Path) -> None:
    init(tmp_path)
    made = (tmp_path / "config.toml").read_text()
    example, _, _ = example_path().read_text().partition('[[providers]]\nname = "provider-beta"')
    options = re.compile(r"^(?:# ?)*(\w+) = ", re.MULTILINE)
    assert options.findall(made)[: len(options.findall(example))] == options.findall(example)
    comments = [re.sub(r"^[#\s]*", "", line.partition("  # ")[2] or line) for line in made.splitlines() if "# " in line]
    example = example_path().read_text().replace("ARBSTR_PROVIDER_ALPHA_API_KEY", "ARBSTR_ROUTSTR_API_KEY")
    assert [comment for comment in comments[1:] if comment not in example] == []


def test_what_is_in_force_beside_the_provider_is_the_default(tmp_path: Path) -> None:
    init(tmp_path)
    (tmp_path / "bare.toml").write_text(f'[[providers]]\nname = "routstr"\nkind = "routstr"\nurl = "{NODE}"\n')
    made, bare = (load(tmp_path / name, {}).config.model_dump() for name in ("config.toml", "bare.toml"))
    made["providers"][0]["url"] = NODE
    assert made == bare


def test_flags_say_what_it_writes_and_where(tmp_path: Path) -> None:
    done = init(tmp_path, "-c", "my own.toml", "--url", NODE, "--name", 'Node "1"', "-l", "[::1]:9000")
    assert "-c 'my own.toml'" in done.stdout
    table = written(tmp_path / "my own.toml")
    assert table["server"]["listen"] == "[::1]:9000"
    assert table["providers"][0] | {"refresh": 0} == table["providers"][0] | {
        "name": 'Node "1"', "url": NODE, "kind": "routstr", "refresh": 0,
    }  # fmt: skip
    assert "ARBSTR_NODE_1_API_KEY" in (tmp_path / "my own.toml").read_text()
    init(tmp_path, environ={"ARBSTR_CONFIG": "third.toml"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my own.toml", "third.toml"]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (NODE, "node"),
        ("https://api.some-mint.example/v1", "some-mint"),
        ("http://127.0.0.1:3338", "node"),
        ("http://[::1]:3338", "node"),
        ("http://localhost:3338", "node"),
    ],
)
def test_a_provider_is_named_after_its_host(tmp_path: Path, url: str, name: str) -> None:
    init(tmp_path, "--url", url)
    assert written(tmp_path / "config.toml")["providers"][0]["name"] == name


def test_dollars_are_dollars(tmp_path: Path) -> None:
    init(tmp_path, "--url", NODE, "--name", "a${HOME}$")
    assert load(tmp_path / "config.toml", {}).config.providers[0].name == "a${HOME}$"


def test_beyond_this_machine_clients_need_a_token_that_nobody_else_has(tmp_path: Path) -> None:
    said = [init(tmp_path, "-c", name, "-l", "0.0.0.0:8080").stdout for name in ("a", "b")]
    first, second = (written(tmp_path / name)["server"]["auth_token"] for name in ("a", "b"))
    assert len(first) >= 32
    assert first != second
    assert not any(token in text for token in (first, second) for text in said)
    assert "server.auth_token" in said[0]


def test_it_never_writes_over_another_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("mine")
    done = init(tmp_path, status=1)
    assert done.stderr.startswith("arbstr: config.toml is there already and stays as it is")
    assert (tmp_path / "config.toml").read_text() == "mine"
    (tmp_path / "link.toml").symlink_to("nowhere.toml")
    init(tmp_path, "-c", "link.toml", status=1)
    assert not (tmp_path / "nowhere.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--url", "ftp://x"), "arbstr: url is not a valid URL: it must begin with http:// or https://\n"),
        (("--url", "https://u:hunter2@x"), "arbstr: url is not a valid URL: it contains credentials; "),
        (("--name", "a\nb"), "arbstr: name "),
        (("-c", "absent/config.toml"), "arbstr: there is no directory absent; make it, then try again\n"),
    ],
)
def test_what_can_not_be_written_is_said(tmp_path: Path, arguments: tuple[str, ...], problem: str) -> None:
    done = init(tmp_path, *arguments, status=1)
    assert done.stderr.startswith(problem)
    assert "hunter2" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_on_a_terminal_it_asks_for_what_no_flag_says(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    command = [sys.executable, "-m", "arbstr", "init", "-c", str(path), "--url", NODE]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(arbstr.__file__).parent.parent)}
    terminal = Terminal(command, env=environ)
    try:
        terminal.wait_for("What to call it [node]:")
        terminal.type("mine\r")
        terminal.wait_for("Address to listen on [127.0.0.1:8080]:")
        terminal.type("\r")
        terminal.wait_for("arbstr fund mine")
    finally:
        terminal.close()
    table = written(path)
    assert (table["providers"][0]["name"], table["server"]["listen"]) == ("mine", "127.0.0.1:8080")


class Answers(io.StringIO):
    """A terminal on which these lines are typed."""

    def __init__(self, *lines: str) -> None:
        super().__init__("".join(f"{line}\n" for line in lines))

    def isatty(self) -> bool:
        return True


def test_what_would_be_refused_is_asked_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ("foo bar", NODE, "a\tb", "mine", "8080", ":8081")
    monkeypatch.setattr(sys, "stdin", Answers(*typed))
    done = init(tmp_path)
    problems = done.stderr.splitlines()
    assert [line.partition(";")[0].partition(":")[0] for line in problems] == [
        "url is not a valid URL",
        "name has a control character, or a space at an end",
        "the address 8080 lacks a port",
    ]
    assert all(line.endswith("; try again, or leave with Ctrl-C") for line in problems)
    table = written(tmp_path / "config.toml")
    assert (table["providers"][0]["url"], table["providers"][0]["name"]) == (NODE, "mine")
    assert table["server"]["listen"] == "127.0.0.1:8081"


@pytest.mark.parametrize(("key", "status"), [(EOFError, 1), (KeyboardInterrupt, 130)], ids=["Ctrl-D", "Ctrl-C"])
def test_who_leaves_has_nothing_written_and_is_not_left_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: type[BaseException], status: int
) -> None:
    def pressed(prompt: str) -> str:
        raise key

    monkeypatch.setattr(sys, "stdin", Answers())
    monkeypatch.setattr("builtins.input", pressed)
    done = init(tmp_path, status=status)
    assert done.stderr.startswith("\narbstr: ")
    assert "nothing was written" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_can_not_be_written_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, *_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refused)
    done = init(tmp_path, status=1)
    advice = "check the permissions of it and of its directory, or name another place"
    assert done.stderr == f"arbstr: Permission denied: config.toml; {advice}\n"


def test_a_wrong_flag_is_refused_before_anything_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Answers())
    assert init(tmp_path, "--url", "nowhere", status=1).stderr.startswith("arbstr: url is not a valid URL")


# --- services


def test_one_service_file_at_a_time(tmp_path: Path) -> None:
    assert "mutually exclusive" in init(tmp_path, "--systemd", "--launchd", status=2).stderr


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    unit = tmp_path / "arbstr.service"
    unit.write_text(init(tmp_path, "--systemd").stdout)
    text = unit.read_text()
    for line in ("User=arbstr", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=", "UMask=0077"):
        assert f"\n{line}\n" in text
    if analyze := shutil.which("systemd-analyze"):  # judges more than these lines, where it is at hand
        command = [analyze, "security", "--offline=true", "--threshold=20", str(unit)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_container_is_not_root_and_has_a_healthcheck(tmp_path: Path) -> None:
    text = init(tmp_path, "--container").stdout
    stages = text.split("\nFROM ")
    assert "\nUSER 10001:10001\n" in stages[-1]
    assert "\nHEALTHCHECK " in stages[-1]
    assert 'CMD ["serve", "-c", "/data/config.toml", "-l", "0.0.0.0:8080"]' in stages[-1]


def test_a_linter_finds_nothing_in_the_containerfile(tmp_path: Path) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    text = init(tmp_path, "--container").stdout
    done = subprocess.run([linter, "-"], input=text, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_the_containers_health_is_that_arbstr_answers(tmp_path: Path) -> None:
    [check] = re.findall(r"^  CMD (\[.*\])$", init(tmp_path, "--container").stdout, re.MULTILINE)
    _, *arguments = json.loads(check)

    def healthy(port: str) -> bool:
        command = [sys.executable, *(argument.replace("8080", port) for argument in arguments)]
        return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False).returncode == 0

    init(tmp_path, "-l", "127.0.0.1:0")  # its provider has no key, so none is healthy
    with ServeProcess(tmp_path, "-c", "config.toml") as served:
        port = served.url.rpartition(":")[2]
        assert healthy(port)
    assert not healthy(port)


def test_the_dashboard_shows_metrics_that_there_are_by_labels_that_they_have(tmp_path: Path) -> None:
    dashboard = json.loads(init(tmp_path, "--grafana").stdout)
    assert (dashboard["title"], dashboard["uid"]) == ("arbstr", "arbstr")
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    expressions += [each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query"]
    named = {name for text in expressions for name in re.findall(r"arbstr_\w+", text)}
    assert {name.removesuffix("_bucket") for name in named} == {
        re.sub("_(bucket|count|sum)$", "", name) for name in LABELS
    }
    assert named <= LABELS.keys()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            [name, *_] = re.findall(r"arbstr_\w+", target["expr"])
            used = re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])
            used += [label for labels in re.findall(r"by \((.*?)\)", target["expr"]) for label in labels.split(", ")]
            assert {*used} <= LABELS[name], target


def test_the_dashboards_panels_have_their_places(tmp_path: Path) -> None:
    panels = json.loads(init(tmp_path, "--grafana").stdout)["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_launch_agent_runs_this_arbstr_with_this_configuration(tmp_path: Path) -> None:
    agent = plistlib.loads(init(tmp_path, "--launchd", "-c", "a & b.toml").stdout.encode())
    path = tmp_path / "a & b.toml"
    assert agent["ProgramArguments"] == [sys.executable, "-m", "arbstr", "serve", "-c", str(path)]
    assert agent["WorkingDirectory"] == str(tmp_path)
    assert not path.exists()


def test_the_service_files_are_part_of_the_package() -> None:
    assert {path.name for path in (TOP / "arbstr/cli/service_files").iterdir()} == {
        "Containerfile",
        "arbstr.service",
        "grafana.json",
    }
