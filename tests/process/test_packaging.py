"""What is shipped: a wheel with all that arbstr needs, and lock files that name no machine and no index."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import TOP
from tests.support.patience import PATIENCE_S

LOCKS = [TOP / "requirements.lock", TOP / ".ci" / "checks.lock"]


def test_the_wheel_has_all_that_arbstr_reads(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=TOP, check=True, capture_output=True, timeout=PATIENCE_S)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        assert files.read("arbstr/config.example.toml") == (TOP / "config.example.toml").read_bytes()
        names = set(files.namelist())
        files.extractall(tmp_path / "installed")
    packaged = {str(path.relative_to(TOP)) for part in ("arbstr", "tui") for path in (TOP / part).rglob("*.py")}
    assert packaged <= names
    assert any(name.endswith(".sql") for name in names)
    assert any(name.endswith(".tcss") for name in names)
    _init_works_in(tmp_path / "installed")


def _init_works_in(installed: Path) -> None:
    """Check that `arbstr init` finds what it writes and prints where there is no checkout."""
    environ = {"PYTHONPATH": str(installed), "PATH": os.environ["PATH"]}
    for option in ("-c", "--systemd", "--container"):
        command = [sys.executable, "-m", "arbstr", "init", option, *(["made.toml"] if option == "-c" else [])]
        subprocess.run(command, cwd=installed, env=environ, stdin=subprocess.DEVNULL, check=True, timeout=PATIENCE_S)
    assert (installed / "made.toml").read_text().startswith("# arbstr's configuration")


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
