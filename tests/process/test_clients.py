"""`arbstr clients`: keys are shown once, digests are kept, and the file stays as it was otherwise."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from arbstr.config.clients import digest_of
from arbstr.config.loader import load
from tests.support.command import Done, run_command

FILE = """# mine
[server]
auth_token = "${ARBSTR_TOKEN}"   # from the environment

[[providers]]   # one
name = "alpha"
url = "https://alpha.example/v1"
input_rate = 1
"""
ENVIRON = {"ARBSTR_TOKEN": "owner-token-0123456789", "ARBSTR_ALPHA_API_KEY": "sk-alpha-0123456789"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    path.chmod(0o644)
    return path


def clients(path: Path, *arguments: str) -> Done:
    return run_command("clients", *arguments, "-c", str(path), environ={})


def key_of(done: Done) -> str:
    """The key that was printed, alone on stdout."""
    assert done.returncode == 0, done.stderr
    [key] = done.stdout.split()
    assert re.fullmatch(r"sk-arbstr-[A-Za-z0-9_-]{43}", key)
    assert key not in done.stderr
    return key


def digests(path: Path) -> dict[str, str]:
    return {one.name: one.key_sha256 for one in load(path, ENVIRON).config.clients}


def test_add_prints_a_key_and_writes_its_digest(path: Path) -> None:
    done = clients(path, "add", "laptop of Bob")
    key = key_of(done)
    assert "not shown again" in done.stderr
    assert "from now on every client needs a key" in done.stderr
    assert path.read_text() == f'{FILE}\n[[clients]]\nname = "laptop of Bob"\nkey_sha256 = "{digest_of(key)}"\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert digests(path) == {"laptop of Bob": digest_of(key)}
    second = key_of(clients(path, "add", "phone"))
    assert digests(path) == {"laptop of Bob": digest_of(key), "phone": digest_of(second)}


def test_a_name_with_a_dollar_is_that_name(path: Path) -> None:
    key = key_of(clients(path, "add", "${HOME}"))
    assert digests(path) == {"${HOME}": digest_of(key)}
    assert digests(path) != {"${HOME}": digest_of(key_of(clients(path, "rotate", "${HOME}")))}
    assert clients(path, "remove", "${HOME}").returncode == 0
    assert digests(path) == {}


@pytest.mark.parametrize("name", ["", " x", "a\nb", "(none)", "x" * 101])
def test_a_name_that_the_configuration_would_refuse_is_not_written(path: Path, name: str) -> None:
    done = clients(path, "add", name)
    assert done.returncode == 1
    assert done.stderr.startswith("arbstr: name ")
    assert path.read_text() == FILE


def test_a_name_is_added_once_whatever_its_case(path: Path) -> None:
    clients(path, "add", "laptop")
    before = path.read_text()
    done = clients(path, "add", "Laptop")
    assert (done.returncode, path.read_text()) == (1, before)
    assert "'arbstr clients rotate' gives it another key" in done.stderr


def test_rotate_changes_the_digest_and_nothing_else(path: Path) -> None:
    old = key_of(clients(path, "add", "laptop"))
    path.write_text(path.read_text() + 'policy = "none"  # kept\n')
    before = path.read_text()
    new = key_of(clients(path, "rotate", "LAPTOP"))
    assert path.read_text() == before.replace(digest_of(old), digest_of(new))


def test_a_digest_from_the_environment_is_not_rotated(path: Path) -> None:
    path.write_text(FILE + '\n[[clients]]\nname = "laptop"\nkey_sha256 = "${LAPTOP_DIGEST}"\n')
    done = clients(path, "rotate", "laptop")
    assert done.returncode == 1
    assert "change it where that is" in done.stderr


def test_remove_takes_the_table_out(path: Path) -> None:
    clients(path, "add", "laptop")
    second = key_of(clients(path, "add", "phone"))
    done = clients(path, "remove", "laptop")
    assert done.returncode == 0
    assert digests(path) == {"phone": digest_of(second)}
    last = clients(path, "remove", "phone")
    assert "no client is left" in last.stderr
    assert path.read_text().rstrip() == FILE.rstrip()


@pytest.mark.parametrize("command", ["rotate", "remove"])
def test_an_unknown_client_is_an_error_with_the_nearest_name(path: Path, command: str) -> None:
    clients(path, "add", "laptop")
    done = clients(path, command, "lapto")
    assert done.returncode == 1
    assert "has no client" in done.stderr
    assert "laptop" in done.stderr


def test_list_shows_limits_and_no_digest(path: Path) -> None:
    environ = ENVIRON
    key = key_of(clients(path, "add", "laptop"))
    limits = 'allowed_models = ["gpt-*"]\nmax_sats_per_day = 1500\nrate_limit_rps = 2.5\nexpires = 2027-01-31\n'
    path.write_text(path.read_text() + limits)
    done = run_command("clients", "list", "-c", str(path), environ=environ)
    assert done.returncode == 0, done.stderr
    header, row = done.stdout.splitlines()
    assert re.split(r"\s{2,}", header.strip()) == [
        "name", "models", "policy", "sats per hour", "day", "month", "per second", "expires",
    ]  # fmt: skip
    assert re.split(r"\s{2,}", row.strip()) == [
        "laptop", "gpt-*", "-", "-", "1,500", "-", "2.5", "2027-01-31 00:00 UTC",
    ]  # fmt: skip
    assert digest_of(key) not in done.stdout


def test_without_clients_list_says_how_to_add_one(path: Path) -> None:
    done = run_command("clients", "list", "-c", str(path), environ=ENVIRON)
    assert (done.returncode, done.stdout) == (0, "")
    assert "arbstr clients add NAME" in done.stderr


def test_without_a_file_it_says_what_writes_one(tmp_path: Path) -> None:
    done = clients(tmp_path / "absent.toml", "add", "laptop")
    assert done.returncode == 1
    assert "'arbstr init' writes one" in done.stderr


def test_check_tells_who_needs_which_keys(path: Path) -> None:
    path.chmod(0o600)
    clients(path, "add", "laptop")
    done = run_command("check", "-c", str(path), environ=ENVIRON)
    assert "with a token and keys of 1 client" in done.stdout
    path.write_text(path.read_text().replace("auth_token", "# auth_token"))
    done = run_command("check", "-c", str(path), environ=ENVIRON)
    assert "with keys of 1 client" in done.stdout
    assert "clients but no server.auth_token" in done.stderr
