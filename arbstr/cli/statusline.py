"""`arbstr statusline`: prints the line of `spending`. Where its options are written plainly, `arbstr.cli` does."""

from __future__ import annotations

from typing import Annotated

import typer

from arbstr.cli.options import ConfigOption


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog="Example: arbstr statusline -c ~/arbstr/config.toml")(statusline)


def statusline(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, amounts in sats.")] = False,
) -> None:
    """Print today's sats, burn and budget left in one line.

    For tmux and shell prompts. Reads the ledger, whether or not arbstr runs. Days are UTC's. Where the ledger can't be
    read the line says so, and the exit status is 0 all the same.
    """
    from arbstr.cli.spending import print_line

    print_line(config, as_json)
