"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arbstr.config.address import Address, parse_address

ConfigOption = Annotated[
    Path | None,
    # What can't be read is said by who reads it, with what to do.
    typer.Option(
        "-c", "--config", metavar="PATH", readable=False, help="Configuration file [ARBSTR_CONFIG, else ./config.toml]."
    ),
]


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}") from None


ListenOption = Annotated[
    Address | None,
    typer.Option(
        "-l", "--listen", metavar="HOST:PORT", parser=_address, help="Address to listen on; :PORT means loopback."
    ),
]
