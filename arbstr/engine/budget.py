"""Caps on spending in an hour, a day or a month (UTC), overall, by rule and by client.

A request reserves what it may cost at a provider before it is sent there, and settles its cost at its end; a request
is admitted only if spent and reserved money together stay within every cap. Reserving never waits, so that no two
requests can both get the last of a budget.

What was spent before arbstr started is in the ledger. Until it has been read, a budget admits nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from arbstr.config.clients import ClientSettings
from arbstr.config.schema import Budget, Config, Rule
from arbstr.engine.caps import PERIODS, Bounds, Cap, Period, Span, bounds_ms
from arbstr.engine.slices import Held, Slices, SpendQuery, WholeBudgets
from arbstr.errors import BudgetExceeded, LedgerUnavailable
from arbstr.events import BudgetThreshold
from arbstr.types import BudgetStatus

GLOBAL = "global"
_ASK_AGAIN_S = 1.0  # when the ledger could not be read
_MORE_WITHIN_S = 1.0  # what a request waits for more of a budget that others hold parts of

_CapKey = tuple[str, str | None, str | None, Period]  # scope, policy, client, period


class Budgets:
    """All budgets of a configuration. `clock_ms` is the wall clock; `publish` receives the thresholds passed.

    `slices` decide what of them may be spent here; without any, all, and `recall` returns what was spent before, in
    msats, or raises `LedgerUnavailable`. `bounds` returns the start and the end of the period that contains an instant.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock_ms: Callable[[], int],
        publish: Callable[[BudgetThreshold], None] = lambda event: None,
        recall: Callable[[SpendQuery], Awaitable[int]] | None = None,
        slices: Slices | None = None,
        bounds: Bounds = bounds_ms,
    ) -> None:
        self._bounds = bounds
        self._clock_ms = clock_ms
        self._publish = publish
        self._slices = slices or WholeBudgets(recall)
        self._recalling = asyncio.Lock()
        self._all: tuple[Cap, ...] = ()
        self.renew(config)

    def renew(self, config: Config) -> None:
        """Apply a configuration's limits. What was spent under a budget that stays still counts."""
        known = {(cap.scope, cap.policy, cap.client, cap.period): cap for cap in self._all}
        rules, clients = config.policies.rules, config.clients
        self._percents = tuple(sorted(set(config.alerts.budget_percent)))
        self._global = tuple(self._caps(GLOBAL, config.budget, known))
        self._of_rule = {rule.name: tuple(self._caps(rule.name, rule, known, policy=rule.name)) for rule in rules}
        self._of_client = {one.name: tuple(self._caps(one.scope, one, known, client=one.name)) for one in clients}
        scoped = (*self._of_rule.values(), *self._of_client.values())
        self._all = (*self._global, *(cap for caps in scoped for cap in caps))
        self._slices.renew(self._all)

    def _caps(
        self,
        scope: str,
        limits: Budget | Rule | ClientSettings,
        known: Mapping[_CapKey, Cap],
        policy: str | None = None,
        client: str | None = None,
    ) -> Iterator[Cap]:
        for period in PERIODS:
            sats = getattr(limits, f"max_sats_per_{period}")
            if sats is None:
                continue
            limit_msats = round(sats * 1000)
            cap = known.get((scope, policy, client, period))
            if cap is None:
                cap = Cap(
                    scope,
                    period,
                    limit_msats,
                    self._clock_ms(),
                    policy=policy,
                    client=client,
                    slices=self._slices,
                    bounds=self._bounds,
                    percents=self._percents,
                )
            cap.set_limit(limit_msats, self._percents)
            yield cap

    def caps_of(self, policy: str | None, client: str | None) -> tuple[Cap, ...]:
        """Return the caps on requests under this rule, by this client."""
        if not self._all:
            return ()
        caps = self._global + self._of_rule.get(policy or "", ())
        return caps if client is None else caps + self._of_client.get(client, ())

    def open(self, policy: str | None, client: str | None = None) -> Reservation:
        """Return an empty reservation for a request under this rule, by this client."""
        now_ms = self._clock_ms()
        caps = [(cap, cap.roll_over(now_ms)) for cap in self.caps_of(policy, client)]
        return Reservation(self, policy, client, caps, now_ms)

    def reserve(self, policy: str | None, may_cost_msats: float) -> Reservation:
        """Return a reservation of what a request may cost. Raises `BudgetExceeded` if it exceeds a budget."""
        reservation = self.open(policy)
        reservation.cover(may_cost_msats)
        return reservation

    def amend(self, policy: str | None, at_ms: int, msats: int, client: str | None = None) -> None:
        """Count more, or less, for a request under this rule and by this client that was received at that time."""
        self._roll_over(self._all)
        for cap in self.caps_of(policy, client):
            self._slices.amend(cap, at_ms, msats)
            self.passed(cap, cap.pass_thresholds())

    async def ready(
        self, policy: str | None = None, client: str | None = None, patience_s: float = _ASK_AGAIN_S
    ) -> None:
        """Wait until it is known what was spent under this rule, by this client; at most `patience_s` seconds."""
        caps = self.caps_of(policy, client)
        if self._unknown(caps):
            with suppress(TimeoutError, LedgerUnavailable):
                async with asyncio.timeout(patience_s):
                    await self._recall_of(caps)

    async def recall(self) -> None:
        """Read past spending from the ledger where it is unknown. Raises `LedgerUnavailable`."""
        await self._recall_of(self._all)

    async def _recall_of(self, caps: Iterable[Cap]) -> None:
        async with self._recalling:
            if unknown := self._unknown(caps):
                await self._slices.recall(unknown)

    async def more(self, full: Sequence[tuple[Cap, Span]], msats: int) -> None:
        """Wait until it is known whether that much more may be spent in periods that may grow."""
        await self._slices.more(full, msats)

    @property
    def unknown(self) -> list[tuple[Cap, Span]]:
        """The caps and their periods whose past spending has not been read yet."""
        return self._unknown(self._all) if self._all else []

    def _unknown(self, caps: Iterable[Cap]) -> list[tuple[Cap, Span]]:
        self._roll_over(caps)
        return [(cap, span) for cap in caps for span in cap.unknown]

    def status(self) -> tuple[BudgetStatus, ...]:
        """Return the state of every budget."""
        return self._status(self._all)

    def status_of(self, policy: str | None, client: str | None) -> tuple[BudgetStatus, ...]:
        """Return the state of the budgets that hold for requests under this rule, by this client."""
        return self._status(self.caps_of(policy, client))

    def _status(self, caps: Iterable[Cap]) -> tuple[BudgetStatus, ...]:
        self._roll_over(caps)
        return tuple(_status(cap, self._slices.held(cap)) for cap in caps)

    def passed(self, cap: Cap, thresholds: Iterable[int]) -> None:
        """Publish that a cap has passed these shares, in percent."""
        now = cap.now
        for percent in thresholds:
            self._publish(BudgetThreshold(cap.scope, cap.period, percent, now.spent, cap.limit, now.ends_ms))

    def exceeded(self, full: list[tuple[Cap, Span]], held: int, amount: int) -> BudgetExceeded:
        """Return the error for a request that these caps do not allow, and note that they have refused it."""
        for _, span in full:
            span.refused |= span.known and not span.may_grow
        spent = [one for one in full if not one[1].may_grow]
        cap, span = max(spent or full, key=lambda one: one[1].ends_ms)
        if not span.known:
            return _unknown(cap, self._slices.unknown)
        if not spent:
            return _asked(cap, span, amount, self._slices.held(cap))
        return _exceeded(cap, span, held, amount, self._clock_ms(), self._slices.held(cap))

    def _roll_over(self, caps: Iterable[Cap]) -> None:
        now_ms = self._clock_ms()
        for cap in caps:
            cap.roll_over(now_ms)


class Reservation:
    """Money set aside for one request, as much as it may still cost; to be settled once."""

    __slots__ = ("_amount", "_budgets", "_caps", "_client", "_open", "_opened_ms", "_policy")

    def __init__(
        self,
        budgets: Budgets,
        policy: str | None,
        client: str | None,
        caps: list[tuple[Cap, Span]],
        opened_ms: int,
    ) -> None:
        self._budgets = budgets
        self._policy = policy
        self._client = client
        self._caps = caps
        self._opened_ms = opened_ms
        self._amount = 0
        self._open = True

    @property
    def is_bounded(self) -> bool:
        """Whether any budget applies."""
        return bool(self._caps)

    def cover(self, may_cost_msats: float) -> None:
        """Reserve `may_cost_msats` in place of the previous amount.

        Raises `BudgetExceeded`, and changes nothing, if a budget does not allow it. A request that costs nothing always
        passes.
        """
        amount = math.ceil(may_cost_msats) if self._caps else 0
        more = amount - self._amount
        if more > 0:
            full = [one for one in self._caps if not _holds(*one, more)]
            if full:
                raise self._budgets.exceeded(full, self._amount, amount)
        for _, span in self._caps:
            span.reserved += more
        self._amount = amount

    async def wait(self, may_cost_msats: float) -> None:
        """Wait until budgets that are shared with other instances allow that, for a moment at most.

        Those that don't are spent, but for what has not been answered by then: that may be granted yet.
        """
        more = math.ceil(may_cost_msats) - self._amount
        full = [one for one in self._caps if not _holds(*one, more)]
        with suppress(TimeoutError):
            async with asyncio.timeout(_MORE_WITHIN_S):
                while full and all(span.may_grow for _, span in full):
                    await self._budgets.more(full, more)
                    full = [one for one in self._caps if not _holds(*one, more)]
                for _, span in full:
                    span.may_grow = False

    def settle(self, actual_msats: int) -> None:
        """Replace the reserved amount by what the request cost. Later calls do nothing.

        Budgets that were set up meanwhile count it too: it may not be in what the ledger said then.
        """
        if not self._open:
            return
        self._open = False
        for cap, span in self._caps:
            self._budgets.passed(cap, cap.settle(span, self._amount, actual_msats))
        reserved = [cap for cap, _ in self._caps] if self._caps else ()
        for cap in self._budgets.caps_of(self._policy, self._client):
            if cap not in reserved:
                cap.amend(self._opened_ms, actual_msats)
                self._budgets.passed(cap, cap.pass_thresholds())


def _holds(cap: Cap, span: Span, more: int) -> bool:
    return span.known and span.spent + span.reserved + more <= span.ceiling


def _status(cap: Cap, held: Held | None) -> BudgetStatus:
    now = cap.now
    return BudgetStatus(
        cap.scope,
        cap.period,
        now.spent,
        now.reserved,
        cap.limit,
        now.ends_ms,
        now.refused,
        now.last_threshold,
        now.starts_ms,
        None if held is None else held.here_msats,
        0 if held is None else held.elsewhere_msats,
    )


def _whose(cap: Cap) -> str:
    if cap.client is not None:
        return f"The budget of the client {cap.client!r}"
    return "The budget" if cap.policy is None else f"The budget of policy {cap.policy!r}"


def _unknown(cap: Cap, why: str) -> BudgetExceeded:
    return BudgetExceeded(
        f"{_whose(cap)} for this {cap.period} admits no requests yet: {why}. arbstr keeps trying; see its log.",
        retry_after_s=_ASK_AGAIN_S,
    )


def _asked(cap: Cap, span: Span, amount: int, slices: Held | None) -> BudgetExceeded:
    here = 0 if slices is None else slices.here_msats
    return BudgetExceeded(
        f"{_whose(cap)} for this {cap.period} is {_sats(cap.limit)} sats, shared by several instances: this one holds "
        f"{_sats(here)}, this request may cost {_sats(amount)}, and the ledger has not yet said whether there is more. "
        f"Ask again. It resets at {_resets(span)}.",
        retry_after_s=_ASK_AGAIN_S,
    )


def _exceeded(cap: Cap, span: Span, held: int, amount: int, now_ms: int, slices: Held | None) -> BudgetExceeded:
    shared = ""
    if slices is not None:
        shared = (
            f"{_sats(slices.here_msats)} more are held by this instance and {_sats(slices.elsewhere_msats)} by others; "
        )
    return BudgetExceeded(
        f"{_whose(cap)} for this {cap.period} is {_sats(cap.limit)} sats: {_sats(span.spent)} spent "
        f"and {_sats(span.reserved - held)} reserved by requests in flight; {shared}this request may cost "
        f"{_sats(amount)}. It resets at {_resets(span)}.",
        retry_after_s=max(0.0, (span.ends_ms - now_ms) / 1000),
    )


def _resets(span: Span) -> str:
    return datetime.fromtimestamp(span.ends_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _sats(msats: int) -> str:
    return f"{msats / 1000:.10g}"
