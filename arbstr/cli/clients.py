"""`arbstr clients`: programs with keys and limits of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arbstr.cli.options import ConfigOption
from arbstr.cli.tables import Column, table
from arbstr.errors import ConfigError, UnusableInput
from arbstr.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from arbstr.config.clients import ClientSettings

_KIND = "clients"
_COLUMNS = (
    Column("name"),
    Column("models"),
    Column("policy"),
    Column("sats per hour", right=True),
    Column("day", right=True),
    Column("month", right=True),
    Column("per second", right=True),
    Column("expires"),
)
_NONE = "-"

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The client's name.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    commands = typer.Typer(help="Keys and limits for single clients.", rich_markup_mode=None)
    commands.command(epilog="Example: arbstr clients add laptop")(add)
    commands.command("list", epilog="Example: arbstr clients list")(list_clients)
    commands.command(epilog="Example: arbstr clients rotate laptop")(rotate)
    commands.command(epilog="Example: arbstr clients remove laptop")(remove)
    app.add_typer(commands, name="clients", epilog="Example: arbstr clients add laptop")


def add(name: NameArgument, config: ConfigOption = None) -> None:
    """Add a client, and print its key: it is shown this once, and only its digest is kept.

    Limits go into its table of the configuration file: allowed_models, policy, max_sats_per_day and the like.
    """
    from arbstr.config.clients import digest_of
    from arbstr.config.table_writing import add_tables
    from arbstr.config.toml_file import escaped

    path = _path(config)
    known = _names(path)
    if name.casefold() in (each.casefold() for each in known):
        raise UnusableInput(f"{path} has a client {quoted(name)} already; 'arbstr clients rotate' gives it another key")
    _check(name)
    key = _new_key()
    add_tables(path, _KIND, [{"name": escaped(name), "key_sha256": digest_of(key)}])
    _tell(f"added to {path}; this is its key, which is not shown again:", key)
    if not known:
        print("arbstr: from now on every client needs a key, or server.auth_token", file=sys.stderr)


def list_clients(config: ConfigOption = None) -> None:
    """Show the configured clients and their limits."""
    from arbstr.config.settings import resolve

    clients = resolve(os.environ, config=config, insecure=True).config.clients
    if not clients:
        print("arbstr: no clients are configured; 'arbstr clients add NAME' adds one", file=sys.stderr)
        return
    print("\n".join(table(_COLUMNS, map(_row, clients))))


def rotate(name: NameArgument, config: ConfigOption = None) -> None:
    """Give a client another key, and print it; the one before is no longer good."""
    from arbstr.config.clients import digest_of
    from arbstr.config.table_writing import set_value
    from arbstr.config.toml_file import refers

    path = _path(config)
    written = _find(path, name).get("key_sha256")
    if not isinstance(written, str) or refers(written):
        raise UnusableInput(
            f"{path} has no digest of a key for {quoted(name)} but a reference; change it where that is"
        )
    key = _new_key()
    set_value(path, _KIND, name, "key_sha256", digest_of(key))
    _tell(f"changed in {path}; this is its new key, which is not shown again:", key)


def remove(name: NameArgument, config: ConfigOption = None) -> None:
    """Remove a client: its key is no longer good. Its requests stay in the ledger."""
    from arbstr.config.table_writing import remove_table

    path = _path(config)
    _find(path, name)
    remove_table(path, _KIND, name)
    print(sanitize(f"arbstr: removed {name} from {path}"), file=sys.stderr)
    if len(_names(path)) == 0:
        print("arbstr: no client is left: only server.auth_token keeps others out, if it is set", file=sys.stderr)


def _path(config: Path | None) -> Path:
    from arbstr.config.paths import config_path

    return config_path(config, os.environ)


def _tables(path: Path) -> list[dict[str, Any]]:
    """Return the clients as the file has them, also where it is not valid otherwise. Raises ConfigError."""
    from arbstr.config.toml_file import read, tables

    return [one for _, one in tables(read(path).table, _KIND)]


def _names(path: Path) -> list[str]:
    return [str(one.get("name", "")).replace("$$", "$") for one in _tables(path)]


def _find(path: Path, name: str) -> dict[str, Any]:
    from arbstr.suggest import did_you_mean

    names = _names(path)
    folded = [each.casefold() for each in names]
    if name.casefold() not in folded:
        hint = did_you_mean(name, names) or f"there are: {', '.join(names) or 'none so far'}"
        raise UnusableInput(f"{path} has no client {quoted(name)}; {hint}")
    return _tables(path)[folded.index(name.casefold())]


def _check(name: str) -> None:
    """Raise ConfigError for a name that the configuration would refuse."""
    from pydantic import ValidationError

    from arbstr.config.clients import ClientSettings
    from arbstr.config.diagnostics import format_error

    try:
        ClientSettings(name=name, key_sha256="0" * 64)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise ConfigError([format_error(one, name) for one in details]) from None


def _new_key() -> str:
    """Return a new key. Many programs want one that begins with `sk-`; what looks so is masked wherever it strays."""
    import secrets

    return f"sk-arbstr-{secrets.token_urlsafe(32)}"


def _tell(what: str, key: str) -> None:
    """Print the key alone on stdout, for a pipe."""
    print(sanitize(f"arbstr: {what}"), file=sys.stderr)
    sys.stderr.flush()
    print(key)


def _row(client: ClientSettings) -> tuple[str, ...]:
    caps = (client.max_sats_per_hour, client.max_sats_per_day, client.max_sats_per_month)
    return (
        client.name,
        ", ".join(client.allowed_models) or "any",
        client.policy or _NONE,
        *(_NONE if cap is None else f"{cap:,.10g}" for cap in caps),
        f"{client.rate_limit_rps:g}" if client.rate_limit_rps else _NONE,
        "never" if client.expires is None else f"{client.expires:%Y-%m-%d %H:%M %Z}",
    )
