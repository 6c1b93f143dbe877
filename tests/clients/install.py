"""Installation of clients, each kind in a folder of its own that later runs use again."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
INSTALL_S = 600
BY_NPM = ("node", "cli")


def installed(kind: str) -> Path:
    """A folder in which the clients of a kind are installed; made once for what is asked for."""
    wanted = HERE / kind / ("package.json" if kind in BY_NPM else "requirements.txt")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "arbstr-clients"
    home = cache / f"{kind}-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:16]}"
    if not (home / "done").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        shutil.copy(wanted, home)
        for command in _installing(kind, home):
            subprocess.run(command, cwd=home, check=True, timeout=INSTALL_S)
        (home / "done").touch()
    for program in (HERE / kind).glob("*.mjs"):
        shutil.copy(program, home)  # Node looks for modules beside the program that imports them
    return home


def programs(kind: str) -> Path:
    """The folder of the executables that a kind has installed."""
    return installed(kind) / ("node_modules/.bin" if kind in BY_NPM else "venv/bin")


def _installing(kind: str, home: Path) -> list[list[str]]:
    if kind in BY_NPM:
        return [["npm", "install", "--silent", "--no-audit", "--no-fund"]]
    pip = [str(home / "venv/bin/pip"), "install", "-qq", "--disable-pip-version-check", "-r", "requirements.txt"]
    return [[sys.executable, "-m", "venv", "venv"], pip]
