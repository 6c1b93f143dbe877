"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

USAGE = 2  # the exit status of a wrong command line

ConfigOption = Annotated[
    Path | None,
    typer.Option("-c", "--config", metavar="PATH", help="Configuration file [ARBSTR_CONFIG, else ./config.toml]."),
]
