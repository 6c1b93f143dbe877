"""Prices and balances: one instance asks a provider, the others take what it has read, and ask later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, get_args

from arbstr.config.schema import Provider
from arbstr.engine.learning.codec import dumps
from arbstr.ledger.postgres.shared_states import Change, Found
from arbstr.market.balances import STALE_MS, Balances, Reading
from arbstr.market.catalogue import Catalogues
from arbstr.sanitize import json_or_none, sanitize
from arbstr.sharing.parts import Digests, Outbox, number
from arbstr.types import Balance, BalanceState

_LIST_S = 3_600.0  # for how long others take a list; they doubt it much sooner
_LONGEST_LIST = 8_000_000  # characters; longer values are not read
_MOST_MSATS = 2.0**53
_FIGURES = ("free_msats", "reserved_msats", "spent_msats", "requests")


class Traded(Protocol):
    """The parts of the configuration in force that these parts see."""

    @property
    def providers(self) -> Sequence[Provider]:
        """The configured providers."""
        ...

    @property
    def lists(self) -> Catalogues:
        """What reads their lists."""
        ...

    @property
    def balances(self) -> Balances:
        """What reads the balances there."""
        ...


class _OfProviders(ABC):
    """A part with one value for each provider of the `current` configuration."""

    kind = ""

    def __init__(
        self,
        current: Callable[[], Traded],
        digests: Digests,
        clock: Callable[[], float],
        wake: Callable[[], None],
    ) -> None:
        self._current = current
        self._digests = digests
        self._outbox = Outbox(clock, wake)

    def refresh(self, *, connected: bool) -> None:  # noqa: B027 - none has anything to do
        """Do nothing: what was not shared is there still, and is read again soon."""

    def take(self) -> list[Change]:
        """Return what was read here."""
        names, now = self._outbox.take(), self._current()
        read = (self._change(now, provider) for provider in now.providers if provider.name in names)
        return [change for change in read if change is not None]

    def put_back(self, changes: Sequence[Change]) -> None:
        """Share these again."""
        self._outbox.put_back(self._digests.by_name(self._current().providers, changes))

    def apply(self, found: Sequence[Found]) -> None:
        """Take what others have read."""
        now = self._current()
        names = self._digests.names(now.providers)
        for one in found:
            for name in names.get(one.key, ()):
                self._hear(now, name, one)

    @abstractmethod
    def _change(self, now: Traded, provider: Provider) -> Change | None: ...

    @abstractmethod
    def _hear(self, now: Traded, name: str, one: Found) -> None: ...


class SharedPrices(_OfProviders):
    """Shares the lists of models and prices."""

    kind = "prices"

    def read(self, provider: str) -> None:
        """Take note of a list that was read here."""
        self._outbox.add(provider)

    def _change(self, now: Traded, provider: Provider) -> Change | None:
        known = now.lists.known(provider.name)
        if known is None or len(known[0]) > _LONGEST_LIST:
            return None
        text, age_s = known
        return Change(self.kind, self._digests.of(provider), text, _LIST_S, age_s)

    def _hear(self, now: Traded, name: str, one: Found) -> None:
        now.lists.hear(name, one.value, max(0.0, one.age_s))


class SharedBalances(_OfProviders):
    """Shares the balances of keys, under digests of these."""

    kind = "balance"

    def __init__(
        self,
        current: Callable[[], Traded],
        digests: Digests,
        clock: Callable[[], float],
        wake: Callable[[], None],
        now_ms: Callable[[], int],
    ) -> None:
        super().__init__(current, digests, clock, wake)
        self._now_ms = now_ms

    def put(self, reading: Reading) -> None:
        """Take note of a balance that was read here."""
        if not reading.heard:
            self._outbox.add(reading.provider)

    def _change(self, now: Traded, provider: Provider) -> Change | None:
        balance = now.balances.of(provider.name)
        if balance is None or balance.read_at_ms is None or balance.state == "unknown":
            return None
        said = {name: getattr(balance, name) for name in ("state", "node_version", *_FIGURES)}
        age_s = max(0.0, (self._now_ms() - balance.read_at_ms) / 1000)
        return Change(self.kind, self._digests.of(provider), dumps(said), STALE_MS / 1000, age_s)

    def _hear(self, now: Traded, name: str, one: Found) -> None:
        balance = _balance(json_or_none(one.value), self._now_ms() - int(max(0.0, one.age_s) * 1000))
        if balance is not None:
            now.balances.hear(name, balance)


def _balance(said: Any, at_ms: int) -> Balance | None:
    """Return the balance that another instance has read at an instant, None if it does not say one."""
    if not isinstance(said, dict) or said.get("state") not in get_args(BalanceState):
        return None
    figures = {name: number(said.get(name), _MOST_MSATS) for name in _FIGURES}
    if said["state"] == "known" and None in figures.values():
        return None
    free, reserved, spent, requests = (None if figure is None else int(figure) for figure in figures.values())
    version = said.get("node_version")
    node_version = sanitize(version, 60) if isinstance(version, str) else None
    return Balance(said["state"], free, reserved, spent, requests, at_ms, node_version)
