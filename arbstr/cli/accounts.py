"""What the commands about money at Routstr nodes have in common."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from arbstr.sanitize import quoted

if TYPE_CHECKING:
    import httpx

    from arbstr.config.settings import Settings
    from arbstr.market.settlement import Account

_INTERRUPTED = 130


@dataclass(frozen=True)
class Accounts:
    """The accounts of a configuration file for the time of one command, and the journal beside it."""

    path: Path
    journal: Path
    transport: httpx.AsyncBaseTransport

    def all(self) -> dict[str, Account]:
        """Return the accounts by name, as the file has them now: another command may have written a key."""
        from arbstr.market.recovery import accounts

        return accounts(settings_of(self.path).config, self.path, self.transport)


@asynccontextmanager
async def opened_accounts(settings: Settings) -> AsyncIterator[Accounts]:
    """Open the accounts of a configuration; the connections end with the block."""
    from arbstr.market.money_journal import journal_path
    from arbstr.transport.pool import PooledTransport

    path = settings.config_path
    assert path is not None, "only mock runs have no file"
    transport = PooledTransport(settings.proxies.choose)
    try:
        yield Accounts(path, journal_path(path), transport)
    finally:
        await transport.aclose()


def settings_of(config: Path | None) -> Settings:
    """Return the settings of a configuration file. Raises ConfigError."""
    from arbstr.config.settings import resolve

    return resolve(os.environ, config=config, insecure=True)


def node_name(settings: Settings, name: str) -> str:
    """Return the name of the Routstr node that is meant. Raises `typer.BadParameter`."""
    from arbstr.suggest import did_you_mean

    known = {provider.name.casefold(): provider for provider in settings.config.providers}
    nodes = [provider.name for provider in settings.config.providers if provider.kind == "routstr"]
    found = known.get(name.casefold())
    if found is None:
        listed = f"the Routstr nodes are {', '.join(nodes)}" if nodes else 'none has kind = "routstr"'
        raise typer.BadParameter(f"no provider is named {quoted(name)}; {did_you_mean(name, nodes) or listed}")
    if found.kind != "routstr":
        raise typer.BadParameter(f'{quoted(found.name)} is no Routstr node; only kind = "routstr" holds money')
    return found.name


def run(command: Coroutine[Any, Any, int]) -> int:
    """Run a command and return its exit status; Ctrl-C leaves what was under way in the journal."""
    import asyncio

    try:
        return asyncio.run(command)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        say("interrupted; money that was under way is in the journal, and `arbstr recover` brings it to its end")
        return _INTERRUPTED


def say(*notes: str) -> None:
    """Print what is no result, so that stdout can go into a file or another program."""
    sys.stdout.flush()
    for note in filter(None, notes):
        print(f"arbstr: {note}", file=sys.stderr)
