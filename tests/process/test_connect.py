"""`arbstr connect`: what it prints for each client, what it writes, and that the README shows the same."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

from arbstr.connect.clients import CLIENTS
from tests.process.test_cli import arbstr_run, complaints
from tests.support.command import Done
from tests.support.paths import TOP

README = (TOP / "README.md").read_text()
NAMES = [client.name for client in CLIENTS]
FILES = {
    "codex": ".codex/config.toml",
    "claude-code": ".claude/settings.json",
    "opencode": ".config/opencode/opencode.json",
    "aider": ".aider.conf.yml",
    "llm": ".config/io.datasette.llm/extra-openai-models.yaml",
}
TOKEN = "client-token-0123456789"
CONFIG = """
[server]
listen = "0.0.0.0:9090"
{token}

[[providers]]
name = "alpha"
url = "https://alpha.example/v1"
api_key = "${{ALPHA_KEY}}"
input_rate = 1
models = ["gpt-4o", "claude-3.5-sonnet", "it's odd"]

[[policies.rules]]
name = "code & more"
"""


def connect(cwd: Path, *arguments: str, **environ: str) -> Done:
    given = {"HOME": str(cwd / "home"), "ALPHA_KEY": "sk-0123456789abcdef", "ARBSTR_TOKEN": TOKEN, "MY_TOKEN": TOKEN}
    return arbstr_run("connect", *arguments, cwd=cwd, environ=given | environ)


def configured(cwd: Path, token: str = "") -> None:
    path = cwd / "config.toml"
    path.write_text(CONFIG.format(token=token))
    path.chmod(0o600)


def printed(cwd: Path, *arguments: str) -> str:
    run = connect(cwd, *arguments)
    assert run.returncode == 0, run.stderr
    return run.stdout


def snippets() -> dict[str, str]:
    """The README's, by client."""
    section = README.partition("## Connect a client")[2].partition("\n## ")[0]
    found = re.findall(r"`arbstr connect ([a-z-]+)`[^\n]*\n\n```[a-z]*\n(.*?)```", section, re.DOTALL)
    return dict(found)


def test_the_readme_has_every_client() -> None:
    assert list(snippets()) == NAMES


@pytest.mark.parametrize("client", NAMES)
def test_the_readme_shows_what_is_printed(tmp_path: Path, client: str) -> None:
    assert snippets()[client] == printed(tmp_path, client)


def test_the_address_the_policy_and_the_models_are_the_configured_ones(tmp_path: Path) -> None:
    configured(tmp_path)
    codex = tomllib.loads(printed(tmp_path, "codex"))
    assert codex["model"] == "gpt-4o"
    assert codex["model_providers"]["arbstr"]["base_url"] == "http://127.0.0.1:9090/v1"
    claude = json.loads(printed(tmp_path, "claude-code", "--policy", "code & more"))["env"]
    assert claude["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9090/policy/code%20%26%20more"
    assert claude["ANTHROPIC_MODEL"] == "claude-3.5-sonnet"
    opencode = json.loads(printed(tmp_path, "opencode", "-l", "[::1]:7000", "--model", "o3"))
    assert opencode["provider"]["arbstr"]["options"]["baseURL"] == "http://[::1]:7000/v1"
    assert list(opencode["provider"]["arbstr"]["models"]) == ["o3", "gpt-4o", "claude-3.5-sonnet"]


@pytest.mark.parametrize("client", NAMES)
@pytest.mark.parametrize(
    ("token", "variable"), [('auth_token = "${MY_TOKEN}"', "MY_TOKEN"), (f'auth_token = "{TOKEN}"', "ARBSTR_TOKEN")]
)
def test_a_token_is_only_referred_to(tmp_path: Path, client: str, token: str, variable: str) -> None:
    configured(tmp_path, token)
    run = connect(tmp_path, client)
    assert variable in run.stdout + run.stderr
    assert TOKEN not in run.stdout + run.stderr
    assert "unused" not in run.stdout
    if client in FILES:
        connect(tmp_path, client, "--write")
        assert TOKEN not in (tmp_path / "home" / FILES[client]).read_text()


@pytest.mark.parametrize("client", ["langchain", "litellm", "pydantic-ai", "openai-agents"])
@pytest.mark.parametrize("token", ["", 'auth_token = "${MY_TOKEN}"'], ids=["without a token", "with one"])
def test_programs_are_programs(tmp_path: Path, client: str, token: str) -> None:
    configured(tmp_path, token)
    ast.parse(printed(tmp_path, client))


@pytest.mark.parametrize("client", FILES)
def test_writing_makes_the_clients_file_and_once_is_enough(tmp_path: Path, client: str) -> None:
    configured(tmp_path)
    path = tmp_path / "home" / FILES[client]
    assert printed(tmp_path, client, "--write") == f"wrote {path}\n"
    assert path.read_text() == printed(tmp_path, client)
    assert printed(tmp_path, client, "--write") == f"{path} has these settings already\n"
    assert printed(tmp_path, client, "--write", "--policy", "code & more") == f"wrote {path}; as it was: {path}.bak\n"


def test_writing_keeps_what_is_there(tmp_path: Path) -> None:
    configured(tmp_path)
    path = tmp_path / "home" / FILES["codex"]
    path.parent.mkdir(parents=True)
    path.write_text('# mine\napproval_policy = "never"\n\n[mcp_servers.docs]\ncommand = "npx"\n')
    path.chmod(0o644)
    printed(tmp_path, "codex", "--write")
    text = path.read_text()
    assert text.startswith('# mine\napproval_policy = "never"\nmodel = "gpt-4o"\n')
    assert '[mcp_servers.docs]\ncommand = "npx"\n' in text
    assert path.with_name("config.toml.bak").read_text().startswith("# mine")


def test_a_clients_own_variable_says_where_its_file_is(tmp_path: Path) -> None:
    run = connect(tmp_path, "codex", "--write", CODEX_HOME=str(tmp_path / "elsewhere"))
    assert run.returncode == 0
    assert (tmp_path / "elsewhere" / "config.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("codx",), 'Invalid value: "codx" is no client that arbstr knows; did you mean "codex"?; try'),
        (("nonsense",), "known are codex, claude-code, opencode, aider"),
        (("codex", "--policy", "code and more"), 'no policy is named "code and more"; did you mean "code & more"?'),
        (("codex", "-l", "127.0.0.1:0"), "the configured port is 0, any free one; name it with -l HOST:PORT"),
        (("codex", "--model", "a' b"), "is no name of a model that fits into settings"),
    ],
)
def test_what_is_not_known_is_said_with_what_is(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    configured(tmp_path)
    (said,) = complaints(connect(tmp_path, *arguments), 2)
    assert complaint in said


def test_without_a_configuration_there_are_no_policies(tmp_path: Path) -> None:
    (said,) = complaints(connect(tmp_path, "codex", "--policy", "code"), 2)
    assert 'no policy is named "code"; the configuration has none; add [[policies.rules]]' in said


def test_a_client_without_a_file_of_its_own_is_not_written(tmp_path: Path) -> None:
    (said,) = complaints(connect(tmp_path, "openai", "--write"), 1)
    assert (
        said
        == "arbstr does not write settings for openai; without --write they are printed, for your shell's environment"
    )


def test_a_file_that_cannot_be_merged_is_left(tmp_path: Path) -> None:
    path = tmp_path / "home" / FILES["opencode"]
    path.parent.mkdir(parents=True)
    path.write_text('{\n  // mine\n  "theme": "dark"\n}\n')
    (said,) = complaints(connect(tmp_path, "opencode", "--write"), 1)
    assert said.endswith(
        "was left as it is: it is not plain JSON (are there comments in it?); put the settings in by hand"
    )
    assert "// mine" in path.read_text()


def test_an_invalid_configuration_is_refused_as_by_check(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[sever]")
    assert any("did you mean server?" in line for line in complaints(connect(tmp_path, "codex"), 1))


def test_without_a_client_all_are_listed(tmp_path: Path) -> None:
    lines = printed(tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert lines[0].endswith("/home/.codex/config.toml (--write)")
