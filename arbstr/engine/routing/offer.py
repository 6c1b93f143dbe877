"""A provider's offer for one model: its rates, and what arbstr has learned about them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from arbstr.config.schema import Policies, Provider
from arbstr.engine.learning.provider_stats import ChargeRatio, Counts, LatencyModel, SuccessRate
from arbstr.events import OverchargeFound

_AGE_EVERY_S = 60.0


class Offer:
    """One provider selling one model. Rates in msats, as floats: for comparing and not for summing.

    What it really asks is `rates * ratio + extra`, and for `hidden` times the tokens that can be seen of an answer; to
    compare sellers that is divided by `success`, the share of attempts that it answers. `note` says in words what
    differs from the rates alone. `overcharges` is set while it charges more than the policies tolerate, and then
    `demoted` or `barred` if they want it so. `turn` is when it was last chosen, for taking turns; `ages_at_s` is when
    `age` is due.
    """

    __slots__ = (
        "_attempts",
        "_charges",
        "_counts",
        "_free",
        "_policies",
        "_speed",
        "ages_at_s",
        "base_fee",
        "demoted",
        "excluded",
        "extra",
        "hidden",
        "input",
        "model",
        "note",
        "output",
        "overcharges",
        "provider",
        "ratio",
        "share",
        "success",
        "turn",
    )

    def __init__(self, provider: Provider, model: str, policies: Policies) -> None:
        self.provider = provider.name
        self.model = model
        self.share = provider.weight
        rates = provider.rates_for(model)
        self.input = float(rates.input)
        self.output = float(rates.output)
        self.base_fee = float(rates.base_fee)
        self._free = not (self.input or self.output or self.base_fee)
        self._policies = policies
        self._charges = ChargeRatio()
        self._counts = Counts()
        self._attempts = SuccessRate()
        self._speed = LatencyModel()
        self.ages_at_s = -math.inf
        self.turn = 0
        self.overcharges = False
        self._refresh()

    def latency_ms(self, output_tokens: float) -> float | None:
        """The time that an answer of so many tokens is expected to take, None before anything is known.

        No tokens at all is the time to the first byte.
        """
        expected = self._speed.expected_ms(output_tokens)
        return None if expected is None else expected / self.success

    @property
    def never_succeeded(self) -> bool:
        """Whether the provider was asked of late and never answered."""
        return self._attempts.only_failures

    def record_attempt(self, ok: bool, now_s: float) -> None:
        """The provider was asked, and answered or failed."""
        self._attempts.add(ok, now_s)
        if self._attempts.any_failed:
            self._refresh()

    def record_latency(self, output_tokens: float, duration_ms: float, now_s: float) -> None:
        """So much of an answer was there after so long; no tokens is the first byte."""
        self._speed.add(output_tokens, duration_ms, now_s)

    def record_charge(self, charged_msats: int, computed_msats: int, now_s: float) -> OverchargeFound | None:
        """The provider says what it charged. An event is returned when that makes it one that overcharges."""
        self._charges.add(charged_msats, computed_msats, now_s)
        known = self.overcharges
        self._refresh()
        if known or not self.overcharges:
            return None
        return OverchargeFound(self.provider, self.model, self.ratio, charged_msats, computed_msats)

    def doubt_charges(self) -> None:
        """The provider has charged less than was believed after a while without requests: most of that is outdated."""
        self._charges.doubt()

    def age(self, now_s: float) -> None:
        """Let what was learned lose weight."""
        self.ages_at_s = now_s + _AGE_EVERY_S
        self._charges.age(now_s)
        self._attempts.age(now_s)
        self._speed.age(now_s)
        self._refresh()

    def record_counts(self, tokens: float, seen: float) -> None:
        """The provider counts so many tokens of an answer that can have had so many to see."""
        self._counts.add(tokens, seen)
        self.hidden = self._counts.hidden

    def restore_counts(self, state: Any) -> None:
        """Take over what `counts.state()` gave; what makes no sense is left out."""
        self._counts.restore(state)
        self._refresh()

    @property
    def counts(self) -> Counts:
        """What the provider counts of answers."""
        return self._counts

    @property
    def charges(self) -> ChargeRatio:
        """What the provider says it charged of late."""
        return self._charges

    def _refresh(self) -> None:
        """Draw the conclusions that routing reads, so that it does no more than multiply."""
        charges = self._charges
        self.ratio = charges.ratio
        self.hidden = self._counts.hidden
        self.extra = charges.free_msats if self._free else 0.0
        self.success = self._attempts.rate
        self.overcharges = self.ratio > 1.0 and self._exceeds_tolerance()
        self.demoted = self.overcharges and self._policies.on_overcharge == "demote"
        self.excluded = self.overcharges and self._policies.on_overcharge == "exclude"
        self.note = "; ".join(self._notes()) if self.ratio != 1.0 or self.success != 1.0 or self.extra else ""

    def _exceeds_tolerance(self) -> bool:
        tolerance = self._policies.overcharge_tolerance
        if self.overcharges:  # a ratio that wavers about the limit is one overcharge, not many
            return self.ratio > 1.0 + tolerance / 2
        least_msats = self._policies.overcharge_min_sats * 1000
        return self.ratio > 1.0 + tolerance and self._charges.excess_msats >= least_msats

    def _notes(self) -> Iterator[str]:
        if self.extra:
            yield f"charges {self.extra / 1000:.3f} sats per request, although by its rates it is free"
        elif self.ratio != 1.0:
            yield f"charges {self.ratio:.2f} times what its rates say"
        if self.success != 1.0:
            yield f"answers {self.success:.0%} of requests"
