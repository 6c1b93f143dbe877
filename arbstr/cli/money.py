"""`arbstr fund`, `refund` and `recover`: money to Routstr nodes and back.

Tokens, keys and invoices go to the terminal, or into the private file that was named: into no message, log or error.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from arbstr.cli.accounts import Accounts, node_name, opened_accounts, run, say, settings_of
from arbstr.cli.options import ConfigOption
from arbstr.clock import format_ms
from arbstr.money import format_sats
from arbstr.runtime.process import forbid_core_dumps

if TYPE_CHECKING:
    from arbstr.config.settings import Settings
    from arbstr.market.money_journal import Journal
    from arbstr.market.money_moves import InvoiceMove, Move, RefundMove
    from arbstr.market.recovery import Resumed
    from arbstr.market.settlement import Account

T = TypeVar("T")

_POLL_S = 2.0  # between questions whether an invoice has been paid
_MOST_SATS = 1_000_000  # of one invoice; nodes take no more

ProviderArgument = Annotated[str, typer.Argument(metavar="PROVIDER", help="Name of a provider of kind routstr.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(epilog="Example: arbstr fund node-alpha --lightning 1000")(fund)
    app.command(epilog="Example: arbstr refund node-alpha --to token.txt")(refund)
    app.command(epilog="Example: arbstr recover -c config.toml")(recover)


def fund(
    provider: ProviderArgument,
    config: ConfigOption = None,
    token: Annotated[
        str, typer.Option("--token", metavar="TOKEN", help="Pay by Cashu token; - asks for it, or reads stdin.")
    ] = "-",  # noqa: S107 - it stands for none
    lightning: Annotated[
        int | None,
        typer.Option("--lightning", metavar="SATS", min=1, max=_MOST_SATS, help="Pay by Lightning: shows an invoice."),
    ] = None,
) -> int:
    """Pay money in at a Routstr node. A provider without a key gets one, written into the configuration."""
    forbid_core_dumps()
    settings = settings_of(config)
    name = node_name(settings, provider)
    if lightning is None:
        return run(_fund_by_token(settings, name, _token(name, token)))
    if token != "-":  # noqa: S105 - it stands for none
        raise typer.BadParameter("--token and --lightning are two ways to pay; choose one")
    return run(_fund_by_lightning(settings, name, lightning))


def refund(
    provider: ProviderArgument,
    config: ConfigOption = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Write the token into a new file instead of to stdout.")
    ] = None,
) -> int:
    """Take money back from a Routstr node, as a Cashu token."""
    forbid_core_dumps()
    settings = settings_of(config)
    return run(_refund(settings, node_name(settings, provider), None if to is None else Path.cwd() / to))


def recover(
    config: ConfigOption = None,
    drop: Annotated[bool, typer.Option("--drop", help="Print and forget what can't be finished.")] = False,
) -> int:
    """Finish what moved money and was interrupted. Exit status 1 if some of it can't be finished yet."""
    forbid_core_dumps()
    return run(_recover(settings_of(config), drop=drop))


# --- fund


def _token(name: str, given: str) -> str:
    """Return the token to pay in. Raises UnusableInput, never repeating it."""
    from arbstr.cli.secret_input import read_secret
    from arbstr.errors import UnusableInput
    from arbstr.market import cashu_token

    if given == "-":
        given = read_secret(f"Cashu token for {name} (not shown): ")
    else:
        say("a token on the command line is in the shell's history, and other users see it while this runs")
    if not given.strip():
        raise UnusableInput("no token came; paste it at the prompt, or pipe it in")
    try:
        return cashu_token.clean(given)
    except ValueError as error:
        raise UnusableInput(f"that is no Cashu token: {error}") from None


async def _fund_by_token(settings: Settings, name: str, token: str) -> int:
    from arbstr.market.funding import begin_token
    from arbstr.market.money_journal import opened
    from arbstr.market.node_money import NodeSilent
    from arbstr.market.settlement import NothingMoved, TokenRefused

    async with opened_accounts(settings) as at:
        with opened(at.journal) as journal:
            account = at.all()[name]
            move = await begin_token(account, journal, token)
            try:
                done = await _spinning(f"{name} takes the token", _settled(account, journal, move))
            except NodeSilent as error:
                journal.remove(move)
                raise NothingMoved(f"{error}; nothing was sent, and the token is as it was") from None
            except TokenRefused:
                journal.remove(move)
                raise
        print(done)
        await _print_holding(at, name, first=move.key is None)
    return 0


async def _fund_by_lightning(settings: Settings, name: str, sats: int) -> int:
    from arbstr.market.funding import begin_invoice, open_invoice
    from arbstr.market.money_journal import opened
    from arbstr.market.recovery import account_of

    async with opened_accounts(settings) as at:
        with opened(at.journal) as journal:
            account = at.all()[name]
            move = open_invoice(account, journal, sats) or await begin_invoice(account, journal, sats)
        _show(move)
        await _spinning(f"waiting for {sats:,} sats", _paid(account, move))
        with opened(at.journal) as journal:
            if any(other.id == move.id for other in journal.moves):  # else another arbstr has seen it through
                account = account_of(move, at.path, os.environ, at.transport)
                print(await _settled(account, journal, move))
        await _print_holding(at, name, first=move.key is None)
    return 0


def _show(move: InvoiceMove) -> None:
    """Print an invoice, on a terminal as a QR code too."""
    from arbstr.cli.qr import qr_lines
    from arbstr.market.lightning_invoice import amount_msats

    if sys.stdout.isatty():
        size = shutil.get_terminal_size()
        code = qr_lines(move.bolt11, size.columns)
        print("\n".join(["", *code, ""]))
        if len(code) >= size.lines:
            say("make the terminal higher to see the whole code")
    print(move.bolt11)
    asked_msats = amount_msats(move.bolt11)
    if asked_msats is not None and asked_msats != 1000 * move.sats:
        say(f"careful: this invoice asks for {format_sats(asked_msats, ',')} sats; {move.provider} made it so")
    say(
        f"pay {move.sats:,} sats by {format_ms(move.expires_at_s * 1000)[:16].replace('T', ' ')} UTC; show the invoice "
        "to nobody else: who knows it is given the key. Ctrl-C keeps it, and `arbstr recover` takes up what is paid"
    )


async def _paid(account: Account, move: InvoiceMove) -> None:
    """Wait until the node has something else to say of an invoice than that it is not paid."""
    import asyncio

    from arbstr.market.node_money import NodeRefusal, NodeSilent

    while True:
        with suppress(NodeRefusal, NodeSilent):  # in a moment perhaps
            state = await account.money.invoice_state(move.path, move.invoice_id)
            if state.status not in ("pending", "settlement_pending"):
                return
        await asyncio.sleep(_POLL_S)


async def _print_holding(at: Accounts, name: str, *, first: bool) -> None:
    """Print what the key holds now, if its node says it."""
    from arbstr.market.node_money import NodeRefusal, NodeSilent

    account = at.all()[name]
    if account.key is None:
        return
    with suppress(NodeRefusal, NodeSilent):
        print(f"{name} holds {format_sats((await account.money.balance(account.key)).free_msats or 0, ',')} sats")
    if first:
        say("an arbstr that runs uses the new key within two seconds")


# --- refund, recover


async def _refund(settings: Settings, name: str, to: Path | None) -> int:
    from arbstr.market.funding import begin_refund
    from arbstr.market.money_journal import opened
    from arbstr.market.node_money import NodeSilent
    from arbstr.market.settlement import NothingMoved

    async with opened_accounts(settings) as at:
        with opened(at.journal) as journal:
            account = at.all()[name]
            move = await begin_refund(account, journal, to)
            try:
                say(await _spinning(f"{name} pays back", _settled(account, journal, move)))
            except NodeSilent as error:
                _forget(journal, move)
                raise NothingMoved(f"{error}; nothing was sent") from None
            except NothingMoved:
                _forget(journal, move)
                raise
    return 0


def _forget(journal: Journal, move: Move) -> None:
    """Undo what was prepared for a move that was not made, or is given up: a refund's file, if that is empty."""
    from arbstr.market import token_file
    from arbstr.market.money_moves import RefundMove

    journal.remove(move)
    if isinstance(move, RefundMove) and move.to is not None:
        token_file.release(Path(move.to))


async def _recover(settings: Settings, *, drop: bool) -> int:
    from arbstr.market.money_journal import has_moves, opened
    from arbstr.market.money_moves import TokenMove
    from arbstr.market.recovery import resume

    async with opened_accounts(settings) as at:
        if not has_moves(at.journal):
            say("no money is under way")
            return 0
        failed = False
        with opened(at.journal) as journal:
            async for resumed in resume(journal, at.path, os.environ, at.transport, _hand_over):
                failed |= _report(journal, resumed)
            for move in journal.moves if drop else ():
                _print_secrets(move)
                _forget(journal, move)
            if failed and any(isinstance(move, TokenMove) for move in journal.moves):
                say("`arbstr recover --drop` gives a token back that can't be paid in")
    return int(failed and not drop)


def _report(journal: Journal, resumed: Resumed) -> bool:
    """Print what became of a move; return whether it failed."""
    from arbstr.market.money_moves import InvoiceMove, TokenMove
    from arbstr.market.settlement import NothingMoved, TokenRefused, Waiting

    move, problem = resumed.move, resumed.problem
    if isinstance(problem, TokenRefused) and isinstance(move, TokenMove):
        print(move.token)
        say(f"{resumed.text}; it is given back above")
        journal.remove(move)
        return False
    say(resumed.text)
    if isinstance(problem, Waiting) and isinstance(move, InvoiceMove) and sys.stdout.isatty():
        print(move.bolt11)
    return not (problem is None or isinstance(problem, NothingMoved | Waiting))


def _print_secrets(move: Move) -> None:
    """Print all that is left of a move: the user who drops it must have the money."""
    from arbstr.market.money_moves import InvoiceMove, RefundMove, TokenMove

    secrets: tuple[str | None, ...] = ()
    if isinstance(move, TokenMove | RefundMove):
        secrets = (move.token,)
    elif isinstance(move, InvoiceMove):
        secrets = (move.bolt11,)
    for secret in filter(None, secrets):
        print(secret)
    say(f"{move.provider}: dropped from the journal")


# --- what they have in common


def _settled(account: Account, journal: Journal, move: Move) -> Coroutine[Any, Any, str]:
    from arbstr.market.settlement import Settlement

    return Settlement(account, journal, _hand_over).settle(move)


def _hand_over(move: RefundMove) -> None:
    """Hand over a refund's token: into its file, or as a line on stdout."""
    from arbstr.market.recovery import into_file

    if move.to is not None:
        into_file(move)
    else:
        print(move.token)
        sys.stdout.flush()


async def _spinning(what: str, work: Coroutine[Any, Any, T]) -> T:
    """Wait for work, with a sign of life on a terminal."""
    from rich.console import Console

    with Console(stderr=True).status(what):
        return await work
