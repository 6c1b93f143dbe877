"""`arbstr doctor`: what is wrong around arbstr, in one line each, with how to mend it."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from arbstr.cli import checkup
from arbstr.clock import wall_ms
from tests.support.command import Done, run_command
from tests.support.ledger_builders import record, write
from tests.support.nostr import FakeNode
from tests.support.serve_process import ServeProcess

KEY = "sk-0123456789abcdef0123456789abcdef"
NOBODY = "http://127.0.0.1:9/v1"  # an address where nobody listens


def configured(path: Path, url: str = NOBODY, *, port: int = 0) -> None:
    """A configuration with one provider, with a key, that is sold `m`."""
    file = path / "config.toml"
    file.write_text(
        f'[server]\nlisten = "127.0.0.1:{port}"\n'
        f'[[providers]]\nname = "alpha"\nurl = "{url}"\napi_key = "${{KEY}}"\ninput_rate = 1\nmodels = ["m"]\n'
    )
    file.chmod(0o600)


def doctor(path: Path, *arguments: str) -> Done:
    done = run_command("doctor", *arguments, cwd=path, environ={"KEY": KEY})
    assert done.stderr == ""
    assert KEY not in done.stdout
    assert done.returncode == int("\nWRONG " in "\n" + done.stdout)
    return done


def wrong(done: Done) -> list[str]:
    lines = done.stdout.splitlines()
    found = [line.removeprefix("WRONG  ") for line in lines if line.startswith("WRONG ")]
    assert lines[-1] == (f"{len(found)} problem." if len(found) == 1 else f"{len(found)} problems.")
    return [" ".join(each.split()) for each in found]


async def test_where_all_is_well_it_says_what_it_looked_at(tmp_path: Path) -> None:
    await write(tmp_path / "arbstr.db", [record()])
    async with FakeNode({"m": (1, 1)}) as node:
        configured(tmp_path, f"{node.url}/v1")
        done = await asyncio.to_thread(doctor, tmp_path)
    assert wrong(done) == []
    looked_at = [line.split()[1] for line in done.stdout.splitlines()[:-1] if line.startswith("ok ")]
    assert looked_at == ["configuration", "files", "disk", "ledger", "address", "providers", "clock"]
    assert "arbstr.db, rows: 1, the last of 2026-01-01" in done.stdout


async def test_a_clock_that_differs_from_every_providers_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "wall_ms", lambda: wall_ms() - 3_600_000)
    async with FakeNode({"m": (1, 1)}) as node:
        configured(tmp_path, f"{node.url}/v1")
        (said,) = wrong(await asyncio.to_thread(doctor, tmp_path))
    assert said.startswith("clock this machine's is 3,")
    assert "s behind every provider's; budgets and the ledger go by it: set it" in said


def test_a_provider_that_does_not_answer_is_wrong_unless_nobody_is_asked(tmp_path: Path) -> None:
    configured(tmp_path)
    (said,) = wrong(doctor(tmp_path))
    assert said.startswith("providers alpha: providers[0].url: 127.0.0.1:")
    assert wrong(doctor(tmp_path, "--offline")) == []


def test_an_invalid_configuration_is_reported_problem_by_problem(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[server]\nlisen = 1\n[budgets]\n")
    first, *_ = found = wrong(doctor(tmp_path, "--offline"))
    assert first == "configuration config.toml: server.lisen is not a known key; did you mean server.listen?"
    assert len(found) >= 2


def test_private_files_that_others_can_open_are_wrong(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path / "arbstr.db", []))
    configured(tmp_path)
    (tmp_path / "config.toml.money").touch()
    for name, mode in (("arbstr.db", 0o644), ("config.toml", 0o640), ("config.toml.money", 0o604)):
        (tmp_path / name).chmod(mode)
    assert wrong(doctor(tmp_path, "--offline")) == [
        "files others can open config.toml (mode 0640); run chmod 600 config.toml",
        "files others can open arbstr.db (mode 0644); run chmod 600 arbstr.db",
        f"files others can open {tmp_path}/config.toml.money (mode 0604); run chmod 600 {tmp_path}/config.toml.money",
    ]


def test_a_full_disk_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5 * 1024**2))
    (said,) = wrong(doctor(tmp_path, "--offline"))
    assert said == f"disk only 5 MB are free at {tmp_path}; a full disk keeps rows out of the ledger: make room"


def test_what_is_no_ledger_is_wrong(tmp_path: Path) -> None:
    configured(tmp_path)
    (tmp_path / "arbstr.db").write_text("no database " * 100)
    (tmp_path / "arbstr.db").chmod(0o600)
    (said,) = wrong(doctor(tmp_path, "--offline"))
    assert said.startswith("ledger ")
    assert "arbstr.db" in said


def test_an_address_that_another_program_has_is_wrong(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0)
        configured(tmp_path, port=other.getsockname()[1])
        (said,) = wrong(doctor(tmp_path, "--offline"))
    assert "(Address already in use); end what listens there, or set another server.listen" in said


def test_an_arbstr_that_runs_has_its_address(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, "--mock") as arbstr:
        configured(tmp_path, port=int(arbstr.url.rpartition(":")[2]))
        done = doctor(tmp_path, "--offline")
    assert wrong(done) == []
    assert "arbstr runs at 127.0.0.1:" in done.stdout
