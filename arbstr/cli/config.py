"""`arbstr check`: whether the configuration is valid."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from arbstr.cli.options import ConfigOption
from arbstr.cli.tables import Column, counted, table
from arbstr.config.address import Address

if TYPE_CHECKING:
    from arbstr.config.schema import Config, Provider
    from arbstr.config.settings import Settings

_KEYS = (Column("provider"), Column("key"), Column("source"))


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog="Example: arbstr check -c config.toml")(check)


def check(
    config: ConfigOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="Also ask every provider about its address, key, balance and models.")
    ] = False,
) -> int:
    """Validate the configuration and show where keys come from."""
    from arbstr.config.settings import exposure, resolve

    settings = resolve(os.environ, config=config, insecure=True)
    address = Address(settings.host, settings.port)
    exposed = exposure(settings.config, address)
    warnings = [*settings.warnings, *([exposed] if exposed else [])]
    print("\n".join(_check_lines(settings, address)))
    print(f"{settings.config_path} is valid: {_summary(settings.config)}, {counted(len(warnings), 'warning')}.")
    sys.stdout.flush()
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not online:
        return 0
    from arbstr.cli.online import check_online

    return check_online(settings)


def _check_lines(settings: Settings, address: Address) -> list[str]:
    from arbstr.config.settings import proxy_lines

    ways = [f"ways    {line}" for line in proxy_lines(settings.config, settings.proxies)]
    return [
        f"listen  {address}, {_keys(settings.config)}",
        f"ledger  {settings.database}",
        f"log     {settings.log_spec}, to {settings.config.logging.file or 'stderr'}",
        *ways,
        "",
        *table(_KEYS, map(_key_row, settings.config.providers)),
        "",
    ]


def _keys(config: Config) -> str:
    """Return what clients need, in words."""
    clients = f"keys of {counted(len(config.clients), 'client')}" if config.clients else ""
    needed = [*(["a token"] if config.server.auth_token else []), *([clients] if clients else [])]
    return f"with {' and '.join(needed)}" if needed else "without a token"


def _key_row(provider: Provider) -> tuple[str, str, str]:
    source: str = provider.key_source
    if provider.key_variable and source != "literal":
        source += f" ({provider.key_variable}{' is not set' if source == 'none' else ''})"
    return provider.name, str(provider.api_key or "-"), source


def _summary(config: Config) -> str:
    models = {model for provider in config.providers for model in provider.model_ids}
    return ", ".join(
        [
            counted(len(config.providers), "provider"),
            counted(len(models), "model") if models else "models as listed",
            counted(len(config.policies.rules), "rule"),
        ]
    )
