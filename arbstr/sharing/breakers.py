"""Breakers that instances open and close, and their cool-downs.

An instance believes another that a provider fails, but never for long: after a first pause at most it tries for itself,
and the first that succeeds closes the breaker for all. Whom that has refuted is not believed about that provider for a
while, longer each time: an instance that has lost its network finds all providers failing, and would close them off to
everybody again and again. Each has its own probe, so a provider that is down gets as many as there are instances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from arbstr.config.schema import Provider
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.learning.codec import dumps
from arbstr.engine.provider_breaker import FoundOpen
from arbstr.events import Event, ProviderHealthChanged
from arbstr.ledger.postgres.shared_states import Change, Found
from arbstr.sanitize import json_or_none, sanitize_clause
from arbstr.sharing.parts import Digests, Outbox, number

DISTRUST_S, LONGEST_DISTRUST_S = 120.0, 3600.0  # doubling while it goes on
CLOSED_S = 60.0  # how long others can hear that it has closed; connections are cut for longer than breakers open
_LONGEST_OPEN_S = 86_400.0
_MOST_REOPENINGS = 30
_LONGEST_NAME = 512


class Guarded(Protocol):
    """The parts of the configuration in force that these parts see."""

    @property
    def providers(self) -> Sequence[Provider]:
        """The configured providers."""
        ...

    @property
    def health(self) -> CircuitBreakers:
        """Their breakers."""
        ...


class SharedBreakers:
    """Shares the breakers of the `current` configuration; listens to their changes on the bus."""

    kind = "breaker"

    def __init__(
        self, current: Callable[[], Guarded], digests: Digests, clock: Callable[[], float], wake: Callable[[], None]
    ) -> None:
        self._current = current
        self._digests = digests
        self._clock = clock
        self._outbox = Outbox(clock, wake)
        self._hears = False
        self._heard_from: dict[str, str] = {}  # by provider: the instance by whose word its breaker is open
        self._distrusted: dict[tuple[str, str], tuple[float, float]] = {}  # by provider and instance: until, how long

    def put(self, event: Event) -> None:
        """Take a change of a breaker; it is shared if it was found here."""
        if not isinstance(event, ProviderHealthChanged) or self._hears:
            return
        if event.new == "open":
            self._heard_from.pop(event.provider, None)  # found here too
            self._outbox.add(event.provider)
        elif event.new == "closed" and event.old != "closed":
            self._refute(event.provider)
            self._outbox.add(event.provider)

    def refresh(self, *, connected: bool) -> None:
        """Share what is open again after a connection was lost: the server may be another one."""
        if connected:
            now = self._current()
            for provider in now.providers:
                if now.health.found_open(provider.name) is not None:
                    self._outbox.add(provider.name)

    def take(self) -> list[Change]:
        """Return the breakers that have opened or closed here."""
        now = self._current()
        providers = {provider.name: provider for provider in now.providers}
        taken = [(providers[name], age_s) for name, age_s in self._outbox.take().items() if name in providers]
        return [change for provider, age_s in taken if (change := self._change(now.health, provider, age_s))]

    def _change(self, health: CircuitBreakers, provider: Provider, age_s: float) -> Change | None:
        digest, found = self._digests.of(provider), health.found_open(provider.name)
        if found is not None and found.left_s > 0:
            said = {"open": True, "reason": found.reason, "reopenings": found.reopenings, "asked": found.asked}
            return Change(self.kind, digest, dumps(said), found.left_s, age_s)
        if health.view(provider.name).state == "closed":
            return Change(self.kind, digest, dumps({"open": False}), CLOSED_S, age_s)
        return None  # half open, or by hearsay

    def put_back(self, changes: Sequence[Change]) -> None:
        """Share these again."""
        self._outbox.put_back(self._digests.by_name(self._current().providers, changes))

    def apply(self, found: Sequence[Found]) -> None:
        """Open and close breakers as others have."""
        now = self._current()
        names = self._digests.names(now.providers)
        self._hears = True
        try:
            for one in found:
                for name in names.get(one.key, ()):
                    self._hear(now.health, name, one)
        finally:
            self._hears = False

    def _hear(self, health: CircuitBreakers, name: str, one: Found) -> None:
        said = json_or_none(one.value)
        if not isinstance(said, dict):
            return
        if said.get("open") is False:
            self._refute(name)
            health.hear_close(name)
        elif (opened := _opened(said, one.left_s)) is not None and self._believes(one.instance, name):
            health.hear_open(name, opened)
            if health.is_hearsay(name):
                self._heard_from[name] = one.instance

    def _believes(self, instance: str, name: str) -> bool:
        until_s, _ = self._distrusted.get((name, instance), (0.0, 0.0))
        return self._clock() >= until_s

    def _refute(self, name: str) -> None:
        """Note that a breaker closes: the instance by whose word it was open is not believed for a while."""
        instance = self._heard_from.pop(name, None)
        if instance is not None:
            now_s = self._clock()
            known = {key: one for key, one in self._distrusted.items() if one[0] + LONGEST_DISTRUST_S > now_s}
            _, before_s = known.get((name, instance), (0.0, DISTRUST_S / 2))
            pause_s = min(2 * before_s, LONGEST_DISTRUST_S)
            self._distrusted = {**known, (name, instance): (now_s + pause_s, pause_s)}


def _opened(said: dict[str, Any], left_s: float) -> FoundOpen | None:
    """Return what is said of a breaker that is open, None if it is not what this arbstr says."""
    reopenings, reason = number(said.get("reopenings"), _MOST_REOPENINGS), said.get("reason")
    left = number(left_s, _LONGEST_OPEN_S)
    if said.get("open") is not True or reopenings is None or not isinstance(reason, str) or left is None:
        return None
    return FoundOpen(left, sanitize_clause(reason), int(reopenings), asked=said.get("asked") is True)


class SharedCooldowns:
    """Shares the cool-downs of the `current` configuration's providers; a key is provider and model."""

    kind = "cooldown"

    def __init__(
        self, current: Callable[[], Guarded], digests: Digests, clock: Callable[[], float], wake: Callable[[], None]
    ) -> None:
        self._current = current
        self._digests = digests
        self._outbox = Outbox(clock, wake)

    def began(self, provider: str, model: str | None) -> None:
        """Take a cool-down that has begun here."""
        if model is None or len(model) <= _LONGEST_NAME:
            self._outbox.add(dumps([provider, model]))

    def refresh(self, *, connected: bool) -> None:
        """Do nothing: what was not shared is there still."""

    def take(self) -> list[Change]:
        """Return the cool-downs that have begun here and go on."""
        now = self._current()
        providers = {provider.name: provider for provider in now.providers}
        changes = []
        for key, age_s in self._outbox.take().items():
            name, model = json_or_none(key)
            if name in providers:
                left_s, reason = now.health.cooldowns.left(name, model)
                digest = self._digests.of(providers[name])
                said = dumps({"provider": digest, "model": model, "reason": reason})
                changes.append(Change(self.kind, self._digests.of_text(f"{digest}\n{model}"), said, left_s, age_s))
        return [change for change in changes if change.left_s > 0]

    def put_back(self, changes: Sequence[Change]) -> None:
        """Share these again."""
        names = self._digests.names(self._current().providers)
        said = ((change, json_or_none(change.value)) for change in changes)
        self._outbox.put_back(
            change._replace(key=dumps([name, value["model"]]))
            for change, value in said
            for name in names.get(value["provider"], ())
        )

    def apply(self, found: Sequence[Found]) -> None:
        """Have providers rest as others do."""
        now = self._current()
        names = self._digests.names(now.providers)
        for one in found:
            said = json_or_none(one.value)
            if not isinstance(said, dict) or not isinstance(said.get("reason"), str):
                continue
            model = said.get("model")
            if model is None or (isinstance(model, str) and len(model) <= _LONGEST_NAME):
                for name in names.get(str(said.get("provider")), ()):
                    now.health.cooldowns.hear(name, model, one.left_s, sanitize_clause(said["reason"]))
