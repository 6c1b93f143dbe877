"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option("-c", "--config", metavar="PATH", help="Configuration file [ARBSTR_CONFIG, else ./config.toml]."),
]
