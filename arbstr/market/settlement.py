"""Brings a move of money to its end, however often it takes: what was interrupted is simply settled again.

What makes that safe, for each kind:

- a first key: for the same token a node gives the same key again.
- a top-up: a token can be spent once. Where the node says that it was, what has been paid in for the key since tells
  whether it was here.
- an invoice: the node says what has become of it, and which key it was for.
- a refund: while the key holds nothing, the node gives the last refund's token again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from arbstr.config import key_writing
from arbstr.config.schema import Provider
from arbstr.errors import ArbstrError, ConfigError
from arbstr.market import cashu_token, token_file
from arbstr.market.money_journal import Journal, JournalUnusable
from arbstr.market.money_moves import InvoiceMove, Move, RefundMove, TokenMove
from arbstr.market.node_money import InvoiceState, NodeMoney, NodeRefusal, NodeSilent, Refunded, paid_in_msats
from arbstr.market.token_worth import stated_msats
from arbstr.money import format_sats
from arbstr.sanitize import sanitize

T = TypeVar("T")

GRACE_S = 86_400  # for which a node still credits an invoice that has expired
REFUND_PATIENCE_S = 30.0  # for requests under way at the node
_TRIES = 3  # of what may be sent again
_AGAIN_S = 1.0
_LONGEST_WAIT_S = 10.0
_CONSUMED = "cashu_token_consumed"  # the node has spent it and could not credit it
_LATER = "what is under way is kept in the journal, and `arbstr recover` tries again"
_SHOWN = 100  # characters of an address
_NOT_NOW = (408, 409, 425, 429)


class NothingMoved(ArbstrError):
    """The move was not made, and will not be; the text says why."""


class Unfinished(ArbstrError):
    """The move stays in the journal; the text says why, and what to do."""


class Waiting(Unfinished):
    """The move stays in the journal: nobody has paid the invoice yet."""


class TokenRefused(ArbstrError):
    """The node did not take the token; it stays in the journal until its owner has it back."""


@dataclass(frozen=True)
class Account:
    """A provider of kind routstr: its node, and the number of its table in a configuration file."""

    provider: Provider
    money: NodeMoney
    config: Path
    index: int

    @property
    def name(self) -> str:
        """The provider's name, fit for a sentence."""
        return sanitize(self.provider.name)

    @property
    def key(self) -> str | None:
        """The key there, None while there is none."""
        return None if self.provider.api_key is None else self.provider.api_key.reveal()


def _is_final(error: NodeRefusal) -> bool:
    return error.status < 500 and error.status not in _NOT_NOW


def _is_busy(error: NodeRefusal) -> bool:
    """Return whether a node can't pay back now, because of requests under way."""
    return error.status in _NOT_NOW or "ongoing" in str(error).lower()


class Settlement:
    """Settles moves at one account. `deliver` hands over the token of a refund, and raises what keeps it from that.

    `sleep` takes seconds; `now_s` is the wall clock.
    """

    def __init__(
        self,
        account: Account,
        journal: Journal,
        deliver: Callable[[RefundMove], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._account = account
        self._node = account.money
        self._journal = journal
        self._deliver = deliver
        self._sleep = sleep
        self._now_s = now_s

    async def settle(self, move: Move) -> str:
        """Bring a move to its end, and return what it was.

        Raises NothingMoved once it is out of the journal, else Unfinished, TokenRefused or NodeSilent: the last where
        nothing was sent this time.
        """
        if isinstance(move, TokenMove):
            return await (self._first_key(move) if move.key is None else self._top_up(move, move.key))
        if isinstance(move, InvoiceMove):
            return await self._invoice(move)
        if isinstance(move, RefundMove) and move.key is not None:
            return await self._refund(move, move.key)
        raise AssertionError(f"{move!r} is no move of money")

    # --- tokens

    async def _first_key(self, move: TokenMove) -> str:
        try:
            key = await self._give(lambda: self._node.create(move.token))
        except NodeRefusal as error:
            key = cashu_token.key_of(move.token)  # older nodes refuse a token that they have made a key of
            if not (_may_have_taken(error) and await self._is_known(key)):
                raise self._refused(error) from None
        self._take_key(move, key)
        return f"{self._account.name} has a first key, written into {self._account.config}"

    async def _is_known(self, key: str) -> bool:
        with suppress(NodeRefusal):
            await self._patiently(lambda: self._node.balance(key))
            return True
        return False

    def _take_key(self, move: Move, key: str) -> None:
        """Write a first key into the configuration, and close the move."""
        account = self._account
        if not key_writing.is_fit(key):
            raise Unfinished(f"{account.name} gave a key with characters that no key has; ask who runs the node")
        if account.key is None:
            try:
                key_writing.write_key(account.config, account.index, key)
            except ConfigError as error:
                raise Unfinished(f"{account.name} gave a key, but {error}; then run `arbstr recover`") from None
        elif account.key != key:
            raise Unfinished(
                f"{account.name} has another key by now, and this money is on a key of its own; take api_key out of "
                f"{account.config} for as long as it takes to run `arbstr recover` and `arbstr refund {account.name}`"
            )
        self._journal.remove(move)

    async def _top_up(self, move: TokenMove, key: str) -> str:
        try:
            msats = await self._give(lambda: self._node.top_up(key, move.token))
        except NodeRefusal as error:
            msats = await self._grown(move, key) if _may_have_taken(error) else 0
            if not msats:
                raise self._refused(error) from None
        self._journal.remove(move)
        stated = stated_msats(move.token)
        short = f", of a token of {format_sats(stated, ',')}" if stated is not None and msats < stated else ""
        return f"{self._account.name} has {format_sats(msats, ',')} sats more{short}"

    async def _grown(self, move: TokenMove, key: str) -> int:
        """Return the msats that were paid in for the key since the move began, 0 if there are none."""
        if move.before_msats is None:
            return 0
        balance = await self._patiently(lambda: self._node.balance(key))
        return max(0, paid_in_msats(balance) - move.before_msats)

    async def _give(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Give the node a token. One that fails at it each time has not taken it, or it would say that it is spent."""
        try:
            return await self._patiently(ask, moves=True)
        except Unfinished as error:
            cause = error.__cause__
            if isinstance(cause, NodeRefusal) and cause.status == 500 and cause.code != _CONSUMED:
                raise cause from None
            raise

    def _refused(self, error: NodeRefusal) -> TokenRefused:
        return TokenRefused(f"{self._account.name} did not take the token: {error}")

    # --- invoices

    async def _invoice(self, move: InvoiceMove) -> str:
        state = await self._state_of(move)
        if state.status == "paid":
            if move.key is None:
                if state.key is None:
                    raise Unfinished(f"{self._account.name} does not say which key was paid for; {_LATER}")
                self._take_key(move, state.key)
            else:
                self._journal.remove(move)
            return f"{self._account.name} has {move.sats:,} sats more, paid by Lightning"
        if state.status in ("expired", "unknown") and self._now_s() > move.expires_at_s + GRACE_S:
            self._journal.remove(move)
            raise NothingMoved(f"{self._account.name}: the invoice over {move.sats:,} sats was not paid in time")
        if state.status in ("pending", "expired", "unknown"):
            raise Waiting(f"{self._account.name}: the invoice over {move.sats:,} sats is not paid ({state.status})")
        raise Unfinished(f"{self._account.name} has not credited {move.sats:,} sats yet ({state.status}); {_LATER}")

    async def _state_of(self, move: InvoiceMove) -> InvoiceState:
        """Return what has become of an invoice; one that the node has given up is looked at once more."""
        state = InvoiceState("unknown", None)
        for ask in (
            lambda: self._node.invoice_state(move.path, move.invoice_id),
            lambda: self._node.late_invoice_state(move.path, move.bolt11),
        ):
            try:
                state = await self._patiently(ask)
            except NodeRefusal as error:
                if error.status not in (404, 405):
                    raise Unfinished(f"{self._account.name}: {error}; {_LATER}") from None
            if state.status not in ("expired", "unknown"):
                break
        return state

    # --- refunds

    async def _refund(self, move: RefundMove, key: str) -> str:
        if move.token is None:
            refunded = await self._taken_back(move, key)
            if refunded.token is None:
                self._journal.remove(move)
                if move.to is not None:
                    token_file.release(Path(move.to))
                return f"{self._account.name} has sent its refund to {sanitize(str(refunded.recipient), _SHOWN)}"
            move = replace(move, token=refunded.token)
            with suppress(JournalUnusable):  # a full disk: it can still be handed over
                self._journal.put(move)
        self._deliver(move)
        self._journal.remove(move)
        return self._paid_back(move)

    def _paid_back(self, move: RefundMove) -> str:
        name, held, paid = self._account.name, move.held_msats, stated_msats(move.token or "")
        if held is None:
            return f"{name} has paid back what its key held"
        if not held:
            return f"{name} held nothing: that is the token of its last refund again, perhaps spent"
        if paid is not None and paid < held // 1000 * 1000:
            return (
                f"careful: {name} has paid back {paid // 1000:,} sats, and its key held {format_sats(held, ',')}; "
                "ask who runs the node where the rest is"
            )
        return f"{name} has paid back {(held if paid is None else paid) // 1000:,} sats"

    async def _taken_back(self, move: RefundMove, key: str) -> Refunded:
        """Have the node pay back. It refuses while requests are under way, and for a moment while it is at it."""
        await self._check_not_overtaken(move, key)
        until_s = time.monotonic() + REFUND_PATIENCE_S
        while True:
            try:
                return await self._patiently(
                    lambda: self._node.refund(key),
                    moves=True,
                    is_final=lambda error: _is_final(error) or _is_busy(error),
                )
            except NodeRefusal as error:
                busy = _is_busy(error) or (_says_empty(error) and await self._was_debited(move, key))
                if not busy:
                    self._journal.remove(move)
                    raise NothingMoved(f"{self._account.name} pays nothing back: {error}") from None
                if time.monotonic() > until_s:
                    raise Unfinished(f"{self._account.name} pays nothing back yet: {error}; {_LATER}") from None
                await self._sleep(min(error.wait_s or _AGAIN_S, _LONGEST_WAIT_S))

    async def _check_not_overtaken(self, move: RefundMove, key: str) -> None:
        """Check that no money has come since a refund that was interrupted: another one would hide the first."""
        if await self._was_debited(move, key) and (await self._patiently(lambda: self._node.balance(key))).free_msats:
            raise Unfinished(
                f"{self._account.name} has paid back what its key held, and the key was paid in for again since: the "
                "node gives the first refund's token only while the key holds nothing: run `arbstr recover` then, or "
                "forget that refund with `arbstr recover --drop`"
            )

    async def _was_debited(self, move: RefundMove, key: str) -> bool:
        """Return whether less is paid in for the key than when the move began."""
        if move.before_msats is None:
            return False
        with suppress(NodeRefusal):  # an expired key, at some nodes
            return paid_in_msats(await self._patiently(lambda: self._node.balance(key))) < move.before_msats
        return False

    # --- patience

    async def _patiently(
        self,
        ask: Callable[[], Awaitable[T]],
        *,
        moves: bool = False,
        is_final: Callable[[NodeRefusal], bool] = _is_final,
    ) -> T:
        """Ask a node what may be asked again, a few times. Raises NodeRefusal for what is final.

        Else raises Unfinished; but NodeSilent if it `moves` money and nothing was sent at all.
        """
        failures: list[NodeSilent | NodeRefusal] = []
        while True:
            try:
                return await ask()
            except NodeSilent as error:
                failures.append(error)
            except NodeRefusal as error:
                if is_final(error):
                    raise
                failures.append(error)
            last = failures[-1]
            if len(failures) == _TRIES:
                break
            wait_s = last.wait_s if isinstance(last, NodeRefusal) else None
            await self._sleep(min(wait_s or _AGAIN_S * 2 ** len(failures), _LONGEST_WAIT_S))
        if moves and all(isinstance(error, NodeSilent) and not error.sent for error in failures):
            raise NodeSilent(f"{self._account.name}: {last}", sent=False)
        raise Unfinished(f"{self._account.name}: {last}; {_LATER}") from last


def _may_have_taken(error: NodeRefusal) -> bool:
    """Return whether a node that refuses a token may be the one that has it."""
    return error.status >= 500 or "spent" in f"{error.code} {error}".lower()


def _says_empty(error: NodeRefusal) -> bool:
    return error.status == 400 and "no balance" in str(error).lower()
