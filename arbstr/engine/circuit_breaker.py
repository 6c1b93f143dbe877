"""A circuit breaker for each provider, and the figures learned from attempts. Pure; clock and randomness are injected.

A breaker is **closed** while its provider works. It **opens** after `failure_threshold` failures in a row, or when at
least half of the last `WINDOW` attempts failed: the provider gets no requests for `open_for` seconds, doubling with
each reopening up to `max_open_for`, with jitter so that many do not come back at once. Then it is **half open**: one
request is the probe, all others go elsewhere without waiting; the probe's outcome closes or reopens it. A probe that
has not ended after `open_for` (a long stream, say) blocks no longer: the next request is a probe too.

Only attempts that began since the breaker last opened decide. A long stream from before may well end in good order
while new requests are refused, and an old timeout says nothing new: such attempts only update the figures.

A breaker judges the provider, not the requests: a request counts at most once however often it is retried, and so does
a body that its client sends again; failures about a request's content, money or one model never count (they start a
cool-down, see `engine/routing/cooldown.py`).

A 429 that says when to come back opens the breaker for just that time (`max_open_for` at most) and is not counted as a
failure.

No client is cut off: when every provider of a model has an open breaker, one request at a time goes out at once as an
early probe of the one that is due next (`due_next`). Only a pause requested by a 429 is respected even then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from arbstr.config.schema import Breaker as Settings
from arbstr.engine.provider_breaker import FoundOpen, HealthView, Permit, ProviderBreaker
from arbstr.engine.routing.cooldown import Cooldowns
from arbstr.events import ProviderHealthChanged
from arbstr.types import InferenceRequest, JsonObject


class CircuitBreakers:
    """The breakers of all providers.

    `clock` is monotonic seconds, `now_ms` the wall clock, `random` returns numbers from 0 to 1. `limits` are the most
    attempts in flight by provider, 0 or absent for no limit. `is_balance_known` is for `Cooldowns`. `on_change` is
    called at every change of state.
    """

    def __init__(
        self,
        names: Iterable[str],
        settings: Settings,
        *,
        clock: Callable[[], float],
        now_ms: Callable[[], int],
        random: Callable[[], float],
        on_change: Callable[[ProviderHealthChanged], None] = lambda event: None,
        limits: Mapping[str, int] | None = None,
        is_balance_known: Callable[[str], bool] = lambda provider: False,
    ) -> None:
        self._clock = clock
        self._now_ms = now_ms
        self.cooldowns = Cooldowns(clock, is_balance_known)
        self._on_change = on_change
        limits = limits or {}
        self._breakers = {
            name: ProviderBreaker(name, settings, clock, now_ms, random, self._changed, limits.get(name, 0))
            for name in names
        }
        # Those that may hold a provider back: as a rule none, and every request asks. Empty while that is not known.
        # Another configuration shares it with the breakers that it takes over.
        self._holding: dict[CircuitBreakers, list[ProviderBreaker]] = {}

    def __repr__(self) -> str:
        return f"<CircuitBreakers {', '.join(map(repr, self._breakers.values()))}>"

    def take_over(self, before: CircuitBreakers, staying: Collection[str]) -> None:
        """Go on with an earlier configuration's breakers of the providers that stay, which both use from now on."""
        self.cooldowns.take_over(before.cooldowns, staying)
        for name in staying:
            known = before._breakers[name]
            known.renew(self._breakers[name])
            self._breakers[name] = known
        self._holding = before._holding
        self._holding.clear()

    def _changed(self, event: ProviderHealthChanged) -> None:
        self._holding.clear()
        self._on_change(event)

    def unavailable(self) -> list[str]:
        """Return the providers that may not be asked now; acquires nothing."""
        holding = self._holding.get(self)
        if holding is None:
            holding = self._holding[self] = [one for one in self._breakers.values() if one.may_hold_back]
        return [breaker.name for breaker in holding if not breaker.available()]

    def due_next(self, names: Iterable[str]) -> str | None:
        """Return which of these unavailable providers a request may probe early.

        None while another probe is in flight, while one of them is only at its limit, or if every pause was requested
        by the provider.
        """
        breakers = [breaker for name in names if (breaker := self._breakers[name]).in_rotation]
        if any(breaker.open_until is None or breaker.is_probed() for breaker in breakers):
            return None
        due = min((b for b in breakers if b.takes_early_probe()), key=lambda b: b.open_until or 0.0, default=None)
        return None if due is None else due.name

    def acquire(self, name: str, request: InferenceRequest | None = None, *, early: bool = False) -> Permit | None:
        """Return a permit for one request's attempts (the probe's, if half open); None if unavailable.

        `early`: the request may probe an open breaker before its time.
        """
        breaker = self._breakers[name]
        if not (breaker.available() or (early and breaker.takes_early_probe())):
            return None
        return breaker.admit(Permit(breaker, self.cooldowns, request))

    def reopens_in_s(self, name: str) -> float | None:
        """Return the seconds until an open breaker may be probed; None if out of rotation or not open."""
        breaker = self._breakers[name]
        if breaker.open_until is None or not breaker.in_rotation:
            return None
        return max(0.0, breaker.open_until - self._clock())

    def retry_after_s(self, names: Iterable[str]) -> float:
        """Return the seconds until the first of these providers may serve again; at least one second."""
        waits = [wait for name in names if (wait := self.reopens_in_s(name)) is not None]
        return max(1.0, min(waits, default=1.0))

    def view(self, name: str) -> HealthView:
        """Return the provider's state for display."""
        return self._breakers[name].view()

    def views(self) -> dict[str, HealthView]:
        """Return the state of every provider."""
        return {name: self.view(name) for name in self._breakers}

    def set_in_rotation(self, name: str, in_rotation: bool) -> None:
        """Take a provider out of rotation, or put it back. Raises KeyError for an unknown name."""
        self._breakers[name].set_in_rotation(in_rotation)

    def close(self, name: str) -> None:
        """Close a breaker by hand. Raises KeyError for an unknown name."""
        self._breakers[name].close("closed by hand")

    def found_open(self, name: str) -> FoundOpen | None:
        """Return what other instances may hear of a provider's breaker, if it is open by what was found here."""
        return self._breakers[name].found_open

    def is_hearsay(self, name: str) -> bool:
        """Return whether a provider's breaker is open only because another instance says so."""
        return self._breakers[name].is_hearsay

    def hear_open(self, name: str, found: FoundOpen) -> None:
        """Open a provider's breaker because another instance has."""
        self._breakers[name].hear_open(found)

    def hear_close(self, name: str) -> None:
        """Note that another instance has closed a provider's breaker."""
        self._breakers[name].hear_close()

    def export(self) -> dict[str, JsonObject]:
        """Return the state to keep over a restart, as JSON objects by provider."""
        return {name: breaker.export() for name, breaker in self._breakers.items()}

    def figures(self) -> dict[str, JsonObject]:
        """Return what was learned of the providers that were tried, as JSON objects."""
        return {name: found for name, breaker in self._breakers.items() if (found := breaker.figures())["attempts"]}

    def restore(self, saved: Mapping[str, object]) -> None:
        """Restore what `export` or `figures` returned, as far as it is valid."""
        for name, state in saved.items():
            if name in self._breakers and isinstance(state, dict):
                self._breakers[name].restore(state)
        self._holding.clear()
