"""`arbstr doctor`: what is wrong around arbstr, and how to mend it."""

from __future__ import annotations

from typing import Annotated

import typer

from arbstr.cli.options import ConfigOption
from arbstr.cli.tables import counted
from arbstr.sanitize import sanitize

_LONGEST = 1000


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog="Example: arbstr doctor -c config.toml")(doctor)


def doctor(
    config: ConfigOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no provider; names, keys and clock are left out.")
    ] = False,
) -> int:
    """Look for what is wrong around arbstr, and say how to mend it.

    Configuration, file modes, disk, address, ledger; then names, keys and reachability of providers, and by them the
    clock. Exit status 1 if anything is wrong.
    """
    from arbstr.cli.checkup import findings

    wrong = 0
    for finding in findings(config, offline=offline):
        wrong += finding.state == "WRONG"
        print(f"{finding.state:<6} {finding.about:<14} {sanitize(finding.said, _LONGEST)}", flush=True)
    print(f"{counted(wrong, 'problem')}.")
    return int(wrong > 0)
