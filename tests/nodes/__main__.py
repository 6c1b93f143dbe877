"""Runs arbstr against real Routstr nodes on loopback, and compares what they charged with what arbstr says.

ROUTSTR_NODE names the folder of the scripts that build and start the nodes (`up.sh`, `down.sh`, `money.py`) and
ROUTSTR_GIT the git directory of routstr-core. Their ports are fixed, so that only one such market runs at a time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.nodes.market import SCRIPTS, scripts


def main(arguments: list[str]) -> int:
    """Start the market, run the tests that need it, stop it."""
    if not os.environ.get("ROUTSTR_GIT") or not os.environ.get(SCRIPTS):
        print(
            f"set {SCRIPTS} to the folder of up.sh and ROUTSTR_GIT to a git directory of routstr-core", file=sys.stderr
        )
        return 2
    with tempfile.TemporaryDirectory(prefix="arbstr-nodes-") as place:
        # What took half a minute to build is kept where the caller says so.
        os.environ.setdefault("TMPDIR", place)
        os.environ.setdefault("NODE_B_ENV", "MARKET_NEXT=1")  # one of them answers as newer nodes do
        subprocess.run([scripts() / "up.sh"], check=True, timeout=300)
        try:
            return pytest.main(["-m", "nodes", "-p", "no:xdist", "-q", str(Path(__file__).parent), *arguments])
        finally:
            subprocess.run([scripts() / "down.sh"], check=True, timeout=120)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
