"""What this instance holds of one period of a shared budget."""

from __future__ import annotations

from arbstr.engine.caps import Cap, Span
from arbstr.engine.slices import Held
from arbstr.ledger.leases import Ask, Lease, Period, share

HORIZON_S = 60.0  # what is spent in that long at the present rate is held
_FADES_S = 20.0  # how long a rate is remembered that is no longer


class Slice:
    """A lease, and what is spent of it here.

    `span` is the period as the cap has it, None until it is entered. `granted` is how much may be spent of it here in
    all, in msats; `waiting` what requests wait for.
    """

    def __init__(self, cap: Cap, period: Period, at: float) -> None:
        self.cap = cap
        self.period = period
        self.span: Span | None = None
        self._former: list[Span] = []  # of caps that were no more for a while: what was reserved then may end now
        self.lease: Lease | None = None
        self.granted = self.waiting = 0
        self._returns = False
        self._burn = 0.0  # msats per second
        self._used = 0
        self._rated_at = at

    @property
    def used(self) -> int:
        """What is spent and reserved of the period here, in msats."""
        spans = self._former if self.span is None else [*self._former, self.span]
        return sum(one.own + one.reserved for one in spans)

    @property
    def left(self) -> int:
        """What may still be spent, in msats."""
        return max(0, self.granted - self.used)

    @property
    def has_changed(self) -> bool:
        """Whether something was spent or reserved, or requests wait, since it was asked for."""
        return bool(self.waiting) or self.used != self._used

    @property
    def runs_low(self) -> bool:
        """Whether what is left is spent within seconds at the present rate."""
        return self.has_changed and self.left * 4 < self._extra

    @property
    def held(self) -> Held:
        """What is held of it, here and elsewhere."""
        return Held(self.left, 0 if self.lease is None else self.lease.held_elsewhere_msats)

    @property
    def _extra(self) -> int:
        return int(self._burn * HORIZON_S)

    def ask(self, at: float, *, retired: bool) -> Ask:
        """Return what to ask for; what is held beyond that is given back now, before another may get it.

        Who needs it meanwhile waits for the answer. `retired`: the cap is no more.
        """
        self._rate(at)
        used = self.used
        need = used if retired else used + self.waiting
        extra = 0 if retired else self._extra
        spare, instances = (0, 1) if self.lease is None else (self.lease.spare_msats, self.lease.instances)
        held = max(used, min(self.granted, need + share(extra, spare, instances)))
        if self.span is not None and held < self.granted:
            self.span.may_grow = True
        self._hold(held)
        cap = None if retired else self.cap.limit
        return Ask(self.period, self.granted, need, extra, cap, returns=self._returns)

    def take(self, ask: Ask, lease: Lease) -> None:
        """Apply an answer."""
        self.lease = lease
        self.granted = lease.granted_msats
        self._returns &= not ask.returns
        self._apply()

    def enter(self, cap: Cap, span: Span) -> None:
        """Set what may be spent in the period that the cap has entered."""
        if self.span is not None:
            self._former.append(self.span)
            self._returns = True
        self.cap, self.span = cap, span
        self._apply()

    def _apply(self) -> None:
        lease, span = self.lease, self.span
        if lease is None or span is None:
            return
        span.may_grow = lease.is_known and lease.spare_msats > 0
        span.spent = lease.spent_elsewhere_msats + span.own + sum(one.own for one in self._former)
        span.ceiling = span.spent + span.reserved + self.granted - self.used
        if lease.is_known and not span.known:
            span.known = True
            span.pass_thresholds(self.cap.limit, self.cap.percents)  # what was passed before is no news

    def give_back(self, *, may_grow: bool = False) -> None:
        """Hold no more than what is spent and reserved."""
        self._hold(self.used)
        if self.span is not None:
            self.span.may_grow = may_grow

    def _hold(self, granted: int) -> None:
        if self.span is not None:
            self.span.ceiling += granted - self.granted
        self.granted = granted

    def _rate(self, at: float) -> None:
        """Learn how fast it is spent."""
        took, used = at - self._rated_at, self.used
        if took <= 0:
            return
        rate = max(0, used - self._used) / took
        self._burn = max(rate, self._burn + (rate - self._burn) * min(1.0, took / _FADES_S))
        self._used, self._rated_at = used, at
