"""The settings that `arbstr connect` gives for a client, for the server that is asked here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from checks import ROOT


def settings(client: str, model: str) -> str:
    """What `arbstr connect` prints."""
    return _connect(client, "--model", model)


def write_settings(client: str, model: str) -> None:
    """Let `arbstr connect` write the client's own file."""
    _connect(client, "--model", model, "--write")


def program(client: str, model: str) -> dict[str, Any]:
    """Run the piece of Python that `arbstr connect` prints; the names that it defines."""
    names: dict[str, Any] = {}
    exec(settings(client, model), names)
    return names


def variables(client: str, model: str) -> None:
    """Set the variables that `arbstr connect` exports, as a shell would."""
    for line in settings(client, model).splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        os.environ[name] = os.path.expandvars(value.strip('"'))


def _connect(*arguments: str) -> str:
    listen = ROOT.removeprefix("http://")
    command = [os.environ["CLIENTS_ARBSTR"], "-m", "arbstr", "connect", *arguments, "-l", listen]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(command, cwd=Path.home(), env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout
