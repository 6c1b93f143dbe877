"""`arbstr connect`: the settings that point a client at arbstr, printed or written into the client's own file."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from arbstr.cli.options import ConfigOption, ListenOption
from arbstr.config.address import Address
from arbstr.sanitize import quoted

if TYPE_CHECKING:
    from arbstr.config.settings import Settings
    from arbstr.connect.clients import Client, Target

_NAME = re.compile(r"[\w./:@+~,\[\]-]+")  # of a model: nothing that would have to be quoted in a shell or a program
_MOST_MODELS = 50  # listed in a client's settings


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog="Example: arbstr connect codex --write")(connect)


def connect(
    client: Annotated[
        str | None, typer.Argument(metavar="CLIENT", help="Which client; without one they are listed.")
    ] = None,
    config: ConfigOption = None,
    listen: ListenOption = None,
    policy: Annotated[
        str | None, typer.Option("--policy", metavar="NAME", help="Use this policy, by a base URL of its own.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="The client's model; by default the first configured.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the client's settings file, keeping a backup.")] = False,
) -> None:
    """Print a client's settings for arbstr, or write them."""
    if client is None:
        _list_clients()
        return
    chosen = _client(client)
    target = _target(_settings(config), listen, policy, model)
    if write:
        _write(chosen, target)
    else:
        print(chosen.form(target).text, end="")
        _say(_place(chosen), chosen.hint(target))


def _list_clients() -> None:
    from arbstr.connect.clients import CLIENTS

    width = max(len(client.name) for client in CLIENTS)
    for client in CLIENTS:
        print(f"{client.name:{width}}  {_where(client)}")


def _client(name: str) -> Client:
    from arbstr.connect.clients import CLIENTS
    from arbstr.suggest import did_you_mean

    known = {client.name: client for client in CLIENTS}
    if name.lower() in known:
        return known[name.lower()]
    hint = did_you_mean(name, known) or f"known are {', '.join(known)}"
    raise typer.BadParameter(f"{quoted(name)} is no client that arbstr knows; {hint}")


def _settings(config: Path | None) -> Settings:
    """Return the settings; the defaults where no configuration file was named and none is there."""
    from arbstr.config.paths import config_path
    from arbstr.config.settings import resolve

    named = config is not None or bool(os.environ.get("ARBSTR_CONFIG"))
    absent = not named and not config_path(config, os.environ).exists()
    return resolve(os.environ, config=config, insecure=True, mock=absent)


def _target(settings: Settings, listen: Address | None, policy: str | None, model: str | None) -> Target:
    from arbstr.connect.clients import Target

    if model is not None and not _NAME.fullmatch(model):
        raise typer.BadParameter(f"{quoted(model)} is no name of a model that fits into settings")
    configured = (
        model for provider in settings.config.providers if not provider.is_inert for model in provider.model_ids
    )
    models = dict.fromkeys([*([model] if model else []), *filter(_NAME.fullmatch, configured)])
    return Target(
        root=f"http://{_reachable(listen or Address(settings.host, settings.port))}{_policy_path(settings, policy)}",
        models=tuple(models)[:_MOST_MODELS],
        token_variable=_token_variable(settings),
    )


def _reachable(address: Address) -> Address:
    """Return the address that a client on this machine uses. Raises `typer.BadParameter` if it is not known."""
    if address.port == 0:
        raise typer.BadParameter("the configured port is 0, any free one; name it with -l HOST:PORT")
    return address.here


def _policy_path(settings: Settings, policy: str | None) -> str:
    from arbstr.suggest import did_you_mean

    if policy is None:
        return ""
    known = [rule.name for rule in settings.config.policies.rules]
    if policy not in known:
        listed = (
            f"the policies are {', '.join(known)}" if known else "the configuration has none; add [[policies.rules]]"
        )
        hint = did_you_mean(policy, known) or listed
        raise typer.BadParameter(f"no policy is named {quoted(policy)}; {hint}")
    return f"/policy/{quote(policy, safe='')}"


def _token_variable(settings: Settings) -> str | None:
    """Return the variable from which a client takes the token, None if it needs none."""
    from arbstr.config.toml_file import read, refers

    if settings.config.clients:
        return "ARBSTR_KEY"  # each program has its own, from 'arbstr clients add'
    if settings.config.server.auth_token is None or settings.config_path is None:
        return None
    written = read(settings.config_path).table["server"]["auth_token"]
    return next(iter(refers(written)), "ARBSTR_TOKEN")


def _write(client: Client, target: Target) -> None:
    from arbstr.connect.settings_file import change
    from arbstr.errors import UnusableInput

    if client.file is None:
        raise UnusableInput(
            f"arbstr does not write settings for {client.name}; without --write they are printed, for {client.place}"
        )
    done = change(client.file(os.environ), client.form(target).merged)
    if not done.written:
        print(f"{done.path} has these settings already")
    else:
        print(f"wrote {done.path}" + (f"; as it was: {done.backup}" if done.backup else ""))
    _say(client.hint(target))


def _where(client: Client) -> str:
    """Return where a client's settings belong, and whether they can be written there."""
    return client.place if client.file is None else f"{client.file(os.environ)} (--write)"


def _place(client: Client) -> str:
    ways = "" if client.file is None else f"; 'arbstr connect {client.name} --write' puts it there"
    return f"this belongs in {client.place if client.file is None else client.file(os.environ)}{ways}"


def _say(*notes: str) -> None:
    """Print what is not part of the settings, so that those may go into a file."""
    sys.stdout.flush()
    for note in filter(None, notes):
        print(f"arbstr: {note}", file=sys.stderr)
