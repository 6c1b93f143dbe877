"""The money of one request: what it cost, and what attempts of unknown outcome may have cost besides."""

from __future__ import annotations

import math

from arbstr.engine.claims import Bounds, bill
from arbstr.errors import AttemptError
from arbstr.types import Doubt, Rates, Usage

_OK = 200


class SpendTracker:
    """What one request has cost and may have cost, in msats, attempt by attempt.

    `cost_msats` is the charge, else the list cost, None while unknown; `list_cost_msats` is by the rates, None while
    the tokens are unknown; `implausible` names the provider's claims that can't be true.
    """

    __slots__ = (
        "_account",
        "_doubts",
        "_expected_msats",
        "_unconfirmed_msats",
        "charged_msats",
        "cost_msats",
        "implausible",
        "in_flight",
        "list_cost_msats",
        "may_have_cost",
    )

    def __init__(self) -> None:
        self.cost_msats: int | None = None
        self.list_cost_msats: int | None = None
        self.charged_msats: int | None = None  # as the provider stated it
        self.implausible: str | None = None
        self.in_flight = False  # an attempt, of which the provider may be working on the request
        self.may_have_cost = False  # an attempt that failed
        self._expected_msats = 0  # what the current attempt may cost
        self._unconfirmed_msats = 0  # what earlier attempts may have cost
        self._account: str | None = None
        self._doubts: tuple[Doubt, ...] = ()  # of attempts that have ended

    def begin_attempt(self, expected_msats: float, account: str | None = None) -> None:
        """Count what an attempt is expected to cost until its outcome is known.

        `account` is the provider, if its balance will tell what it took.
        """
        self._expected_msats = math.ceil(expected_msats)
        self._account = account
        self.in_flight = True

    def end_attempt(self, error: AttemptError | None, status: int | None) -> None:
        """Settle the current attempt; `error` is None for one that was answered."""
        self.in_flight = False
        if error is None:
            may_be_billed = status == _OK
        else:
            may_be_billed = error.may_be_billed
            self.may_have_cost |= may_be_billed
        if not may_be_billed:
            return
        if not self._is_priced:
            self._unconfirmed_msats += self._expected_msats
        self._doubts = (*self._doubts, *self._doubt(answered=error is None))

    def drop_attempt(self) -> None:
        """Count the current attempt for nothing: its provider can't have seen the request."""
        self.in_flight = False

    def price(
        self, rates: Rates, usage: Usage | None, charged_msats: int | None, bounds: Bounds, *, complete: bool
    ) -> None:
        """Set the cost from what the provider claims. A charge of zero for a broken-off response means unknown."""
        believed = charged_msats if complete else charged_msats or None
        self.cost_msats, self.list_cost_msats, self.implausible = bill(rates, usage, believed, bounds)
        self.charged_msats = charged_msats

    @property
    def spent_msats(self) -> int:
        """What budgets count: the request's cost, plus the expected cost of attempts whose outcome is unknown.

        A charge is only a claim, so the list cost is the minimum: a provider that claims nothing can't bypass a budget.
        """
        return max(self.cost_msats or 0, self.list_cost_msats or 0) + self.doubtful_msats

    @property
    def doubtful_msats(self) -> int:
        """What attempts of unknown outcome may have cost, the current one included while it is in flight."""
        at_risk = self.in_flight and not self._is_priced
        return self._unconfirmed_msats + (self._expected_msats if at_risk else 0)

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """What a balance will tell, provider by provider, the current attempt included while it is in flight."""
        found = (*self._doubts, *(self._doubt(answered=False) if self.in_flight else ()))
        return found if len(found) < 2 else _by_provider(found)

    def _doubt(self, *, answered: bool) -> tuple[Doubt, ...]:
        """Return the doubt about the current attempt; none if its provider has stated a charge that can be true."""
        if self._account is None or (self.charged_msats and "charge" not in (self.implausible or "")):
            return ()
        expected = self._expected_msats if self.list_cost_msats is None else self.list_cost_msats
        return (Doubt(self._account, expected, self.cost_msats or 0, answered),)

    @property
    def _is_priced(self) -> bool:
        """Whether the cost is known. A charge of zero does not count: nodes that don't know claim it too."""
        return self.list_cost_msats is not None or bool(self.charged_msats)


def _by_provider(doubts: tuple[Doubt, ...]) -> tuple[Doubt, ...]:
    """Return one doubt for each provider."""
    joined: dict[str, Doubt] = {}
    for doubt in doubts:
        other = joined.get(doubt.provider, Doubt(doubt.provider, 0, answered=True))
        joined[doubt.provider] = Doubt(
            doubt.provider,
            other.expected_msats + doubt.expected_msats,
            other.counted_msats + doubt.counted_msats,
            other.answered and doubt.answered,
        )
    return tuple(joined.values())
