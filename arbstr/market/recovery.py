"""Takes up the moves of money that were interrupted: `arbstr recover` does, and arbstr at its start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import httpx

from arbstr.config.loader import load
from arbstr.config.schema import Config
from arbstr.errors import ArbstrError
from arbstr.market import token_file
from arbstr.market.money_journal import Journal
from arbstr.market.money_moves import Move, RefundMove
from arbstr.market.node_money import NodeMoney
from arbstr.market.settlement import Account, Settlement, Unfinished


class Resumed(NamedTuple):
    """What became of one move: its end, or why it has none yet; `problem` is None if it has come to a good end."""

    move: Move
    text: str
    problem: ArbstrError | None = None


def accounts(config: Config, path: Path, transport: httpx.AsyncBaseTransport) -> dict[str, Account]:
    """Return the accounts at Routstr nodes that a configuration file has, by the providers' names."""
    return {
        provider.name: Account(provider, NodeMoney(transport, provider), path, index)
        for index, provider in enumerate(config.providers)
        if provider.kind == "routstr"
    }


def account_of(move: Move, config: Path, environ: Mapping[str, str], transport: httpx.AsyncBaseTransport) -> Account:
    """Return the account that a move is for, as the file has it now. Raises Unfinished, and ConfigError."""
    account = accounts(load(config, environ).config, config, transport).get(move.provider)
    if account is None or account.provider.url != move.url:
        raise Unfinished(
            f"{config} has no node {move.provider} at {move.url} any more, where money is under way; "
            "put it back and run `arbstr recover`"
        )
    return account


async def resume(
    journal: Journal,
    config: Path,
    environ: Mapping[str, str],
    transport: httpx.AsyncBaseTransport,
    deliver: Callable[[RefundMove], None],
) -> AsyncIterator[Resumed]:
    """Settle every move in the journal, as far as that is possible now. Raises JournalUnusable."""
    for move in journal.moves:
        try:
            account = account_of(move, config, environ, transport)
            text = await Settlement(account, journal, deliver).settle(move)
        except ArbstrError as error:
            yield Resumed(move, str(error), error)
        else:
            yield Resumed(move, text)


def into_file(move: RefundMove) -> None:
    """Write a refund's token into its file. Raises UnusableInput, and Unfinished if it is to be shown instead."""
    if move.to is None:
        raise Unfinished(f"{move.provider} has paid back what its key held: `arbstr recover` shows the token")
    token_file.write(Path(move.to), move.token or "")
