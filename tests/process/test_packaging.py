"""What is shipped: a wheel with all that arbstr needs, and lock files that name no machine and no index."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import TOP
from tests.support.patience import PATIENCE_S
from tests.support.processes import started, stop

LOCKS = [TOP / "requirements.lock", TOP / ".ci" / "checks.lock"]


def test_the_wheel_has_all_that_arbstr_reads(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=TOP, check=True, capture_output=True, timeout=PATIENCE_S)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        assert files.read("arbstr/config.example.toml") == (TOP / "config.example.toml").read_bytes()
        names = set(files.namelist())
    packaged = {str(path.relative_to(TOP)) for part in ("arbstr", "tui") for path in (TOP / part).rglob("*.py")}
    assert packaged <= names
    files_of_services = {str(path.relative_to(TOP)) for path in (TOP / "arbstr/cli/service_files").iterdir()}
    assert files_of_services <= names
    assert any(name.endswith(".sql") for name in names)
    assert any(name.endswith(".tcss") for name in names)
    _works_from(wheel, tmp_path)


def _works_from(wheel: Path, path: Path) -> None:
    """Check that arbstr works where there is no checkout: installed in an environment of its own, elsewhere."""
    venv.create(path / "venv", symlinks=True)
    own = path / "venv/bin"
    pip = [sys.executable, "-m", "pip", "--python", str(own / "python"), "install"]
    subprocess.run(
        [*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True, timeout=PATIENCE_S
    )
    [packages] = (path / "venv").glob("lib/python*/site-packages")
    packages.joinpath("dependencies.pth").write_text(sysconfig.get_path("purelib"))  # as they are locked

    def run(*arguments: str) -> str:
        command = [str(own / "arbstr"), *arguments]
        environ = {"PATH": os.environ["PATH"]}
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            check=False,
            cwd=path,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    head = ["git", "rev-parse", "HEAD"]
    known = subprocess.run(head, cwd=TOP, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    if known.returncode == 0:  # it is a checkout
        [stamped] = re.findall(r"\((\w{7,})\)", run("--version"))
        assert known.stdout.startswith(stamped)
    run("init", "-c", "made.toml")
    assert (path / "made.toml").read_text().startswith("# arbstr's configuration")
    assert run("init", "--grafana") == (TOP / "arbstr/cli/service_files/grafana.json").read_text()
    _serves(own / "arbstr", path)


def _serves(program: Path, path: Path) -> None:
    command = [str(program), "serve", "--mock", "-l", "127.0.0.1:0"]
    environ = {"PATH": os.environ["PATH"]}
    with started(command, cwd=path, env=environ, stderr=subprocess.PIPE) as served:
        assert served.stderr is not None
        line = next(line for line in served.stderr if "listens on" in line)
        url = line.split("listens on ")[1].split()[0]
        with urllib.request.urlopen(f"{url}/v1/models", timeout=PATIENCE_S) as answer:
            assert b"gpt-4o" in answer.read()
        assert stop(served) == 0


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_pins_everything_by_hash_and_names_no_index(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "--index" not in text
    for requirement in re.findall(r"^[^\s#-].*(?:\n    --hash.*)*", text, re.MULTILINE):
        assert re.match(r"[\w.-]+(\[[\w,]+\])?==", requirement)
        assert "--hash=sha256:" in requirement


def test_a_run_and_the_checks_use_the_same_versions() -> None:
    run, checks = (set(re.findall(r"^([\w.-]+==[^\s;]+)", lock.read_text(), re.MULTILINE)) for lock in LOCKS)
    assert run <= checks
