"""`arbstr reload`: have the arbstr that runs take the configuration as it is now."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from arbstr.cli.options import ConfigOption
from arbstr.sanitize import sanitize

_PATIENCE_S = 30.0
_LONGEST = 2000


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog="Example: arbstr reload -c config.toml")(reload)


def reload(config: ConfigOption = None) -> int:
    """Have a running arbstr take its changed configuration.

    That is serve or tui, with the ledger that the configuration names. It takes a changed file by itself, within two
    seconds; this waits for the outcome. Exit status 1, with all errors, if the file is refused: the configuration
    before stays in force.
    """
    from arbstr.config.paths import database_place
    from arbstr.errors import UnusableInput
    from arbstr.places import local_path
    from arbstr.runtime.control import ask_all

    ledger = local_path(database_place(os.environ, config))
    outcomes, silent = ask_all(ledger, _PATIENCE_S)
    if not (outcomes or silent):
        raise UnusableInput(f"no arbstr runs with the ledger {sanitize(str(ledger))}; arbstr serve starts one")
    statuses = [_say(outcome) for outcome in outcomes]
    if silent:
        whose = "arbstr" if not outcomes else f"{silent} of the {silent + len(outcomes)} that run with this ledger"
        raise UnusableInput(f"{whose} did not answer within {_PATIENCE_S:g} s; the log there says more")
    return max(statuses)


def _say(outcome: dict[str, Any]) -> int:
    """Print what came of a reload; return the exit status."""
    for problem in outcome["problems"]:
        print(f"arbstr: {sanitize(str(problem), _LONGEST)}", file=sys.stderr)
    if outcome["problems"]:
        return 1
    print(sanitize(f"{outcome['file'] or 'the built-in configuration'} is in force", _LONGEST))
    if outcome["restart"]:
        keys = sanitize(", ".join(map(str, outcome["restart"])), _LONGEST)
        print(f"without effect until arbstr is restarted: {keys}")
    return 0
