"""Caps on what is spent in an hour, a day or a month (UTC's), overall and by rule.

A request reserves its expected cost before it is sent and settles what it cost at its end; what is spent and what is
reserved never exceed a cap together when something new is let in. Nothing here waits, so that no two requests can
both be given the last of a budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from arbstr.config import Budget, Config, Rule
from arbstr.errors import BudgetExceeded
from arbstr.events import BudgetThreshold
from arbstr.source import BudgetStatus

Period = Literal["hour", "day", "month"]
PERIODS: tuple[Period, ...] = ("hour", "day", "month")
GLOBAL = "global"
THRESHOLDS = (50, 80, 100)


@dataclass(frozen=True, slots=True)
class SpentQuestion:
    """What a budget has to be told at start: what requests received since `since_ms` cost, of `policy` (None: all)."""

    scope: str
    period: Period
    policy: str | None
    since_ms: int


class Budgets:
    """All budgets of a configuration. `clock_ms` is the wall clock; `publish` takes the thresholds that are passed."""

    def __init__(
        self,
        config: Config,
        *,
        clock_ms: Callable[[], int],
        publish: Callable[[BudgetThreshold], None] = lambda event: None,
    ) -> None:
        self._clock_ms = clock_ms
        self._publish = publish
        now_ms = clock_ms()
        self._global = tuple(_caps(GLOBAL, None, config.budget, now_ms))
        self._of_rule = {rule.name: tuple(_caps(rule.name, rule.name, rule, now_ms)) for rule in config.policies.rules}

    def reserve(self, policy: str | None, expected_msats: float) -> Reservation:
        """Set the expected cost of a request aside. Raises `BudgetExceeded` if a budget does not hold it.

        A request that costs nothing always passes.
        """
        caps = self._global + self._of_rule.get(policy or "", ())
        if not caps:
            return _UNBOUNDED
        now_ms = self._clock_ms()
        amount = math.ceil(expected_msats)
        for cap in caps:
            cap.turn_over(now_ms)
        full = [cap for cap in caps if amount > 0 and cap.spent + cap.reserved + amount > cap.limit]
        if full:
            raise _exceeded(max(full, key=lambda cap: cap.ends_ms), amount, now_ms)
        return Reservation([(cap, cap.reserve(amount)) for cap in caps], amount, self._publish)

    def questions(self) -> list[SpentQuestion]:
        """The sums that `restore` needs from the ledger."""
        self._turn_over()
        return [SpentQuestion(cap.scope, cap.period, cap.policy, cap.starts_ms) for cap in self._all()]

    def restore(self, spent: Mapping[SpentQuestion, int]) -> None:
        """Take over what was spent before this start, in msats. Thresholds passed back then are not told again."""
        for cap in self._all():
            question = SpentQuestion(cap.scope, cap.period, cap.policy, cap.starts_ms)
            cap.spent += spent.get(question, 0)
            cap.told = cap.percent()

    def status(self) -> tuple[BudgetStatus, ...]:
        """Every budget as it stands."""
        self._turn_over()
        return tuple(
            BudgetStatus(cap.scope, cap.period, cap.spent, cap.reserved, cap.limit, cap.ends_ms) for cap in self._all()
        )

    def _all(self) -> Iterator[_Cap]:
        yield from self._global
        for caps in self._of_rule.values():
            yield from caps

    def _turn_over(self) -> None:
        now_ms = self._clock_ms()
        for cap in self._all():
            cap.turn_over(now_ms)


class Reservation:
    """Money set aside for one request, to be settled once; later calls do nothing."""

    __slots__ = ("_amount", "_caps", "_open", "_publish")

    def __init__(
        self, caps: list[tuple[_Cap, int]], amount_msats: int, publish: Callable[[BudgetThreshold], None]
    ) -> None:
        self._caps = caps
        self._amount = amount_msats
        self._publish = publish
        self._open = True

    def settle(self, actual_msats: int) -> None:
        """The request has cost so much."""
        if not self._open:
            return
        self._open = False
        for cap, period_ms in self._caps:
            for event in cap.settle(period_ms, self._amount, actual_msats):
                self._publish(event)


_UNBOUNDED = Reservation([], 0, lambda event: None)


class _Cap:
    """One limit in one period; spent and reserved in msats. `told` is the last threshold (percent) published."""

    __slots__ = ("ends_ms", "limit", "period", "policy", "reserved", "scope", "spent", "starts_ms", "told")

    def __init__(self, scope: str, policy: str | None, period: Period, limit_msats: int, now_ms: int) -> None:
        self.scope = scope
        self.policy = policy
        self.period = period
        self.limit = limit_msats
        self._begin(now_ms)

    def _begin(self, now_ms: int) -> None:
        self.starts_ms, self.ends_ms = bounds_ms(self.period, now_ms)
        self.spent = self.reserved = self.told = 0

    def turn_over(self, now_ms: int) -> None:
        """Begin a new period if the old one has ended. A clock that is set back begins none."""
        if now_ms >= self.ends_ms:
            self._begin(now_ms)

    def reserve(self, amount: int) -> int:
        """Set an amount aside; returns the period that it is set aside in."""
        self.reserved += amount
        return self.starts_ms

    def settle(self, period_ms: int, reserved: int, actual: int) -> list[BudgetThreshold]:
        """Spend in place of what was reserved. What began in an earlier period counts there, as in the ledger."""
        if period_ms != self.starts_ms:
            return []
        self.reserved -= reserved
        self.spent += actual
        passed = [percent for percent in THRESHOLDS if self.told < percent <= self.percent()]
        self.told = max(self.told, *passed, 0)
        return [
            BudgetThreshold(self.scope, self.period, percent, self.spent, self.limit, self.ends_ms)
            for percent in passed
        ]

    def percent(self) -> int:
        """How much of the limit is spent, in whole percent, rounded down."""
        return self.spent * 100 // self.limit if self.limit else 100 * (self.spent > 0)


def bounds_ms(period: Period, now_ms: int) -> tuple[int, int]:
    """Where the UTC hour, day or month that holds an instant begins and ends."""
    now = datetime.fromtimestamp(now_ms // 1000, UTC).replace(minute=0, second=0)
    if period == "hour":
        start, end = now, now + timedelta(hours=1)
    elif period == "day":
        start = now.replace(hour=0)
        end = start + timedelta(days=1)
    else:
        start = now.replace(hour=0, day=1)
        end = (start + timedelta(days=32)).replace(day=1)
    return int(start.timestamp()) * 1000, int(end.timestamp()) * 1000


def _caps(scope: str, policy: str | None, limits: Budget | Rule, now_ms: int) -> Iterator[_Cap]:
    for period in PERIODS:
        sats = getattr(limits, f"max_sats_per_{period}")
        if sats is not None:
            yield _Cap(scope, policy, period, round(sats * 1000), now_ms)


def _exceeded(cap: _Cap, amount: int, now_ms: int) -> BudgetExceeded:
    whose = "The budget" if cap.policy is None else f"The budget of policy {cap.scope!r}"
    resets = datetime.fromtimestamp(cap.ends_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return BudgetExceeded(
        f"{whose} for this {cap.period} is {cap.limit / 1000:.10g} sats, of which {cap.spent / 1000:.10g} are spent "
        f"and {cap.reserved / 1000:.10g} reserved by requests in flight; this one is expected to cost "
        f"{amount / 1000:.10g}. "
        f"It resets at {resets}.",
        retry_after_s=(cap.ends_ms - now_ms) / 1000,
    )
