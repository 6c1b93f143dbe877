"""What arbstr can spend at a Routstr node: the balance as last read, less what its own requests under way hold.

A node reserves money for each request, and refuses one whose reservation its balance does not hold. So a request holds
as much here, from before it is sent until its charge is known; that charge, or what was held where it stays unknown, is
off the balance until the next reading.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from arbstr.engine.node_reservation import (
    Measure,
    ReservationTerms,
    exact_measure,
    largest_cap,
    reserved_msats,
    rough_measure,
)
from arbstr.engine.node_version import is_newer
from arbstr.types import Balance, InferenceRequest

REST_S = 600.0  # how long a refusal that the figures do not explain is believed at most
_REQUIRED = re.compile(r"\b(\d{1,15}) m[sS]ats?\)? required")


class Hold:
    """Money held for one request at a node, in msats. It ends once; later calls do nothing."""

    __slots__ = ("_funds", "msats")

    def __init__(self, funds: NodeFunds, msats: int) -> None:
        self._funds: NodeFunds | None = funds
        self.msats = msats

    def settle(self, charged_msats: int | None) -> None:
        """End the hold: the request took this much, None if that is unknown."""
        funds, self._funds = self._funds, None
        if funds is not None:
            funds.settle(self, charged_msats)

    def refuse(self, message: str) -> None:
        """End the hold: the node has refused the request for want of money, with these words."""
        funds, self._funds = self._funds, None
        if funds is not None:
            funds.refuse(self, message)


class BeganReading(NamedTuple):
    """What was so when a reading began: the holds, and how many requests and refusals there had been."""

    holds: frozenset[Hold]
    begun: int
    refusals: int


class _Refusal(NamedTuple):
    """A 402: requests that need at least `needed_msats` rest, until `until_s` or until there is enough.

    That is `required_msats`, if the node said so, else more than `free_msats`, what the first reading after it says:
    until then all requests rest.
    """

    needed_msats: int
    required_msats: int | None
    until_s: float
    free_msats: int | None = None


class NodeFunds:
    """The money of one key at one node. `free_msats` is what new requests may hold, infinite while it is unknown.

    `clock` is monotonic seconds. `want_reading` is called when the balance is worth reading: a request has ended there,
    or was left out for want of money; with True if only a reading can tell what has changed. `on_free` is called when
    there may be more than before.
    """

    __slots__ = (
        "_clock",
        "_holds",
        "_refusal",
        "_refusals",
        "_unspent_msats",
        "balance",
        "begun",
        "free_msats",
        "is_read",
        "newer",
        "on_free",
        "want_reading",
    )

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.balance = Balance()
        self.want_reading: Callable[[bool], None] = lambda urgent: None
        self.on_free: Callable[[], None] = lambda: None
        self.newer = False  # than 0.4.7, the node
        self.is_read = False  # or could not be
        self.begun = 0  # requests, so far
        self.free_msats: float = math.inf
        self._unspent_msats: int | None = None  # the balance with what the node has reserved for own holds
        self._holds: set[Hold] = set()
        self._refusal: _Refusal | None = None
        self._refusals = 0  # so far

    @property
    def is_known(self) -> bool:
        """Whether the balance is known, so that it decides what may be sent."""
        return self._unspent_msats is not None

    def affords(self, terms: ReservationTerms | None, request: InferenceRequest) -> bool:
        """Return whether the node would take a request now, as far as is known."""
        if self._refusal is None and (1 if terms is None else terms.most_msats) <= self.free_msats:
            return True
        needed = self.needs(terms, request)
        if needed <= self.free_msats and (self._refusal is None or self._passes(needed, self._refusal)):
            return True
        self.want_reading(False)
        return False

    def affords_when_idle(self, terms: ReservationTerms | None, request: InferenceRequest) -> bool:
        """Return whether the node would take a request once those under way have ended."""
        unspent = self._unspent_msats
        return unspent is not None and self._refusal is None and self.needs(terms, request) <= unspent

    def needs(self, terms: ReservationTerms | None, request: InferenceRequest) -> int:
        """Return what the node reserves for a request, in msats; exactly where that decides whether it fits.

        Of a model without `terms` only that it is not for nothing is known.
        """
        if terms is None:
            return 1
        needed = reserved_msats(terms, rough_measure(request, newer=self.newer))
        if needed > self.free_msats >= reserved_msats(terms, Measure(0, request.max_tokens)):
            return reserved_msats(terms, exact_measure(request, newer=self.newer))
        return needed

    def largest_cap(self, terms: ReservationTerms | None, request: InferenceRequest) -> int | None:
        """Return the largest cap on its answer with which a request would fit now, None if none would."""
        if terms is None or self._refusal is not None or self.free_msats == math.inf:
            return None
        return largest_cap(terms, exact_measure(request, newer=self.newer), int(self.free_msats))

    def hold(self, terms: ReservationTerms | None, request: InferenceRequest) -> Hold:
        """Hold what a request needs: it is about to be sent."""
        hold = Hold(self, self.needs(terms, request))
        self._holds.add(hold)
        self.begun += 1
        self.free_msats -= hold.msats
        return hold

    def settle(self, hold: Hold, charged_msats: int | None) -> None:
        """See `Hold.settle`. What is unknown is taken for all that was held."""
        taken = hold.msats if charged_msats is None else charged_msats
        self._holds.discard(hold)
        self.free_msats += hold.msats - taken
        if self._unspent_msats is not None:
            self._unspent_msats -= taken
        self.want_reading(charged_msats is None)
        self.on_free()

    def refuse(self, hold: Hold, message: str) -> None:
        """See `Hold.refuse`. Without a balance there is nothing that could show more money."""
        self._holds.discard(hold)
        self.free_msats += hold.msats
        self._refusals += 1
        if self._unspent_msats is not None:
            needed = hold.msats if self._refusal is None else min(hold.msats, self._refusal.needed_msats)
            self._refusal = _Refusal(needed, _required_msats(message), self._clock() + REST_S)
        self.want_reading(True)
        self.on_free()

    def begin_reading(self) -> BeganReading:
        """Note what is so before the balance is read."""
        return BeganReading(frozenset(self._holds), self.begun, self._refusals)

    def learn(self, balance: Balance, began: BeganReading) -> bool:
        """Take a balance as read; return whether requests were under way meanwhile.

        What the node has reserved is for own requests, up to what those held that were under way all along; the rest is
        others'.
        """
        self.balance = balance
        self.is_read = True
        self.newer = is_newer(balance.node_version)
        if balance.state == "known" and balance.free_msats is not None:
            held_all_along = sum(hold.msats for hold in began.holds & self._holds)
            self._unspent_msats = balance.free_msats + min(balance.reserved_msats or 0, held_all_along)
            self.free_msats = self._unspent_msats - sum(hold.msats for hold in self._holds)
            if self._refusal is not None and self._refusals == began.refusals:
                self._refusal = _judged(self._refusal, balance.free_msats)
        else:
            self._unspent_msats, self.free_msats, self._refusal = None, math.inf, None
        self.on_free()
        return bool(began.holds) or self.begun != began.begun

    def _passes(self, needed_msats: int, refusal: _Refusal) -> bool:
        """Return whether a request is not one of those that rest."""
        if self._clock() >= refusal.until_s:
            self._refusal = None
            return True
        return refusal.free_msats is not None and needed_msats < refusal.needed_msats


def funds_of(
    accounts: Mapping[str, Iterable[str]],
    clock: Callable[[], float],
    before: Mapping[str, NodeFunds] = MappingProxyType({}),
) -> tuple[dict[str, NodeFunds], dict[str, NodeFunds]]:
    """Return the funds by account and by provider, given who shares an account; for the clock see `NodeFunds`.

    `before` are an earlier configuration's, by account: those that are still used go on.
    """
    by_account = {account: before.get(account) or NodeFunds(clock) for account in accounts}
    return by_account, {name: by_account[account] for account, names in accounts.items() for name in names}


def _judged(refusal: _Refusal, free_msats: int) -> _Refusal | None:
    """Return what is left of a refusal after a reading: nothing if there is enough, or if it explains the refusal."""
    if refusal.required_msats is not None:
        return None if free_msats >= refusal.required_msats else refusal._replace(free_msats=free_msats)
    if refusal.free_msats is None:
        return None if free_msats < refusal.needed_msats else refusal._replace(free_msats=free_msats)
    return None if free_msats > refusal.free_msats else refusal


def _required_msats(message: str) -> int | None:
    """Return what a node says that a request needs, None if it does not say."""
    found = _REQUIRED.search(message)
    return None if found is None else int(found[1])
