"""Running of programs: the clients that people type into."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from checks import PROGRAMS

PROGRAM_S = 110


def call(program: str, *arguments: str, env: dict[str, str] | None = None, into: Path | None = None) -> str:
    """Run a client's program to its end; what it wrote on stdout. Raises what it wrote on stderr where it fails."""
    work = into or Path.home() / "work"
    work.mkdir(exist_ok=True)
    run = subprocess.run(
        [str(PROGRAMS / program), *arguments],
        cwd=work,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROGRAM_S,
        check=False,
    )
    assert run.returncode == 0, f"status {run.returncode}: {run.stderr[-300:]} {run.stdout[-300:]}"
    return run.stdout


def json_lines(text: str) -> list[Any]:
    """The lines of a text that are JSON."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
