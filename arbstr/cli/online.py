"""`arbstr check --online`: what the providers themselves say of the configuration."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from arbstr.cli.tables import Column, counted, table
from arbstr.clock import wall_ms
from arbstr.market.online_check import Checked, check_all
from arbstr.market.policy_check import policy_problems
from arbstr.money import format_sats
from arbstr.redaction import Redactor
from arbstr.transport.pool import PooledTransport, ProxyFor

if TYPE_CHECKING:
    from arbstr.config.settings import Settings

_COLUMNS = (
    Column("provider"),
    Column("online"),
    Column("models", right=True),
    Column("balance (sats)", right=True),
    Column("version"),
)


def check_online(settings: Settings) -> int:
    """Ask every provider, print what they answer and what is wrong; return the exit status."""
    found = asyncio.run(ask(settings))
    print("\n".join(["", *table(_COLUMNS, map(_cells, found)), ""]))
    notes, problems = complaints(settings, found)
    print(f"online: {counted(len(problems), 'problem')}.")
    sys.stdout.flush()
    for kind, sentences in (("note", notes), ("problem", problems)):
        for sentence in sentences:
            print(f"{kind}: {sentence}", file=sys.stderr)
    return 1 if problems else 0


async def ask(
    settings: Settings, transport_with: Callable[[ProxyFor], PooledTransport] = PooledTransport
) -> list[Checked]:
    """Ask every provider, through a transport made with the environment's proxies."""
    redactor = Redactor(settings.secrets)
    transport = transport_with(settings.proxies.choose)
    try:
        return await check_all(settings.config.providers, transport, redactor, wall_ms())
    finally:
        await transport.aclose()


def _cells(one: Checked) -> tuple[str, ...]:
    state = "wrong" if one.problems else "no key" if one.provider.is_inert else "ok"
    balance = None if one.balance is None else one.balance.free_msats
    return (
        one.provider.name,
        state,
        "-" if one.models is None else f"{len(one.models):,}",
        "-" if balance is None else format_sats(balance, ","),
        one.version or "-",
    )


def complaints(settings: Settings, found: Sequence[Checked]) -> tuple[list[str], list[str]]:
    """Return what is wrong with providers that are not used, and with the others, policies and aliases."""
    notes: list[str] = []
    problems: list[str] = []
    for index, one in enumerate(found):
        said = [f"{one.provider.name}: providers[{index}]{problem}" for problem in one.problems]
        (notes if one.provider.is_inert else problems).extend(said)
    lists = {one.provider.name: one.models for one in found if one.models is not None}
    return notes, [*problems, *policy_problems(settings.config, lists)]
