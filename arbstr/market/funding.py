"""Where moves of money begin: checked while nothing has been sent, then written into the journal."""

from __future__ import annotations

import time
from pathlib import Path

from arbstr.config import key_writing
from arbstr.errors import ConfigError, UnusableInput
from arbstr.market import token_file
from arbstr.market.money_journal import Journal
from arbstr.market.money_moves import InvoiceMove, RefundMove, TokenMove, new_id
from arbstr.market.node_money import NodeRefusal, NodeSilent, paid_in_msats
from arbstr.market.settlement import Account, NothingMoved
from arbstr.types import Balance

_SAMPLE = "sk-" + "0" * 64


async def begin_token(account: Account, journal: Journal, token: str) -> TokenMove:
    """Write down that a token goes to the node. Raises NothingMoved."""
    before = await _before_deposit(account, journal)
    move = TokenMove(
        id=new_id(),
        provider=account.provider.name,
        url=account.provider.url,
        key=account.key,
        before_msats=before,
        token=token,
    )
    journal.put(move)
    return move


async def begin_invoice(account: Account, journal: Journal, sats: int) -> InvoiceMove:
    """Have the node make an invoice, and write it down before anyone can pay it. Raises NothingMoved."""
    before = await _before_deposit(account, journal)
    try:
        invoice = await account.money.open_invoice(sats, account.key)
    except (NodeRefusal, NodeSilent) as error:
        raise NothingMoved(f"{account.name} made no invoice: {error}") from None
    move = InvoiceMove(
        id=new_id(),
        provider=account.provider.name,
        url=account.provider.url,
        key=account.key,
        before_msats=before,
        sats=sats,
        bolt11=invoice.bolt11,
        invoice_id=invoice.invoice_id,
        path=invoice.path,
        expires_at_s=invoice.expires_at_s,
    )
    journal.put(move)
    return move


async def begin_refund(account: Account, journal: Journal, to: Path | None) -> RefundMove:
    """Write down that the key's balance is taken back, into a new file or onto the terminal.

    Raises NothingMoved, and UnusableInput if the file can't be made.
    """
    if account.key is None:
        raise NothingMoved(f"{account.name} has no key, so there is nothing to take back")
    _refuse_beside_others(account, journal)
    balance = await _balance_or_none(account, account.key)
    move = RefundMove(
        id=new_id(),
        provider=account.provider.name,
        url=account.provider.url,
        key=account.key,
        before_msats=None if balance is None else paid_in_msats(balance),
        held_msats=None if balance is None else balance.free_msats,
        to=None if to is None else str(to),
    )
    journal.put(move)
    if to is not None:
        try:
            token_file.reserve(to)
        except UnusableInput:
            journal.remove(move)
            raise
    return move


def open_invoice(account: Account, journal: Journal, sats: int) -> InvoiceMove | None:
    """Return an invoice over so many sats that is under way and can still be paid."""
    wanted = (account.provider.name, account.provider.url, account.key, sats)
    for move in journal.moves:
        if isinstance(move, InvoiceMove) and (move.provider, move.url, move.key, move.sats) == wanted:
            return move if move.expires_at_s > time.time() else None
    return None


async def _before_deposit(account: Account, journal: Journal) -> int | None:
    """Check that money can arrive; return what has been paid in for the key, None while there is none."""
    _refuse_beside_others(account, journal)
    if account.key is None:
        _refuse_beside_first_invoice(account, journal)
        if key_writing.with_key(account.config.read_bytes(), account.index, _SAMPLE) is None:
            raise ConfigError([key_writing.no_place(account.config, account.index)])
        return None
    balance = await _balance(account, account.key)
    if balance.state == "expired":
        raise NothingMoved(
            f"{account.name}: the key has expired, and what is paid in for it can't be spent; take back what it holds "
            f"with `arbstr refund {account.name}`, take api_key out of {account.config} and fund it again"
        )
    return paid_in_msats(balance)


async def _balance_or_none(account: Account, key: str) -> Balance | None:
    """Return what the key holds; None where the node says no more than that it has expired."""
    try:
        return await account.money.balance(key)
    except NodeRefusal as error:
        if error.code == "key_expired":
            return None
        raise _unreadable(account, error) from None
    except NodeSilent as error:
        raise _unreadable(account, error) from None


async def _balance(account: Account, key: str) -> Balance:
    try:
        return await account.money.balance(key)
    except (NodeRefusal, NodeSilent) as error:
        raise _unreadable(account, error) from None


def _unreadable(account: Account, error: NodeRefusal | NodeSilent) -> NothingMoved:
    if isinstance(error, NodeRefusal) and error.status == 401:
        return NothingMoved(
            f"{account.name} does not know the key that arbstr has ({account.provider.api_key}); nothing was sent: "
            f"correct it, or take api_key out of {account.config} to get a new one by the next fund"
        )
    return NothingMoved(f"{account.name} does not say what its key holds: {error}; nothing was sent")


def _refuse_beside_others(account: Account, journal: Journal) -> None:
    """Check that no other move is in motion there: what it does could not be distinguished from this one."""
    for move in journal.moves:
        if move.provider == account.provider.name and not isinstance(move, InvoiceMove):
            raise NothingMoved(f"{account.name} has money under way; bring that to its end first: arbstr recover")


def _refuse_beside_first_invoice(account: Account, journal: Journal) -> None:
    """Check that no invoice is open that will give a first key: a second one would be a key too many."""
    for move in journal.moves:
        if move.provider == account.provider.name and isinstance(move, InvoiceMove) and move.key is None:
            raise NothingMoved(
                f"{account.name} has an open invoice over {move.sats:,} sats, which gives it a first key; "
                f"`arbstr fund {account.name} --lightning {move.sats}` shows it again, `arbstr recover --drop` drops it"
            )
