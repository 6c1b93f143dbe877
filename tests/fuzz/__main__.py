"""Every property of the project under new examples, for as long as asked: `python -m tests.fuzz [MINUTES] [PATH ...]`.

Those in `tests/fuzz` try a whole arbstr with what clients, providers, editors and askers may send; those elsewhere its
parts. Rounds follow each other until time is up or something is found: then its example stands there, and hypothesis
has kept it, so that the next run begins with it. Paths keep it to some of them, `tests/fuzz` say.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.support.effort import EXAMPLES

EXAMPLES_A_ROUND = 1000
MINUTES = 30.0


def a_round(number: int, arguments: list[str]) -> int:
    print(f"== round {number}", flush=True)
    options = [
        "-q",
        "-m",
        "hypothesis",
        "-p",
        "tests.support.effort",
        "--timeout=0",
        f"--hypothesis-seed={os.getpid()}{number}",
    ]
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    return subprocess.run(command, env={EXAMPLES: str(EXAMPLES_A_ROUND), **os.environ}, check=False).returncode


def main(minutes: str = str(MINUTES), *arguments: str) -> int:
    until = time.monotonic() + float(minutes) * 60
    number = 1
    while not (found := a_round(number, list(arguments))) and time.monotonic() < until:
        number += 1
    return found


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
